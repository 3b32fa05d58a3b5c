"""Each known answer is broken on purpose, and the self-tests name it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from strongroom.hsm import self_tests
from strongroom.hsm.self_tests import SelfTestError, run_self_tests

ZEROISATION = "zeroisation of freed memory"


@pytest.fixture
def no_zeroisation_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test process has no launcher that tunes malloc; see the last test for that one."""
    monkeypatch.setitem(self_tests._TESTS, ZEROISATION, lambda: True)


def test_all_known_answers_are_met(no_zeroisation_test: None) -> None:
    run_self_tests()


def flipped(hexadecimal: str) -> str:
    return f"{int(hexadecimal[:2], 16) ^ 1:02x}{hexadecimal[2:]}"


BROKEN_ANSWERS = {
    "_SHA256_ABC": "SHA-256, SHA-384",
    "_SHA384_ABC": "SHA-256, SHA-384",
    "_HMAC_ANSWER": "HMAC-SHA-256",
    "_GCM_ANSWER": "AES-256-GCM",
    "_HKDF_ANSWER": "HKDF",
}


@pytest.mark.parametrize("answer", BROKEN_ANSWERS)
def test_a_broken_answer_is_named(answer: str, no_zeroisation_test: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_tests, answer, flipped(getattr(self_tests, answer)))
    with pytest.raises(SelfTestError, match=f"^{BROKEN_ANSWERS[answer]}$"):
        run_self_tests()


class TakesAnyTag:
    """AES-GCM that is right but for the comparison of the tag."""

    def __init__(self, key: bytes) -> None:
        self.real: Any = REAL_GCM(key)

    def encrypt(self, *arguments: Any) -> bytes:
        return bytes(self.real.encrypt(*arguments))

    def decrypt(self, *_: object) -> bytes:
        return bytes(16)


REAL_GCM = self_tests.AESGCM


class AnySignature:
    """A public key that takes every signature."""

    def __init__(self, *_: object) -> None:
        pass

    def public_key(self) -> AnySignature:
        return self

    def verify(self, *_: object) -> None:
        return


def derive_wrongly(key: bytes, label: bytes, context: bytes) -> bytes:
    return bytes(32)


@pytest.mark.parametrize(
    ("attribute", "value", "name"),
    [
        ("AESGCM", TakesAnyTag, "AES-256-GCM"),
        ("derive", derive_wrongly, "KBKDF"),
        ("_ECDSA_R", self_tests._ECDSA_R + 1, "ECDSA P-384"),
        ("_ECDSA_S", self_tests._ECDSA_S ^ 1, "ECDSA P-384"),
        ("_freed_memory_is_wiped", None, ZEROISATION),
    ],
)
def test_a_broken_algorithm_is_named(
    attribute: str, value: Any, name: str, no_zeroisation_test: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == ZEROISATION:
        monkeypatch.setitem(self_tests._TESTS, ZEROISATION, lambda: False)
    else:
        monkeypatch.setattr(self_tests, attribute, value)
    with pytest.raises(SelfTestError, match=f"^{name}$"):
        run_self_tests()


def test_a_verifier_that_takes_every_signature_is_named(
    no_zeroisation_test: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(self_tests.ec, "EllipticCurvePublicNumbers", AnySignature)
    with pytest.raises(SelfTestError, match=r"^ECDSA P-384$"):
        run_self_tests()


def test_a_wrong_shared_secret_is_named(no_zeroisation_test: None, monkeypatch: pytest.MonkeyPatch) -> None:
    real = self_tests.ec.derive_private_key
    monkeypatch.setattr(self_tests.ec, "derive_private_key", lambda scalar, curve: real(scalar + 1, curve))
    with pytest.raises(SelfTestError, match=r"^ECDH P-384$"):
        run_self_tests()


def test_the_wrong_point_for_a_known_signature_is_named(
    no_zeroisation_test: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(self_tests, "_ECDSA_X", self_tests._ECDSA_X ^ 1)
    with pytest.raises(SelfTestError, match=r"^ECDSA P-384$"):
        run_self_tests()


TUNED = {
    "PYTHONMALLOC": "malloc",
    "GLIBC_TUNABLES": "glibc.malloc.perturb=170:glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0",
}
PROGRAM = "from strongroom.hsm.self_tests import run_self_tests; run_self_tests(); print('passed')"


def run(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=240,
    )


def test_freed_memory_is_wiped_with_the_launchers_settings_and_only_then() -> None:
    assert run(TUNED).stdout == "passed\n"
    for missing in TUNED:
        bare = run({name: value for name, value in TUNED.items() if name != missing})
        assert bare.returncode != 0
        assert f"SelfTestError: {ZEROISATION}" in bare.stderr
