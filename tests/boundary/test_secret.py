"""A secret does not leave by accident."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from strongroom.boundary.secret import AccessKeySecret, RecoveryShare, Secret, SecretLeakError, SessionKey, StoreKey

VALUE = b"canary-7f3a-do-not-print"
KINDS = [Secret, AccessKeySecret, StoreKey, SessionKey, RecoveryShare]

REFUSED: dict[str, Callable[[Secret], Any]] = {
    "format()": format,
    "an f-string": lambda secret: f"{secret}",
    "str.format": "{}".format,
    "pickle": pickle.dumps,
    "pickle of the oldest protocol": lambda secret: pickle.dumps(secret, protocol=0),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "deepcopy inside a container": lambda secret: copy.deepcopy({"key": [secret]}),
    "==": lambda secret: secret == VALUE,
    "!=": lambda secret: secret != Secret(VALUE),
    "in": lambda secret: VALUE in [b"", secret],
    "hash()": hash,
    "a set": lambda secret: {secret},
    "bytes()": bytes,
    "json": json.dumps,
    "msgspec": msgspec.msgpack.encode,
    "<": lambda secret: secret < Secret(VALUE),  # type: ignore[operator]
}


@pytest.mark.parametrize("way", REFUSED)
@pytest.mark.parametrize("kind", KINDS)
def test_a_secret_refuses(kind: type[Secret], way: str) -> None:
    with pytest.raises((SecretLeakError, TypeError)):
        REFUSED[way](kind(VALUE))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_printed_of_a_secret_is_its_kind_and_length(kind: type[Secret]) -> None:
    secret = kind(VALUE)
    for shown in (repr(secret), str(secret), "%s" % secret, "%r" % (secret,), repr([secret])):  # noqa: UP031
        assert "canary" not in shown
        assert f"{len(VALUE)} bytes" in shown
    assert len(secret) == len(VALUE)


def test_a_traceback_and_a_log_record_hold_no_secret() -> None:
    secret = SessionKey(VALUE)
    try:
        format(secret)
    except SecretLeakError as refused:
        text = "".join(traceback.TracebackException.from_exception(refused, capture_locals=True).format())
    assert "canary" not in text
    record = logging.LogRecord("x", logging.DEBUG, "f", 1, "key %s %r", (secret, secret), None)
    assert "canary" not in record.getMessage()


def test_there_is_no_dictionary_to_look_into() -> None:
    with pytest.raises(TypeError):
        vars(Secret(VALUE))


def test_expose_is_the_way_out() -> None:
    assert SessionKey(VALUE).expose() == VALUE
