"""Between the Query protocol of IAM and STS and the structs of `iam_shapes.py` and `sts_shapes.py`.

A form's names say where in the request a value belongs: `Tags.member.1.Key=team` is the member `Key` of the first element
of the list `Tags`. An answer is the same tree as XML (`protocol/query.py`).

1. The form's names are taken apart along the rules of the operation's request, level by level. So the depth is the model's,
   never the form's, and what is built is as large as the form: a list has at most ten elements more per name.
2. msgspec turns the tree into the struct and checks every constraint on the way.
3. Only when it refuses, the walk of `validation.py` says why, in AWS's wording: one mechanism for all our protocols.

Invariants:
* A parameter that the model does not know is ignored, as AWS does. One that begins like a member that it knows and then
  goes astray is refused: a list of session policies that was dropped would be a session without limits.
* No value is guessed: booleans are XML Schema's, integers are plain ones, an index has one spelling.

Sources: Smithy, "AWS Query protocol", for the forms and the XML. The words of MalformedInput were observed on AWS's other
Query services: those for booleans and for the indices of lists in Amazon SES by the authors of an emulator (floci, probed
in September 2026); those for integers are ours.
"""

import base64
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NoReturn
from urllib.parse import quote

import msgspec

from strongroom.kms.wire import iam_shapes, sts_shapes
from strongroom.kms.wire.model import OperationShape, Rule, Shape, structure_rule
from strongroom.kms.wire.validation import (
    INTEGER_MAX,
    INTEGER_MIN,
    UNEXPLAINED,
    RequestRefused,
    violations_message,
)
from strongroom.protocol import query

VALIDATION: Final = "ValidationError"
MALFORMED: Final = "MalformedInput"

# AWS's own limits of a list's indices, found by bisection (see the sources above).
INDEX_MAX: Final = 214_748_369
SKIPPED_MAX: Final = 10

# What a caller wrote comes back in a message, but not at any length. Ours.
_REPEATED_CHARS_MAX: Final = 128


@dataclass(frozen=True, slots=True)
class QueryService:
    """A service that speaks the Query protocol; `internal_failure` is what it calls a failure of its own."""

    name: str
    api_version: str
    namespace: str
    operations: Mapping[str, OperationShape]
    internal_failure: str


IAM: Final = QueryService(
    "iam", iam_shapes.API_VERSION, iam_shapes.NAMESPACE, iam_shapes.OPERATIONS, internal_failure="ServiceFailure"
)
STS: Final = QueryService(
    "sts", sts_shapes.API_VERSION, sts_shapes.NAMESPACE, sts_shapes.OPERATIONS, internal_failure="InternalFailure"
)
# By the service that a signature is made for.
SERVICES: Final = {service.name: service for service in (IAM, STS)}

# No action is one of both services.
QUERY_OPERATIONS: Final[dict[str, OperationShape]] = {**iam_shapes.OPERATIONS, **sts_shapes.OPERATIONS}
_NAMESPACES: Final = {name: service.namespace for service in SERVICES.values() for name in service.operations}

# What no operation lists because every one has it. Source: "Common Error Types" of the API References of IAM and STS.
_COMMON_ERRORS: Final = {
    "AccessDenied": 403,
    "ExpiredToken": 403,
    "InternalFailure": 500,
    "InvalidAction": 400,
    MALFORMED: 400,
    "MalformedQueryString": 400,
    "MissingAction": 400,
    "RequestExpired": 400,
    "ServiceUnavailable": 503,
    "Throttling": 400,
    VALIDATION: 400,
}
QUERY_ERRORS: Final[dict[str, int]] = {
    **_COMMON_ERRORS,
    **dict(query.SIGV4_ERRORS.values()),
    **iam_shapes.ERRORS,
    **sts_shapes.ERRORS,
}

# A parameter: what is left of its name (None when nothing is, and this is the place), and its value.
_Parameter = tuple[str | None, str]


# --- Requests ---------------------------------------------------------------------------------------------------------


def find_operation(service: QueryService, form: Mapping[str, str]) -> OperationShape:
    """Return the operation of `service` that the form asks for.

    Raises:
        RequestRefused: there is none.
    """
    action = form.get("Action")
    if not action:
        raise RequestRefused("MissingAction", "The request is missing an action.")
    version = form.get("Version", "NO_VERSION_SPECIFIED")
    operation = service.operations.get(action)
    if operation is None or version != service.api_version:
        named = f"{action[:_REPEATED_CHARS_MAX]} for version {version[:_REPEATED_CHARS_MAX]}"
        raise RequestRefused("InvalidAction", f"Could not find operation {named}")
    return operation


def decode_query(action: str, form: Mapping[str, str]) -> Shape:
    """Return the request that `form` holds for `action`, a key of `QUERY_OPERATIONS`.

    Raises:
        RequestRefused: it is no such request.
    """
    request = QUERY_OPERATIONS[action].request
    rule = structure_rule(request)
    # 1.
    tree = _read_structure(rule, form.items())
    try:
        # 2.
        return msgspec.convert(tree, request)
    except msgspec.ValidationError:
        # 3.
        raise RequestRefused(VALIDATION, violations_message(rule, tree) or UNEXPLAINED) from None


def _read(rule: Rule, parameters: list[_Parameter]) -> Any:
    """Return the value that the parameters of one place stand for; at most one of them is the place's own."""
    own = [value for name, value in parameters if name is None]
    inner = [(name, value) for name, value in parameters if name is not None]
    match rule.kind:
        case "structure":
            if own:
                _refuse("Value found where not expected")
            return _read_structure(rule, inner)
        case "list":
            # Clients write an empty list as the list's name with an empty value.
            if own and (own != [""] or inner):
                _refuse("Value found where not expected")
            return _read_list(rule, inner)
        case kind:
            if inner:
                _refuse("Start of structure or map found where not expected.")
            return _SCALARS[kind](own[0])


def _read_structure(rule: Rule, parameters: Iterable[tuple[str, str]]) -> dict[str, Any]:
    places = _by_place(parameters)
    return {member.name: _read(member.rule, places[member.name]) for member in rule.members if member.name in places}


def _read_list(rule: Rule, parameters: Iterable[tuple[str, str]]) -> list[Any]:
    """Return a list; an index that was skipped becomes None, which the constraints then refuse."""
    places = _by_place(parameters)
    members = places.pop("member", [])
    if places:
        _refuse("Start of structure or map found where not expected.")
    named = [(name, value) for name, value in members if name is not None]
    if len(named) != len(members):
        _refuse("Value found where not expected")
    by_index = {_parse_index(text): found for text, found in _by_place(named).items()}
    assert rule.element is not None
    elements: list[Any] = []
    for index in sorted(by_index):
        skipped = index - max(len(elements), 1)
        if skipped > SKIPPED_MAX:
            _refuse(f"Excessively sparse input would skip {skipped:,} list elements")
        elements += [None] * (index - len(elements) - 1)
        elements.append(_read(rule.element, by_index[index]))
    return elements


def _by_place(parameters: Iterable[tuple[str, str]]) -> dict[str, list[_Parameter]]:
    """Take the first part off every name, and put together what has it in common."""
    places: dict[str, list[_Parameter]] = {}
    for name, value in parameters:
        place, dot, rest = name.partition(".")
        places.setdefault(place, []).append((rest if dot else None, value))
    return places


def _parse_index(text: str) -> int:
    """Return the index that `text` spells, counted from 1."""
    if not text.isascii() or not text.isdigit():
        _refuse("Start of list found where not expected")
    if text == "0":
        _refuse("0 is not a valid index")
    if text.startswith("0"):
        _refuse("Value found where not expected")
    # Long texts are not even read: Python takes quadratic time for that.
    if len(text) > len(str(INDEX_MAX)) or int(text) > INDEX_MAX:
        _refuse(f"Index {text[:_REPEATED_CHARS_MAX]} is illegal")
    return int(text)


_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,10}", re.ASCII)


def _parse_boolean(text: str) -> bool:
    if not text:
        _refuse("missing value for boolean type")
    if text not in _BOOLEANS:
        _refuse("boolean must follow xsd1.1 definition")
    return _BOOLEANS[text]


def _parse_integer(text: str) -> int:
    if not text:
        _refuse("missing value for integer type")
    if _INTEGER.fullmatch(text) is None or not INTEGER_MIN <= int(text) <= INTEGER_MAX:
        _refuse("integer must follow xsd1.1 definition")
    return int(text)


# All kinds of scalars that requests of our operations have; a test holds that.
_SCALARS: Final[dict[str, Callable[[str], Any]]] = {
    "string": str,
    "boolean": _parse_boolean,
    "integer": _parse_integer,
}


def _refuse(message: str) -> NoReturn:
    raise RequestRefused(MALFORMED, message)


# --- Answers ----------------------------------------------------------------------------------------------------------


def encode_result(action: str, response: Shape | None, request_id: str) -> bytes:
    """Return the answer to `action`, a key of `QUERY_OPERATIONS`; None is the response of an operation that has none."""
    shape = QUERY_OPERATIONS[action].response
    assert type(response) is (type(None) if shape is None else shape), f"{action} answers with {shape}"
    result = None if response is None else _structure_members(structure_rule(type(response)), response)
    return query.format_result(action, result, request_id, namespace=_NAMESPACES[action])


def encode_error(service: QueryService, code: str, message: str, request_id: str) -> bytes:
    """Return the answer to a request that was refused with `code`."""
    is_callers_fault = error_status(code) < 500
    return query.format_error(code, message, request_id, is_callers_fault=is_callers_fault, namespace=service.namespace)


def error_status(code: str) -> int:
    """Return the HTTP status of an error; a code that no table has is the caller's fault, as in all AWS services."""
    return QUERY_ERRORS.get(code, 400)


def encode_document(text: str) -> str:
    """Return a policy document as IAM's answers hold it: escaped by RFC 3986 (IAM API Reference, "GetPolicyVersion")."""
    return quote(text, safe="")


def _structure_members(rule: Rule, value: Shape) -> dict[str, query.Member]:
    present = ((member, getattr(value, member.name)) for member in rule.members)
    return {member.name: _member(member.rule, found) for member, found in present if found is not None}


def _member(rule: Rule, value: Any) -> query.Member:
    match rule.kind:
        case "structure":
            return _structure_members(rule, value)
        case "list":
            assert rule.element is not None
            return [_member(rule.element, item) for item in value]
        case "map":
            assert rule.element is not None
            return query.Entries([(str(key), _member(rule.element, found)) for key, found in value.items()])
        case kind:
            return _TEXTS[kind](value)


def _format_timestamp(seconds: float) -> str:
    """Return a time as IAM and STS write it: in UTC, with whole seconds."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _format_boolean(value: bool) -> str:  # noqa: FBT001 - the value itself, not an option
    return "true" if value else "false"


_TEXTS: Final[dict[str, Callable[[Any], str]]] = {
    "string": str,
    "integer": str,
    "boolean": _format_boolean,
    "timestamp": _format_timestamp,
    "blob": lambda value: base64.b64encode(value).decode(),
}
