"""Every message that crosses the wall comes out as it went in."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from strongroom.boundary import control, session
from strongroom.boundary.domain_token import DomainState
from strongroom.boundary.messages import (
    Answer,
    AnswerFrame,
    Command,
    CommandFrame,
    audit_head_statement,
    decode_answer_frame,
    decode_command_frame,
    encode_message,
)

_OF_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(-(1 << 63), (1 << 64) - 1),
    bytes: st.binary(max_size=40),
    str: st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    bool: st.booleans(),
    bytes | None: st.none() | st.binary(max_size=40),
    dict[str, str]: st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.just("v"), max_size=3),
    list[bytes]: st.lists(st.binary(max_size=5), max_size=3),
    list[str]: st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), max_size=3),
}


def any_of(kind: type[Any]) -> st.SearchStrategy[Any]:
    fields = {field.name: _OF_TYPE[field.type] for field in msgspec.structs.fields(kind) if field.type in _OF_TYPE}
    fields.update({f.name: _OF_TYPE[dict[str, str]] for f in msgspec.structs.fields(kind) if f.name == "measures"})
    return st.builds(kind, **fields)


@pytest.mark.parametrize("kind", get_args(Command))
@settings(max_examples=25, suppress_health_check=[HealthCheck.differing_executors])
@given(data=st.data())
def test_a_command_comes_back_as_it_went(kind: type[Any], data: st.DataObject) -> None:
    command = data.draw(any_of(kind))
    frame = CommandFrame(data.draw(st.booleans()), [], [command])
    read = decode_command_frame(encode_message(frame))
    assert read == frame
    assert type(read.commands[0]) is kind


@pytest.mark.parametrize("kind", get_args(Answer))
@settings(max_examples=25)
@given(data=st.data())
def test_an_answer_comes_back_as_it_went(kind: type[Any], data: st.DataObject) -> None:
    frame = AnswerFrame([data.draw(any_of(kind))], [])
    read = decode_answer_frame(encode_message(frame))
    assert read == frame
    assert type(read.answers[0]) is kind


@pytest.mark.parametrize("kind", [*get_args(control.ControlCommand), *get_args(control.ControlAnswer)])
@settings(max_examples=25)
@given(data=st.data())
def test_a_control_message_comes_back_as_it_went(kind: type[Any], data: st.DataObject) -> None:
    message = data.draw(any_of(kind))
    decode = control.decode_command if kind in get_args(control.ControlCommand) else control.decode_answer
    read = decode(control.encode(message))
    assert read == message
    assert type(read) is kind


@pytest.mark.parametrize(
    "kind", [session.Hello, session.Challenge, session.Finish, session.Grant, session.Open, session.Opened]
)
@settings(max_examples=25)
@given(data=st.data())
def test_a_handshake_message_comes_back_as_it_went(kind: type[Any], data: st.DataObject) -> None:
    message = data.draw(any_of(kind))
    assert msgspec.msgpack.decode(session.encode(message), type=kind) == message


@pytest.mark.parametrize("union", [Command, Answer, control.ControlCommand, control.ControlAnswer])
def test_every_message_of_a_union_has_a_tag_of_its_own(union: Any) -> None:
    tags = [kind.__struct_config__.tag for kind in get_args(union)]
    assert sorted(tags) == list(range(1, len(tags) + 1))


def test_no_message_has_a_field_for_a_plain_key() -> None:
    """What may leave as plaintext is named here; a new name of this sort needs a reason."""
    suspicious = {
        f"{kind.__name__}.{field.name}"
        for kind in (*get_args(Command), *get_args(Answer), DomainState, *get_args(control.ControlAnswer))
        for field in msgspec.structs.fields(kind)
        if any(word in field.name for word in ("plain", "secret", "material", "private", "key_bytes"))
    }
    assert suspicious == {
        "DataKeyAnswer.plaintext",
        "PlaintextAnswer.plaintext",
        "Encrypt.plaintext",
        "GenerateDataKey.with_plaintext",
    }


@settings(max_examples=500)
@given(st.binary(max_size=60))
def test_noise_is_a_decoding_error_and_nothing_else(noise: bytes) -> None:
    for decode in (decode_command_frame, decode_answer_frame, control.decode_command, control.decode_answer):
        try:
            decode(noise)
        except (msgspec.MsgspecError, UnicodeDecodeError):  # Whoever decodes must expect both.
            continue


def test_an_audit_head_statement_changes_with_each_of_its_parts() -> None:
    parts: list[Any] = [b"domain", "hsm-1", 1_700_000_000, b"digest"]
    statements = {audit_head_statement(*parts)}
    for at, other in enumerate((b"domain2", "hsm-2", 1_700_000_001, b"digest2")):
        statements.add(audit_head_statement(*parts[:at], other, *parts[at + 1 :]))
    assert len(statements) == 5
