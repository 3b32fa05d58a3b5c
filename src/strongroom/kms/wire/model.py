"""What the structs of `shapes.py` demand, as data that the slow validator can walk.

`msgspec` compiles a struct's annotations into its decoder; this module reads the very same annotations into `Rule`s.
There is no second table of limits: what the decoder refuses and what the validator can explain come from one place.

Invariants: a rule's members stand in the order of AWS's model; a rule is never changed once it was made.
"""

import re
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

Kind = Literal["string", "blob", "integer", "boolean", "timestamp", "list", "map", "structure"]

_PRIMITIVES: Final[dict[Any, Kind]] = {
    str: "string",
    bytes: "blob",
    int: "integer",
    bool: "boolean",
    float: "timestamp",
}

# What the generator writes around AWS's pattern, so that it must match the whole text.
PATTERN_PREFIX: Final = "(?a)^(?:"
PATTERN_SUFFIX: Final = r")\Z"

# Java's classes of letters, separators and numbers, which `re` lacks, and the same characters as `re` can say them: its
# `\w` has all letters and numbers when it is not restricted to ASCII, and Unicode has 19 separators.
_JAVA_CLASSES: Final = r"\p{L}\p{Z}\p{N}_"
_SAME_CLASSES: Final = r"\w\x20\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_UNICODE_PREFIX: Final = "(?u:"
_UNICODE_SUFFIX: Final = ")"


def anchored_pattern(published: str) -> str:
    """Return AWS's pattern, which is one of Java's, as a pattern of `re` that must match the whole text."""
    if _JAVA_CLASSES in published:
        published = f"{_UNICODE_PREFIX}{published.replace(_JAVA_CLASSES, _SAME_CLASSES)}{_UNICODE_SUFFIX}"
    return f"{PATTERN_PREFIX}{published}{PATTERN_SUFFIX}"


def published_pattern(anchored: str) -> str:
    """Return what `anchored_pattern` was given: the pattern as AWS's model and its messages spell it."""
    inner = anchored.removeprefix(PATTERN_PREFIX).removesuffix(PATTERN_SUFFIX)
    if inner.startswith(_UNICODE_PREFIX):
        inner = inner.removeprefix(_UNICODE_PREFIX).removesuffix(_UNICODE_SUFFIX)
    return inner.replace(_SAME_CLASSES, _JAVA_CLASSES)


class Shape(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A structure of the API: immutable, absent members are not sent, and its values stay out of logs.

    Values are trees (what a client can send has no cycles), so the garbage collector need not track them.
    """

    def __repr__(self) -> str:
        """Name the members that are present and show none of them: some hold plaintext or secrets."""
        present = [name for name in self.__struct_fields__ if getattr(self, name) is not None]
        return f"{type(self).__name__}({', '.join(present)})"


@dataclass(frozen=True, slots=True)
class OperationShape:
    """One operation of the API: what it takes, what it answers (None: an empty body), how it may fail."""

    name: str
    request: type[Shape]
    response: type[Shape] | None
    exceptions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """What one shape demands; `minimum` and `maximum` are of the value for integers, of the length for the rest."""

    kind: Kind
    minimum: int | None = None
    maximum: int | None = None
    pattern: re.Pattern[str] | None = None
    choices: tuple[str, ...] = ()
    sensitive: bool = False
    key: "Rule | None" = None
    element: "Rule | None" = None
    members: "tuple[Member, ...]" = ()

    @property
    def published_pattern(self) -> str:
        """Return the pattern as AWS's model and its messages spell it."""
        assert self.pattern is not None
        return published_pattern(self.pattern.pattern)


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a structure; `label` is its name in messages, which AWS writes in lower camel case."""

    name: str
    label: str
    required: bool
    rule: Rule


@cache
def structure_rule(struct: type[Shape]) -> Rule:
    """Return what `struct` demands of a JSON object."""
    hints = get_type_hints(struct, include_extras=True)
    members = tuple(
        Member(field.name, _label(field.encode_name), field.required, _rule(hints[field.name]))
        for field in msgspec.structs.fields(struct)
    )
    return Rule("structure", members=members)


def _label(name: str) -> str:
    return name[0].lower() + name[1:]


def _rule(annotation: Any) -> Rule:
    """Read one annotation: [Annotated] of a primitive, a Literal, a list, a dict or a struct, or an optional one."""
    origin = get_origin(annotation)
    if origin is Union or origin is UnionType:
        (present,) = (option for option in get_args(annotation) if option is not type(None))
        return _rule(present)
    meta: msgspec.Meta | None = None
    if origin is Annotated:
        annotation, meta = get_args(annotation)
        origin = get_origin(annotation)
    if origin is Literal:
        return Rule("string", choices=get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, Shape):
        return structure_rule(annotation)
    if origin is list:
        return _constrained("list", meta, element=_rule(get_args(annotation)[0]))
    if origin is dict:
        key, element = get_args(annotation)
        return _constrained("map", meta, key=_rule(key), element=_rule(element))
    return _constrained(_PRIMITIVES[annotation], meta)


def _constrained(
    kind: Kind, meta: msgspec.Meta | None, *, key: Rule | None = None, element: Rule | None = None
) -> Rule:
    if meta is None:
        return Rule(kind, key=key, element=element)
    by_value = kind == "integer"
    return Rule(
        kind,
        minimum=_whole(meta.ge if by_value else meta.min_length),
        maximum=_whole(meta.le if by_value else meta.max_length),
        pattern=None if meta.pattern is None else re.compile(meta.pattern),
        sensitive=bool((meta.extra or {}).get("sensitive", False)),
        key=key,
        element=element,
    )


def _whole(limit: float | None) -> int | None:
    return None if limit is None else int(limit)
