"""Policy documents: parsed once, by one parser, into statements that the evaluator understands in full.

Policies are never decoration: an element, a value or a variable that `evaluate` would have to ignore is refused
with its place. Understood now: Version, Id, Statement; Sid, Effect, Principal (`*`, account ids, root and user ARNs),
Action, Resource, with `*` and `?`. Element names are case-sensitive, as AWS's are; actions are not.

Sources: IAM user guide, "Grammar of the IAM JSON policy language"; KMS developer guide, "Key policies".
"""

from __future__ import annotations

import re
import string
from enum import Enum, auto
from typing import Any, Final

import msgspec

from strongroom.protocol.strict_json import StrictJsonError, parse_strictly

# For identity policies; a key policy's limit is configured, and held by whoever takes the policy.
POLICY_BYTES_MAX: Final = 32 * 1024
_VERSIONS: Final = ("2012-10-17", "2008-10-17")
_DOCUMENT_ELEMENTS: Final = {"Version", "Id", "Statement"}
_STATEMENT_ELEMENTS: Final = {"Sid", "Effect", "Principal", "Action", "Resource"}
# ASCII alone: other letters that some fold onto it stay what they are.
_FOLDED: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_LITERALS: Final = re.compile(r"[^?]+").finditer
_PRINCIPAL: Final = re.compile(r"\*|[0-9]{12}|arn:aws:iam::[0-9]{12}:(?:root|user/[\w+=,.@/-]{1,576})\Z", re.ASCII)


class PolicyKind(Enum):
    """What a document is attached to decides whether it names principals."""

    KEY = auto()
    IDENTITY = auto()


class PolicyError(ValueError):
    """A document that is refused; the text says where and why."""


class Part(msgspec.Struct, frozen=True):
    """What stands between two stars: the texts between its `?`, each with its place."""

    length: int
    texts: tuple[tuple[int, str], ...]

    def fits(self, value: str, at: int) -> bool:
        """Whether it stands at a place of a value that is long enough for it."""
        for place, text in self.texts:  # noqa: SIM110 -- a generator costs more than what it looks at.
            if not value.startswith(text, at + place):
                return False
        return True

    def find(self, value: str, start: int, end: int) -> int:
        """The first place between two others where it fits; -1 if there is none."""
        if not self.texts:
            return start if start + self.length <= end else -1
        place, text = self.texts[0]
        # Where that text may end at the latest.
        end += place + len(text) - self.length
        at = value.find(text, start + place, end)
        while at >= 0 and not self.fits(value, at - place):
            at = value.find(text, at + 1, end)
        return at - place if at >= 0 else -1


class Pattern(msgspec.Struct, frozen=True):
    """Text with `*` (any run) and `?` (any one character); `parts` is what stands between the stars.

    Not an expression of `re`: compiling one of 32 KiB of stars would hold the service for a fifth of a second.
    """

    text: str
    parts: tuple[Part, ...]
    folds: bool

    def matches(self, value: str) -> bool:
        """The first place where a part fits is the best one, so no part is ever tried again."""
        if self.text == "*":
            return True
        if self.folds:
            value = value.lower() if value.isascii() else value.translate(_FOLDED)
        first, *rest = self.parts
        if not rest:
            return first.length == len(value) and first.fits(value, 0)
        *middle, last = rest
        at, end = first.length, len(value) - last.length
        if at > end or not first.fits(value, 0) or not last.fits(value, end):
            return False
        for part in middle:
            found = part.find(value, at, end)
            if found < 0:
                return False
            at = found + part.length
        return True


class Statement(msgspec.Struct, frozen=True):
    """One statement; without actions or resources it has no effect, which AWS accepts too."""

    sid: str
    allows: bool
    principals: tuple[str, ...]
    actions: tuple[Pattern, ...]
    resources: tuple[Pattern, ...]


class PolicyDocument(msgspec.Struct, frozen=True, eq=False):
    """A parsed document; the text as written is kept beside it by whoever stores it.

    Compared by identity: it never changes, and what was decided by it may be remembered under it.
    """

    statements: tuple[Statement, ...]
    # Whether any statement asks which resource it is about: otherwise what it decides for one, it decides for all.
    names_resources: bool

    def principals(self) -> set[str]:
        """Every principal that any statement names."""
        return {principal for statement in self.statements for principal in statement.principals}


def _pattern(text: str, *, folds: bool) -> Pattern:
    found = re.sub(r"\*+", "*", text.translate(_FOLDED) if folds else text)
    return Pattern(text, tuple(map(_part, found.split("*"))), folds)


def _part(text: str) -> Part:
    if "?" not in text:
        return Part(len(text), ((0, text),) if text else ())
    return Part(len(text), tuple((found.start(), found.group()) for found in _LITERALS(text)))


def parse_policy(text: str, kind: PolicyKind) -> PolicyDocument:
    """The document behind a policy's text.

    Raises:
        PolicyError: it is too long, no JSON, or holds something that would not be evaluated.
    """
    encoded = text.encode("utf-8", "surrogatepass")
    if kind is PolicyKind.IDENTITY and len(encoded) > POLICY_BYTES_MAX:
        raise PolicyError("The policy is longer than 32 KiB")
    try:
        document = parse_strictly(encoded)
    except StrictJsonError as error:
        raise PolicyError(str(error) or "The policy is not valid JSON") from None
    if not isinstance(document, dict):
        raise PolicyError("The policy is not a JSON object")
    _only(document, _DOCUMENT_ELEMENTS, "the document")
    if document.get("Version", _VERSIONS[0]) not in _VERSIONS:
        raise PolicyError("Version must be 2012-10-17 or 2008-10-17")
    if not isinstance(document.get("Id", ""), str):
        raise PolicyError("Id must be a string")
    statements = document.get("Statement")
    if isinstance(statements, dict):
        statements = [statements]
    if not isinstance(statements, list) or not statements:
        raise PolicyError("Statement must be an object or a list of objects")
    parsed = tuple(_statement(value, f"Statement[{at}]", kind) for at, value in enumerate(statements))
    names_resources = any(pattern.text != "*" for statement in parsed for pattern in statement.resources)
    return PolicyDocument(parsed, names_resources)


def _only(members: dict[str, Any], known: set[str], place: str) -> None:
    for name in members:
        if name not in known:
            raise PolicyError(f"{place}: the element {name[:64]!r} is not supported")


def _statement(value: Any, place: str, kind: PolicyKind) -> Statement:
    if not isinstance(value, dict):
        raise PolicyError(f"{place} is not an object")
    _only(value, _STATEMENT_ELEMENTS, place)
    effect = value.get("Effect")
    # A tuple: a set would ask a list for its hash.
    if effect not in ("Allow", "Deny"):
        raise PolicyError(f"{place}: Effect must be Allow or Deny")
    if not isinstance(value.get("Sid", ""), str):
        raise PolicyError(f"{place}: Sid must be a string")
    principals: tuple[str, ...] = ()
    if kind is PolicyKind.KEY:
        if "Principal" not in value:
            raise PolicyError(f"{place}: a key policy statement needs a Principal")
        principals = _principals(value["Principal"], f"{place}.Principal")
    else:
        if "Principal" in value:
            raise PolicyError(f"{place}: an identity policy names no Principal")
        # A key policy's statement without these is accepted and has no effect, as in AWS; IAM refuses it.
        for element in ("Action", "Resource"):
            if not value.get(element):
                raise PolicyError(f"{place}: Policy statement must contain {element.lower()}s.")
    return Statement(
        value.get("Sid", ""),
        effect == "Allow",
        principals,
        tuple(_pattern(text, folds=True) for text in _strings(value.get("Action", []), f"{place}.Action")),
        tuple(_pattern(text, folds=False) for text in _strings(value.get("Resource", []), f"{place}.Resource")),
    )


def _strings(value: Any, place: str) -> list[str]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(item, str) for item in values):
        raise PolicyError(f"{place} must be a string or a list of strings")
    for item in values:
        if "${" in item:
            raise PolicyError(f"{place}: policy variables are not supported")
    return values


def _principals(value: Any, place: str) -> tuple[str, ...]:
    if isinstance(value, str):
        if value != "*":
            raise PolicyError(f"{place} must be * or an object")
        return ("*",)
    if not isinstance(value, dict) or not value:
        raise PolicyError(f"{place} must be * or an object")
    _only(value, {"AWS"}, place)
    named = _strings(value["AWS"], f"{place}.AWS")
    for principal in named:
        if _PRINCIPAL.fullmatch(principal) is None:
            raise PolicyError(f"{place}.AWS: {principal[:128]!r} is not a supported principal")
    return tuple(named)
