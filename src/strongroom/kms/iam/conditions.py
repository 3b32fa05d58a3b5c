"""The conditions of a statement: every operator of IAM, as rows of a table.

A condition compares what the request says of one key with the values that the policy lists:
1. `ForAllValues:` holds when every value of the request matches, so also when there is none; `ForAnyValue:` when one does;
2. `…IfExists` holds when the request has no such key;
3. `Null` asks only whether the request has the key;
4. a key that the request has not matches nothing: a negated operator holds, every other does not;
5. a key that may have several values needs 1: without it no condition on it holds;
6. otherwise the one value matches one of the policy's values, or with a negated operator none of them.

Where a request says two things under names that differ in case only (two tags, two pairs of an encryption context), an
Allow needs both to hold, a Deny one, quantified or not. A variable that cannot be filled in makes an Allow's condition
fail, unless 2 holds; in a Deny its value matches nothing. A value of the request that is no number, date or address,
matches nothing.

Sources: IAM user guide, "IAM JSON policy elements: Condition operators", "Conditions with multiple context keys or values",
"Single-valued vs. multivalued context keys". Names of keys fold case, values do not.
"""

from __future__ import annotations

import base64
import ipaddress
import operator
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Final

import msgspec

from strongroom.kms.iam.condition_keys import is_multivalued
from strongroom.kms.iam.patterns import (
    Context,
    Glob,
    Literal,
    Piece,
    Resolved,
    Template,
    UnresolvedVariableError,
    Variable,
    fold,
    parse_glob,
    parse_template,
    plain_text,
)

_NUMBER_CHARS_MAX: Final = 40
_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?")
# W3C's profile of ISO 8601 (NOTE-datetime), as the user guide names it; four digits are a year, more are epoch seconds.
_EPOCH: Final = re.compile(r"[0-9]{5,14}(\.[0-9]{1,9})?")
_DATE: Final = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(Z|[+-]\d\d:\d\d))?)?)?", re.ASCII
)
_ARN_PARTS: Final = 6

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Operator(msgspec.Struct, frozen=True):
    """A row of the table.

    `build` makes of a policy's value what is compared, and refuses what is none; `read` does so with a request's value;
    `meets` compares the two.
    """

    build: Callable[[Resolved], Any]
    read: Callable[[str], Any]
    meets: Callable[[Any, Any], bool]
    negated: bool = False
    takes_variables: bool = False


class Quantifier(Enum):
    ONE = ""
    ALL = "ForAllValues:"
    ANY = "ForAnyValue:"


# ── what is compared ────────────────────────────────────────────────────────────────────────────────────────────────────


def _same(text: str) -> str:
    return text


def _folded(pieces: Resolved) -> str:
    return plain_text(pieces).lower()


def _number(text: str) -> Decimal:
    if len(text) > _NUMBER_CHARS_MAX or _NUMBER.fullmatch(text) is None:
        raise ValueError("is no number")
    return Decimal(text)


def _date(text: str) -> Decimal:
    """Seconds since the epoch."""
    if _EPOCH.fullmatch(text):
        return Decimal(text)
    found = _DATE.fullmatch(text)
    if found is None:
        raise ValueError("is neither a date of ISO 8601 nor epoch seconds")
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    try:
        at = datetime.fromisoformat(
            f"{year}-{month or '01'}-{day or '01'}T{hour or '00'}:{minute or '00'}:{second or '00'}"
            + ("+00:00" if zone in {None, "Z"} else zone)
        )
    except ValueError:
        raise ValueError("is no date that exists") from None
    return Decimal(int((at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())) + Decimal(f"0.{fraction or 0}")


def _bool(text: str) -> str:
    folded = fold(text)
    if folded not in {"true", "false"}:
        raise ValueError("is neither true nor false")
    return folded


def _binary(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise ValueError("is not base64") from None


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("is neither an IP address nor a range of them") from None


def _within(address: Address, network: Network) -> bool:
    return address in network


def _arn(pieces: Resolved) -> tuple[Glob, ...]:
    """One pattern for each of an ARN's six parts; what a variable brings stays in its part, colons and all."""
    parts: list[list[str | Literal]] = [[]]
    for piece in pieces:
        if isinstance(piece, Literal):
            parts[-1].append(piece)
            continue
        head, *rest = piece.split(":", _ARN_PARTS - len(parts))
        parts[-1].append(head)
        parts += [[part] for part in rest]
    if len(parts) != _ARN_PARTS or plain_text(parts[0]) != "arn":
        raise ValueError("is no ARN")
    return tuple(parse_glob(part) for part in parts)


def _arn_parts(text: str) -> list[str]:
    parts = text.split(":", _ARN_PARTS - 1)
    if len(parts) != _ARN_PARTS:
        raise ValueError("is no ARN")
    return parts


def _parts_match(parts: Sequence[str], globs: Sequence[Glob]) -> bool:
    return all(glob.matches(part) for part, glob in zip(parts, globs, strict=True))


def _like(text: str, glob: Glob) -> bool:
    return glob.matches(text)


def _plain(parse: Callable[[str], Any]) -> Callable[[Resolved], Any]:
    return lambda pieces: parse(plain_text(pieces))


# ── the table ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _string(
    build: Callable[[Resolved], Any], read: Callable[[str], Any], meets: Callable[[Any, Any], bool], *, negated: bool
) -> Operator:
    return Operator(build, read, meets, negated, takes_variables=True)


def _typed(
    parse: Callable[[str], Any],
    meets: Callable[[Any, Any], bool],
    *,
    negated: bool = False,
    read: Callable[[str], Any] | None = None,
) -> Operator:
    return Operator(_plain(parse), read or parse, meets, negated)


_ORDERS: Final[dict[str, tuple[Callable[[Any, Any], bool], bool]]] = {
    "Equals": (operator.eq, False),
    "NotEquals": (operator.eq, True),
    "LessThan": (operator.lt, False),
    "LessThanEquals": (operator.le, False),
    "GreaterThan": (operator.gt, False),
    "GreaterThanEquals": (operator.ge, False),
}

OPERATORS: Final[dict[str, Operator]] = {
    "StringEquals": _string(plain_text, _same, operator.eq, negated=False),
    "StringNotEquals": _string(plain_text, _same, operator.eq, negated=True),
    "StringEqualsIgnoreCase": _string(_folded, str.lower, operator.eq, negated=False),
    "StringNotEqualsIgnoreCase": _string(_folded, str.lower, operator.eq, negated=True),
    "StringLike": _string(parse_glob, _same, _like, negated=False),
    "StringNotLike": _string(parse_glob, _same, _like, negated=True),
    **{f"Numeric{name}": _typed(_number, order, negated=negated) for name, (order, negated) in _ORDERS.items()},
    **{f"Date{name}": _typed(_date, order, negated=negated) for name, (order, negated) in _ORDERS.items()},
    "Bool": _typed(_bool, operator.eq),
    "BinaryEquals": _typed(_binary, operator.eq, read=str.encode),
    "IpAddress": _typed(_network, _within, read=ipaddress.ip_address),
    "NotIpAddress": _typed(_network, _within, read=ipaddress.ip_address, negated=True),
    # "ArnEquals and ArnLike behave identically."
    "ArnEquals": _string(_arn, _arn_parts, _parts_match, negated=False),
    "ArnLike": _string(_arn, _arn_parts, _parts_match, negated=False),
    "ArnNotEquals": _string(_arn, _arn_parts, _parts_match, negated=True),
    "ArnNotLike": _string(_arn, _arn_parts, _parts_match, negated=True),
}
_NULL: Final = "Null"
_IF_EXISTS: Final = "IfExists"


# ── one condition ───────────────────────────────────────────────────────────────────────────────────────────────────────


class Condition(msgspec.Struct, frozen=True):
    """One key under one operator; `operator`, `name` and `texts` are as the policy writes them."""

    operator: str
    name: str
    texts: tuple[str, ...]
    # The name in its folded form.
    key: str
    row: Operator | None
    quantifier: Quantifier
    if_exists: bool
    comparands: tuple[Any, ...]
    templates: tuple[Template, ...]

    @property
    def keys(self) -> frozenset[str]:
        """What it asks the request for."""
        return frozenset((self.key, *(key for template in self.templates for key in template.keys)))

    def holds(self, context: Context, *, allows: bool) -> bool:
        """Whether the request meets it, in a statement that allows or denies. The numbers are the module's."""
        values = context.values_of(self.key)
        row = self.row
        if row is None:  # 3
            return (values is None) in self.comparands
        if values is None:
            if self.if_exists:  # 2
                return True
            if self.quantifier is Quantifier.ANY:
                return False
        try:
            comparands = self._comparands(row, context, strict=allows)
        except UnresolvedVariableError:
            return False
        if values is None:  # 1, 4
            return row.negated or self.quantifier is Quantifier.ALL
        matched = (_matches(row, value, comparands) for value in values)
        if not is_multivalued(self.key):  # 6; more than one are of names that differ in case only
            return all(matched) if allows else any(matched)
        if self.quantifier is Quantifier.ONE:  # 5
            return False
        return all(matched) if self.quantifier is Quantifier.ALL else any(matched)  # 1

    def _comparands(self, row: Operator, context: Context, *, strict: bool) -> Sequence[Any]:
        if not self.templates:
            return self.comparands
        found = list(self.comparands)
        for template in self.templates:
            try:
                found.append(row.build(template.resolve(context)))
            except UnresolvedVariableError:
                if strict:
                    raise
        return found


def _matches(row: Operator, value: str, comparands: Sequence[Any]) -> bool:
    try:
        read = row.read(value)
    except ValueError:
        return row.negated
    meets = row.meets
    return any(meets(read, comparand) for comparand in comparands) is not row.negated


def parse_condition(name: str, key: str, texts: Sequence[str], *, variables: bool) -> Condition:
    """One key of one operator with its values.

    Raises:
        ValueError: there is no such operator, or a value is none that it can compare; the text says which.
    """
    base, quantifier, if_exists = parse_operator(name)
    row = OPERATORS.get(base)
    comparands: list[Any] = []
    templates: list[Template] = []
    for text in texts:
        if row is None:
            comparands.append(_built(_bool, text, text) == "true")
            continue
        template = parse_template(text, variables=variables and row.takes_variables)
        # Built once even where variables are still open: what is no ARN without them is none with them.
        comparand = _built(row.build, [_filler(piece) for piece in template.pieces], text)
        if template.keys:
            templates.append(template)
        else:
            comparands.append(comparand)
    return Condition(
        name, key, tuple(texts), fold(key), row, quantifier, if_exists, tuple(comparands), tuple(templates)
    )


def parse_operator(name: str) -> tuple[str, Quantifier, bool]:
    """The row's name, its quantifier, and whether `…IfExists` stands behind it.

    Raises:
        ValueError: there is none.
    """
    found = _PARSED.get(name)
    if found is None:
        raise ValueError(f"there is no condition operator {name[:64]!r}")
    return found


# Every name that an operator can have: the row, bare or quantified, with or without what stands behind it.
_PARSED: Final[dict[str, tuple[str, Quantifier, bool]]] = {
    f"{quantifier.value}{base}{suffix}": (base, quantifier, bool(suffix))
    for base in OPERATORS
    for quantifier in Quantifier
    for suffix in ("", _IF_EXISTS)
} | {_NULL: (_NULL, Quantifier.ONE, False)}


def _filler(piece: Piece) -> str | Literal:
    return Literal("x") if isinstance(piece, Variable) else piece


def _built(build: Callable[[Any], Any], value: Any, text: str) -> Any:
    try:
        return build(value)
    except ValueError as error:
        raise ValueError(f"{text[:128]!r} {error}") from None
