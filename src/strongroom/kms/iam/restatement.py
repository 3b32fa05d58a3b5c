"""A policy's text with other names for some of its principals, and otherwise to the byte as it was written.

Only what stands in `Principal` or `NotPrincipal` under `AWS` is a principal's name; the same text in a condition is a value.
Source: IAM user guide, "AWS JSON policy elements: Principal": a document is stored with unique ids and shown with ARNs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final

from strongroom.protocol.strict_json import parse_strictly

# A text, a sign of structure, or anything else that is a value.
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}:,]|[^][{}:,"\s]+')
_PLACES: Final = (["Statement", "Principal", "AWS"], ["Statement", "NotPrincipal", "AWS"])


def restated(text: str, names: Mapping[str, str]) -> str:
    """The text of a policy that was parsed before, with every principal's name that is in `names` replaced by its value."""
    tokens = list(_TOKEN.finditer(text))
    pieces, end = [], 0
    # Of every object and list that is open, the member that is being read; lists have none.
    members: list[str | None] = []
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        match token[0][0]:
            case "{":
                members.append("")
            case "[":
                members.append(None)
            case "}" | "]":
                members.pop()
            case '"':
                value: str = parse_strictly(token[0].encode())
                if following is not None and following[0] == ":":
                    members[-1] = value
                elif [member for member in members if member is not None] in _PLACES:
                    name = names.get(value, value)
                    if name != value:
                        pieces += [text[end : token.start()], json.dumps(name)]
                        end = token.end()
    return "".join([*pieces, text[end:]])
