"""The supervisor's side of the HSM's control channel: first start, restart, recovery.

1. ask for the state, 2. make or recover the domain if there is none, 3. store what the HSM returned: for people, for
everybody, for itself (twice), in this order, and note that the domain is in use, 4. acknowledge. The HSM wraps nothing
before 4, so a crash in between loses nothing: a domain whose sealed state was not stored never had a key.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from strongroom.boundary import control
from strongroom.boundary.frames import FrameReader, FrameType, format_frame
from strongroom.boundary.statuses import Status
from strongroom.supervisor.home import Home, HomeError, RegionHome, write_durably

ANSWER_S_MAX: Final = 20.0
_SEAL_SECRET_BYTES: Final = 32
SERVICE_HOST: Final = "service-1"
_ADVICE: Final = "put hsm/ and seal/ back, or run `strongroom restore` with the recovery bundle"


class ControlChannel:
    """Request and answer with one HSM."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        sock.settimeout(ANSWER_S_MAX)
        self._reader = FrameReader()

    def ask(self, command: control.ControlCommand) -> control.ControlAnswer:
        """The HSM's answer.

        Raises:
            HomeError: it refused, hung up, or is silent.
        """
        try:
            self._socket.sendall(format_frame(FrameType.CONTROL, control.encode(command)))
            answer = self._answer()
        except TimeoutError:
            raise HomeError("the HSM does not answer") from None
        except ConnectionError:
            raise HomeError(
                f"the HSM ended during its start, its own words are above; if its state is bad: {_ADVICE}"
            ) from None
        if isinstance(answer, control.ControlRefused):
            raise HomeError(f"the HSM refused {type(command).__name__}: {Status(answer.status).name}")
        return answer

    def _answer(self) -> control.ControlAnswer:
        while data := self._socket.recv(1 << 16):
            for _, body in self._reader.feed(data):
                answer: control.ControlAnswer = control.decode_answer(body)
                return answer
        raise ConnectionResetError

    def close(self) -> None:
        self._socket.close()


def require_nothing_lost(place: RegionHome, hsm_id: str, *, was_made: bool = False) -> None:
    """Before anything is made anew: a new seal would not open the old state, a new domain not the old keys.

    `was_made` says that the home lists this region, so that something depended on it whatever is left.

    Raises:
        HomeError: the seal's secret, both copies of the sealed state or the store are gone, and something depended on
            them.
    """
    has_state = any(path.exists() for path in place.sealed_states(hsm_id))
    if not place.seal_secret.exists() and (has_state or place.store.exists()):
        raise HomeError(f"{place.seal_secret} is gone, and nothing else opens the HSM's sealed state: {_ADVICE}")
    if not has_state and (was_made or place.store.exists() or place.domain_note.exists()):
        raise HomeError(_lost_state(place))
    if place.store_note.exists() and not place.store.exists():
        raise HomeError(
            f"{place.store} is gone, and with it every key's record: put {place.store.parent.name}/ back from a backup "
            f"(to begin with an empty store instead, delete {place.store_note})"
        )


def _lost_state(place: RegionHome) -> str:
    return f"the HSM's sealed state is gone, but {place.base} holds a domain and its keys: {_ADVICE}"


def make_seal_secret(place: RegionHome, owner: int) -> None:
    """The local secret of the seal, once."""
    if not place.seal_secret.exists():
        write_durably(place.seal_secret, os.urandom(_SEAL_SECRET_BYTES), 0o400, owner)


def service_host_public(home: Home, owner: int) -> bytes:
    """The service host's public key; the key pair is made at the first start."""
    if not home.identity_key.exists():
        private = ec.generate_private_key(ec.SECP384R1())
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_durably(home.identity_key, pem, 0o400, owner)
    private_key = load_pem_private_key(home.identity_key.read_bytes(), None)
    return private_key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def bring_up(channel: ControlChannel, place: RegionHome, hsm_id: str, region: str, host_public: bytes) -> list[Path]:
    """Make the HSM operational; the files that people should take away, if any were written.

    Raises:
        HomeError: it refused, or it has lost its state while the home still has a domain.
    """
    report = channel.ask(control.ReportStatus())
    assert isinstance(report, control.StatusReport)
    if report.state == "OPERATIONAL":
        return []
    if place.store.exists() or place.domain_note.exists():
        raise HomeError(_lost_state(place))
    created = channel.ask(control.CreateDomain("strongroom", region, SERVICE_HOST, host_public, 1, 1))
    return _keep(channel, place, hsm_id, created)


def recover(
    channel: ControlChannel,
    place: RegionHome,
    hsm_id: str,
    bundle: bytes,
    shares: list[bytes],
    token: bytes,
    host_public: bytes,
) -> list[Path]:
    """Make the HSM the member of a domain that was lost; new files for people."""
    answer = channel.ask(control.RecoverDomain(bundle, shares, token, SERVICE_HOST, host_public))
    return _keep(channel, place, hsm_id, answer)


def _keep(channel: ControlChannel, place: RegionHome, hsm_id: str, answer: control.ControlAnswer) -> list[Path]:
    assert isinstance(answer, control.DomainCreated)
    version = answer.version
    bundle = place.recovery / f"recovery-bundle-{version:06d}"
    shares = [place.recovery / f"recovery-share-{version:06d}-{at}" for at in range(1, len(answer.shares) + 1)]
    write_durably(bundle, answer.recovery_bundle, 0o600)
    for path, share in zip(shares, answer.shares, strict=True):
        write_durably(path, share, 0o600)
    write_durably(place.domain_token(version), answer.domain_token, 0o644)
    for path in place.sealed_states(hsm_id):
        write_durably(path, answer.sealed_state, 0o644)
    # Before the acknowledgement: a domain that may have sealed anything is never replaced by a new one.
    place.note_domain()
    channel.ask(control.AcknowledgeState(version))
    return [bundle, *shares]
