"""Frames that an attacker between the service and the HSM can make, without any key."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

from strongroom.boundary import session
from strongroom.boundary.frames import FrameReader, FrameType
from strongroom.boundary.messages import CommandFrame, GenerateRandom, encode_message
from strongroom.boundary.statuses import Status
from testkit.module import Hsm, Peer, status_of_refusal

PLAINTEXT = encode_message(CommandFrame(False, [], [GenerateRandom(7, 16)]))


def sealed_at(peer: Peer, counter: int, frame_type: FrameType = FrameType.COMMANDS) -> bytes:
    """What the honest host would send as its frame number `counter`."""
    direction = session.Direction()
    direction._counter = counter
    return direction.seal(peer.keys[0], frame_type, PLAINTEXT)


class Attacker:
    """Holds an open connection to attack, others to take frames from, and everything that ever went over the wire."""

    def __init__(self, hsm: Hsm, seed: int) -> None:
        self.random = random.Random(seed)
        token = hsm.connect().handshake()
        self.target = hsm.connect().open(token)
        self.same_session = hsm.connect().open(token)
        self.other_session = hsm.open_peer()
        self.accepted_frames: list[bytes] = []
        self.answers: list[bytes] = []
        for _ in range(8):
            self.honest()
        self.attacks: dict[str, Callable[[], bytes]] = {
            "replayed": self.replayed,
            "reordered": self.reordered,
            "truncated": self.truncated,
            "extended": self.extended,
            "bit-flipped": self.flipped,
            "from another connection of the session": lambda: sealed_at(self.same_session, self.counter),
            "from another session": lambda: sealed_at(self.other_session, self.counter),
            "from the other direction": lambda: self.random.choice(self.answers),
            "of another type": self.of_another_type,
            "noise": lambda: self.random.randbytes(self.random.randrange(200)),
        }

    @property
    def counter(self) -> int:
        return self.target.connection.counter

    def honest(self) -> None:
        """One frame as the host sends it; it must be accepted, whatever was refused before."""
        sealed = sealed_at(self.target, self.counter)
        ((_, answer),) = FrameReader().feed(self.target.connection.handle(FrameType.COMMANDS, sealed))
        self.accepted_frames.append(sealed)
        self.answers.append(answer)

    def replayed(self) -> bytes:
        return self.random.choice(self.accepted_frames)

    def reordered(self) -> bytes:
        return sealed_at(self.target, self.counter + self.random.randrange(1, 5))

    def truncated(self) -> bytes:
        sealed = sealed_at(self.target, self.counter)
        cut = self.random.randrange(len(sealed))
        return sealed[:cut] if self.random.random() < 0.8 else sealed[cut + 1 :]

    def extended(self) -> bytes:
        more = self.random.randbytes(self.random.randrange(1, 20))
        sealed = sealed_at(self.target, self.counter)
        return sealed + more if self.random.random() < 0.5 else more + sealed

    def flipped(self) -> bytes:
        sealed = bytearray(sealed_at(self.target, self.counter))
        for bit in self.random.sample(range(len(sealed) * 8), self.random.choice((1, 1, 1, 2, 5))):
            sealed[bit // 8] ^= 1 << bit % 8
        return bytes(sealed)

    def of_another_type(self) -> bytes:
        others = [frame_type for frame_type in FrameType if frame_type is not FrameType.COMMANDS]
        return sealed_at(self.target, self.counter, self.random.choice(others))

    def run(self, frames: int) -> Counter[str]:
        """Try that many; says how often each kind was tried.

        Raises:
            AssertionError: one was accepted, moved a counter, or kept an honest frame from being accepted.
        """
        tried: Counter[str] = Counter()
        names = list(self.attacks)
        for number in range(frames):
            name = names[number % len(names)]
            before = self.counter
            status = status_of_refusal(self.target, FrameType.COMMANDS, self.attacks[name]())
            assert status is Status.AUTHENTICATION_FAILED, (number, name, status)
            assert self.counter == before == self.target.connection._outbound.counter, (number, name)
            tried[name] += 1
            if number % 97 == 0:
                self.honest()
        return tried
