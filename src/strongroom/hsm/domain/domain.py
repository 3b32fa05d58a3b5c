"""A domain as one of its members holds it, and the three ways to come by one: create, restart, recover.

All three end the same way: a state, a token that carries the ring to every member, and this HSM's own sealed state.
"""

from __future__ import annotations

from typing import Final

from strongroom.boundary.control import CreateDomain, DomainCreated, RecoverDomain
from strongroom.boundary.domain_token import (
    FORMAT,
    SUITE,
    DomainKeyInfo,
    DomainState,
    Operator,
    encode,
    parse_domain_token,
    state_digest,
)
from strongroom.boundary.session import parse_public
from strongroom.boundary.statuses import RefusedError, Status
from strongroom.hsm.arena import Region
from strongroom.hsm.domain.identity import Identity
from strongroom.hsm.domain.recovery import make_bundle, open_bundle
from strongroom.hsm.domain.seal import SALT_BYTES, seal_identity, unseal_identity
from strongroom.hsm.domain.shares import SHARES_MAX
from strongroom.hsm.domain.token import export_domain_token, open_domain_token
from strongroom.hsm.entropy import Entropy
from strongroom.hsm.vault.ring import DOMAIN_KEY_BYTES, DOMAIN_KEY_ID_BYTES, Ring

DOMAIN_ID_BYTES: Final = 16
_SERVICE_HOST: Final = "service-host"


class Domain:
    """State and ring, seen by one member."""

    __slots__ = ("identity", "ring", "state")

    def __init__(self, state: DomainState, ring: Ring, identity: Identity) -> None:
        self.state = state
        self.ring = ring
        self.identity = identity

    def service_host(self, host_id: str) -> Operator:
        """The operator of this id, if it is a service host.

        Raises:
            RefusedError: AUTHENTICATION_FAILED.
        """
        for operator in self.state.operators:
            if operator.operator_id == host_id and operator.role == _SERVICE_HOST:
                return operator
        raise RefusedError(Status.AUTHENTICATION_FAILED)


class DomainMaker:
    """What making a domain needs: where keys go, randomness, the seal's secret and this HSM's name."""

    __slots__ = ("_entropy", "_hsm_id", "_lasting", "_seal_secret")

    def __init__(self, hsm_id: str, lasting: Region, seal_secret: memoryview, entropy: Entropy) -> None:
        self._hsm_id = hsm_id
        self._lasting = lasting
        self._seal_secret = seal_secret
        self._entropy = entropy

    def create(self, command: CreateDomain, now_s: int) -> tuple[Domain, DomainCreated]:
        """A new domain with one domain key, this HSM, one offline member and one service host.

        Raises:
            RefusedError: MALFORMED for shares that cannot be; AUTHENTICATION_FAILED for a host key that is no point.
        """
        if not 1 <= command.shares_needed <= command.shares_total <= SHARES_MAX:
            raise RefusedError(Status.MALFORMED)
        domain_key = self._lasting.take(DOMAIN_KEY_BYTES)
        domain_key[:] = self._entropy.draw(DOMAIN_KEY_BYTES)
        domain_key_id = self._entropy.draw(DOMAIN_KEY_ID_BYTES)
        ring = Ring([(domain_key_id, domain_key)])
        parse_public(command.service_host_public)
        identity = Identity.generate(self._hsm_id, self._lasting)
        offline = Identity.generate(f"{self._hsm_id}-offline-1", self._lasting, offline=True)
        state = DomainState(
            FORMAT,
            SUITE,
            self._entropy.draw(DOMAIN_ID_BYTES),
            command.name,
            command.region,
            1,
            b"",
            now_s,
            [identity.member, offline.member],
            [Operator(command.service_host_id, command.service_host_public, _SERVICE_HOST)],
            [],
            [DomainKeyInfo(domain_key_id, now_s)],
        )
        shares = (command.shares_total, command.shares_needed)
        return self._finish(Domain(state, ring, identity), identity, offline, shares)

    def recover(self, command: RecoverDomain, now_s: int) -> tuple[Domain, DomainCreated]:
        """The domain of a recovery bundle, taken over by this HSM with a new identity and a new bundle.

        The used offline identity leaves the state with this change, and so do all lost members.
        """
        bundle = open_bundle(command.recovery_bundle, command.shares, self._lasting)
        offline = bundle.offline
        old, ring = open_domain_token(command.domain_token, offline, self._lasting, bundle.signers)
        if old.domain_id != bundle.domain_id:
            raise RefusedError(Status.UNKNOWN_DOMAIN)
        parse_public(command.service_host_public)
        version = old.version + 1
        identity = Identity.generate(f"{self._hsm_id}-v{version}", self._lasting)
        successor = Identity.generate(f"{self._hsm_id}-offline-{version}", self._lasting, offline=True)
        token, _ = parse_domain_token(command.domain_token)
        state = DomainState(
            FORMAT,
            SUITE,
            old.domain_id,
            old.name,
            old.region,
            version,
            state_digest(token.state),
            now_s,
            [identity.member, successor.member],
            [Operator(command.service_host_id, command.service_host_public, _SERVICE_HOST)],
            old.rules,
            old.domain_keys,
        )
        made = self._finish(Domain(state, ring, identity), offline, successor, bundle.shares)
        offline.wipe()
        return made

    def restart(self, sealed_state: bytes) -> Domain:
        """The domain of this HSM's own sealed state.

        Raises:
            RefusedError: AUTHENTICATION_FAILED.
        """
        identity, domain_token = unseal_identity(self._seal_secret, sealed_state, self._lasting)
        state, ring = open_domain_token(domain_token, identity, self._lasting, None)
        return Domain(state, ring, identity)

    def _finish(
        self, domain: Domain, signer: Identity, offline: Identity, shares: tuple[int, int]
    ) -> tuple[Domain, DomainCreated]:
        total, needed = shares
        state = domain.state
        domain_token = export_domain_token(state, domain.ring, signer, self._entropy)
        sealed = seal_identity(self._seal_secret, domain.identity, domain_token, self._entropy.draw(SALT_BYTES))
        # Who signed this token, and who may sign the ones that follow it.
        signers = [
            member for member in (signer.member, *state.members) if not member.offline or member == signer.member
        ]
        bundle, parts = make_bundle(offline, state.domain_id, signers, total, needed, self._entropy)
        offline.wipe()
        # What is handed out must open: a state that cannot be reopened is noticed here and not after a power cut.
        mark = self._lasting.used
        assert encode(self.restart(sealed).state) == encode(state)
        self._lasting.rewind(mark)
        return domain, DomainCreated(state.version, sealed, domain_token, bundle, parts)
