"""Users over real HTTP: nothing without a policy, what a policy says with one, and no key that is off."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from testkit.installation import ACCOUNT, Installation
from testkit.raw import RawKms, User, allow, assert_allowed, assert_refused, make_user, policy, set_access_key

ROOT = f"arn:aws:iam::{ACCOUNT}:root"


@pytest.fixture(scope="module")
def raw(installation: Installation) -> Iterator[RawKms]:
    kms = RawKms(installation)
    yield kms
    kms.close()


@pytest.fixture
def key(raw: RawKms) -> dict[str, Any]:
    metadata = assert_allowed(raw.call("CreateKey"))["KeyMetadata"]
    assert isinstance(metadata, dict)
    return metadata


def name() -> str:
    return f"user-{uuid.uuid4().hex[:10]}"


def encrypt(user: User, key: dict[str, Any]) -> Any:
    return user.kms.call("Encrypt", {"KeyId": key["KeyId"], "Plaintext": "eA=="})


def sentence(user: User, action: str, resource: str, reason: str) -> str:
    return f"User: {user.arn} is not authorized to perform: {action} on resource: {resource} {reason}"


def test_a_user_without_a_policy_may_do_nothing(installation: Installation, key: dict[str, Any]) -> None:
    user = make_user(installation, name())
    because = "because no identity-based policy allows the {} action"
    assert_refused(
        encrypt(user, key),
        "AccessDeniedException",
        sentence(user, "kms:Encrypt", key["Arn"], because.format("kms:Encrypt")),
    )
    for operation, request in (("CreateKey", {}), ("ListKeys", {}), ("GenerateRandom", {"NumberOfBytes": 1})):
        assert_refused(
            user.kms.call(operation, request),
            "AccessDeniedException",
            sentence(user, f"kms:{operation}", "*", because.format(f"kms:{operation}")),
        )


def test_a_user_with_a_policy_may_do_what_it_says(installation: Installation, key: dict[str, Any]) -> None:
    user = make_user(installation, name(), policy(allow("kms:En*", "kms:GenerateRandom")))
    assert_allowed(encrypt(user, key))
    assert_allowed(user.kms.call("GenerateRandom", {"NumberOfBytes": 1}))
    assert_refused(user.kms.call("DescribeKey", {"KeyId": key["KeyId"]}), "AccessDeniedException")


def test_an_explicit_deny_wins_with_awss_sentence(installation: Installation, key: dict[str, Any]) -> None:
    user = make_user(installation, name(), policy(allow("kms:*"), allow("kms:Encrypt", effect="Deny")))
    assert_refused(
        encrypt(user, key),
        "AccessDeniedException",
        sentence(user, "kms:Encrypt", key["Arn"], "with an explicit deny in an identity-based policy"),
    )
    assert_allowed(user.kms.call("DescribeKey", {"KeyId": key["KeyId"]}))


def test_a_deny_in_the_key_policy_stops_even_the_root(raw: RawKms) -> None:
    text = policy(allow("kms:*", Principal={"AWS": ROOT}), allow("kms:Encrypt", effect="Deny", Principal="*"))
    key = assert_allowed(raw.call("CreateKey", {"Policy": text}))["KeyMetadata"]
    assert_refused(
        raw.call("Encrypt", {"KeyId": key["KeyId"], "Plaintext": "eA=="}),
        "AccessDeniedException",
        f"User: {ROOT} is not authorized to perform: kms:Encrypt on resource: {key['Arn']} "
        "with an explicit deny in a resource-based policy",
    )


def test_a_key_policy_that_names_a_user_suffices_and_locks_everybody_else_out(
    installation: Installation, raw: RawKms
) -> None:
    user = make_user(installation, name())
    admin = make_user(installation, name(), policy(allow("*")))
    text = policy(allow("kms:*", Principal={"AWS": user.arn}))
    request = {"Policy": text, "BypassPolicyLockoutSafetyCheck": True}
    key = assert_allowed(raw.call("CreateKey", request))["KeyMetadata"]
    assert_allowed(encrypt(user, key))
    because = "because no resource-based policy allows the kms:Encrypt action"
    assert_refused(encrypt(admin, key), "AccessDeniedException", sentence(admin, "kms:Encrypt", key["Arn"], because))
    assert_refused(raw.call("Encrypt", {"KeyId": key["KeyId"], "Plaintext": "eA=="}), "AccessDeniedException")


def test_re_encrypt_needs_both_halves(installation: Installation, raw: RawKms, key: dict[str, Any]) -> None:
    other = assert_allowed(raw.call("CreateKey"))["KeyMetadata"]
    blob = assert_allowed(raw.call("Encrypt", {"KeyId": key["KeyId"], "Plaintext": "eA=="}))["CiphertextBlob"]
    request = {"CiphertextBlob": blob, "DestinationKeyId": other["KeyId"]}
    from_, to = allow("kms:ReEncryptFrom", resource=key["Arn"]), allow("kms:ReEncryptTo", resource=other["Arn"])
    for statements, allowed in (
        ([from_, to], True),
        ([from_], False),
        ([to], False),
        ([allow("kms:ReEncryptFrom", resource=other["Arn"]), allow("kms:ReEncryptTo", resource=key["Arn"])], False),
        ([allow("kms:Decrypt", "kms:Encrypt", "kms:ReEncrypt")], False),
        ([allow("kms:ReEncrypt*")], True),
    ):
        user = make_user(installation, name(), policy(*statements))
        answer = user.kms.call("ReEncrypt", request)
        assert (answer.status == 200) == allowed, (statements, answer)


def test_the_callers_context_is_never_taken_from_the_request(installation: Installation, key: dict[str, Any]) -> None:
    """Class 5: headers and members that look like somebody else's identity change nothing."""
    user = make_user(installation, name())
    for header in (
        b"kms:ViaService",
        b"X-Amz-Source-Arn",
        b"X-Amz-Source-Account",
        b"X-Forwarded-User",
        b"X-Amz-Security",
    ):
        answer = user.kms.send(
            b'{"KeyId":"%b","Plaintext":"eA==","kms:CallerAccount":"000000000000","Principal":"root"}'
            % key["KeyId"].encode(),
            [(b"X-Amz-Target", b"TrentService.Encrypt"), (header, ROOT.encode())]
            if b":" not in header
            else [(b"X-Amz-Target", b"TrentService.Encrypt")],
            access_key_id=user.access_key_id,
            secret=user.secret,
        )
        assert_refused(answer, "AccessDeniedException")


def test_an_access_key_that_is_off_is_refused_from_the_next_request_on(
    installation: Installation, key: dict[str, Any]
) -> None:
    user = make_user(installation, name(), policy(allow("kms:Encrypt")))
    for _ in range(3):
        assert_allowed(encrypt(user, key))
        set_access_key(installation, user, "Inactive")
        assert_refused(
            encrypt(user, key),
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        )
        set_access_key(installation, user, "Active")


@pytest.mark.parametrize("change", [str.lower, str.upper, lambda text: text + " ", lambda text: "x" + text])
def test_access_key_ids_and_secrets_are_compared_as_they_are(
    installation: Installation, key: dict[str, Any], change: Any
) -> None:
    user = make_user(installation, name(), policy(allow("kms:Encrypt")))
    request = {"KeyId": key["KeyId"], "Plaintext": "eA=="}
    if change(user.access_key_id) != user.access_key_id:
        answer = user.kms.call("Encrypt", request, access_key_id=change(user.access_key_id))
        assert answer.code in {"UnrecognizedClientException", "InvalidSignatureException"}
    assert_refused(user.kms.call("Encrypt", request, secret=change(user.secret)), "InvalidSignatureException")
    assert_allowed(encrypt(user, key))
