"""The HSM's loop on real sockets: who is let in, and what one peer can do to another."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.boundary import control, session
from strongroom.boundary.frames import FRAME_BYTES_MAX, FrameReader, FrameType, format_frame
from strongroom.boundary.messages import GenerateRandom, PlaintextAnswer, decode_answer_frame
from strongroom.boundary.statuses import Status
from strongroom.hsm.server import Server, listen
from testkit.module import Hsm, Peer, operational_hsm

WAIT_S = 60.0
NOBODY = 65534


class Wire:
    """A client's socket that speaks frames."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.socket.settimeout(WAIT_S)
        self.reader = FrameReader()
        self.frames: list[tuple[FrameType, bytes]] = []

    def send(self, frame_type: FrameType, body: bytes = b"") -> None:
        self.socket.sendall(format_frame(frame_type, body))

    def receive(self) -> tuple[FrameType, bytes] | None:
        """The next frame; None when the other side has hung up."""
        while not self.frames:
            try:
                data = self.socket.recv(1 << 16)
            except ConnectionResetError:
                data = b""
            if not data:
                return None
            self.frames += self.reader.feed(data)
        return self.frames.pop(0)

    def ask(self, frame_type: FrameType, body: bytes = b"") -> tuple[FrameType, bytes] | None:
        self.send(frame_type, body)
        return self.receive()

    def is_alive(self) -> bool:
        answer = self.ask(FrameType.STATUS_REQUEST)
        return answer is not None and answer[0] is FrameType.STATUS_REPORT

    def is_silent(self, within_s: float = 0.2) -> bool:
        """Not a byte, and not hung up either."""
        self.socket.settimeout(within_s)
        try:
            return self.socket.recv(1) is None
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(WAIT_S)


class RunningServer:
    """A server in a thread of this process, in a folder that everybody may enter."""

    def __init__(self, hsm: Hsm, allowed_uids: set[int]) -> None:
        self.hsm = hsm
        self.folder = Path(tempfile.mkdtemp(prefix="sr-hsm-"))
        self.folder.chmod(0o755)
        self.path = str(self.folder / "s")
        mine, its = socket.socketpair()
        self.control = Wire(mine)
        self.server = Server(hsm.module, listen(self.path), its, allowed_uids)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        self.wires: list[Wire] = []

    def connect(self) -> Wire:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(self.path)
        self.wires.append(Wire(sock))
        return self.wires[-1]

    def stop(self) -> None:
        self.control.socket.close()
        self.thread.join(WAIT_S)
        assert not self.thread.is_alive()
        for wire in self.wires:
            wire.socket.close()
        for peer in self.server._peers:
            peer.socket.close()
        self.server._listening.close()
        self.server._control.socket.close()
        self.server._selector.close()
        shutil.rmtree(self.folder)


@pytest.fixture
def server() -> Iterator[RunningServer]:
    running = RunningServer(operational_hsm(), {os.getuid()})
    yield running
    running.stop()


def open_wire(server: RunningServer, wire: Wire) -> Peer:
    """A session over the socket: handshake and opening on the same connection."""

    class OverTheWire:
        counter = 0

        @staticmethod
        def handle(frame_type: FrameType, body: bytes) -> bytes:
            answer = wire.ask(frame_type, body)
            assert answer is not None
            return format_frame(*answer)

    peer = Peer(server.hsm)
    peer.connection = OverTheWire()  # type: ignore[assignment]
    return peer.open(peer.handshake())


def test_a_session_works_over_the_socket(server: RunningServer) -> None:
    peer = open_wire(server, server.connect())
    for number in range(20):
        (answer,) = peer.ask(GenerateRandom(number, 32))
        assert isinstance(answer, PlaintextAnswer)
        assert (answer.request_id, len(answer.plaintext)) == (number, 32)


def test_frames_may_come_in_pieces_or_many_at_once(server: RunningServer) -> None:
    wire = server.connect()
    framed = format_frame(FrameType.STATUS_REQUEST, b"")
    for at in range(len(framed)):
        wire.socket.sendall(framed[at : at + 1])
    assert wire.receive() is not None
    wire.socket.sendall(framed * 50)
    for _ in range(50):
        answer = wire.receive()
        assert answer is not None
        assert answer[0] is FrameType.STATUS_REPORT


def test_a_peer_with_a_foreign_user_id_is_hung_up_on_before_it_says_a_word(server: RunningServer) -> None:
    assert server.connect().is_alive()
    if os.getuid() != 0:
        pytest.skip("only root can be somebody else")
    program = """
import os, socket, sys
if uid := int(sys.argv[2]):
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
with socket.socket(socket.AF_UNIX) as sock:
    sock.settimeout(60)
    sock.connect(sys.argv[1])
    try:
        sock.sendall(bytes.fromhex("0000000109"))
        print(len(sock.recv(100)))
    except (BrokenPipeError, ConnectionResetError):
        print(0)
"""
    answers = {}
    for uid in (NOBODY, 0):
        command = [sys.executable, "-I", "-c", program, server.path, str(uid)]
        answers[uid] = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout.strip()
    assert answers[NOBODY] == "0"
    assert int(answers[0]) > 0


def test_nobody_is_let_in_when_the_list_of_user_ids_is_empty() -> None:
    running = RunningServer(operational_hsm(), set())
    try:
        wire = running.connect()
        assert wire.receive() is None
    finally:
        running.stop()


def test_the_161st_connection_is_refused_until_one_leaves(server: RunningServer) -> None:
    wires = [server.connect() for _ in range(160)]
    assert all(wire.is_alive() for wire in wires)
    assert server.connect().receive() is None
    wires[10].socket.close()
    assert wires[11].is_alive()  # So the loop has seen the other one leave.
    assert server.connect().is_alive()
    assert all(wire.is_alive() for number, wire in enumerate(wires) if number != 10)


def test_a_slow_reader_blocks_nobody_and_still_gets_all_its_answers(server: RunningServer) -> None:
    slow, other = server.connect(), server.connect()
    framed = format_frame(FrameType.STATUS_REQUEST, b"")
    sent = 0
    slow.socket.settimeout(0.3)
    try:
        for _ in range(200):
            slow.socket.sendall(framed * 2000)
            sent += 2000
    except TimeoutError:
        pass
    slow.socket.settimeout(WAIT_S)
    assert 2000 <= sent < 400_000, "the server stopped reading from it at some point"
    for _ in range(50):
        assert other.is_alive()
    peer = open_wire(server, server.connect())
    assert len(peer.ask(GenerateRandom(1, 8))) == 1
    for _ in range(sent):
        answer = slow.receive()
        assert answer is not None
        assert answer[0] is FrameType.STATUS_REPORT


GARBAGE = {
    "a length of zero": bytes(4),
    "a length over the limit": (FRAME_BYTES_MAX + 1).to_bytes(4, "big"),
    "an unknown type": b"\x00\x00\x00\x01\xff",
    "HTTP": b"GET / HTTP/1.1\r\nHost: hsm\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_ends_its_own_connection_only(server: RunningServer, name: str) -> None:
    bystander, rude = server.connect(), server.connect()
    assert bystander.is_alive()
    assert rude.is_alive()
    rude.socket.sendall(GARBAGE[name])
    assert rude.receive() is None
    assert bystander.is_alive()
    assert server.connect().is_alive()


def test_a_refusal_is_one_status_byte_and_the_end_of_the_connection(server: RunningServer) -> None:
    bystander = server.connect()
    for frame_type, body, status in (
        (FrameType.COMMANDS, b"", Status.OUT_OF_ORDER),
        (FrameType.CONTROL, control.encode(control.ReportStatus()), Status.OUT_OF_ORDER),
        (FrameType.HELLO, b"noise", Status.MALFORMED),
        (FrameType.ANSWERS, b"", Status.OUT_OF_ORDER),
    ):
        wire = server.connect()
        # What follows a refused frame is not answered.
        wire.socket.sendall(format_frame(frame_type, body) + format_frame(FrameType.STATUS_REQUEST, b""))
        assert wire.receive() == (FrameType.REFUSED, bytes((status,)))
        assert wire.receive() is None
    assert bystander.is_alive()


def test_a_replayed_frame_on_the_socket_ends_the_connection(server: RunningServer) -> None:
    wire = server.connect()
    peer = open_wire(server, wire)
    sealed = peer.seal(GenerateRandom(1, 8))
    answer = wire.ask(FrameType.COMMANDS, sealed)
    assert answer is not None
    assert len(decode_answer_frame(peer.inbound.open(peer.keys[1], FrameType.ANSWERS, answer[1])).answers) == 1
    assert wire.ask(FrameType.COMMANDS, sealed) == (FrameType.REFUSED, bytes((Status.AUTHENTICATION_FAILED,)))
    assert wire.receive() is None


def test_connections_that_come_and_go_leave_the_arena_as_it_was(server: RunningServer) -> None:
    for _ in range(3):
        wire = server.connect()
        open_wire(server, wire)
        wire.socket.close()
        assert server.connect().is_alive()
    used = server.hsm.arena.lasting.used
    for _ in range(30):
        wire = server.connect()
        open_wire(server, wire)
        wire.socket.close()
        probe = server.connect()
        assert probe.is_alive()
        probe.socket.close()
    assert server.hsm.arena.lasting.used <= used + 64


def test_a_mute_module_says_nothing_on_any_socket_and_hangs_up_on_nobody(server: RunningServer) -> None:
    fresh, opened = server.connect(), server.connect()
    peer = open_wire(server, opened)
    sealed = peer.seal(GenerateRandom(1, 8))
    assert fresh.is_alive()
    server.hsm.module._battery = (lambda: False,)
    fresh.send(FrameType.STATUS_REQUEST)
    fresh.send(FrameType.COMMANDS, b"out of order")
    opened.send(FrameType.COMMANDS, sealed)
    server.control.send(FrameType.CONTROL, control.encode(control.ReportStatus()))
    server.control.send(FrameType.HELLO, b"not even a control frame")
    late = server.connect()
    late.send(FrameType.HELLO, b"")
    late.send(FrameType.STATUS_REQUEST)
    for wire in (fresh, opened, server.control, late):
        assert wire.is_silent()
    assert not any(server.hsm.arena._view)


def test_the_control_socket_answers_control_and_nothing_else(server: RunningServer) -> None:
    answer = server.control.ask(FrameType.CONTROL, control.encode(control.ReportStatus()))
    assert answer is not None
    assert answer[0] is FrameType.CONTROL_ANSWER
    assert isinstance(control.decode_answer(answer[1]), control.StatusReport)
    answer = server.control.ask(FrameType.CONTROL, b"noise")
    assert answer is not None
    assert control.decode_answer(answer[1]) == control.ControlRefused(Status.MALFORMED)


def test_of_what_came_over_the_control_socket_nothing_stays_where_it_was_read(server: RunningServer) -> None:
    """The shares of a bundle key come over it, and no session seals them."""
    share = os.urandom(64)
    command = control.encode(control.RecoverDomain(b"", [share], b"", "service-1", b""))
    assert server.control.ask(FrameType.CONTROL, command) is not None
    assert not any(server.server._buffer)


def test_the_server_ends_when_its_supervisor_hangs_up(server: RunningServer) -> None:
    wire = server.connect()
    assert wire.is_alive()
    server.control.socket.shutdown(socket.SHUT_RDWR)
    server.thread.join(WAIT_S)
    assert not server.thread.is_alive()


def test_the_socket_of_a_killed_predecessor_is_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    for _ in range(2):
        listening = listen(path)
        listening.close()  # The file stays, as after a kill.
        assert Path(path).is_socket()


def test_one_peers_bytes_do_not_reach_another_peers_frame(server: RunningServer) -> None:
    one, other = server.connect(), server.connect()
    framed = format_frame(FrameType.STATUS_REQUEST, b"")
    one.socket.sendall(framed[:3])
    assert other.is_alive()
    one.socket.sendall(framed[3:])
    assert one.receive() is not None


def test_no_message_of_a_stranger_ends_the_process(server: RunningServer) -> None:
    """Two that did: text that is not UTF-8, and a token longer than the arena (the domain key id is public)."""
    (domain_key_id,) = server.hsm.domain_keys
    long_token = b"SRTK\x01\x02" + domain_key_id + bytes(14 + 500_000)
    bystander = server.connect()
    for frame_type, body, status in (
        (FrameType.HELLO, b"\x94\xc4\x00\xa1\xff\xc4\x00\xc4\x00", Status.MALFORMED),
        (FrameType.OPEN, session.encode(session.Open(long_token, bytes(32))), Status.TOKEN_INVALID),
    ):
        wire = server.connect()
        assert wire.ask(frame_type, body) == (FrameType.REFUSED, bytes((status,)))
        assert bystander.is_alive()
