"""Policy documents: parsed once, by one parser, into statements that the evaluator understands in full.

Policies are never decoration: an element, a value or a variable that the evaluator would have to ignore is refused with its
place (`Statement[1].Condition.StringEquals`). Element names are case-sensitive, as AWS's are; actions and the names of
condition keys are not.

What a document is attached to decides what it may say:

| kind | principals | actions and resources |
|---|---|---|
| key policy | Principal, or NotPrincipal with Deny | may miss: the statement has no effect then, as in AWS |
| trust policy of a role | Principal | actions only: the role is the resource |
| identity policy, boundary, session policy, service control policy | none: whoever it is attached to | both |
| resource control policy | `*`, with Deny: its Allow is AWS's RCPFullAWSAccess, which is always attached | both |

Sources: IAM user guide, "Grammar of the IAM JSON policy language", "NotPrincipal"; KMS developer guide, "Creating a key
policy", "AWS KMS condition keys"; Organizations user guide, "RCP syntax".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, Final

import msgspec

from strongroom.kms.iam.condition_keys import ENCRYPTION_CONTEXT, REQUEST_TAG, stem
from strongroom.kms.iam.conditions import Condition, Quantifier, parse_condition, parse_operator
from strongroom.kms.iam.patterns import (
    Context,
    Patterns,
    UnresolvedVariableError,
    parse_patterns,
)
from strongroom.kms.iam.principals import Named, is_unique_id
from strongroom.protocol.strict_json import StrictJsonError, parse_strictly

# For every kind but key policies, whose limit is configured, and held by whoever takes the policy.
POLICY_BYTES_MAX: Final = 32 * 1024
_VARIABLES_SINCE: Final = "2012-10-17"
_VERSIONS: Final = (_VARIABLES_SINCE, "2008-10-17")
_DOCUMENT_ELEMENTS: Final = frozenset({"Version", "Id", "Statement"})
_STATEMENT_ELEMENTS: Final = frozenset(
    {
        *("Sid", "Effect", "Principal", "NotPrincipal"),
        *("Action", "NotAction", "Resource", "NotResource", "Condition"),
    }
)
_NAME: Final = r"[\w+=,.@-]{1,64}"
_PATH: Final = r"(?:[\x21-\x29\x2b-\x3e\x40-\x7e]{1,510}/)?"
_ACCOUNT: Final = re.compile(r"(?:arn:aws:iam::)?([0-9]{12})(?::root)?", re.ASCII)
_ARN: Final = re.compile(
    rf"arn:aws:iam::[0-9]{{12}}:(?:user|role)/{_PATH}{_NAME}"
    rf"|arn:aws:sts::[0-9]{{12}}:(?:assumed-role/{_NAME}/{_NAME}|federated-user/{_NAME})",
    re.ASCII,
)
_SERVICE: Final = re.compile(r"[a-z0-9-]{1,64}(?:\.[a-z0-9-]{1,64}){0,4}\.amazonaws\.com", re.ASCII)
_PROVIDER: Final = re.compile(
    r"arn:aws:iam::[0-9]{12}:(?:oidc|saml)-provider/[\w.:/+=,@-]{1,255}|[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){1,8}",
    re.ASCII,
)
# Before the colon stands a service, or the name of a provider of web identities.
_CONDITION_KEY: Final = re.compile(r"[A-Za-z0-9._/~-]{1,500}:.+", re.DOTALL)
_IDENTITY_SID: Final = re.compile(r"[A-Za-z0-9]*", re.ASCII)


class PolicyKind(Enum):
    """What a document is attached to; the value is how a refusal calls it."""

    KEY = "a key policy"
    TRUST = "a role trust policy"
    IDENTITY = "an identity policy"
    BOUNDARY = "a permissions boundary"
    SESSION = "a session policy"
    SERVICE_CONTROL = "a service control policy"
    RESOURCE_CONTROL = "a resource control policy"


_NAMES_PRINCIPALS: Final = frozenset({PolicyKind.KEY, PolicyKind.TRUST, PolicyKind.RESOURCE_CONTROL})


class PolicyError(ValueError):
    """A document that is refused; the text says where and why."""


class Statement(msgspec.Struct, frozen=True):
    """One statement; with an empty list of actions or resources it has no effect."""

    sid: str
    allows: bool
    principals: Named | None
    # The list is who is left out (NotPrincipal), what is not meant (NotAction, NotResource).
    excepts_principals: bool
    actions: Patterns
    excepts_actions: bool
    resources: Patterns
    excepts_resources: bool
    conditions: tuple[Condition, ...]

    @property
    def keys(self) -> frozenset[str]:
        """The condition keys that it asks the request for, in conditions or variables."""
        return self.resources.keys.union(*(condition.keys for condition in self.conditions))

    @property
    def names_resources(self) -> bool:
        """Whether it is about some resources and not about others."""
        return self.excepts_resources or self.resources.texts not in {("*",), ()}

    def concerns(self, action: str) -> bool:
        """Whether it is about an action, folded."""
        return self.actions.matches(action, _NO_CONTEXT) is not self.excepts_actions

    def covers(self, resource: str, context: Context) -> bool:
        """Whether it is about a resource. What cannot be filled in makes an Allow be about nothing."""
        try:
            matched = self.resources.matches(resource, context, strict=self.allows)
        except UnresolvedVariableError:
            return False
        return matched is not self.excepts_resources

    def is_met(self, context: Context) -> bool:
        return all(condition.holds(context, allows=self.allows) for condition in self.conditions)


class PolicyDocument(msgspec.Struct, frozen=True, eq=False):
    """A parsed document; the text as written is kept beside it by whoever stores it.

    Compared by identity: it never changes, and what was decided by it may be remembered under it.
    """

    kind: PolicyKind
    statements: tuple[Statement, ...]
    # What its principal or organisation calls it; only explanations ask.
    name: str = ""
    # Whether any statement asks which resource it is about: otherwise what it decides for one, it decides for all.
    names_resources: bool = False

    def named(self) -> Iterator[Named]:
        """The principals of every statement that lists some."""
        return (statement.principals for statement in self.statements if statement.principals is not None)

    def bound(self, ids: Mapping[str, str]) -> PolicyDocument:
        """The document as it was meant when it was saved: these ARNs are of those whose unique ids these are."""
        statements = tuple(
            statement
            if statement.principals is None
            else msgspec.structs.replace(statement, principals=statement.principals.bound(ids))
            for statement in self.statements
        )
        return msgspec.structs.replace(self, statements=statements)


class _Empty:
    def values_of(self, key: str) -> None:
        """Actions have no variables."""


_NO_CONTEXT: Final = _Empty()
_NO_PATTERNS: Final = parse_patterns(())
_ANYTHING: Final = parse_patterns(("*",))


def parse_policy(text: str, kind: PolicyKind, name: str = "", *, is_stored: bool = False) -> PolicyDocument:
    """The document behind a policy's text.

    One that is stored was taken when there were fewer rules about its statements' names, which decide nothing.

    Raises:
        PolicyError: it is too long, no JSON, or holds something that would not be evaluated.
    """
    encoded = text.encode("utf-8", "surrogatepass")
    if kind is not PolicyKind.KEY and len(encoded) > POLICY_BYTES_MAX:
        raise PolicyError("The policy is longer than 32 KiB")
    try:
        document = parse_strictly(encoded)
    except StrictJsonError as error:
        raise PolicyError(str(error) or "The policy is not valid JSON") from None
    if not isinstance(document, dict):
        raise PolicyError("The policy is not a JSON object")
    _only(document, _DOCUMENT_ELEMENTS, "the document")
    # A tuple: a set would ask a list for its hash.
    version = document.get("Version", _VERSIONS[1])
    if version not in _VERSIONS:
        raise PolicyError("Version must be 2012-10-17 or 2008-10-17")
    if not isinstance(document.get("Id", ""), str):
        raise PolicyError("Id must be a string")
    statements = document.get("Statement")
    if isinstance(statements, dict):
        statements = [statements]
    if not isinstance(statements, list) or not statements:
        raise PolicyError("Statement must be an object or a list of objects")
    parser = _Parser(kind, variables=version == _VARIABLES_SINCE, checks_sids=not is_stored)
    parsed = tuple(parser.statement(value, f"Statement[{at}]") for at, value in enumerate(statements))
    return PolicyDocument(kind, parsed, name, any(statement.names_resources for statement in parsed))


def _only(members: dict[str, Any], known: frozenset[str], place: str) -> None:
    for name in members:
        if name not in known:
            raise PolicyError(f"{place}: the element {name[:64]!r} is not supported")


class _Parser:
    """Parses the statements of one document."""

    def __init__(self, kind: PolicyKind, *, variables: bool, checks_sids: bool) -> None:
        self._kind: Final = kind
        self._variables: Final = variables
        self._checks_sids: Final = checks_sids and kind is not PolicyKind.KEY
        self._sids: set[str] = set()

    def statement(self, value: Any, place: str) -> Statement:
        """1. its form, 2. effect and name, 3. who, 4. what, 5. on what, 6. when."""
        if not isinstance(value, dict):  # 1
            raise PolicyError(f"{place} is not an object")
        _only(value, _STATEMENT_ELEMENTS, place)
        for element in ("Principal", "Action", "Resource"):
            if element in value and f"Not{element}" in value:
                raise PolicyError(f"{place}: there can be {element} or Not{element}, not both")
        effect = value.get("Effect")  # 2
        if effect not in ("Allow", "Deny"):
            raise PolicyError(f"{place}: Effect must be Allow or Deny")
        if self._kind is PolicyKind.RESOURCE_CONTROL and effect == "Allow":
            raise PolicyError(f"{place}: a resource control policy can only Deny")
        sid = self._sid(value.get("Sid", ""), place)
        principals = self._principals(value, place)  # 3
        actions = self._actions(value, place)  # 4
        resources = self._resources(value, place)  # 5
        conditions = self._conditions(value.get("Condition", {}), f"{place}.Condition")  # 6
        return Statement(
            sid,
            effect == "Allow",
            principals,
            "NotPrincipal" in value,
            actions,
            "NotAction" in value,
            resources,
            "NotResource" in value,
            conditions,
        )

    def _sid(self, value: Any, place: str) -> str:
        if not isinstance(value, str):
            raise PolicyError(f"{place}: Sid must be a string")
        if self._checks_sids and value:
            if _IDENTITY_SID.fullmatch(value) is None:
                raise PolicyError(f"{place}: Statement IDs (SID) must be alpha-numeric.")
            if value in self._sids:
                raise PolicyError(f"{place}: Statement IDs (SID) in a single policy must be unique.")
            self._sids.add(value)
        return value

    # ── who ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _principals(self, statement: dict[str, Any], place: str) -> Named | None:
        kind = self._kind
        element = "NotPrincipal" if "NotPrincipal" in statement else "Principal"
        if kind not in _NAMES_PRINCIPALS:
            if element in statement:
                raise PolicyError(f"{place}: {kind.value} names no {element}")
            return None
        if element not in statement:
            raise PolicyError(f"{place}: {kind.value} statement needs a Principal")
        if element == "NotPrincipal":
            if kind is not PolicyKind.KEY:
                raise PolicyError(f"{place}: {kind.value} takes no NotPrincipal")
            if statement["Effect"] == "Allow":
                raise PolicyError(f"{place}: NotPrincipal can only Deny: with Allow it would let everybody else in")
        named = self._named(statement[element], f"{place}.{element}")
        if kind is PolicyKind.RESOURCE_CONTROL and not named.everybody:
            raise PolicyError(f"{place}.Principal must be * in a resource control policy")
        return named

    def _named(self, value: Any, place: str) -> Named:
        if value == "*":
            return Named(everybody=True)
        if not isinstance(value, dict) or not value:
            raise PolicyError(f"{place} must be * or an object")
        kinds = {"AWS", "Service", "Federated"} if self._kind is PolicyKind.TRUST else {"AWS", "Service"}
        _only(value, frozenset(kinds), place)
        aws = _strings(value.get("AWS", []), f"{place}.AWS")
        accounts, arns, ids = set(), set(), {}
        for name in aws:
            account = _ACCOUNT.fullmatch(name)
            if account is not None and (name.isdigit() or name.endswith(":root")):
                accounts.add(account[1])
            elif _ARN.fullmatch(name):
                arns.add(name)
            elif is_unique_id(name):
                ids[name] = name
            elif name != "*":
                raise PolicyError(f"{place}.AWS: {name[:128]!r} is not a supported principal")
        return Named(
            "*" in aws,
            frozenset(accounts),
            frozenset(arns),
            _matching(value.get("Service", []), _SERVICE, f"{place}.Service"),
            _matching(value.get("Federated", []), _PROVIDER, f"{place}.Federated"),
            ids,
        )

    # ── what, on what ───────────────────────────────────────────────────────────────────────────────────────────

    def _actions(self, statement: dict[str, Any], place: str) -> Patterns:
        element = self._element(statement, "Action", place)
        if element is None:
            return _NO_PATTERNS
        texts = _strings(statement[element], f"{place}.{element}")
        for text in texts:
            if "${" in text:
                raise PolicyError(f"{place}.{element}: policy variables are not supported here")
        return parse_patterns(texts, folds=True)

    def _resources(self, statement: dict[str, Any], place: str) -> Patterns:
        if self._kind is PolicyKind.TRUST:
            for prohibited in ("Resource", "NotResource"):
                if prohibited in statement:
                    raise PolicyError(f"{place}: Has prohibited field {prohibited}")
            return _ANYTHING
        element = self._element(statement, "Resource", place)
        if element is None:
            return _NO_PATTERNS
        try:
            return parse_patterns(_strings(statement[element], f"{place}.{element}"), variables=self._variables)
        except PolicyError:
            raise
        except ValueError as error:
            raise PolicyError(f"{place}.{element}: {error}") from None

    def _element(self, statement: dict[str, Any], name: str, place: str) -> str | None:
        """`Action` or `NotAction`, whichever is there; a key policy's statement without has no effect, as in AWS."""
        element = f"Not{name}" if f"Not{name}" in statement else name
        if self._kind is PolicyKind.KEY and not statement.get(element, []) and element != f"Not{name}":
            return element if element in statement else None
        if not statement.get(element):
            raise PolicyError(f"{place}: Policy statement must contain {name.lower()}s.")
        return element

    # ── when ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _conditions(self, value: Any, place: str) -> tuple[Condition, ...]:
        if not isinstance(value, dict):
            raise PolicyError(f"{place} must be an object")
        found = []
        for name, keys in value.items():
            try:
                parse_operator(name)
            except ValueError as error:
                raise PolicyError(f"{place}: {error}") from None
            if not isinstance(keys, dict):
                raise PolicyError(f"{place}.{name} must be an object")
            found += [self._condition(name, key, values, f"{place}.{name}") for key, values in keys.items()]
        return tuple(found)

    def _condition(self, name: str, key: str, values: Any, place: str) -> Condition:
        if _CONDITION_KEY.fullmatch(key) is None or "${" in key:
            raise PolicyError(f"{place}: {key[:64]!r} is no condition key")
        try:
            condition = parse_condition(
                name, key, _condition_values(values, f"{place}.{key[:64]}"), variables=self._variables
            )
        except PolicyError:
            raise
        except ValueError as error:
            raise PolicyError(f"{place}.{key[:64]}: {error}") from None
        if self._kind is PolicyKind.KEY and condition.quantifier is Quantifier.ALL:
            _require_several(condition, place)
        return condition


# KMS developer guide, "Using set operators with condition keys": the words with which KMS refuses such a policy.
_OVERLY_PERMISSIVE: Final = {ENCRYPTION_CONTEXT: "encryption context", REQUEST_TAG: "tag"}


def _require_several(condition: Condition, place: str) -> None:
    what = _OVERLY_PERMISSIVE.get(stem(condition.key))
    if what is not None:
        raise PolicyError(
            f"{place}: OverlyPermissiveCondition: Using the ForAllValues set operator with a "
            f"single-valued condition key matches requests without the specified {what} or with an unspecified {what}. "
            "To fix, remove ForAllValues."
        )


def _strings(value: Any, place: str) -> list[str]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(item, str) for item in values):
        raise PolicyError(f"{place} must be a string or a list of strings")
    return values


def _matching(value: Any, pattern: re.Pattern[str], place: str) -> frozenset[str]:
    names = _strings(value, place)
    for name in names:
        if pattern.fullmatch(name) is None:
            raise PolicyError(f"{place}: {name[:128]!r} is not a supported principal")
    return frozenset(names)


def _condition_values(value: Any, place: str) -> list[str]:
    """The values as text: numbers and booleans may stand without quotation marks."""
    values = value if isinstance(value, list) else [value]
    if not values:
        raise PolicyError(f"{place} must have at least one value")
    texts = []
    for item in values:
        match item:
            case bool():
                texts.append("true" if item else "false")
            case str() | int() | float():
                texts.append(str(item))
            case _:
                raise PolicyError(f"{place} must be a string, a number, a boolean or a list of them")
    return texts
