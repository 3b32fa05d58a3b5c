"""Streams of bytes on the two sockets that only this machine reaches, and what comes back: the HSM's, and the operators'.

Whoever may connect has a user id of the service or of an operator: so these are the streams of one that has gone bad. Held
against them, of the HSM:

* What comes is frames, whole ones, an answer for each frame that was sent, in order, of the type that answers it.
* A refusal is one byte that is not INTERNAL, and the last; after it, and after what is no frame, the HSM hangs up.
* Nobody without the host's key gets further than a challenge.

Of the operators' socket:

* One line, the first, is answered, by one line: an object with a result or an error. Then the service hangs up.
* A result comes only for a line that is a request in one reading, and what is not asked in it does not happen.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from hostile.asking import ANSWER_S_MAX
from hostile.case import mutated
from strongroom.boundary import control, session
from strongroom.boundary.frames import FrameType, format_frame
from strongroom.boundary.statuses import Status

STREAM_BYTES_MAX: Final = 8192
_CONNECTIONS: Final = 16


class SocketError(AssertionError):
    """Something that no stream may bring about."""


async def ask(path: str, seed: int, streams: int, whole: Sequence[bytes], judge: Judge) -> dict[str, int]:
    """Send that many streams, each made of a whole one by a few changes; how often each kind of answer came.

    Raises:
        SocketError: with the stream.
    """
    random = Random(seed)
    told: dict[str, int] = {}
    limit = asyncio.Semaphore(_CONNECTIONS)
    findings: list[SocketError] = []

    async def one(stream: bytes) -> None:
        async with limit:
            if findings:
                return
            received = b""
            try:
                received, by_itself = await _exchange(path, stream, judge.ends)
                for kind in judge.kinds(stream, received, by_itself=by_itself):
                    told[kind] = told.get(kind, 0) + 1
            except SocketError as error:
                findings.append(SocketError(f"{error}\nsent {stream!r}\ngot {received!r}"))

    for start in range(0, streams, 256):
        batch = [_changed(random, whole) for _ in range(min(256, streams - start))]
        await asyncio.gather(*map(one, filter(judge.may_be_sent, batch)))
        if findings:
            raise findings[0]
    return told


def _changed(random: Random, whole: Sequence[bytes]) -> bytes:
    kind = random.random()
    if kind < 0.05:
        return random.randbytes(random.randrange(600))
    if kind < 0.2:
        return random.choice(whole)
    if kind < 0.3:
        stream = random.choice(whole)
        return stream[: random.randrange(len(stream) + 1)]
    return mutated(random, whole, STREAM_BYTES_MAX)


async def _exchange(path: str, stream: bytes, ends: Callable[[bytes], bool]) -> tuple[bytes, bool]:
    """What came until the other side hung up, and whether it did so before it was told that this was all."""
    reader, writer = await asyncio.open_unix_connection(path)
    received, by_itself = b"", ends(stream)
    try:
        writer.write(stream)
        if not by_itself:
            writer.write_eof()
        async with asyncio.timeout(ANSWER_S_MAX):
            while chunk := await reader.read(1 << 16):
                received += chunk
    except TimeoutError:
        raise SocketError(f"not closed: {stream!r} {received!r}") from None
    except (ConnectionResetError, BrokenPipeError):
        pass
    finally:
        writer.close()
    return received, by_itself


@dataclass(frozen=True)
class Judge:
    """Of one of the two sockets."""

    # Whether the other side must hang up by itself after a stream.
    ends: Callable[[bytes], bool]
    # Raises SocketError, or says of which kinds the answers are.
    kinds: Callable[..., list[str]]
    may_be_sent: Callable[[bytes], bool] = lambda _: True


def _require(holds: object, what: object) -> None:
    if not holds:
        raise SocketError(what)


# ── the HSM's ───────────────────────────────────────────────────────────────────────────────────────────────────────────

# By its number: what answers a frame of this type, when nothing was said before and when a challenge was.
_FRAME_BYTES_MAX: Final = 1 << 20
_TYPES: Final = frozenset((1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14))
_HELLO, _CHALLENGE, _STATUS_REQUEST, _STATUS_REPORT, _REFUSED = 1, 2, 9, 10, 14


def hsm_streams(domain_id: bytes, host_id: str) -> list[bytes]:
    """What a host says, as far as somebody gets who is none."""
    point = session.public_bytes(session.new_ephemeral().public_key())
    hello = format_frame(FrameType.HELLO, session.encode(session.Hello(domain_id, host_id, point, bytes(32))))
    status = format_frame(FrameType.STATUS_REQUEST, b"")
    finish = format_frame(FrameType.FINISH, session.encode(session.Finish(bytes(104))))
    opening = format_frame(FrameType.OPEN, session.encode(session.Open(b"SRTK\x01\x02" + bytes(200), bytes(32))))
    commands = format_frame(FrameType.COMMANDS, bytes(200))
    acknowledged = format_frame(FrameType.CONTROL, control.encode(control.AcknowledgeState(1)))
    nested = format_frame(FrameType.HELLO, b"\x95\xc4\x00\xa1a\xc4\x00\xc4\x00" + b"\x91" * 2000)
    alone = [status, hello, opening, commands, acknowledged, nested]
    return [*alone, status * 5, hello + finish, hello + status + finish, status + hello + commands, hello + hello]


def _frames(stream: bytes) -> tuple[list[int], bool]:
    """The types of a stream's frames, and whether something in it is no frame."""
    types = []
    while len(stream) >= 4:
        length = int.from_bytes(stream[:4], "big")
        if not 1 <= length <= _FRAME_BYTES_MAX:
            return types, True
        if len(stream) < 4 + length:
            break
        if stream[4] not in _TYPES:
            return types, True
        types.append(stream[4])
        stream = stream[4 + length :]
    return types, False


def _hsm_ends(stream: bytes) -> bool:
    """Whether the HSM must hang up: after what is no frame, and after every frame that it only ever refuses."""
    types, broken = _frames(stream)
    return broken or any(number not in {_HELLO, _STATUS_REQUEST} for number in types) or types.count(_HELLO) > 1


def _hsm_kinds(stream: bytes, received: bytes, *, by_itself: bool) -> list[str]:
    asked, broken = _frames(stream)
    answers = []
    while received:
        length = int.from_bytes(received[:4], "big")
        _require(len(received) >= 4 + length > 4, "no whole frame")
        answers.append((received[4], received[5 : 4 + length]))
        received = received[4 + length :]
    # What stands before something that is no frame, and came with it, may be left unanswered.
    is_refused = bool(answers) and answers[-1][0] == _REFUSED
    _require(len(answers) <= len(asked), f"{len(asked)} frames were sent")
    _require(broken or is_refused or len(answers) == len(asked), "a frame was not answered")
    _require(is_refused or broken or not by_itself, "it hung up without a reason")
    challenged = False
    for number, (kind, body) in enumerate(answers):
        if kind == _REFUSED:
            _require(number == len(answers) - 1, "more after a refusal")
            _require(len(body) == 1 and body[0] not in {Status.SUCCESS, Status.INTERNAL}, "a refusal of no known kind")
            _require(asked[number] != _STATUS_REQUEST, "a question for the status was refused")
            continue
        due = {_STATUS_REQUEST: _STATUS_REPORT, _HELLO: _CHALLENGE}.get(asked[number])
        _require(kind == due, "somebody got further than a challenge" if due is None else "another answer")
        _require(not (challenged and kind == _CHALLENGE), "two challenges")
        challenged = challenged or kind == _CHALLENGE
    return [FrameType(kind).name for kind, _ in answers]


HSM: Final = Judge(_hsm_ends, _hsm_kinds)

# ── the operators' ──────────────────────────────────────────────────────────────────────────────────────────────────────

_LINE_BYTES_MAX: Final = 256 * 1024
# What only looks: whatever a change makes of its arguments, nothing happens.
_LOOKS: Final[dict[str, dict[str, str]]] = {
    "status": {},
    "sections": {},
    "list-accounts": {},
    "trace": {"switch": "read"},
    "inspect": {"region": "", "section": "users", "after": "0"},
    "explain": {"principal": "root", "action": "kms:Decrypt", "key": "alias/a", "context": "[]", "region": ""},
}
_HIDDEN: Final = "hidden-by-a-line"


def admin_streams() -> list[bytes]:
    """Requests of operators, and behind each of them another one that nobody may do."""
    hidden = _line("iam", account="", action="CreateUser", form=json.dumps({"UserName": _HIDDEN}))
    lines = [_line(command, **arguments) for command, arguments in _LOOKS.items()]
    forms = ('{"UserName": "nobody"}', '{"UserName": 1}', "[" * 3000)
    lines += [_line("iam", account="", action="GetUser", form=form) for form in forms]
    nested = b'{"command":"status","arguments":{"a":' + b"[" * 3000
    bent = [nested, b'{"command":"\xff"}', b'{"command":"sections","command":"status"}', b'{"command":"\\ud800"}']
    return [line + b"\n" + hidden + b"\n" for line in (*lines, *bent)]


def _line(command: str, **arguments: str) -> bytes:
    return json.dumps({"command": command, "arguments": arguments}).encode()


def _admin_may_be_sent(stream: bytes) -> bool:
    """Not when a change moved what is hidden into the first line, where it is asked."""
    return b"CreateUser" not in stream.partition(b"\n")[0] and _HIDDEN.encode() not in stream.partition(b"\n")[0]


def _admin_kinds(stream: bytes, received: bytes, *, by_itself: bool) -> list[str]:
    line = stream.partition(b"\n")[0]
    _require(received.endswith(b"\n") and received.count(b"\n") == 1, "not one line")
    said = json.loads(received)
    _require(isinstance(said, dict) and len(said) == 1 and said.keys() <= {"result", "error"}, "neither of the two")
    if "error" in said:
        _require(isinstance(said["error"], str) and said["error"], "an error without a word")
        return ["not a request" if said["error"] == "not a request" else "error"]
    asked = json.loads(line.decode(), object_pairs_hook=_once)
    _require(isinstance(asked, dict) and asked.keys() <= {"command", "arguments"}, "a request with a member more")
    command, arguments = asked["command"], asked.get("arguments", {})
    _require(command in {*_LOOKS, "iam"}, "a result of something else")
    _require(all(isinstance(value, str) for value in arguments.values()), "an argument that is no text")
    return [command]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _require(len(dict(pairs)) == len(pairs), "a request that can be read in two ways")
    return dict(pairs)


# It hangs up after its answer, and a line that has no end is answered when the stream ends.
ADMIN: Final = Judge(lambda stream: b"\n" in stream, _admin_kinds, _admin_may_be_sent)
