"""The real HSM module in this process, with a domain, a clock that the test sets, and a client without sockets.

The client is the service's own half of the protocol (`kms.hsm_link.host_session`, `boundary.session`) on a real
`hsm.connection.Connection`. The process-wide check of the battery (is this process undumpable?) is taken out from outside,
because a test runner is not an HSM; everything else is the product.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from strongroom.boundary import control, session
from strongroom.boundary.domain_token import DomainState, parse_domain_token
from strongroom.boundary.frames import FrameReader, FrameType
from strongroom.boundary.messages import (
    Answer,
    AnswerFrame,
    Command,
    CommandFrame,
    GenerateHbk,
    HbkAnswer,
    KeyBinding,
    RefusedAnswer,
    decode_answer_frame,
    encode_message,
)
from strongroom.boundary.statuses import RefusedError, Status
from strongroom.hsm.arena import Arena
from strongroom.hsm.connection import Connection
from strongroom.hsm.domain.domain import DomainMaker
from strongroom.hsm.domain.seal import SECRET_BYTES
from strongroom.hsm.entropy import Entropy
from strongroom.hsm.module import Module
from strongroom.hsm.vault.backing_key import EktMetadata, hbkid_of, seal_backing_key
from strongroom.kms.hsm_link.host_session import Handshake, HostIdentity, HostSession

HOST_ID = "kms-host-1"
ACCOUNT = "000000000000"
REGION = "us-east-1"
KEY_ID = "0e5f2d9c-1111-4222-8333-444455556666"
SEAL_SECRET = bytes(range(1, 33))
START_S = 1_700_000_000.0

_decode_opened = msgspec.msgpack.Decoder(session.Opened).decode


@dataclass
class Clock:
    """Stands still until the test moves it."""

    now_s: float = START_S

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Hsm:
    """A powered-on module; `create_domain` makes it operational, as `operational_hsm` does at once."""

    hsm_id: str = "hsm-1"
    seal_secret: bytes = SEAL_SECRET
    sealed_states: tuple[bytes, ...] = ()
    clock: Clock = field(default_factory=Clock)
    host: HostIdentity = field(default_factory=lambda: HostIdentity(HOST_ID, session.new_ephemeral()))
    created: control.DomainCreated | None = None

    def __post_init__(self) -> None:
        self.arena = Arena()
        secret = self.arena.lasting.take(SECRET_BYTES)
        secret[:] = self.seal_secret
        self.entropy = Entropy()
        self.maker = DomainMaker(self.hsm_id, self.arena.lasting, secret, self.entropy)
        self.module = Module(self.arena, self.entropy, self.clock, self.maker, self.hsm_id)
        self.module._battery = (self.arena.canaries_intact,)
        self.module.power_on(list(self.sealed_states))

    # ── control ─────────────────────────────────────────────────────────────────────────────────────────────────

    def control(self, command: control.ControlCommand) -> control.ControlAnswer:
        return control.decode_answer(self.module.answer_control(control.encode(command)))

    def create_domain(self, shares: tuple[int, int] = (1, 1), *, acknowledge: bool = True) -> control.DomainCreated:
        total, needed = shares
        point = session.public_bytes(self.host.private.public_key())
        answer = self.control(control.CreateDomain("primary", REGION, HOST_ID, point, total, needed))
        assert isinstance(answer, control.DomainCreated), answer
        self.created = answer
        if acknowledge:
            self.acknowledge()
        return answer

    def recover_domain(
        self, bundle: bytes, shares: list[bytes], domain_token: bytes
    ) -> control.DomainCreated | control.ControlRefused:
        point = session.public_bytes(self.host.private.public_key())
        answer = self.control(control.RecoverDomain(bundle, shares, domain_token, HOST_ID, point))
        assert isinstance(answer, control.DomainCreated | control.ControlRefused)
        if isinstance(answer, control.DomainCreated):
            self.created = answer
        return answer

    def acknowledge(self) -> None:
        assert self.created is not None
        assert self.control(control.AcknowledgeState(self.created.version)) == control.Done()

    def restart(self, *sealed_states: bytes, **changes: Any) -> Hsm:
        """Another process of this HSM, started from sealed states: this one's own unless others are given."""
        assert self.created is not None
        states = sealed_states or (self.created.sealed_state,)
        settings: dict[str, Any] = {"hsm_id": self.hsm_id, "seal_secret": self.seal_secret, **changes}
        return Hsm(sealed_states=states, clock=self.clock, host=self.host, created=self.created, **settings)

    # ── what only a test may look at ────────────────────────────────────────────────────────────────────────────

    @property
    def domain(self) -> DomainState:
        """The public state, as the service reads it from the domain token."""
        assert self.created is not None
        return parse_domain_token(self.created.domain_token)[1]

    @property
    def domain_keys(self) -> dict[bytes, bytes]:
        return {key_id: bytes(view) for key_id, view in self.module.domain().ring.items()}

    def import_key(self, material: bytes, key_id: str = KEY_ID, **changes: Any) -> KeyBinding:
        """A backing key whose bytes the test knows, sealed by the vault itself under the real domain key."""
        domain = self.module.domain()
        spec = changes.get("spec", "SYMMETRIC_DEFAULT")
        named = EktMetadata(
            domain.state.domain_id, key_id, ACCOUNT, REGION, b"", spec, "ENCRYPT_DECRYPT", "AWS_KMS", int(START_S)
        )
        hbkid = hbkid_of(memoryview(material), key_id, spec)
        metadata = msgspec.structs.replace(named, **{"hbkid": hbkid, **changes})
        ekt = seal_backing_key(domain.ring, metadata, memoryview(material), os.urandom(12))
        return binding_of(ekt, metadata)

    # ── sessions ────────────────────────────────────────────────────────────────────────────────────────────────

    def connect(self) -> Peer:
        return Peer(self)

    def open_peer(self) -> Peer:
        """Handshake on one connection, session on another, as the service does."""
        return self.connect().open(self.connect().handshake())

    def generate_key(self, peer: Peer, key_id: str = KEY_ID) -> KeyBinding:
        command = GenerateHbk(1, key_id, ACCOUNT, REGION, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")
        (answer,) = peer.ask(command)
        assert isinstance(answer, HbkAnswer), answer
        return KeyBinding(
            answer.ekt, key_id, ACCOUNT, REGION, answer.hbkid, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", current=True
        )


def operational_hsm(**settings: Any) -> Hsm:
    hsm = Hsm(**settings)
    hsm.create_domain()
    return hsm


def binding_of(ekt: bytes, metadata: EktMetadata, *, current: bool = True) -> KeyBinding:
    """What the service's record would say if the record and the token agreed."""
    return KeyBinding(
        *(ekt, metadata.key_id, metadata.account, metadata.region, metadata.hbkid),
        *(metadata.spec, metadata.usage, current),
    )


class Peer:
    """One connection and the host's half of whatever happens on it."""

    def __init__(self, hsm: Hsm) -> None:
        self.hsm = hsm
        self.connection = Connection(hsm.module)
        self.keys = (b"", b"")
        self.outbound = session.Direction()
        self.inbound = session.Direction()

    def send(self, frame_type: FrameType, body: bytes, expected: FrameType) -> bytes:
        """The body of the one frame that comes back."""
        ((answer_type, answer),) = FrameReader().feed(self.connection.handle(frame_type, body))
        assert answer_type is expected
        return answer

    def new_handshake(self, identity: HostIdentity | None = None, domain: DomainState | None = None) -> Handshake:
        return Handshake(identity or self.hsm.host, domain or self.hsm.domain, os.urandom)

    def handshake(self, identity: HostIdentity | None = None, domain: DomainState | None = None) -> HostSession:
        handshake = self.new_handshake(identity, domain)
        challenge = self.send(FrameType.HELLO, handshake.hello(), FrameType.CHALLENGE)
        grant = self.send(FrameType.FINISH, handshake.finish(challenge), FrameType.GRANT)
        return handshake.accept(grant, self.hsm.clock())

    def open(self, host_session: HostSession, host_id: str = HOST_ID) -> Peer:
        opening = session.Open(host_session.token, os.urandom(session.RANDOM_BYTES))
        opened = _decode_opened(self.send(FrameType.OPEN, session.encode(opening), FrameType.OPENED))
        self.keys = session.direction_keys(host_session.key.expose(), opening, opened, host_id)
        return self

    def seal(self, *commands: Command, keys: tuple[KeyBinding, ...] = (), trace: bool = False) -> bytes:
        """The body of a COMMANDS frame; uses up one number of the outbound counter."""
        plaintext = encode_message(CommandFrame(trace, list(keys), list(commands)))
        return self.outbound.seal(self.keys[0], FrameType.COMMANDS, plaintext)

    def exchange(self, sealed: bytes) -> AnswerFrame:
        answer = self.send(FrameType.COMMANDS, sealed, FrameType.ANSWERS)
        return decode_answer_frame(self.inbound.open(self.keys[1], FrameType.ANSWERS, answer))

    def ask(self, *commands: Command, keys: tuple[KeyBinding, ...] = ()) -> list[Answer]:
        return self.exchange(self.seal(*commands, keys=keys)).answers

    def status_of(self, command: Command, *keys: KeyBinding) -> Status:
        """SUCCESS, or why the one command was refused."""
        (answer,) = self.ask(command, keys=keys)
        return Status(answer.status) if isinstance(answer, RefusedAnswer) else Status.SUCCESS


def status_of_refusal(peer: Peer, frame_type: FrameType, body: bytes) -> Status:
    """The status with which a frame is refused; SUCCESS if it was taken."""
    try:
        peer.connection.handle(frame_type, body)
    except RefusedError as refused:
        return refused.status
    return Status.SUCCESS


def public_of(private: ec.EllipticCurvePrivateKey) -> bytes:
    return session.public_bytes(private.public_key())
