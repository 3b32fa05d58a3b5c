"""One fault for each case, planted in the process that fuzzes: a check of the product that is forgotten.

They show that a case can fail. Nothing here ever runs in the product.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM


class _Unauthenticated:
    """AES-GCM that does not look at the tag."""

    def __init__(self, key: bytes) -> None:
        self._real = AESGCM(key)

    def encrypt(self, *arguments: Any) -> bytes:
        return self._real.encrypt(*arguments)

    def decrypt(self, _iv: bytes, sealed: bytes, _associated: bytes) -> bytes:
        return sealed[:-16]

    def decrypt_into(self, iv: bytes, sealed: bytes, associated: bytes, into: memoryview) -> None:
        into[:] = self.decrypt(iv, sealed, associated)


def _replace(module: str, name: str, fault: Callable[[Any], Any]) -> Callable[[], None]:
    """A planter that puts something else in the place of a module's name."""

    def plant() -> None:
        found = importlib.import_module(module)
        setattr(found, name, fault(getattr(found, name)))

    return plant


def _does_not_look_for_the_key(work: Any) -> Any:
    key = work.key
    work.key = lambda self, index: (self.frame.keys[index], key(self, index))[1]
    return work


def _is_surprised_by_text(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def decoded(data: bytes) -> Any:
        try:
            return decode(data)
        except UnicodeDecodeError:
            raise ArithmeticError from None

    return decoded


def _counts_first(direction: Any) -> Any:
    open_frame = direction.open

    def opened(self: Any, *arguments: Any) -> bytes:
        before = self._counter
        try:
            return bytes(open_frame(self, *arguments))
        finally:
            self._counter = before + 1

    direction.open = opened
    return direction


def _accepts(verify: Callable[..., None]) -> Callable[..., None]:
    def verified(*arguments: Any) -> None:
        with suppress(ValueError):
            verify(*arguments)

    return verified


def _believes_what_it_knows(verifier: Any) -> Any:
    """Who was verified once is not verified again."""

    def accept_known(self: Any, request: Any, *_: object) -> Any:
        place = request.names.place_of.get(b"authorization")
        prefix = b"" if place is None else request.values[place].rpartition(b"Signature=")[0]
        known = self._known.get((prefix, request.names))
        return known and known.claim.verified

    verifier._accept_known = accept_known
    return verifier


class _Statuses:
    """A table of those that there are, instead of the type that refuses others."""

    def __init__(self, statuses: Any) -> None:
        self._statuses = statuses
        self._of = {int(status): status for status in statuses}

    def __call__(self, number: int) -> Any:
        return self._of[number]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._statuses, name)


class _Equal:
    """`hmac` for which everything is the same."""

    @staticmethod
    def compare_digest(*_: bytes) -> bool:
        return True


FAULTS: Final[dict[str, Callable[[], None]]] = {
    # A length is not held to the maximum: a stranger's first four bytes decide how much is kept for him.
    "frames": _replace("strongroom.boundary.frames", "FRAME_BYTES_MAX", lambda _: 1 << 31),
    # Text that is not UTF-8 is a surprise.
    "codec": _replace("strongroom.boundary.messages", "decode_command_frame", _is_surprised_by_text),
    # A key is used before it is known to be there.
    "commands": _replace("strongroom.hsm.commands", "Work", _does_not_look_for_the_key),
    # A frame counts before it was opened: a stranger's puts the next honest one out of order.
    "session frames": _replace("strongroom.boundary.session", "Direction", _counts_first),
    # A refusal that nobody knows is a surprise.
    "hosts": _replace("strongroom.kms.hsm_link.channel", "Status", _Statuses),
    "key tokens": _replace("strongroom.hsm.vault.token", "AESGCM", lambda _: _Unauthenticated),
    "blobs": _replace("strongroom.hsm.vault.customer_data", "AESGCM", lambda _: _Unauthenticated),
    "domain tokens and bundles": _replace("strongroom.hsm.domain.token", "verify_domain_token", _accepts),
    "signatures": _replace("strongroom.protocol.sigv4", "Verifier", _believes_what_it_knows),
    # A plus is a blank, as in forms.
    "signing": _replace(
        "strongroom.protocol.sigv4", "parse_query", lambda real: lambda query: real(query.replace(b"+", b"%20"))
    ),
    # A name that occurs again replaces its value.
    "JSON": _replace("strongroom.protocol.strict_json", "_distinct", lambda _: dict),
    # What looks odd is not looked at again.
    "typed requests": _replace("strongroom.kms.wire.validation", "_QUOTE", lambda _: b"\0"),
    "forms": _replace("strongroom.protocol.query", "_BAD_ESCAPE", lambda _: re.compile(rb"(?!)")),
    # An index makes a list as long as it says.
    "query requests": _replace("strongroom.kms.wire.query_codec", "SKIPPED_MAX", lambda _: 1 << 40),
    "policies": _replace("strongroom.kms.iam.documents", "_only", lambda _: lambda *_: None),
    "key references": _replace(
        "strongroom.protocol.arn", "_LABEL_CHARACTERS", lambda _: frozenset(map(chr, range(256)))
    ),
    "grant tokens": _replace("strongroom.kms.keys.grant_tokens", "hmac", lambda _: _Equal),
    # A token that nobody signed is believed.
    "web identities": _replace(
        "strongroom.kms.identities.sts.web_tokens", "_verify_signature", lambda _: lambda *_: None
    ),
    "session tokens": _replace("strongroom.kms.identities.session_tokens", "hmac", lambda _: _Equal),
}


class NotPlantedError(Exception):
    """There is nothing in whose place the fault could be put."""


def plant(name: str) -> None:
    """Plant the fault of a case.

    Raises:
        NotPlantedError: the product has changed, and the fault must.
    """
    try:
        FAULTS[name]()
    except AttributeError as gone:
        raise NotPlantedError(f"{name}: {gone}") from None
