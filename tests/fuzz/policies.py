"""Key policies as text: good ones that differ in every byte, ones that withhold something, and ones that are none."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from fuzz.values import ODD_VALUES, b64
from testkit.installation import ACCOUNT

ROOT: Final = f"arn:aws:iam::{ACCOUNT}:root"
MALFORMED: Final = frozenset({"MalformedPolicyDocumentException"})
_DENIABLE: Final = (
    *("CreateAlias", "Decrypt", "DeleteAlias", "DescribeKey", "DisableKey", "EnableKeyRotation", "Encrypt"),
    *("GenerateDataKey", "GetKeyPolicy", "GetKeyRotationStatus", "ListKeyRotations", "ListResourceTags"),
    *("ReEncryptFrom", "ReEncryptTo", "RotateKeyOnDemand", "ScheduleKeyDeletion", "TagResource", "UntagResource"),
    *("UpdateAlias", "UpdateKeyDescription"),
)
_ALL: Final = frozenset(
    f"kms:{name}"
    for name in (
        *_DENIABLE,
        *("CancelKeyDeletion", "DisableKeyRotation", "EnableKey", "GenerateDataKeyWithoutPlaintext", "GetKeyLastUsage"),
        *("CreateGrant", "ListGrants", "ListKeyPolicies", "PutKeyPolicy", "RevokeGrant"),
    )
)
_BYTES_MAX: Final = 32 * 1024
_NAMES_NOBODY: Final = (
    *(
        "arn:aws:iam::000000000000:user/there-is-nobody",
        "arn:aws:iam::111122223333:root",
        "x",
        "",
        "arn:aws:iam::0:root",
    ),
    *("arn:aws:iam::000000000000:user/*", "AIDACKCEVSQ6C2EXAMPLE", "111122223333"),
)
_NO_POLICY: Final = (
    *("x", "[]", "{", "null", "1", '"x"', "{}", '{"Statement":[]}', '{"Statement":"x"}', '{"Statement":[1]}'),
    *('{"Version":"2012-10-17","Version":"2012-10-17","Statement":[]}', "[" * 30_000, '{"Statement":' * 2_000),
    *('{"Id":"\\ud800","Statement":[]}', '{"Statement":1e999}', '{"Statement":NaN}', "\u00ef\u00bb\u00bf{}"),
)


@dataclass(frozen=True)
class Drawn:
    """A text; what it withholds from the root if it is taken; the codes with which it is refused if it is not.

    Of a strange one nobody knows: its parts are of any type.
    """

    text: str
    withheld: frozenset[str] = frozenset()
    refusals: frozenset[str] = frozenset()
    is_strange: bool = False


def draw(random: Random) -> Drawn:
    number = random.random()
    if number < 0.45:
        return Drawn(_text(random, _allow("kms:*")))
    if number < 0.65:
        withheld = random.sample(_DENIABLE, random.randint(1, 3))
        denial = _allow(*(random.choice((f"kms:{name}", f"KMS:{name.upper()}")) for name in withheld)) | {
            "Effect": "Deny"
        }
        return Drawn(_text(random, _allow("kms:*"), denial), frozenset(f"kms:{name}" for name in withheld))
    if number < 0.7:
        # Whoever puts this one is locked out.
        return Drawn(_text(random, _allow("kms:DescribeKey")), _ALL - {"kms:DescribeKey"})
    if number < 0.78:
        return Drawn(random.choice(_NO_POLICY), refusals=MALFORMED)
    if number < 0.84:
        somebody = _allow("kms:*") | {"Principal": {"AWS": [ROOT, random.choice(_NAMES_NOBODY)]}}
        return Drawn(_text(random, somebody), refusals=MALFORMED)
    if number < 0.9:
        text = _text(random, _allow("kms:*"))
        too_long = random.random() < 0.5
        padded = text + " " * (_BYTES_MAX - len(text.encode()) + too_long)
        return Drawn(padded, refusals=frozenset({"LimitExceededException"}) if too_long else frozenset())
    return Drawn(json.dumps(_strange(random)), is_strange=True)


def _allow(*actions: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Principal": {"AWS": ROOT}, "Action": list(actions), "Resource": "*"}


def _text(random: Random, *statements: dict[str, Any]) -> str:
    """The same meaning in other bytes: blanks, order, escapes, and characters up to U+00FF, which is all AWS takes."""
    sid = random.choice(("", "x", "\u00e9\u00ff\u00d7", "a b", "'; --", "\\u0000", "%s"))
    document = {"Version": "2012-10-17", "Id": sid, "Statement": [{"Sid": sid, **found} for found in statements]}
    if random.random() < 0.3:
        document = dict(reversed(document.items()))
    is_ascii = random.random() < 0.5
    text = json.dumps(document, indent=random.choice((None, 1, "\t")), ensure_ascii=is_ascii)
    return random.choice(("", " ", "\r\n\t")) + text + random.choice(("", "\n"))


def _strange(random: Random) -> Any:
    """A policy of which any part may have any type."""

    def part(good: Any) -> Any:
        return good if random.random() < 0.75 else random.choice(ODD_VALUES)

    statement = {
        "Sid": part("a"),
        "Effect": part("Allow"),
        "Principal": part({"AWS": part(ROOT)}),
        "Action": part([part("kms:*")]),
        "Resource": part("*"),
    }
    return {"Version": part("2012-10-17"), "Id": part("x"), "Statement": part([part(statement)])}


def bend_base64(random: Random, text: str) -> str:
    """A ciphertext with one bit changed, or an end cut off or added."""
    data = bytearray(base64.b64decode(text))
    match random.randrange(6):
        case 0:
            return b64(bytes(data[: random.randrange(1, len(data))]))
        case 1:
            return b64(bytes(data) + b"\0")
    data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return b64(bytes(data))
