"""From the bytes of a request to its typed struct, or to AWS's own refusal of it.

Two ways, one truth (`shapes.py`):

1. *The fast way.* msgspec decodes and checks in C. What it would let through and must not pass stands in members that
   the request does not end up with: the first of two of one name, bad UTF-8 and absurd numbers inside unknown ones.
   A body that has more strings than the request it became has such members (or null ones), since each has a name. It
   goes through the strict parser, which decides, as does whatever has escapes or more than ASCII.
2. *The slow way*, only when msgspec refused: the strict parser, then a walk over the rules that `model.py` reads from
   the same structs, which collects every violation in AWS's wording.

Invariants:
* The slow way never accepts. If it finds nothing, the answer is SerializationException; a test holds that it finds
  something whenever msgspec refuses a well-formed request.
* A wrong JSON type ends the walk (AWS deserialises before it validates); violations are collected, in the order of the
  model's members, and within one member: null, enumeration, pattern, largest, smallest. AWS documents no order.
* No value of a blob or of a sensitive member is ever repeated in a message.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any, Final, NoReturn

import msgspec

from strongroom.kms.wire.model import Rule, Shape, structure_rule
from strongroom.kms.wire.shapes import OPERATIONS
from strongroom.protocol import strict_json

SERIALIZATION: Final = "SerializationException"
VALIDATION: Final = "ValidationException"

# AWS answers most malformed bodies with a bare code; so do we.
UNEXPLAINED: Final = ""

# The API's integers are Java's: what does not fit is not read, rather than read and found too large.
INTEGER_MAX: Final = 2**31 - 1
INTEGER_MIN: Final = -(2**31)


# A list of a hundred thousand empty tags must not come back as a hundred thousand sentences. The figure is ours: it is
# above what any honest request can break (the largest has 11 members, and 50 tags are allowed).
VIOLATIONS_MAX: Final = 100

# Of a list or a map with more members than this, only so many are looked at: a hundred and fifty thousand cost 0.15 s. If
# all that is wrong lies behind them, the refusal has no text. Ours; no honest request has a tenth.
MEMBERS_LOOKED_AT_MAX: Final = 1_000

# A text of more characters than this, and than its rule allows, is too long and nothing else: to match groups that repeat,
# `re` takes a hundred bytes for every character. Ours; no message that an honest mistake gets depends on it.
UNMATCHED_CHARS_MIN: Final = 8192


class RequestRefused(Exception):  # noqa: N818 - the fault's name is AWS's, in `code`
    """The body is not a request for its operation; `code` is the exception AWS answers with, `message` its text."""

    __slots__ = ("code", "message")

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


_DECODERS: Final[dict[str, Callable[[bytes], Shape]]] = {
    name: msgspec.json.Decoder(operation.request).decode for name, operation in OPERATIONS.items()
}
_encode: Final[Callable[[Shape], bytes]] = msgspec.json.Encoder().encode
_QUOTE: Final = b'"'
_ESCAPE: Final = b"\\"


def decode_request(operation: str, body: bytes) -> Shape:
    """Return the request that `body` holds for `operation`, a key of `OPERATIONS`; an empty body counts as `{}`.

    Raises:
        RequestRefused: `body` is no such request.
    """
    try:
        request = _DECODERS[operation](body or b"{}")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise explain(operation, body) or RequestRefused(SERIALIZATION, UNEXPLAINED) from None
    if body.count(_QUOTE) != _encode(request).count(_QUOTE) or _ESCAPE in body or not body.isascii():
        parse_strictly(body)
    return request


def encode_response(response: Shape) -> bytes:
    """Return the JSON text of `response`; members that are None are left out."""
    return _encode(response)


def explain(operation: str, body: bytes) -> RequestRefused | None:
    """Return why `body` is no request for `operation`, or None if nothing is wrong with it."""
    try:
        value = parse_strictly(body or b"{}")
        if type(value) is not dict:
            _refuse_type(Rule("structure"), value)
        message = violations_message(structure_rule(OPERATIONS[operation].request), value)
    except RequestRefused as refusal:
        return refusal
    return None if message is None else RequestRefused(VALIDATION, message)


def violations_message(rule: Rule, value: dict[str, Any]) -> str | None:
    """Return what is wrong with `value`, a request by its rule, in AWS's words; None if nothing is.

    Raises:
        RequestRefused: something in it has another type than its rule wants.
    """
    violations = list(islice(_structure_violations(rule, value, ""), VIOLATIONS_MAX))
    if not violations:
        return None
    errors = "error" if len(violations) == 1 else "errors"
    return f"{len(violations)} validation {errors} detected: {'; '.join(violations)}"


def parse_strictly(body: bytes) -> Any:
    """Return the JSON value of `body` (rules: `protocol.strict_json`).

    Raises:
        RequestRefused: it is none.
    """
    try:
        return strict_json.parse_strictly(body)
    except strict_json.StrictJsonError as error:
        raise RequestRefused(SERIALIZATION, str(error)) from None


# --- The walk ---------------------------------------------------------------------------------------------------------


def _structure_violations(rule: Rule, value: dict[str, Any], path: str) -> Iterator[str]:
    for member in rule.members:
        found = value.get(member.name)
        label = path + member.label
        if found is not None:
            yield from _violations(member.rule, _typed(member.rule, found), label)
        elif member.required:
            yield _sentence(" null", label, "Member must not be null")


def _violations(rule: Rule, value: Any, path: str) -> Iterator[str]:
    """Yield what is wrong with a value that has the type its rule wants."""
    if rule.kind == "structure":
        yield from _structure_violations(rule, value, f"{path}.")
        return
    # Only where something is wrong: of a large map it takes longer than to look at it.
    show = partial(_shown, rule, value)
    for constraint in _failed(rule, value):
        yield _sentence(show(), path, constraint)
    if rule.kind == "map" and rule.key is not None:
        yield from _inner_violations(rule.key, list(value), show, path, "Map keys must satisfy constraint")
        values = list(value.values())
        yield from _inner_violations(rule.element, values, show, path, "Map value must satisfy constraint")
    elif rule.kind == "list":
        yield from _inner_violations(rule.element, value, show, path, "Member must satisfy constraint")


def _inner_violations(
    rule: Rule | None, values: list[Any], show: Callable[[], str], path: str, heading: str
) -> Iterator[str]:
    """Yield what is wrong inside a list or map: structures by their members, plain values by one common sentence."""
    assert rule is not None
    wrong = has_null = False
    for number, value in enumerate(islice(values, MEMBERS_LOOKED_AT_MAX), start=1):
        if value is None:
            has_null = True
            continue
        typed = _typed(rule, value)
        if rule.kind == "structure":
            yield from _structure_violations(rule, typed, f"{path}.{number}.member.")
        elif next(_failed(rule, typed), None) is not None:
            wrong = True
    if wrong or has_null:
        constraints = list(_constraints(rule)) + ["Member must not be null"] * has_null
        yield _sentence(show(), path, f"{heading}: [{', '.join(constraints)}]")


def _failed(rule: Rule, value: Any) -> Iterator[str]:
    """Yield the constraints of `rule` itself that `value` fails."""
    if rule.choices and value not in rule.choices:
        yield _choice_text(rule)
    if rule.pattern is not None and not _is_far_too_long(rule, value) and rule.pattern.search(value) is None:
        yield _pattern_text(rule)
    if rule.minimum is None and rule.maximum is None:
        return
    size = value if rule.kind == "integer" else len(value)
    if rule.maximum is not None and size > rule.maximum:
        yield _maximum_text(rule)
    if rule.minimum is not None and size < rule.minimum:
        yield _minimum_text(rule)


def _is_far_too_long(rule: Rule, value: str) -> bool:
    return rule.maximum is not None and len(value) > max(rule.maximum, UNMATCHED_CHARS_MIN)


def _constraints(rule: Rule) -> Iterator[str]:
    """Yield all constraints of a list's or map's members, in the order in which AWS's messages list them."""
    if rule.maximum is not None:
        yield _maximum_text(rule)
    if rule.minimum is not None:
        yield _minimum_text(rule)
    if rule.pattern is not None:
        yield _pattern_text(rule)
    if rule.choices:
        yield _choice_text(rule)


# --- Wording ----------------------------------------------------------------------------------------------------------


def _sentence(shown: str, path: str, constraint: str) -> str:
    return f"Value{shown} at '{path}' failed to satisfy constraint: {constraint}"


def _shown(rule: Rule, value: Any) -> str:
    """Return a value as AWS repeats it: after a space and in quotes, or not at all when it may be secret."""
    inner = [part for part in (rule.key, rule.element) if part is not None]
    if any(part.sensitive or part.kind in {"blob", "structure"} for part in (rule, *inner)):
        return ""
    match rule.kind:
        case "list":
            return f" '[{', '.join(map(_plain, value))}]'"
        case "map":
            return f" '{{{', '.join(f'{key}={_plain(found)}' for key, found in value.items())}}}'"
        case _:
            return f" '{value}'"


def _plain(value: Any) -> str:
    return "null" if value is None else str(value)


def _measure(rule: Rule) -> str:
    return "value" if rule.kind == "integer" else "length"


def _maximum_text(rule: Rule) -> str:
    return f"Member must have {_measure(rule)} less than or equal to {rule.maximum}"


def _minimum_text(rule: Rule) -> str:
    return f"Member must have {_measure(rule)} greater than or equal to {rule.minimum}"


def _pattern_text(rule: Rule) -> str:
    return f"Member must satisfy regular expression pattern: {rule.published_pattern}"


def _choice_text(rule: Rule) -> str:
    return f"Member must satisfy enum value set: [{', '.join(rule.choices)}]"


# --- Types ------------------------------------------------------------------------------------------------------------

_JSON_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "string": (str,),
    "blob": (str,),
    "integer": (int,),
    "boolean": (bool,),
    "timestamp": (int, float),
    "list": (list,),
    "map": (dict,),
    "structure": (dict,),
}

# What AWS calls the type that a scalar cannot become.
_WANTED: Final[dict[str, str]] = {
    "string": "can not be converted to a String",
    "blob": "can not be converted to a Blob",
    "integer": "can not be converted to an Integer",
    "boolean": "can not be converted to a Boolean",
    "timestamp": "can not be converted to milliseconds since epoch",
}


def _typed(rule: Rule, value: Any) -> Any:
    """Return a JSON value as the type that `rule` wants.

    Raises:
        RequestRefused: it has another type, is not base64, or is too large for its type.
    """
    # `type() in` and not `isinstance`: Python takes True for a number.
    if type(value) not in _JSON_TYPES[rule.kind]:
        _refuse_type(rule, value)
    try:
        if rule.kind == "blob":
            return msgspec.convert(value, bytes)
        if rule.kind == "timestamp":
            return float(value)
    except (msgspec.ValidationError, OverflowError):
        raise RequestRefused(SERIALIZATION, UNEXPLAINED) from None
    if rule.kind == "integer" and not INTEGER_MIN <= value <= INTEGER_MAX:
        raise RequestRefused(SERIALIZATION, UNEXPLAINED)
    return value


def _refuse_type(rule: Rule, value: Any) -> NoReturn:
    match value:
        case list():
            message = "Start of list found where not expected"
        case dict():
            message = "Start of structure or map found where not expected."
        case _ if rule.kind == "list":
            message = "Expected list or null"
        case _ if rule.kind == "map":
            message = "Expected map or null"
        case _ if rule.kind == "structure":
            message = "Expected null"
        case _:
            message = f"{_token(value)} {_WANTED[rule.kind]}"
    raise RequestRefused(SERIALIZATION, message)


def _token(value: Any) -> str:
    match value:
        case True:
            return "TRUE_VALUE"
        case False:
            return "FALSE_VALUE"
        case str():
            return "STRING_VALUE"
        case _:
            return "NUMBER_VALUE"
