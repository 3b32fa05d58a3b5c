"""Faults that leave something secret where it may not be, each with where it must be found, and what.

They are planted in a copy of the product; the product has no switch for them.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from testkit.installation import Installation
from testkit.planting import plant, plant_after

HSM, SERVICE, FILES, HELD, NEWEST = "the HSM", "the service", "a file", "held", "newest"


class Leak(NamedTuple):
    """`where` it is found, how the `secret`'s name begins, and of a file, what its path has in it."""

    where: str
    secret: str
    file: str = ""
    # Texts of modules that are others: (module, right, wrong).
    changes: tuple[tuple[str, str, str], ...] = ()
    # Code that is added to modules.
    additions: tuple[tuple[str, str], ...] = ()

    def plant(self, installation: Installation) -> None:
        for module, right, wrong in self.changes:
            plant(installation, module, right, wrong)
        for module, code in self.additions:
            plant_after(installation, module, code)


_KEEPS_BACKING_KEYS: Final = """
_kept = []
_open_backing_key = open_backing_key


def open_backing_key(*of):
    opened = _open_backing_key(*of)
    _kept.append(bytes(opened.view))
    return opened
"""
_SAYS_BACKING_KEYS: Final = """
import sys

_open_backing_key = open_backing_key


def open_backing_key(*of):
    opened = _open_backing_key(*of)
    print("opened %r" % bytes(opened.view), file=sys.stderr, flush=True)
    return opened
"""
_KEEPS_CIPHERS: Final = """
_kept = []
_AESGCM = AESGCM


def AESGCM(key):
    _kept.append(_AESGCM(key))
    return _kept[-1]
"""
_KEEPS_SEALED: Final = """
_kept = []
_seal_column = seal_column


def seal_column(ring, metadata, value, iv):
    _kept.append(bytearray(value))
    return _seal_column(ring, metadata, value, iv)
"""
_KEEPS_DATA_KEYS: Final = """
_kept = []
_generate = generate


async def generate(*of, **more):
    answer = await _generate(*of, **more)
    _kept.append(answer)
    return answer
"""
_KEEPS_THE_NEWEST: Final = "\nimport collections\n" + _KEEPS_DATA_KEYS.replace("= []", "= collections.deque(maxlen=8)")
_ENCRYPT: Final = "kms/operations/encrypt.py"
_PLAINTEXT: Final = "    plaintext = request.Plaintext\n"
_MATERIAL: Final = "    call.key_material_id = entry.current.material_id\n"
_DATA_KEY: Final = "data_key if command.with_plaintext else None"

LEAKS: Final = {
    "a backing key that the HSM keeps": Leak(
        HSM, "HBK", additions=(("hsm/vault/backing_key.py", _KEEPS_BACKING_KEYS),)
    ),
    "a cipher that the HSM keeps": Leak(
        HSM, "derived key", additions=(("hsm/vault/customer_data.py", _KEEPS_CIPHERS),)
    ),
    "a secret of a caller that the HSM keeps": Leak(
        HSM, "secret ", additions=(("hsm/vault/sealed_values.py", _KEEPS_SEALED),)
    ),
    "a data key that nobody asked for and the service keeps": Leak(
        SERVICE,
        "data key (GenerateDataKeyWithoutPlaintext)",
        changes=(("hsm/commands.py", _DATA_KEY, "data_key"),),
        additions=(("kms/operations/data_keys.py", _KEEPS_DATA_KEYS),),
    ),
    "data keys that the service keeps": Leak(
        HELD, "data key", additions=(("kms/operations/data_keys.py", _KEEPS_DATA_KEYS),)
    ),
    "the newest data keys that the service keeps": Leak(
        NEWEST, "data key", additions=(("kms/operations/data_keys.py", _KEEPS_THE_NEWEST),)
    ),
    "headers of who is forgotten, kept with his secret": Leak(
        HELD, "secret", changes=(("kms/dispatch.py", "            self._verifier.forget()\n", "            pass\n"),)
    ),
    "who is forgotten, kept for the trail": Leak(
        HELD,
        "secret",
        changes=(
            ("kms/trail.py", "self._identities.get(entry.number)", "self._identities.get(entry)"),
            ("kms/trail.py", "_keep(self._identities, entry.number,", "_keep(self._identities, entry,"),
        ),
    ),
    "a plaintext in the log": Leak(
        FILES,
        "plaintext (Encrypt)",
        "output",
        changes=((_ENCRYPT, _PLAINTEXT, f"{_PLAINTEXT}    print(plaintext, flush=True)\n"),),
    ),
    "a backing key in the log": Leak(
        FILES, "HBK", "output", additions=(("hsm/vault/backing_key.py", _SAYS_BACKING_KEYS),)
    ),
    "a plaintext in the trail": Leak(
        FILES,
        "plaintext (Encrypt)",
        "audit",
        changes=((_ENCRYPT, _MATERIAL, "    call.key_material_id = plaintext.hex()\n"),),
    ),
    "a secret in the store": Leak(
        FILES,
        "secret (CreateAccessKey)",
        "store.db",
        changes=(
            (
                "kms/identities/access_keys.py",
                "sealed_secret=answer.sealed",
                "sealed_secret=answer.sealed + secret.expose().rjust(40)",
            ),
            (
                "kms/credentials.py",
                "access_key_id, record.sealed_secret)",
                "access_key_id, record.sealed_secret[:-40])",
            ),
        ),
    ),
    "a seal in the backup": Leak(
        FILES,
        "seal secret",
        "backup",
        changes=(
            (
                "supervisor/backup.py",
                "        copy.take(home.settings_file)  # 2\n",
                "        copy.take(home.settings_file)  # 2\n        copy.take(home.seal_secret)\n",
            ),
        ),
    ),
}
# Of those that are one of a kind, for whoever waits.
QUICK: Final = (
    "a backing key that the HSM keeps",
    "a data key that nobody asked for and the service keeps",
    "headers of who is forgotten, kept with his secret",
    "a plaintext in the log",
    "a secret in the store",
)
