"""Key derivation against the library's own construction and NIST's vectors."""

from __future__ import annotations

import hmac
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFHMAC, CounterLocation, Mode
from hypothesis import given
from hypothesis import strategies as st

from boundary.vectors import load
from strongroom.boundary import derivation
from strongroom.boundary.derivation import derive

CAVP = json.loads(Path(__file__).with_name("sp800_108_counter_hmac_sha256.json").read_text(encoding="utf-8"))["vectors"]
labels = st.binary(min_size=1, max_size=40).filter(lambda label: 0 not in label)


def oracle(key: bytes, label: bytes, context: bytes) -> bytes:
    return KBKDFHMAC(
        algorithm=SHA256(),
        mode=Mode.CounterMode,
        length=32,
        rlen=4,
        llen=4,
        location=CounterLocation.BeforeFixed,
        label=label,
        context=context,
        fixed=None,
    ).derive(key)


@given(st.binary(min_size=1, max_size=200), labels, st.binary(min_size=1, max_size=200))
def test_derivation_agrees_with_the_librarys_kbkdf(key: bytes, label: bytes, context: bytes) -> None:
    assert derive(key, label, context) == oracle(key, label, context)


def test_forty_vectors_of_cavp_meet_the_same_construction(monkeypatch: pytest.MonkeyPatch) -> None:
    """CAVP's fixed input is free; where it has a zero byte label and context can be cut there, and `derive` runs."""
    through_derive = 0
    for vector in CAVP:
        key, fixed, output = (bytes.fromhex(vector[name]) for name in ("key", "fixed", "output"))
        expected = output[:32]
        block = hmac.digest(key, b"\x00\x00\x00\x01" + fixed, "sha256")
        assert block[: len(expected)] == expected
        zero = fixed[:-4].find(0)
        if zero >= 0:
            monkeypatch.setattr(derivation, "_LENGTH_BITS", fixed[-4:])
            assert derive(key, fixed[:zero], fixed[zero + 1 : -4])[: len(expected)] == expected
            through_derive += 1
    assert (len(CAVP), through_derive) == (40, CAVP_THROUGH_DERIVE)


CAVP_THROUGH_DERIVE = sum(0 in bytes.fromhex(vector["fixed"])[:-4] for vector in CAVP)


def test_the_keys_of_acvp_give_what_the_librarys_kbkdf_gives() -> None:
    """ACVP leaves the fixed input to the implementation and the archive has no expected file for KDF: keys only."""
    groups = load("vectors-acvp.tar.xz", "acvp/v/KDF")[1]["testGroups"]
    keys = [
        bytes.fromhex(test["keyIn"])
        for group in groups
        if (group["kdfMode"], group["macMode"]) == ("counter", "HMAC-SHA2-256")
        and (group["counterLocation"], group["counterLength"]) == ("before fixed data", 32)
        for test in group["tests"]
    ]
    assert len(keys) == 8
    for key in keys:
        assert derive(key, b"label", b"context") == oracle(key, b"label", b"context")


def test_label_context_and_key_each_change_the_key() -> None:
    derived = {
        derive(key, label, context)
        for key in (b"k", b"K")
        for label, context in ((b"ab", b"c"), (b"a", b"bc"), (b"ab", b""), (b"a", b"b\x00c"), (b"abc", b""))
    }
    assert len(derived) == 10


def test_a_view_into_the_arena_derives_as_bytes_do() -> None:
    key = bytes(range(32))
    assert derive(memoryview(bytearray(key)), b"label", b"context") == derive(key, b"label", b"context")
