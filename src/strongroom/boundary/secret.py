"""Secrets in code: a value that cannot be printed, pickled or copied by accident.

Invariants: `expose()` is the only way to the bytes, and `tests/walls` lists every file that calls it. A subclass per
kind keeps one kind from being passed for another. This guards against mistakes, not against memory readers: inside the
HSM, key material lives in its arena instead (`hsm/arena.py`).
"""

from __future__ import annotations

from typing import NoReturn, Self


class SecretLeakError(TypeError):
    """Somebody tried to print, serialise or copy a secret."""


class Secret:
    """Bytes that must not leave by accident."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def expose(self) -> bytes:
        """The bytes themselves; the caller answers for where they go."""
        return self._value

    def __len__(self) -> int:
        return len(self._value)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self._value)} bytes, not shown>"

    __str__ = __repr__

    def _refuse(self, *_: object) -> NoReturn:
        raise SecretLeakError(f"{type(self).__name__} refuses to be formatted, serialised, compared or copied")

    def __format__(self, spec: str) -> str:
        self._refuse()

    def __reduce__(self) -> NoReturn:
        self._refuse()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        self._refuse()

    def __copy__(self) -> Self:
        self._refuse()

    def __deepcopy__(self, memo: object) -> Self:
        self._refuse()

    def __eq__(self, other: object) -> bool:
        self._refuse()

    __hash__ = None  # type: ignore[assignment]


class AccessKeySecret(Secret):
    """The secret half of an access key: what a caller signs with."""


class StoreKey(Secret):
    """The key under which the service authenticates its own rows."""


class SessionKey(Secret):
    """The key of one session between the service host and the HSMs of its domain."""


class RecoveryShare(Secret):
    """One share of the secret that opens a recovery bundle; meant for a person, offline."""
