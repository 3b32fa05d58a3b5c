"""Class 7: one text in two forms is two texts, except where AWS folds case: actions and names of condition keys.

AppSync took `servicerolearn` for `serviceRoleArn` and handed out other tenants' roles; Vault counted failed logins by a name
whose case the caller chose. Every member and every string of the API's model is tried in every form.
"""

from __future__ import annotations

import json
import unicodedata
import uuid
from collections.abc import Callable, Iterator
from copy import deepcopy
from random import Random
from typing import Any

import pytest

from fuzz.values import Values
from strongroom.kms.wire.model import Rule, structure_rule
from strongroom.kms.wire.shapes import OPERATIONS
from strongroom.kms.wire.validation import RequestRefused, decode_request
from testkit.installation import ACCOUNT, REGION, Installation
from testkit.raw import (
    RawKms,
    alias_arn,
    allow,
    assert_allowed,
    assert_refused,
    key_arn,
    make_user,
    policy,
)

Place = tuple[Any, ...]


def fullwidth(text: str) -> str:
    """ASCII's twins of U+FF01 and on, which NFKC and many a `lower` would bring back."""
    return "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in text)


def mixed(text: str) -> str:
    return "".join(char.upper() if at % 2 else char.lower() for at, char in enumerate(text))


FORMS: dict[str, Callable[[str], str]] = {
    "upper": str.upper,
    "lower": str.lower,
    "mixed": mixed,
    "first letter": lambda text: text[:1].swapcase() + text[1:],
    "fullwidth": fullwidth,
    "decomposed": lambda text: unicodedata.normalize("NFD", text + "\u00e9"),
    "composed": lambda text: unicodedata.normalize("NFC", text + "e\u0301"),
    "soft hyphen": lambda text: text + "\u00ad",
    "blank after": lambda text: text + " ",
    "Kelvin for K": lambda text: text.replace("K", "\u212a").replace("k", "\u212a"),
}


# ── names of members ────────────────────────────────────────────────────────────────────────────────────────────────────


# Of patterns that no operation has yet which the fuzzing makes requests for.
SPECIMENS = {
    "cluster-[2-7a-zA-Z]{11,16}": "cluster-2a23b4cdefg",
    "^https://[a-zA-Z0-9.-]+$": "https://proxy.example",
    r"^(/[a-zA-Z0-9\/_-]+/kms/xks/v\d{1,2})$|^(/kms/xks/v\d{1,2})$": "/kms/xks/v1",
    r"^(com|eu)\.amazonaws\.vpce\.([a-z]+-){2,3}\d+\.vpce-svc-[0-9a-z]+$": (
        "com.amazonaws.vpce.us-east-1.vpce-svc-example1"
    ),
    "[0-9]{12}": ACCOUNT,
    "^[A-Z2-7]+$": "ABCDE23456FGHIJ72345",
    r"^[a-zA-Z0-9\/+=]+$": "Ab" * 22,
    "^arn:aws[a-z0-9-]*:[a-z0-9-]+:[a-z0-9-]*:[0-9]{12}:.+$": f"arn:aws:sns:{REGION}:{ACCOUNT}:Topic",
    "^[a-f0-9]+$": "0a" * 32,
    r"^[a-zA-Z0-9:/_\s.-]+$": "Some Material",
    r"^([a-z]+-){2,3}\d+$": "eu-central-1",
}


def a_request(operation: str) -> tuple[Rule, dict[str, Any]]:
    """One with every member that the model knows, down to the last structure."""
    rule = structure_rule(OPERATIONS[operation].request)
    return rule, _filled(rule, Values(Random(operation)))


def _filled(rule: Rule, values: Values) -> Any:
    if rule.kind == "structure":
        return {member.name: _filled(member.rule, values) for member in rule.members}
    if rule.kind == "list":
        assert rule.element is not None
        return [_filled(rule.element, values) for _ in range(max(1, rule.minimum or 1))]
    if rule.kind == "map":
        assert rule.key is not None
        assert rule.element is not None
        return {_filled(rule.key, values): _filled(rule.element, values)}
    if rule.kind == "timestamp":
        return 1_700_000_000
    if rule.pattern is not None and rule.published_pattern in SPECIMENS:
        return SPECIMENS[rule.published_pattern]
    return values.valid(rule)


def members_of(rule: Rule, place: Place = ()) -> Iterator[Place]:
    """Where members of structures stand in a filled request."""
    if rule.kind == "structure":
        for member in rule.members:
            yield (*place, member.name)
            yield from members_of(member.rule, (*place, member.name))
    elif rule.kind == "list" and rule.element is not None:
        yield from members_of(rule.element, (*place, 0))


def holder_of(request: Any, place: Place) -> Any:
    for step in place[:-1]:
        request = request[step]
    return request


def read(operation: str, request: Any) -> Any:
    try:
        return decode_request(operation, json.dumps(request, ensure_ascii=False).encode())
    except RequestRefused as refused:
        return refused.code, refused.message


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_member_in_any_other_form_is_an_unknown_member_which_is_ignored(operation: str) -> None:
    rule, request = a_request(operation)
    assert not isinstance(read(operation, request), tuple), "the request itself is one"
    for place in members_of(rule):
        without = deepcopy(request)
        del holder_of(without, place)[place[-1]]
        expected = read(operation, without)
        for name, form in FORMS.items():
            other = form(place[-1])
            if other == place[-1]:
                continue
            renamed = deepcopy(without)
            holder_of(renamed, place)[other] = holder_of(request, place)[place[-1]]
            assert read(operation, renamed) == expected, (place, name)
            # Beside the right one it is ignored too, wherever it stands.
            for first in (True, False):
                both = deepcopy(request)
                holder = holder_of(both, place)
                members = {other: ["odd"]} | holder if first else holder | {other: ["odd"]}
                holder.clear()
                holder.update(members)
                assert read(operation, both) == read(operation, request), (place, name)


# ── values ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def strings_of(rule: Rule, place: Place = ()) -> Iterator[tuple[Place, Rule]]:
    """Where strings stand in a filled request; of a map, its one value."""
    if rule.kind == "structure":
        for member in rule.members:
            yield from strings_of(member.rule, (*place, member.name))
    elif rule.kind == "list" and rule.element is not None:
        yield from strings_of(rule.element, (*place, 0))
    elif rule.kind == "map" and rule.element is not None:
        yield from strings_of(rule.element, (*place, None))
    elif rule.kind == "string":
        yield place, rule


def at(value: Any, place: Place) -> Any:
    for step in place:
        if step is None:
            (value,) = value.values()
        elif isinstance(step, int):
            value = value[step]
        else:
            value = value[step] if isinstance(value, dict) else getattr(value, step)
    return value


def put(value: Any, place: Place, text: str) -> None:
    target, last = at(value, place[:-1]), place[-1]
    target[next(iter(target)) if last is None else last] = text


def test_every_string_of_the_model_is_read_as_it_is_or_refused() -> None:
    """2 kinds: a word of a list, where only the word itself will do, and a text, of which every code point is kept."""
    words = texts = refused = 0
    for operation in OPERATIONS:
        rule, request = a_request(operation)
        for place, string in strings_of(rule):
            for form in FORMS.values():
                text = form(at(request, place))
                if text == at(request, place):
                    continue
                changed = deepcopy(request)
                put(changed, place, text)
                found = read(operation, changed)
                if isinstance(found, tuple):
                    assert found[0] == "ValidationException", (operation, place, found)
                    refused += 1
                    words += bool(string.choices)
                    continue
                assert not string.choices, (operation, place, text)
                assert at(found, place) == text, (operation, place)
                texts += 1
    assert min(words, texts, refused - words) > 100, (words, texts, refused)


@pytest.fixture(scope="module")
def raw(installation: Installation) -> Iterator[RawKms]:
    kms = RawKms(installation)
    yield kms
    kms.close()


def new_key(raw: RawKms, **request: Any) -> str:
    return str(assert_allowed(raw.call("CreateKey", request))["KeyMetadata"]["KeyId"])


def test_aliases_that_differ_in_case_are_two_and_in_other_letters_are_none(raw: RawKms) -> None:
    name = f"alias/Form-{uuid.uuid4().hex[:8]}k"
    ascii_forms = {form(name.removeprefix("alias/")) for form in (str, str.upper, str.lower, mixed)}
    keys = {f"alias/{tail}": new_key(raw) for tail in sorted(ascii_forms)}
    assert len(keys) == 4
    for alias, key_id in keys.items():
        assert_allowed(raw.call("CreateAlias", {"AliasName": alias, "TargetKeyId": key_id}))
    for alias, key_id in keys.items():
        for reference in (alias, alias_arn(alias)):
            found = assert_allowed(raw.call("DescribeKey", {"KeyId": reference}))
            assert found["KeyMetadata"]["KeyId"] == key_id
    for form in ("fullwidth", "decomposed", "composed", "soft hyphen", "blank after", "Kelvin for K"):
        other = FORMS[form](name)
        assert raw.call("CreateAlias", {"AliasName": other, "TargetKeyId": new_key(raw)}).status == 400, form
        for reference in (other, alias_arn(other)):
            assert_refused(raw.call("DescribeKey", {"KeyId": reference}), "NotFoundException")
    # What begins AWS's own names is a word of AWS's, and only that.
    assert_refused(
        raw.call("CreateAlias", {"AliasName": "Alias/x", "TargetKeyId": new_key(raw)}), "ValidationException"
    )


@pytest.mark.parametrize("form", FORMS)
def test_a_key_is_named_by_its_id_and_arn_as_they_are(raw: RawKms, form: str) -> None:
    key_id = new_key(raw)
    assert_allowed(raw.call("DescribeKey", {"KeyId": key_arn(key_id)}))
    for reference in (key_id, key_arn(key_id)):
        changed = FORMS[form](reference)
        if changed == reference:
            continue
        answer = raw.call("DescribeKey", {"KeyId": changed})
        assert_refused(answer, "NotFoundException")
        assert raw.call("Encrypt", {"KeyId": changed, "Plaintext": "eA=="}).code == "NotFoundException"


def test_stored_texts_come_back_as_they_were_and_two_forms_are_two(raw: RawKms) -> None:
    base = "Stra\u00dfe K\u00e9"
    # Without what a tag may not hold.
    forms = sorted({unicodedata.normalize("NFC", base), unicodedata.normalize("NFD", base), base.upper(), base.lower()})
    assert len(forms) == 4
    for text in forms:
        key_id = new_key(raw, Description=text, Tags=[{"TagKey": other, "TagValue": other[::-1]} for other in forms])
        assert assert_allowed(raw.call("DescribeKey", {"KeyId": key_id}))["KeyMetadata"]["Description"] == text
        tags = assert_allowed(raw.call("ListResourceTags", {"KeyId": key_id}))["Tags"]
        assert {tag["TagKey"]: tag["TagValue"] for tag in tags} == {other: other[::-1] for other in forms}
        assert_allowed(raw.call("UntagResource", {"KeyId": key_id, "TagKeys": [text]}))
        assert len(assert_allowed(raw.call("ListResourceTags", {"KeyId": key_id}))["Tags"]) == 3
        for name, value in ((text, "v"), ("n", text)):
            blob = assert_allowed(
                raw.call("Encrypt", {"KeyId": key_id, "Plaintext": "eA==", "EncryptionContext": {name: value}})
            )["CiphertextBlob"]
            for other in forms:
                context = {other: "v"} if name == text else {"n": other}
                answer = raw.call("Decrypt", {"CiphertextBlob": blob, "EncryptionContext": context})
                assert (answer.status == 200) == (other == text)


# ── policies ────────────────────────────────────────────────────────────────────────────────────────────────────────────

FOLDS = {"upper", "lower", "mixed", "first letter"}


def verdict(installation: Installation, text: str, request: dict[str, Any]) -> str:
    """allowed, denied, or malformed: of a user with one policy."""
    try:
        user = make_user(installation, f"form-{uuid.uuid4().hex[:8]}", text)
    except AssertionError:
        return "malformed"
    answer = user.kms.call("Encrypt", request)
    assert answer.code in {"", "AccessDeniedException"}, answer
    return "allowed" if answer.status == 200 else "denied"


def statement_with(element: str, text: str, key_id: str) -> str:
    """A policy that allows Encrypt on a key with Team=Red for purpose=Books, with one of its texts in another form."""
    texts = {
        "action": "kms:Encrypt",
        "resource": key_arn(key_id),
        "condition key": "kms:EncryptionAlgorithm",
        "global condition key": "aws:RequestedRegion",
        "condition value": REGION,
        "value of the context": "Books",
        "operator": "StringEquals",
        "effect": "Allow",
        "element": "Action",
        "version": "2012-10-17",
    } | {element: text}
    condition = {
        texts["operator"]: {
            "kms:EncryptionContext:purpose": texts["value of the context"],
            texts["global condition key"]: texts["condition value"],
        },
        "StringLike": {texts["condition key"]: "SYMMETRIC_*"},
    }
    statement = {
        "Effect": texts["effect"],
        texts["element"]: texts["action"],
        "Resource": texts["resource"],
        "Condition": condition,
    }
    return json.dumps({"Version": texts["version"], "Statement": [statement]})


ELEMENTS = {
    "action": "kms:Encrypt",
    "resource": "",
    "condition key": "kms:EncryptionAlgorithm",
    "global condition key": "aws:RequestedRegion",
    "condition value": REGION,
    "value of the context": "Books",
    "operator": "StringEquals",
    "effect": "Allow",
    "element": "Action",
}


@pytest.mark.parametrize("element", ELEMENTS)
def test_of_a_policy_only_actions_and_names_of_condition_keys_fold_and_only_in_ascii(
    installation: Installation, key_id: str, element: str
) -> None:
    text = ELEMENTS[element] or key_arn(key_id)
    request = {"KeyId": key_id, "Plaintext": "eA==", "EncryptionContext": {"purpose": "Books"}}
    assert verdict(installation, statement_with(element, text, key_id), request) == "allowed"
    for name, form in FORMS.items():
        if form(text) == text:
            continue
        found = verdict(installation, statement_with(element, form(text), key_id), request)
        folds = element in {"action", "condition key", "global condition key"} and name in FOLDS
        assert (found == "allowed") == folds, (name, found)


def test_a_principal_of_a_key_policy_is_compared_as_it_is(installation: Installation, raw: RawKms) -> None:
    user = make_user(installation, f"Form-{uuid.uuid4().hex[:8]}", policy(allow("s3:*")))
    root = allow("kms:*", Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:root"})
    for name, form in FORMS.items():
        if not form(user.name).isascii() or form(user.name) == user.name:
            continue
        other = f"arn:aws:iam::{ACCOUNT}:user/{form(user.name)}"
        text = policy(root, allow("kms:Encrypt", Principal={"AWS": other}))
        answer = raw.call("CreateKey", {"Policy": text})
        if answer.status == 200:
            key_id = answer.json["KeyMetadata"]["KeyId"]
            refused = user.kms.call("Encrypt", {"KeyId": key_id, "Plaintext": "eA=="})
            assert_refused(refused, "AccessDeniedException")
        else:
            assert answer.code == "MalformedPolicyDocumentException", name
    named = new_key(raw, Policy=policy(root, allow("kms:Encrypt", Principal={"AWS": user.arn})))
    assert_allowed(user.kms.call("Encrypt", {"KeyId": named, "Plaintext": "eA=="}))
