"""The crypto world's parsers, and what stands on the wall between the two worlds.

What a hostile service host can send, a man in between, or whoever writes to the store: frames, commands inside a session,
tokens, blobs, the domain token and the recovery bundle. Nothing of it may end in INTERNAL, which is what the HSM answers
when it was surprised.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final, get_args, get_type_hints

import msgspec

from hostile.case import Case, require
from strongroom.boundary import control, domain_token, messages, recovery_bundle, session
from strongroom.boundary.blob import BlobError, parse_hbkid
from strongroom.boundary.frames import FrameError, FrameReader, FrameType, format_frame
from strongroom.boundary.statuses import RefusedError, Status
from strongroom.hsm.arena import Region
from strongroom.hsm.domain import recovery
from strongroom.hsm.domain import token as domain_tokens
from strongroom.hsm.module import ModuleState
from strongroom.hsm.vault import token as tokens
from strongroom.hsm.vault.backing_key import open_backing_key
from strongroom.hsm.vault.ring import Ring
from strongroom.hsm.vault.sealed_values import ColumnMetadata, open_column, open_session
from testkit.module import ACCOUNT, KEY_ID, REGION, Hsm, operational_hsm

Frames = list[tuple[FrameType, bytes]]
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_KEY_NAME: Final = b"k" * 16
_TYPES: Final = frozenset(FrameType)


def _region() -> Region:
    return Region(memoryview(bytearray(16 * 1024)))


def _refusal(act: Callable[[], object]) -> Status:
    """Why an act was refused; SUCCESS if it was not."""
    try:
        act()
    except RefusedError as refused:
        require(refused.status not in {Status.SUCCESS, Status.INTERNAL}, refused)
        return refused.status
    return Status.SUCCESS


# ── frames ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def frames() -> Case:
    """A stream gives the same frames however it is cut into reads, and those that its table of bytes says."""

    def check(data: bytes) -> None:
        step = len(data) % 7 + 1
        expected = _by_the_table(data)
        require(_fed([data]) == expected, "at once")
        pieces = [data[at : at + step] for at in range(0, len(data), step)]
        require(_fed(pieces) == expected, f"in pieces of {step}")

    bodies = [b"", b"x", bytes(300), session.encode(session.Open(b"token", bytes(32)))]
    single = [format_frame(frame_type, body) for frame_type in FrameType for body in bodies[:3]]
    return Case([*single, b"".join(single[:9]), b"".join(single)[:-7]], check, bytes_max=1024)


def _fed(pieces: list[bytes]) -> Frames | None:
    reader, found = FrameReader(), Frames()
    try:
        for piece in pieces:
            found += reader.feed(piece)
    except FrameError:
        return None
    require(len(reader._pending) < 4 + (1 << 20), "more is held than one frame")
    require(b"".join(format_frame(*frame) for frame in found) + reader._pending == b"".join(pieces), "other bytes")
    return found


def _by_the_table(data: bytes) -> Frames | None:
    """What the stream holds; None where it breaks the table."""
    found = Frames()
    while len(data) >= 4:
        length = int.from_bytes(data[:4], "big")
        if length == 0 or length > 1024 * 1024:
            return None
        if len(data) < 4 + length:
            break
        if data[4] not in {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14}:
            return None
        found.append((FrameType(data[4]), data[5 : 4 + length]))
        data = data[4 + length :]
    return found


# ── codec ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _same(decode: Callable[[bytes], Any], data: bytes) -> None:
    try:
        message = decode(data)
    except _UNREADABLE:
        return
    require(decode(messages.encode_message(message)) == message, message)


_HANDSHAKE: Final = (session.Hello, session.Challenge, session.Finish, session.Grant, session.Open, session.Opened)
_DECODE_HANDSHAKE: Final = [msgspec.msgpack.Decoder(message).decode for message in _HANDSHAKE]
# A function each: the decoders are compiled, and so coverage tells them apart.
_MESSAGES: Final[tuple[Callable[[bytes], None], ...]] = (
    lambda data: _same(messages.decode_command_frame, data),
    lambda data: _same(messages.decode_answer_frame, data),
    lambda data: _same(control.decode_command, data),
    lambda data: _same(control.decode_answer, data),
    lambda data: _same(domain_token._decode_state, data),
    lambda data: _same(_DECODE_HANDSHAKE[0], data),
    lambda data: _same(_DECODE_HANDSHAKE[1], data),
    lambda data: _same(_DECODE_HANDSHAKE[2], data),
    lambda data: _same(_DECODE_HANDSHAKE[3], data),
    lambda data: _same(_DECODE_HANDSHAKE[4], data),
    lambda data: _same(_DECODE_HANDSHAKE[5], data),
)


def codec() -> Case:
    """What decodes is the same after it was encoded again; the first byte chooses as what."""

    def check(data: bytes) -> None:
        if data:
            _MESSAGES[data[0] % len(_MESSAGES)](data[1:])

    hsm = operational_hsm()
    frames = _command_frames(hsm)[:-1]
    answers = messages.AnswerFrame([messages.RefusedAnswer(1, 2), messages.DataKeyAnswer(2, b"blob", None)], [])
    said: list[tuple[int, Any]] = [
        (1, answers),
        (2, control.CreateDomain("n", REGION, "h", bytes(97), 3, 2)),
        (3, hsm.module.report()),
        (4, hsm.domain),
        (5, session.Hello(hsm.domain.domain_id, "kms-host-1", bytes(97), bytes(32))),
        (6, session.Challenge("hsm-1", 1, bytes(97), bytes(32))),
        (7, session.Finish(bytes(104))),
        (8, session.Grant(bytes(48), b"token", 900, bytes(104))),
        (9, session.Open(b"token", bytes(32))),
        (10, session.Opened("hsm-1", bytes(32))),
    ]
    encoded = [bytes((number,)) + messages.encode_message(message) for number, message in said]
    return Case([*encoded, *(b"\0" + frame for frame in frames), *map(_with_more, encoded)], check)


def _with_more(said: bytes) -> bytes:
    """A choice and an array, with a member more than it has: nested deeper than any reader goes, one byte a level."""
    return said[:1] + bytes((said[1] + 1,)) + said[2:] + b"\x91" * 2000


def _command_frames(hsm: Hsm) -> list[bytes]:
    """Every command, alone and together, with a key that opens."""
    peer = hsm.open_peer()
    key = hsm.generate_key(peer)
    context = {"purpose": "fuzzing"}
    (encrypted,) = peer.ask(messages.Encrypt(1, 0, b"plaintext", context), keys=(key,))
    (sealed,) = peer.ask(messages.SealColumn(1, "access_keys", "row", b"value"))
    blob, value = encrypted.blob, sealed.sealed  # type: ignore[union-attr]
    commands: list[messages.Command] = [
        messages.GenerateHbk(1, KEY_ID, ACCOUNT, REGION, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"),
        messages.GenerateDataKey(2, 0, 32, context, with_plaintext=True),
        messages.Encrypt(3, 0, b"plaintext", context),
        messages.Decrypt(4, 0, blob, context),
        messages.ReEncrypt(5, 0, 0, blob, context, {}),
        messages.GenerateRandom(6, 16),
        messages.SealColumn(7, "access_keys", "row", b"value"),
        messages.UnsealColumn(8, "access_keys", "row", value),
        messages.SignAuditHead(9, bytes(48)),
        messages.GetHsmStatus(10),
        messages.VerifyHbk(11, 0),
    ]
    alone = [messages.CommandFrame(True, [key], [command]) for command in commands]
    together = messages.CommandFrame(False, [key, key], commands)
    full = messages.CommandFrame(False, [], [messages.GenerateRandom(number, 8) for number in range(64)])
    return [messages.encode_message(frame) for frame in (*alone, together, full)]


# ── inside a session, and on its way to one ─────────────────────────────────────────────────────────────────────────────


def commands() -> Case:
    """Whatever a session's owner sends, each command gets an answer of its own, in order, and the module stays well.

    An even first byte: the rest is a frame. An odd one: the rest fills the members of commands, which so are well-formed.
    """
    hsm = operational_hsm()
    module = hsm.module
    key = hsm.generate_key(hsm.open_peer())

    def check(data: bytes) -> None:
        composed = data[:1] and data[0] % 2
        check_frame(_composed(data[1:], [key]) if composed else data[1:])

    def check_frame(data: bytes) -> None:
        answered: list[bytes] = []
        status = _refusal(lambda: answered.append(module.execute(data)))
        require(module.state is ModuleState.OPERATIONAL, module.state)
        require(hsm.arena._scratch.used == 0, "scratch is left over")
        if status is not Status.SUCCESS:
            require(status is Status.MALFORMED, status)
            return
        asked = messages.decode_command_frame(data).commands
        answers = messages.decode_answer_frame(answered[0]).answers
        require([answer.request_id for answer in answers] == [command.request_id for command in asked], answers)
        require(len(answers) <= messages.COMMANDS_PER_FRAME_MAX, len(answers))
        for command, answer in zip(asked, answers, strict=True):
            surprised = isinstance(answer, messages.RefusedAnswer) and answer.status == Status.INTERNAL
            require(not surprised, command)

    members = [bytes((1, number)) + bytes(range(40)) * 3 for number in range(len(_COMMANDS))]
    seeds = [b"\0" + frame for frame in _command_frames(hsm)]
    return Case([*seeds, _with_more(seeds[0]), *members], check)


_COMMANDS: Final = get_args(messages.Command)


def _composed(data: bytes, keys: list[messages.KeyBinding]) -> bytes:
    """A frame of well-formed commands whose members are what the data says, one after the other."""

    def take(length: int) -> bytes:
        nonlocal data
        taken, data = data[:length], data[length:]
        return taken

    def length() -> int:
        # Most are short, and some as long as a limit.
        return int.from_bytes(take(1)) * (33 if data[:1] > b"\xe0" else 1)

    def text() -> str:
        return take(length()).decode("utf-8", "replace")

    makers: dict[object, Callable[[], Any]] = {
        int: lambda: int.from_bytes(take(8 if take(1) > b"\xf0" else 1), signed=True),
        str: text,
        bytes: lambda: take(length()) * (1 + (data[:1] > b"\xf0") * 40),
        bool: lambda: take(1) > b"\x7f",
        dict[str, str]: lambda: {text(): text() for _ in range(int.from_bytes(take(1)) % 8)},
    }
    asked = []
    while data and len(asked) < 70:
        command = _COMMANDS[take(1)[0] % len(_COMMANDS)]
        members = [makers[hint]() for hint in get_type_hints(command).values()]
        asked.append(command(*members))
    return messages.encode_message(messages.CommandFrame(len(asked) % 2 == 0, keys, asked))


def session_frames() -> Case:
    """Frames of a stranger open nothing, whatever was said before; the first byte chooses what was, the second the type."""
    hsm = operational_hsm()
    open_peer = hsm.open_peer()
    hello = open_peer.new_handshake().hello()

    def check(data: bytes) -> None:
        if len(data) < 2:
            return
        state, number, body = data[0] % 3, data[1] % 16, data[2:]
        if number not in _TYPES:
            return
        peer = open_peer if state == 2 else hsm.connect()
        if state == 1:
            peer.send(FrameType.HELLO, hello, FrameType.CHALLENGE)
        before = peer.connection.counter
        status = _refusal(lambda: peer.connection.handle(FrameType(number), body))
        if status is Status.SUCCESS:
            require(state == 0 and number == FrameType.HELLO, (state, number))
        require(peer.connection.counter == before, "a counter moved")
        require(hsm.module.state is ModuleState.OPERATIONAL, hsm.module.state)
        if state != 2:
            peer.connection.close()

    granted = open_peer.hsm.connect().handshake()
    opening = session.encode(session.Open(granted.token, bytes(31)))  # One byte short: it must not open.
    foreign = hsm.open_peer().seal(messages.GenerateRandom(7, 16))  # Of another session; nothing near it opens here.
    said = [(0, FrameType.HELLO, hello), (1, FrameType.FINISH, session.encode(session.Finish(bytes(104))))]
    said += [(0, FrameType.OPEN, opening), (2, FrameType.COMMANDS, foreign), (2, FrameType.HELLO, hello)]
    seeds = [bytes((state, number)) + body for state, number, body in said]
    return Case([*seeds, *(seed[:1] + _with_more(seed[1:]) for seed in seeds[:3])], check)


# ── tokens and blobs ────────────────────────────────────────────────────────────────────────────────────────────────────


def key_tokens() -> Case:
    """A token opens as what it was sealed as, or not at all; and metadata that the seal vouches for may say anything.

    An even first byte: the rest is a token. An odd one: the rest is the metadata of a token that is sealed here, by whoever
    has the domain key.
    """
    ring = Ring([(_KEY_NAME, memoryview(bytes(range(32))))])
    real = [
        (kind, tokens.seal_token(ring, kind, b"metadata", b"secret" * 8, os.urandom(12))) for kind in tokens.TokenType
    ]
    metadata = messages.encode_message
    named = [metadata((b"domain", "host", 1 << 40)), metadata((b"domain", "column", "row"))]
    named.append(metadata((b"domain", KEY_ID, ACCOUNT, REGION, bytes(32), "SYMMETRIC_DEFAULT", "usage", "AWS_KMS", 1)))
    named += [_with_more(b"\x01" + said)[1:] for said in named]

    def check(data: bytes) -> None:
        if data[:1] and data[0] % 2:
            _check_sealed_metadata(ring, data[1:])
            return
        token = data[1:]
        for kind in tokens.TokenType:
            region = _region()
            status = _refusal(lambda kind=kind, region=region: tokens.open_token(ring, kind, token, region))  # type: ignore[misc]
            require((status is Status.SUCCESS) == ((kind, token) in real), (kind, status))
            require(status in {Status.SUCCESS, Status.TOKEN_INVALID, Status.UNKNOWN_DOMAIN_KEY}, status)
            require(status is Status.SUCCESS or region.used == 0, "a refused token took room")

    return Case([*(b"\0" + token for _, token in real), *(b"\x01" + said for said in named)], check)


def _check_sealed_metadata(ring: Ring, metadata: bytes) -> None:
    if len(metadata) > 0xFFFF:
        return
    sealed = {kind: tokens.seal_token(ring, kind, metadata, bytes(32), bytes(12)) for kind in tokens.TokenType}
    column = ColumnMetadata(b"domain", "column", "row")
    acts: list[Callable[[], object]] = [
        lambda: open_session(ring, _region(), sealed[tokens.TokenType.SESSION], b"domain", 1.0),
        lambda: open_column(ring, _region(), column, sealed[tokens.TokenType.COLUMN]),
        lambda: open_backing_key(ring, _region(), sealed[tokens.TokenType.HBK]),
    ]
    for act in acts:
        try:
            _refusal(act)
        except _UNREADABLE:  # `Connection.handle` and `Module._answer` make MALFORMED and INTERNAL of it.
            continue


def blobs() -> Case:
    """A blob that nobody made decrypts to nothing."""
    hsm = operational_hsm()
    peer = hsm.open_peer()
    key = hsm.generate_key(peer)
    sizes = (1, 32, 4096)
    answers = peer.ask(*(messages.Encrypt(size, 0, bytes(size), {}) for size in sizes), keys=(key,))
    real = {answer.blob for answer in answers if isinstance(answer, messages.CiphertextAnswer)}
    assert len(real) == len(sizes)

    def check(data: bytes) -> None:
        try:
            hbkid = parse_hbkid(data)
        except BlobError:
            hbkid = b""
        require(hbkid == (data[5:37] if data[:5] == b"SRCB\x01" and len(data) > 81 else b""), hbkid)
        frame = messages.CommandFrame(True, [key], [messages.Decrypt(1, 0, data, {})])
        (answer,) = messages.decode_answer_frame(hsm.module.execute(messages.encode_message(frame))).answers
        if isinstance(answer, messages.RefusedAnswer):
            require(answer.status in {Status.INVALID_CIPHERTEXT, Status.DATA_LENGTH}, answer)
            require(data not in real, "a real one is refused")
        else:
            require(data in real, answer)

    return Case(sorted(real), check, bytes_max=messages.BLOB_BYTES_MAX + 16)


# ── the domain's root of trust ──────────────────────────────────────────────────────────────────────────────────────────


def domain_tokens_and_bundles() -> Case:
    """The first byte chooses: a domain token, a recovery bundle, or a share of one; only the real ones open."""
    hsm = operational_hsm()
    created = hsm.created
    assert created is not None
    domain = hsm.module.domain()
    real = domain_token.parse_domain_token(created.domain_token)[0]
    shares = created.shares

    def open_token(data: bytes) -> None:
        members = domain.state.members
        status = _refusal(lambda: domain_tokens.open_domain_token(data, domain.identity, _region(), members))
        require(status in {Status.SUCCESS, Status.AUTHENTICATION_FAILED}, status)
        if status is Status.SUCCESS:
            require(domain_token.parse_domain_token(data)[0] == real, "a forged token opens")

    def open_bundle(data: bytes) -> None:
        status = _refusal(lambda: recovery.open_bundle(data, shares, _region()))
        require(status in {Status.SUCCESS, Status.AUTHENTICATION_FAILED}, status)
        if status is Status.SUCCESS:
            bundle = recovery_bundle.parse_recovery_bundle
            require(bundle(data) == bundle(created.recovery_bundle), "a forged bundle opens")

    def open_share(data: bytes) -> None:
        status = _refusal(lambda: recovery.open_bundle(created.recovery_bundle, [data], _region()))
        require(status in {Status.SUCCESS, Status.AUTHENTICATION_FAILED}, status)

    acts = (open_token, open_bundle, open_share)

    def check(data: bytes) -> None:
        if data:
            acts[data[0] % 3](data[1:])

    seeds = [b"\0" + created.domain_token, b"\x01" + created.recovery_bundle, b"\x02" + shares[0]]
    return Case([*seeds, *map(_with_more, seeds)], check, bytes_max=8192)


CASES: Final[dict[str, Callable[[], Case]]] = {
    "frames": frames,
    "codec": codec,
    "commands": commands,
    "session frames": session_frames,
    "key tokens": key_tokens,
    "blobs": blobs,
    "domain tokens and bundles": domain_tokens_and_bundles,
}
