"""A second evaluator of policies: plain, slow, and written from AWS's documents and `docs/policies.md` alone.

It reads a case in the JSON form of `testkit.policy_cases` and answers `allowed`, `explicit deny` or `implicit deny`. It
shares nothing with the product's evaluator, neither code nor its author's reading of the documents: where the two differ,
one of them has misread. Nothing is parsed ahead or kept, every rule stands where its document states it, and documents
are taken to be valid, because the product's parser refuses the others.

Sources, all in the IAM User Guide unless said: policy evaluation logic (one account, cross-account), the elements
Principal, NotPrincipal, Condition, condition operators, multivalued context keys, variables and tags; the KMS Developer
Guide on key policies and grants; GetFederationToken in the STS reference; for what those leave open, `docs/policies.md`.
"""

from __future__ import annotations

import base64
import ipaddress
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

Json = dict[str, Any]

ALLOW, EXPLICIT_DENY, IMPLICIT_DENY = "allowed", "explicit deny", "implicit deny"

# Keys that can have several values in one request; policies must name them with a set operator.
MULTIVALUED = {"kms:encryptioncontextkeys", "kms:resourcealiases", "kms:grantoperations", "aws:tagkeys"}

# Operations whose requests carry an encryption context, which alone constraints on it bind.
WITH_ENCRYPTION_CONTEXT = {
    "Encrypt",
    "Decrypt",
    "ReEncryptFrom",
    "ReEncryptTo",
    "GenerateDataKey",
    "GenerateDataKeyWithoutPlaintext",
    "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext",
}


class UnresolvedVariableError(Exception):
    """A variable names a key that the request has not."""


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


# ── the decision ────────────────────────────────────────────────────────────────────────────────────────────────────────


def decide(case: Json) -> str:
    """What the documents of a case decide: `allowed`, `explicit deny` or `implicit deny`."""
    if any(denies(case, document) for document in [*documents_of_caller(case), *documents_of_resource(case)]):
        return EXPLICIT_DENY
    if is_foreign(case):
        # Two evaluations, one in each account, and both must allow.
        is_allowed = own_account_allows(case) and bool(named_as(case))
    else:
        is_allowed = every_level_allows(case) and key_side_allows(case)
    return ALLOW if is_allowed else IMPLICIT_DENY


def is_foreign(case: Json) -> bool:
    """Whether the resource is another account's than the caller's; a service has no account."""
    return case["principal"].get("account", case["resource_account"]) != case["resource_account"]


def is_refused_at_home(case: Json) -> bool:
    """Whether a caller is refused by his own account, and so must be told nothing of another one's policies."""
    denied_at_home = any(denies(case, document) for document in documents_of_caller(case))
    return is_foreign(case) and (denied_at_home or not own_account_allows(case))


def own_account_allows(case: Json) -> bool:
    own_grant = any(
        grant["issuing_account"] == case["principal"]["account"] and grant_names(case, grant) is not None
        for grant in case["grants"]
    )
    return every_level_allows(case) and (identity_allows(case) or own_grant) and limits_allow(case)


def key_side_allows(case: Json) -> bool:
    """Within one account, or for a service, which has none."""
    if case["key_policy"] is None:
        return identity_allows(case) and limits_allow(case)
    names = named_as(case)
    if "self" in names:
        # Implicit denies of identity policies, boundary and session policies do not matter to whom it names directly.
        return True
    if "behind" in names:
        return limits_allow(case)
    return "account" in names and identity_allows(case) and limits_allow(case)


def documents_of_caller(case: Json) -> Iterator[Json]:
    texts = [*case["identity"], *(case["session"] or [])]
    if case["boundary"] is not None:
        texts.append(case["boundary"])
    for level in levels(case):
        texts.extend(level)
    yield from map(json.loads, texts)


def levels(case: Json) -> list[list[str]]:
    """The SCPs: they limit the identities of an account, its root too; a service is none."""
    return [] if case["principal"]["kind"] == "service" else list(case["service_controls"])


def documents_of_resource(case: Json) -> Iterator[Json]:
    if case["key_policy"] is not None:
        yield json.loads(case["key_policy"])
    yield from map(json.loads, case["resource_controls"])


def every_level_allows(case: Json) -> bool:
    return all(any(allows(case, json.loads(text)) for text in level) for level in levels(case))


def identity_allows(case: Json) -> bool:
    if case["principal"]["kind"] == "root" or is_federated_root(case["principal"]):
        # "All requests are implicitly denied with the exception of the account's root user, which has full access."
        return True
    return any(allows(case, json.loads(text)) for text in case["identity"])


def limits_allow(case: Json) -> bool:
    """The permissions boundary and the session policies, where there are any."""
    if case["boundary"] is not None and not allows(case, json.loads(case["boundary"])):
        return False
    if case["session"] is None:
        # GetFederationToken: "if you do not pass a policy, the federated user session has no permissions".
        return case["principal"]["kind"] != "federated-user"
    return any(allows(case, json.loads(text)) for text in case["session"])


def denies(case: Json, document: Json) -> bool:
    return any(applies(case, document, statement, "Deny") for statement in listed(document["Statement"]))


def allows(case: Json, document: Json) -> bool:
    return any(applies(case, document, statement, "Allow") for statement in listed(document["Statement"]))


# ── who ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def is_federated_root(principal: Json) -> bool:
    return principal["kind"] == "federated-user" and not principal["user"]


def steps(principal: Json) -> dict[str, set[str]]:
    """The names of a principal in the element Principal: of its account, of who is behind a session, of itself."""
    if principal["kind"] == "service":
        return {"self": {principal["name"]}}
    account, name = principal["account"], principal.get("name")
    of_account = {account, f"arn:aws:iam::{account}:root"}
    match principal["kind"]:
        case "root":
            return {"self": of_account}
        case "user":
            return {"account": of_account, "self": {f"arn:aws:iam::{account}:user/{name}", principal["id"]}}
        case "role-session":
            session = f"arn:aws:sts::{account}:assumed-role/{name}/{principal['session']}"
            role = {f"arn:aws:iam::{account}:role/{name}", principal["id"]}
            return {
                "account": of_account,
                "behind": role,
                "self": {session, f"{principal['id']}:{principal['session']}"},
            }
    itself = f"arn:aws:sts::{account}:federated-user/{name}"
    if is_federated_root(principal):
        return {"behind": of_account, "self": {itself}}
    user = {f"arn:aws:iam::{account}:user/{principal['user']}", principal["user_id"]}
    return {"account": of_account, "behind": user, "self": {itself}}


def names_step(case: Json, principals: Any, names: set[str]) -> bool:
    """Whether an element Principal or NotPrincipal lists one of the names, or everybody.

    "When you save the policy, AWS transforms the ARN to a unique principal ID": what stands there is that id.
    """
    if principals == "*" or "*" in listed(principals.get("AWS", [])):
        return True
    member = "Service" if case["principal"]["kind"] == "service" else "AWS"
    return any(case["principal_ids"].get(name, name) in names for name in listed(principals.get(member, [])))


def named_as(case: Json) -> set[str]:
    """As what key policy and grants allow the caller: `self`, `behind`, `account`."""
    document = json.loads(case["key_policy"])
    found = set()
    for statement in listed(document["Statement"]):
        if not applies(case, document, statement, "Allow"):
            continue
        for step, names in steps(case["principal"]).items():
            if names_step(case, statement["Principal"], names):
                found.add(step)
    for grant in case["grants"]:
        step_of_grant = grant_names(case, grant)
        if step_of_grant is not None:
            found.add(step_of_grant)
    return found


def concerns_principal(case: Json, statement: Json) -> bool:
    chain = steps(case["principal"])
    if "NotPrincipal" in statement:
        if case["boundary"] is not None:
            # "… will always deny any IAM principal that has a permissions boundary policy attached".
            return True
        return not all(names_step(case, statement["NotPrincipal"], names) for names in chain.values())
    if "Principal" in statement:
        return any(names_step(case, statement["Principal"], names) for names in chain.values())
    return True


# ── grants ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def grant_names(case: Json, grant: Json) -> str | None:
    """As what a grant allows the caller the action, if it does."""
    operation = case["action"].removeprefix("kms:")
    if operation not in grant["operations"] or not constraints_hold(case, operation, grant["constraints"]):
        return None
    for step, names in steps(case["principal"]).items():
        if grant["grantee"] in names:
            return step
    return None


def constraints_hold(case: Json, operation: str, constraints: Json) -> bool:
    acts_for = values_of(case, "aws:SourceArn")
    if operation != "RetireGrant" and "SourceArn" in constraints and constraints["SourceArn"] not in acts_for:
        return False
    if operation not in WITH_ENCRYPTION_CONTEXT:
        return True
    asked = folded_pairs(case["encryption_context"])
    if "EncryptionContextEquals" in constraints and asked != folded_pairs(constraints["EncryptionContextEquals"]):
        return False
    if "EncryptionContextSubset" in constraints:
        return all(pair in asked for pair in folded_pairs(constraints["EncryptionContextSubset"]))
    return True


def folded_pairs(pairs: dict[str, str]) -> list[tuple[str, str]]:
    """In a grant constraint "the key in each key-value pair is not case sensitive, but the value is"."""
    return sorted((key.lower(), value) for key, value in pairs.items())


# ── statements ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def applies(case: Json, document: Json, statement: Json, effect: str) -> bool:
    if statement["Effect"] != effect:
        return False
    has_variables = document.get("Version") == "2012-10-17"
    return (
        concerns_principal(case, statement)
        and concerns_action(case, statement)
        and concerns_resource(case, statement, has_variables=has_variables)
        and conditions_hold(case, statement, has_variables=has_variables)
    )


def concerns_action(case: Json, statement: Json) -> bool:
    """Actions fold case; a statement of a key policy without any has no effect."""
    for element in ("Action", "NotAction"):
        if element in statement:
            patterns = listed(statement[element])
            is_listed = any(matches(pattern_of(text.lower()), case["action"].lower()) for text in patterns)
            return is_listed == (element == "Action")
    return False


def concerns_resource(case: Json, statement: Json, *, has_variables: bool) -> bool:
    for element in ("Resource", "NotResource"):
        if element not in statement:
            continue
        is_listed = False
        for text in listed(statement[element]):
            try:
                pattern = pattern_of(text, case if has_variables else None)
            except UnresolvedVariableError:
                if statement["Effect"] == "Allow":
                    return False
                continue
            is_listed = is_listed or matches(pattern, case["resource"])
        return is_listed == (element == "Resource")
    return False


# ── patterns: a list of characters, each with whether it is a wildcard and whether it came out of a variable ─────────────

Character = tuple[str, bool, bool]


def pattern_of(text: str, variables_from: Json | None = None, *, wildcards: bool = True) -> list[Character]:
    """The pattern of a value of a policy; with a case to take them from, variables expand, to literal characters."""
    pattern: list[Character] = []
    at = 0
    while at < len(text):
        if variables_from is not None and text.startswith("${", at):
            end = text.index("'}", at) + 1 if ", '" in text[at : text.index("}", at)] else text.index("}", at)
            pattern.extend((char, False, True) for char in variable_value(variables_from, text[at + 2 : end]))
            at = end + 1
        else:
            pattern.append((text[at], wildcards and text[at] in "*?", False))
            at += 1
    return pattern


def variable_value(case: Json, variable: str) -> str:
    if variable in {"*", "?", "$"}:
        return variable
    name, comma, default = variable.partition(", '")
    values = values_of(case, name)
    if len(values) == 1 and name.lower() not in MULTIVALUED:
        return values[0]
    if comma:
        return default.removesuffix("'")
    raise UnresolvedVariableError(name)


def matches(pattern: list[Character], text: str) -> bool:
    """Whether a text is of a pattern, by the set of places in the text where the pattern so far may end."""
    ends = {0}
    for char, is_wildcard, _ in pattern:
        if is_wildcard and char == "*":
            ends = set(range(min(ends), len(text) + 1)) if ends else set()
        elif is_wildcard:
            ends = {end + 1 for end in ends if end < len(text)}
        else:
            ends = {end + 1 for end in ends if end < len(text) and text[end] == char}
    return len(text) in ends


def plain(pattern: list[Character]) -> str:
    return "".join(char for char, _, _ in pattern)


def parts_of(pattern: list[Character]) -> list[list[Character]]:
    """The six parts of a pattern of an ARN; a colon that came out of a variable parts nothing."""
    parts: list[list[Character]] = [[]]
    for character in pattern:
        char, _, is_from_variable = character
        if char == ":" and not is_from_variable and len(parts) < 6:
            parts.append([])
        else:
            parts[-1].append(character)
    return parts


# ── conditions ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def values_of(case: Json, key: str) -> list[str]:
    """The request's values of a key, whose name folds."""
    return [value for name, said in case["context"].items() if name.lower() == key.lower() for value in listed(said)]


def spelled(value: Any) -> str:
    """A value of a policy as text: JSON's numbers and booleans are taken as well."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def conditions_hold(case: Json, statement: Json, *, has_variables: bool) -> bool:
    """Every operator, and every key of it, must hold."""
    for operator, keys in statement.get("Condition", {}).items():
        for key, values in keys.items():
            wanted = [spelled(value) for value in listed(values)]
            try:
                holds = condition_holds(case, operator, key, wanted, statement["Effect"], has_variables=has_variables)
            except UnresolvedVariableError:
                # Only an Allow lets it through: there the statement does not apply.
                return False
            if not holds:
                return False
    return True


def condition_holds(
    case: Json, operator: str, key: str, wanted: list[str], effect: str, *, has_variables: bool
) -> bool:
    present = values_of(case, key)
    if operator == "Null":
        return any((word == "true") == (not present) for word in wanted)
    quantifier, colon, name = operator.rpartition(":")
    base = name.removesuffix("IfExists")
    if base != name and not present:
        return True
    test = TESTS[base.replace("Not", "", 1)]
    is_negated = "Not" in base

    patterns = expanded(case, base, wanted, effect, has_variables=has_variables)
    # Of the policy's values one must match a value of the request; with a negated operator none.
    results = [any(test(pattern, value) for pattern in patterns) != is_negated for value in present]
    if not colon and present and key.lower() in MULTIVALUED:
        # "Multivalued context keys require a condition set operator": without one, no value of theirs is compared.
        return False
    return quantified(quantifier, results, key, effect, is_negated=is_negated)


def quantified(quantifier: str, results: list[bool], key: str, effect: str, *, is_negated: bool) -> bool:
    if key.lower() not in MULTIVALUED and len(results) > 1:
        # Two names that differ in case only: an Allow needs both to meet the condition, a Deny one.
        return all(results) if effect == "Allow" else any(results)
    match quantifier:
        case "ForAllValues":
            return all(results)
        case "ForAnyValue":
            return any(results)
    return results[0] if results else is_negated


def expanded(case: Json, base: str, wanted: list[str], effect: str, *, has_variables: bool) -> list[list[Character]]:
    """Variables stand in values of string and ARN operators; wildcards in those of Like and of ARN operators.

    A variable that the request cannot fill leaves an Allow; in a Deny its value matches nothing.
    """
    takes_variables = has_variables and base.startswith(("String", "Arn"))
    wildcards = base.endswith("Like") or base.startswith("Arn")
    patterns = []
    for text in wanted:
        try:
            patterns.append(pattern_of(text, case if takes_variables else None, wildcards=wildcards))
        except UnresolvedVariableError:
            if effect == "Allow":
                raise
    return patterns


def string_equals_ignore_case(pattern: list[Character], value: str) -> bool:
    return plain(pattern).lower() == value.lower()


def arn_matches(pattern: list[Character], value: str) -> bool:
    wanted, given = parts_of(pattern), value.split(":", 5)
    if len(wanted) != 6 or len(given) != 6:
        return False
    return all(matches(part, text) for part, text in zip(wanted, given, strict=True))


def ip_matches(pattern: list[Character], value: str) -> bool:
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return False
    network = ipaddress.ip_network(plain(pattern), strict=False)
    return address.version == network.version and address in network


def bool_matches(pattern: list[Character], value: str) -> bool:
    return plain(pattern).lower() == value.lower()


def binary_matches(pattern: list[Character], value: str) -> bool:
    """The request's value byte by byte against what the policy writes in base64."""
    return base64.b64decode(plain(pattern), validate=True) == value.encode()


def compared(read: Callable[[str], Any], order: Callable[[Any, Any], bool]) -> Callable[[list[Character], str], bool]:
    """A test that reads both values and compares; a value of the request that cannot be read matches nothing."""

    def test(pattern: list[Character], value: str) -> bool:
        try:
            given = read(value)
        except (ValueError, InvalidOperation):
            return False
        return order(given, read(plain(pattern)))

    return test


def moment(text: str) -> datetime:
    """A point in time: a W3C date, or epoch seconds where there are five digits or more."""
    if text.isdecimal() and len(text) >= 5:
        return datetime.fromtimestamp(int(text), UTC)
    if text.isdecimal():
        return datetime(int(text), 1, 1, tzinfo=UTC)
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "Equals": lambda given, wanted: bool(given == wanted),
    "LessThan": lambda given, wanted: bool(given < wanted),
    "LessThanEquals": lambda given, wanted: bool(given <= wanted),
    "GreaterThan": lambda given, wanted: bool(given > wanted),
    "GreaterThanEquals": lambda given, wanted: bool(given >= wanted),
}
# By operator without its Not, which inverts: whether a value of the policy matches one of the request.
TESTS: dict[str, Callable[[list[Character], str], bool]] = {
    "StringEquals": lambda pattern, value: plain(pattern) == value,
    "StringEqualsIgnoreCase": string_equals_ignore_case,
    "StringLike": matches,
    "ArnEquals": arn_matches,
    "ArnLike": arn_matches,
    "IpAddress": ip_matches,
    "Bool": bool_matches,
    "BinaryEquals": binary_matches,
    **{f"Numeric{order}": compared(Decimal, test) for order, test in ORDERS.items()},
    **{f"Date{order}": compared(moment, test) for order, test in ORDERS.items()},
}
