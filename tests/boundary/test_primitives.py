"""Wycheproof on the two primitives that everything here stands on, called exactly as the product calls them."""

from __future__ import annotations

import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from boundary.vectors import load


def opens(key: bytes, iv: bytes, sealed: bytes, associated: bytes, expected: bytes) -> bool:
    """As `vault.token` and `boundary.session` do: `decrypt`, and `decrypt_into` a buffer of the right size."""
    out = bytearray(max(len(sealed) - 16, 0))
    try:
        opened = AESGCM(key).decrypt(iv, sealed, associated)
        AESGCM(key).decrypt_into(iv, sealed, associated, out)
    except InvalidTag:
        return False
    return opened == bytes(out) == expected


def test_aes_256_gcm_gives_no_wrong_verdict() -> None:
    """Only our own parameters: 256-bit keys, 12-byte IVs, 16-byte tags."""
    groups = load("vectors-wycheproof.tar.xz", "aes_gcm_test.json")["testGroups"]
    valid = invalid = 0
    for group in groups:
        if (group["keySize"], group["ivSize"], group["tagSize"]) != (256, 96, 128):
            continue
        for test in group["tests"]:
            key, iv, associated, message, ct, tag = (
                bytes.fromhex(test[name]) for name in ("key", "iv", "aad", "msg", "ct", "tag")
            )
            assert opens(key, iv, ct + tag, associated, message) == (test["result"] == "valid"), test["tcId"]
            if test["result"] == "valid":
                assert AESGCM(key).encrypt(iv, message, associated) == ct + tag
                assert not opens(key, iv, ct + tag[:-1] + bytes((tag[-1] ^ 1,)), associated, message)
            valid, invalid = valid + (test["result"] == "valid"), invalid + (test["result"] == "invalid")
    assert (valid, invalid) == (39, 27)


def test_hmac_sha_256_gives_no_wrong_verdict() -> None:
    groups = load("vectors-wycheproof.tar.xz", "hmac_sha256_test.json")["testGroups"]
    valid = invalid = 0
    for group in groups:
        for test in group["tests"]:
            key, message, tag = (bytes.fromhex(test[name]) for name in ("key", "msg", "tag"))
            verdict = hmac.compare_digest(hmac.digest(key, message, "sha256")[: group["tagSize"] // 8], tag)
            assert verdict == (test["result"] == "valid"), test["tcId"]
            valid, invalid = valid + (test["result"] == "valid"), invalid + (test["result"] == "invalid")
    assert (valid, invalid) == (66, 108)
