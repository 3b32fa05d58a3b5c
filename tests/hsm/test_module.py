"""The module's states: what mutes it, what never does, and what it tells of its errors."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from strongroom.boundary import control, session
from strongroom.boundary.frames import FrameType
from strongroom.boundary.messages import (
    CiphertextAnswer,
    Encrypt,
    GenerateRandom,
    GetHsmStatus,
    PlaintextAnswer,
    RefusedAnswer,
    SealColumn,
    SignatureAnswer,
    SignAuditHead,
    StatusAnswer,
    audit_head_statement,
)
from strongroom.boundary.statuses import RefusedError, Status
from strongroom.hsm import commands, entropy
from strongroom.hsm.connection import Connection
from strongroom.hsm.module import ModuleState, MuteError
from strongroom.kms.faults import Fault, fault_of
from testkit.module import REGION, Hsm, operational_hsm, public_of

CANARY = "canary-5d1e"


# ── mute ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def assert_mute(hsm: Hsm, *connections: Connection) -> None:
    """No byte any more to anybody, whatever is said, and no key left."""
    for connection in (*connections, Connection(hsm.module)):
        for frame_type in FrameType:
            for body in (b"", b"\x90", bytes(100)):
                with pytest.raises(MuteError):
                    connection.handle(frame_type, body)
    for command in (control.ReportStatus(), control.AcknowledgeState(1)):
        with pytest.raises(MuteError):
            hsm.module.answer_control(control.encode(command))
    with pytest.raises(MuteError):
        hsm.module.answer_control(b"noise")
    with pytest.raises(MuteError):
        hsm.module.execute(b"")
    assert hsm.module.state is ModuleState.MUTE
    assert not any(hsm.arena._view)
    with pytest.raises(RefusedError, match="NOT_OPERATIONAL"):
        hsm.module.domain()


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("byte", [0, 31])
def test_a_touched_canary_mutes_the_module_and_takes_all_keys(hsm: Hsm, which: int, byte: int) -> None:
    peer, fresh = hsm.open_peer(), hsm.connect()
    hsm.generate_key(peer)
    view, _ = hsm.arena._canaries[which]
    view[byte] ^= 1
    sealed = peer.seal(GenerateRandom(1, 16))
    with pytest.raises(MuteError):
        peer.connection.handle(FrameType.COMMANDS, sealed)
    assert_mute(hsm, peer.connection, fresh.connection)


@pytest.mark.parametrize("asked_first", ["control", "hello", "out of order", "execute"])
def test_a_failed_check_mutes_whoever_asks_first(hsm: Hsm, asked_first: str) -> None:
    hsm.module._battery = (lambda: True, lambda: False)
    ask: dict[str, Callable[[], object]] = {
        "control": lambda: hsm.module.answer_control(control.encode(control.ReportStatus())),
        "hello": hsm.connect().handshake,
        "out of order": lambda: hsm.connect().connection.handle(FrameType.COMMANDS, b""),
        "execute": lambda: hsm.module.execute(b""),
    }
    with pytest.raises(MuteError):
        ask[asked_first]()
    assert_mute(hsm)


def test_a_mute_module_stays_mute_when_its_checks_hold_again(hsm: Hsm) -> None:
    hsm.module._battery = (lambda: False,)
    with pytest.raises(MuteError):
        hsm.module.check()
    hsm.module._battery = (lambda: True,)
    assert_mute(hsm)


def test_a_connection_of_a_mute_module_can_be_closed(hsm: Hsm) -> None:
    peer = hsm.open_peer()
    hsm.module._battery = (lambda: False,)
    with pytest.raises(MuteError):
        peer.ask(GenerateRandom(1, 16))
    peer.connection.close()
    assert_mute(hsm)


DUMPABLE = """
import ctypes, sys
sys.path[:0] = {path!r}
from testkit.module import Hsm
from strongroom.hsm.hardening import is_undumpable
from strongroom.hsm.module import MuteError
libc = ctypes.CDLL(None)
libc.prctl(4, ctypes.c_ulong(0), 0, 0, 0)
hsm = Hsm()
hsm.module._battery = (is_undumpable, hsm.arena.canaries_intact)  # The battery as the product has it.
hsm.create_domain()
hsm.connect().handshake()
libc.prctl(4, ctypes.c_ulong(1), 0, 0, 0)
try:
    hsm.connect().handshake()
except MuteError:
    print("mute", any(hsm.arena._view))
"""


def test_a_process_that_became_dumpable_is_mute() -> None:
    program = DUMPABLE.format(path=[path for path in sys.path if path])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=240)
    assert done.stdout == "mute False\n", done.stderr


def test_the_battery_of_the_product_has_both_checks() -> None:
    from strongroom.hsm.hardening import is_undumpable
    from strongroom.hsm.module import Module

    hsm = Hsm()
    module = Module(hsm.arena, hsm.entropy, hsm.clock, hsm.maker, "hsm-1")
    assert module._battery == (is_undumpable, hsm.arena.canaries_intact)


# ── what a peer can not do ──────────────────────────────────────────────────────────────────────────────────────────


def test_no_stranger_mutes_or_breaks_the_module_with_ten_thousand_frames_of_every_type(hsm: Hsm) -> None:
    """Noise, and honest messages with a few bytes changed; nothing but refusals comes of it, and keys stay as they were."""
    source = random.Random(10)
    victim, keys = hsm.open_peer(), hsm.domain_keys
    used = hsm.arena.lasting.used
    specimens = [
        hsm.connect().new_handshake().hello(),
        session.encode(session.Open(hsm.connect().handshake().token, bytes(32))),
        session.encode(session.Finish(bytes(103))),
        control.encode(control.ReportStatus()),
        control.encode(control.CreateDomain("d", REGION, "h", public_of(hsm.host.private), 1, 1)),
        b"",
    ]
    outcomes: dict[str, int] = {}
    for number in range(10_000):
        body = bytearray(source.choice(specimens))
        if source.random() < 0.3:
            body = bytearray(source.randbytes(source.randrange(300)))
        else:
            for _ in range(source.randrange(1, 4)):
                if body:
                    body[source.randrange(len(body))] = source.randrange(256)
        frame_type = list(FrameType)[number % len(FrameType)]
        connection = hsm.connect().connection
        if number % 3 == 0 and frame_type in {FrameType.FINISH, FrameType.COMMANDS}:
            connection.handle(FrameType.HELLO, specimens[0])
        try:
            connection.handle(frame_type, bytes(body))
            outcome = "SUCCESS"
        except RefusedError as refused:
            outcome = refused.status.name
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        connection.close()
    assert hsm.module.state is ModuleState.OPERATIONAL
    assert hsm.domain_keys == keys
    assert hsm.arena.lasting.used <= used + 64, "two slots for the one connection that may have opened"
    assert "INTERNAL" not in outcomes, outcomes
    assert len(victim.ask(GenerateRandom(1, 16))) == 1


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x90",
        b"\x93\xc2\x90\x90",
        b"\xc1",
        bytes(range(50)),
        b"\x93\xc2\x90\x91\x95\x07\x01\xa1\xff\xa1r\xc4\x01v",
        b"\x93\xc2\x90\x91\x91\x63",
    ],
)
def test_an_authenticated_frame_of_nonsense_is_malformed_and_harms_nothing(hsm: Hsm, frame: bytes) -> None:
    peer = hsm.open_peer()
    sealed = peer.outbound.seal(peer.keys[0], FrameType.COMMANDS, frame)
    if frame == b"\x93\xc2\x90\x90":  # An empty frame is a frame.
        peer.connection.handle(FrameType.COMMANDS, sealed)
    else:
        with pytest.raises(RefusedError, match="MALFORMED"):
            peer.connection.handle(FrameType.COMMANDS, sealed)
    assert hsm.module.state is ModuleState.OPERATIONAL


# ── entropy ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("where", ["a command", "a hello", "a finish", "an open", "a domain"])
def test_an_entropy_failure_mutes_the_module_wherever_it_shows(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hsm = Hsm()
    connection: Connection | None = None
    if where != "a domain":
        hsm.create_domain()
        peer = hsm.open_peer()
        connection = peer.connection
        sealed = peer.seal(GenerateRandom(1, 32))
        fresh = hsm.connect()
        handshake = fresh.new_handshake()
        opening = session.encode(session.Open(hsm.connect().handshake().token, bytes(32)))
        if where == "a finish":
            finish = handshake.finish(fresh.send(FrameType.HELLO, handshake.hello(), FrameType.CHALLENGE))
    monkeypatch.setattr(entropy.os, "getrandom", lambda length: b"\x55" * length)
    hsm.entropy._last = b"\x55" * 16
    ask: dict[str, Callable[[], object]] = {
        "a command": lambda: peer.connection.handle(FrameType.COMMANDS, sealed),
        "a hello": lambda: fresh.connection.handle(FrameType.HELLO, handshake.hello()),
        "a finish": lambda: fresh.connection.handle(FrameType.FINISH, finish),
        "an open": lambda: fresh.connection.handle(FrameType.OPEN, opening),
        "a domain": hsm.create_domain,
    }
    with pytest.raises(MuteError):
        ask[where]()
    assert_mute(hsm, *([connection] if connection else []))


# ── what is told of errors ──────────────────────────────────────────────────────────────────────────────────────────


def explode(*_: object) -> Any:
    raise ValueError(f"{CANARY} in an exception's text")


def test_a_programmers_error_fails_one_command_and_says_nothing(hsm: Hsm, monkeypatch: pytest.MonkeyPatch) -> None:
    peer = hsm.open_peer()
    binding = hsm.generate_key(peer)
    monkeypatch.setitem(commands.HANDLERS, SealColumn, explode)
    sealed = peer.seal(Encrypt(1, 0, b"x", {}), SealColumn(2, "c", "r", b"v"), GenerateRandom(3, 8), keys=(binding,))
    body = peer.send(FrameType.COMMANDS, sealed, FrameType.ANSWERS)
    plaintext = peer.inbound.open(peer.keys[1], FrameType.ANSWERS, body)
    assert CANARY.encode() not in plaintext
    answers = msgspec.msgpack.decode(plaintext)[0]
    assert [type(answer) for answer in answers] == [list, list, list]
    assert answers[1] == [8, 2, Status.INTERNAL]
    assert hsm.module.report().refusals == 1


@pytest.mark.parametrize("step", ["hello", "finish", "open", "commands"])
def test_a_programmers_error_in_the_session_refuses_and_says_nothing(
    hsm: Hsm, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host_session, fresh = hsm.connect().handshake(), hsm.connect()
    handshake = fresh.new_handshake()
    frame_type, body = FrameType.HELLO, handshake.hello()
    if step == "finish":
        challenge = fresh.send(FrameType.HELLO, handshake.hello(), FrameType.CHALLENGE)
        frame_type, body = FrameType.FINISH, handshake.finish(challenge)
    if step == "open":
        frame_type, body = FrameType.OPEN, session.encode(session.Open(host_session.token, bytes(32)))
    if step == "commands":
        fresh.open(host_session)
        frame_type, body = FrameType.COMMANDS, fresh.seal(GenerateRandom(1, 8))
    monkeypatch.setattr(hsm.module, "domain", explode)
    with pytest.raises(RefusedError) as caught:
        fresh.connection.handle(frame_type, body)
    assert caught.value.status is Status.INTERNAL
    assert CANARY not in str(caught.value)
    assert (caught.value.__cause__, caught.value.__suppress_context__) == (None, True)
    assert hsm.module.state is ModuleState.OPERATIONAL


def test_a_programmers_error_in_control_is_a_status(hsm: Hsm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hsm.module, "report", explode)
    encoded = hsm.module.answer_control(control.encode(control.ReportStatus()))
    assert control.decode_answer(encoded) == control.ControlRefused(Status.INTERNAL)
    assert CANARY.encode() not in encoded


@pytest.mark.parametrize(
    "body", [b"", b"noise", b"\x91\x63", b"\x90", bytes(100), b"\x97\x01\xa1\xff\xa0\xa0\xc4\x00\x01\x01"]
)
def test_a_control_message_of_nonsense_is_malformed(hsm: Hsm, body: bytes) -> None:
    assert control.decode_answer(hsm.module.answer_control(body)) == control.ControlRefused(Status.MALFORMED)


def test_every_status_but_success_is_a_fault_of_its_own_class() -> None:
    for status in Status:
        if status is Status.SUCCESS:
            with pytest.raises(KeyError):
                fault_of(RefusedError(status))
        else:
            fault = fault_of(RefusedError(status))
            assert isinstance(fault, Fault)
            assert fault.code.endswith("Exception")
            assert fault.message == ""


def test_a_refusal_carries_a_name_and_nothing_else() -> None:
    for status in Status:
        assert RefusedError(status).args == (status.name,)


# ── keyless commands ────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_audit_head_is_signed_with_the_members_key_and_the_hsms_clock(hsm: Hsm) -> None:
    hsm.clock.now_s += 0.75
    (answer,) = hsm.open_peer().ask(SignAuditHead(1, b"d" * 32))
    assert isinstance(answer, SignatureAnswer)
    assert (answer.hsm_id, answer.signed_at_s) == ("hsm-1", int(hsm.clock()))
    statement = audit_head_statement(hsm.domain.domain_id, "hsm-1", answer.signed_at_s, b"d" * 32)
    member = session.parse_public(hsm.domain.members[0].signing_public)
    session.verify_statement(member, answer.signature, statement)
    other = audit_head_statement(hsm.domain.domain_id, "hsm-1", answer.signed_at_s + 1, b"d" * 32)
    with pytest.raises(RefusedError):
        session.verify_statement(member, answer.signature, other)


def test_the_status_counts_and_names_what_it_should(hsm: Hsm) -> None:
    peer = hsm.open_peer()
    peer.ask(GenerateRandom(1, 0), GenerateRandom(2, 1))
    (answer,) = peer.ask(GetHsmStatus(3))
    assert isinstance(answer, StatusAnswer)
    report = control.decode_answer(answer.report)
    assert report == hsm.control(control.ReportStatus())
    assert isinstance(report, control.StatusReport)
    assert (report.frames, report.commands, report.refusals) == (2, 3, 1)
    assert report.state == "OPERATIONAL"
    assert report.measures["arena"] in {"memfd_secret", "mlock", "unlocked"}
    assert not any(key in answer.report for key in hsm.domain_keys.values())


def test_refused_answers_name_the_request(hsm: Hsm) -> None:
    big = (1 << 64) - 1
    assert hsm.open_peer().ask(GenerateRandom(big, 0)) == [RefusedAnswer(big, Status.DATA_LENGTH)]
    (answer,) = hsm.open_peer().ask(GenerateRandom(5, 9))
    assert isinstance(answer, PlaintextAnswer)
    assert (answer.request_id, len(answer.plaintext)) == (5, 9)


def test_two_modules_share_nothing(hsm: Hsm) -> None:
    other = operational_hsm()
    assert not set(hsm.domain_keys.values()) & set(other.domain_keys.values())
    binding = hsm.generate_key(hsm.open_peer())
    (answer,) = hsm.open_peer().ask(Encrypt(1, 0, b"x", {}), keys=(binding,))
    assert isinstance(answer, CiphertextAnswer)


# ── the rinse ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("commands_in_frame", [1, 64])
def test_every_frame_is_rinsed_once_after_its_work_and_its_scratch_is_empty(
    commands_in_frame: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    hsm = operational_hsm()
    scratch_when_rinsed: list[int] = []
    monkeypatch.setattr("strongroom.hsm.module.rinse", lambda: scratch_when_rinsed.append(hsm.arena._scratch.used))
    peer = hsm.open_peer()
    frames_before = len(scratch_when_rinsed)
    peer.ask(*(GenerateRandom(number, 16) for number in range(commands_in_frame)))
    assert scratch_when_rinsed[frames_before:] == [0]
