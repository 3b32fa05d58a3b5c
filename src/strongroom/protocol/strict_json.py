"""JSON read more strictly than `json` reads it: one parser for requests and for policy documents.

What is refused: a name that occurs twice in an object, text that is not UTF-8, half a surrogate pair, numbers that are not
finite or have thousands of digits, nesting too deep for the interpreter. Wrong case is simply another name.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final, NoReturn

UNEXPLAINED: Final = ""


class StrictJsonError(ValueError):
    """Not JSON by these rules; the text is empty where AWS gives none."""


def parse_strictly(body: bytes) -> Any:
    """The JSON value of `body`.

    Raises:
        StrictJsonError: see above.
    """
    try:
        value = json.loads(
            body.decode(), object_pairs_hook=_distinct, parse_constant=_refuse_constant, parse_float=_finite
        )
        # Only an escape can smuggle half a pair into text that was UTF-8; it cannot be written back.
        if b"\\u" in body:
            json.dumps(value, ensure_ascii=False).encode()
    except StrictJsonError:
        raise
    except (ValueError, RecursionError):
        raise StrictJsonError(UNEXPLAINED) from None
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise StrictJsonError("A member occurs more than once")
    return members


def _refuse_constant(_: str) -> NoReturn:
    raise StrictJsonError(UNEXPLAINED)


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise StrictJsonError(UNEXPLAINED)
    return number
