"""Bodies that are no request, whatever their members say, and targets that are no operation."""

from __future__ import annotations

import inspect
import json
from random import Random
from typing import Any, Final

from strongroom.boundary import control, messages
from strongroom.kms.operations.table import TABLE
from strongroom.kms.wire.shapes import OPERATIONS

# Far deeper than any parser's stack, and in every form short enough for the limit of a body, with the request around it.
_DEPTH: Final = 60_000
_INSIDE: Final = (
    # A name that occurs twice, at the top and below.
    *(b'"X":1,"X":1', b'"EncryptionContext":{"a":"b","a":"b"}', b'"":{"":0,"":0}', b'"KeyId":"x","\\u004beyId":"x"'),
    # No text: half a pair, both halves the wrong way round, bytes that are not UTF-8, a bare control character.
    *(
        b'"X":"\\ud800"',
        b'"X":"\\udc00\\ud800"',
        b'"\\udfff":1',
        b'"X":"\xff"',
        b'"X":"\xed\xa0\x80"',
        b'"X":"\xc0\x80"',
    ),
    *(b'"Description":"\\ud800"', b'"Tags":[{"TagKey":"\\udfff","TagValue":"x"}]', b'"Policy":"\\udead"'),
    *(b'"EncryptionContext":{"\\ud83d":"x"}', b'"TagKeys":["\\udd11"]', b'"Plaintext":"eA==\\udbff"'),
    *(b'"X":"\x00"', b'"X":"\n"', b'"X":"\\x41"', b'"X":"\\u12"'),
    # No number, or none that can be held.
    *(b'"X":NaN', b'"X":-Infinity', b'"X":1e999', b'"X":' + b"9" * 5_000, b'"X":01', b'"X":.5', b'"X":0x10', b'"X":+1'),
    *(b'"X":' + b"[" * _DEPTH + b"]" * _DEPTH, b'"X":' + b'{"":' * _DEPTH + b"0" + b"}" * _DEPTH, b'"X":' + b"[" * 50),
    *(b'"X"', b'"X":', b"X:1", b"'X':1", b'"X":1,', b'"X":True', b'"X":undefined', b'"X":1/**/', b'"X":[1,]'),
)
_INSTEAD: Final = (
    b"[]",
    b'"x"',
    b"1",
    b"null",
    b"true",
    b"{",
    b"}",
    b"\0",
    b"\x1f\x8b\x08",
    b"<a/>",
    b"Action=ListKeys",
    b" ",
)


def no_request(random: Random, members: dict[str, Any]) -> bytes:
    """Bytes that must be refused as SerializationException."""
    text = json.dumps(members, ensure_ascii=random.random() < 0.5).encode()
    match random.randrange(8):
        case 0:
            return random.choice(_INSTEAD)
        case 1:
            return text[: random.randrange(1, len(text))]
        case 2:
            return text + random.choice((b"}", b"x", b"{}", b"\0", text))
        case 3:
            return random.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\0", b"x")) + text
    inside = random.choice(_INSIDE)
    return b"{" + inside + (b"," + text[1:] if members else b"}")


_EXISTS: Final = sorted(TABLE)
# What the service says to the HSM and to its supervisor, and what the model has and the service has not.
_INTERNAL: Final = sorted(
    name
    for module in (messages, control)
    for name, value in vars(module).items()
    if inspect.isclass(value) and name not in OPERATIONS
)
_UNSUPPORTED: Final = sorted(set(OPERATIONS) - set(TABLE))


def no_operation(random: Random) -> tuple[bytes, str]:
    """A value of X-Amz-Target, and the code of its refusal."""
    if _UNSUPPORTED and random.random() < 0.3:
        return b"TrentService." + random.choice(_UNSUPPORTED).encode(), "UnsupportedOperationException"
    name = random.choice(_EXISTS)
    forms = (
        *(f"TrentService.{random.choice(_INTERNAL)}", f"TrentService.{name.lower()}", f"trentservice.{name}", name),
        *(
            f"TrentService.{name}x",
            f"TrentService.TrentService.{name}",
            f"TrentService. {name}",
            f"TrentService/{name}",
        ),
        *("TrentService.", ".", "TrentService.__init__", f"TrentService.{name},{name}", f"Trent\u00e9.{name}"),
    )
    return random.choice(forms).encode("latin-1"), "UnknownOperationException"
