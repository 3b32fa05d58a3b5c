"""What nobody sends on this machine's own sockets: whatever comes, nobody gets further, and nobody else notices."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any, cast

import msgspec
import pytest

from fuzz.campaign import complaints
from hostile import local_streams
from hostile.case import mutated
from hostile.local_streams import ADMIN, HSM, SocketError, admin_streams, ask, hsm_streams
from hsm.test_server import RunningServer
from strongroom.boundary import control, frames
from strongroom.boundary.frames import FrameReader, FrameType, format_frame
from strongroom.hsm import connection
from strongroom.hsm import server as hsm_server
from strongroom.kms.admin import server as admin_server
from strongroom.kms.admin.commands import AdminError
from strongroom.kms.admin.server import AdminServer
from strongroom.supervisor import actors
from strongroom.supervisor.actors import Worker
from strongroom.supervisor.hsm_control import SERVICE_HOST
from testkit.installation import Installation
from testkit.module import HOST_ID, operational_hsm
from testkit.raw import ask_admin, ask_iam, nothing_breaks

STREAMS, LONG_STREAMS, CAMPAIGN_STREAMS = 1_500, 30_000, 250_000


@pytest.fixture
def unmoved(installation: Installation) -> Iterator[Installation]:
    """One whose processes are the same afterwards, say nothing of an exception, and made nobody."""
    users, said = ask_iam(installation, "ListUsers")["Users"], complaints(installation)
    with nothing_breaks(installation):
        yield installation
    assert complaints(installation) == said
    assert ask_iam(installation, "ListUsers")["Users"] == users


def ask_hsm(installation: Installation, seed: int, streams: int) -> None:
    domain_id = bytes.fromhex(ask_admin(installation, "status")["hsm"]["domain_id"])
    path = str(installation.home / "run" / "hsm" / "hsm-1.sock")
    told = asyncio.run(ask(path, seed, streams, hsm_streams(domain_id, SERVICE_HOST), HSM))
    print(f"the HSM's socket, seed {seed}: {streams} streams, {told}")
    # The way as far as a stranger gets, and refusals, are among them.
    assert all(told[kind] * 20 > streams for kind in ("CHALLENGE", "STATUS_REPORT", "REFUSED"))


def ask_operators(installation: Installation, seed: int, streams: int) -> None:
    path = str(installation.home / "run" / "kms" / "admin.sock")
    told = asyncio.run(ask(path, seed, streams, admin_streams(), ADMIN))
    print(f"the operators' socket, seed {seed}: {streams} streams, {told}")
    assert told["not a request"] * 4 > streams
    assert all(told[command] * 200 > streams for command in ("sections", "list-accounts", "inspect", "error"))


SOCKETS: dict[str, Callable[[Installation, int, int], None]] = {"HSM": ask_hsm, "operators": ask_operators}


@pytest.mark.parametrize("whose", SOCKETS)
def test_no_changed_stream_gets_further_than_it_may(unmoved: Installation, whose: str) -> None:
    SOCKETS[whose](unmoved, 1, STREAMS)


@pytest.mark.long
@pytest.mark.parametrize("whose", SOCKETS)
def test_no_changed_stream_of_many_gets_further_than_it_may(unmoved: Installation, whose: str) -> None:
    SOCKETS[whose](unmoved, 2, LONG_STREAMS)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", [101, 102])
@pytest.mark.parametrize("whose", SOCKETS)
def test_no_changed_stream_of_half_a_million_gets_further_than_it_may(
    unmoved: Installation, whose: str, seed: int
) -> None:
    SOCKETS[whose](unmoved, seed, CAMPAIGN_STREAMS)


# ── what a worker tells the supervisor ──────────────────────────────────────────────────────────────────────────────────

SAID = (b'{"said":"ready"}', b'{"said":"wanted","region":"eu-west-1"}', b'{"said":"opened","region":"\xff"}')
MESSAGES = 5_000


def hear(messages: int) -> None:
    """Say that much to a supervisor, who is another user: he understands it or does not, and is the same afterwards."""
    random, (mine, its) = Random(5), socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    worker = Worker("w1", "", 0, cast("Any", None))
    worker.channel = its
    with mine, its:
        for _ in range(messages):
            # Nothing at all would be the end of the channel.
            mine.send(mutated(random, SAID, 512) or b"?")
            heard = worker.hear()
            assert heard is None or heard.said in {"ready", "wanted", "opened"}


def test_whatever_a_worker_says_the_supervisor_goes_on() -> None:
    hear(MESSAGES)


def test_a_supervisor_who_is_surprised_by_a_worker_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actors, "UNREADABLE", msgspec.MsgspecError)
    with pytest.raises(UnicodeDecodeError):
        hear(MESSAGES)


# ── the check itself ────────────────────────────────────────────────────────────────────────────────────────────────────


def goes_on(patch: pytest.MonkeyPatch) -> None:
    """After a refusal it listens for the next frame."""
    patch.setattr(hsm_server._Peer, "closing", property(lambda _: False, lambda *_: None), raising=False)


def skips(patch: pytest.MonkeyPatch) -> None:
    """What is no frame is passed over."""
    feed = FrameReader.feed

    def feeding(self: FrameReader, data: bytes) -> Any:
        try:
            return feed(self, data)
        except frames.FrameError:
            return []

    patch.setattr(FrameReader, "feed", feeding)


def is_surprised(patch: pytest.MonkeyPatch) -> None:
    """By members that are nested too deep."""
    patch.setattr(connection, "UNREADABLE", (msgspec.MsgspecError, UnicodeDecodeError))


def obeys_everybody(patch: pytest.MonkeyPatch) -> None:
    """What the supervisor may say, a peer may say too."""
    answer = hsm_server.Server._answer

    def answering(self: Any, peer: Any, frame_type: FrameType, body: bytes) -> bytes:
        if frame_type is FrameType.CONTROL:
            return format_frame(FrameType.CONTROL_ANSWER, control.encode(control.Done()))
        return answer(self, peer, frame_type, body)

    patch.setattr(hsm_server.Server, "_answer", answering)


def asks_twice(patch: pytest.MonkeyPatch) -> None:
    """A handshake may begin within another one."""
    steps = {**connection._STEPS, (connection._State.CHALLENGED, FrameType.HELLO): connection.Connection._hello}
    patch.setattr(connection, "_STEPS", steps)


HSM_FAULTS: dict[Callable[[pytest.MonkeyPatch], None], str] = {
    goes_on: "not closed",
    skips: "not closed",
    is_surprised: "a refusal of no known kind",
    obeys_everybody: "further than a challenge|not closed",
    asks_twice: "two challenges|not closed",
}


def ask_a_server() -> None:
    running = RunningServer(operational_hsm(), {os.getuid()})
    try:
        whole = hsm_streams(running.hsm.domain.domain_id, HOST_ID)
        asyncio.run(ask(running.path, 3, 600, whole, HSM))
    finally:
        running.stop()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """What is left open is told soon."""
    monkeypatch.setattr(local_streams, "ANSWER_S_MAX", 3.0)
    return monkeypatch


def test_an_hsm_without_a_fault_passes() -> None:
    ask_a_server()


@pytest.mark.parametrize("plant", HSM_FAULTS)
def test_an_hsm_with_a_fault_is_found(
    impatient: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None]
) -> None:
    plant(impatient)
    with pytest.raises(SocketError, match=HSM_FAULTS[plant]):
        ask_a_server()


class AnswersTwice(AdminServer):
    """The line behind the first one, too."""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            writer.write(msgspec.json.encode(await self._answer(0, await reader.readline())) + b"\n")
        writer.close()


class Waits(AdminServer):
    """For more, after its answer."""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(msgspec.json.encode(await self._answer(0, await reader.readline())) + b"\n")
        await reader.read()
        writer.close()


def reads_leniently(line: bytes) -> Any:
    """Of two members with one name, the last."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise admin_server.StrictJsonError from None


def is_surprised_by_depth(line: bytes) -> Any:
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise admin_server.StrictJsonError from None


class Commands:
    """Does nothing, but for what an operator may ask."""

    async def run(self, _uid: int, command: str, arguments: dict[str, Any]) -> Any:
        if command not in local_streams._LOOKS or set(arguments) != set(local_streams._LOOKS[command]):
            raise AdminError("unknown")
        return [command]


def ask_an_admin_server(path: Path, server: type[AdminServer]) -> None:
    async def main() -> None:
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(path))
        listening.listen(100)
        running = server([listening], {os.getuid()}, cast("Any", Commands()))
        running.start()
        try:
            await ask(str(path), 3, 600, admin_streams(), ADMIN)
        finally:
            running.stop()
            # What it still serves ends with its client.
            if serving := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait(serving)

    asyncio.run(main())


def test_an_operators_socket_without_a_fault_passes(tmp_path: Path) -> None:
    ask_an_admin_server(tmp_path / "s", AdminServer)


@pytest.mark.parametrize(("server", "said"), [(AnswersTwice, "not one line"), (Waits, "not closed")])
def test_an_operators_socket_with_a_fault_is_found(
    impatient: pytest.MonkeyPatch, tmp_path: Path, server: type[AdminServer], said: str
) -> None:
    assert impatient
    with pytest.raises(SocketError, match=said):
        ask_an_admin_server(tmp_path / "s", server)


@pytest.mark.parametrize(
    ("read", "said"), [(reads_leniently, "read in two ways"), (is_surprised_by_depth, "not one line")]
)
def test_an_operators_socket_with_another_reader_is_found(
    impatient: pytest.MonkeyPatch, tmp_path: Path, read: Callable[[bytes], Any], said: str
) -> None:
    impatient.setattr(admin_server, "parse_strictly", read)
    with pytest.raises(SocketError, match=said):
        ask_an_admin_server(tmp_path / "s", AdminServer)
