"""Who an access key id is: unsealed once per key and worker, kept until an identity changes.

A permanent key's secret is sealed by the HSM for the column and row it stands in, a temporary key's for its id and claims
(`identities/session_tokens.py`). It is in plain form here only while its key is in use, because verifying a signature needs
it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from strongroom.boundary.messages import PlaintextAnswer, UnsealColumn
from strongroom.boundary.secret import AccessKeySecret
from strongroom.boundary.statuses import RefusedError
from strongroom.kms.faults import KMSInternalException
from strongroom.kms.gate import Gate
from strongroom.kms.hsm_link.link import HsmLink
from strongroom.kms.identities.access_keys import SECRET_COLUMN
from strongroom.kms.identities.lookup import Lookup
from strongroom.kms.identities.records import AccessKeyRecord, AccessKeyStatus
from strongroom.kms.identities.session_tokens import (
    COLUMN,
    PURPOSE,
    Session,
    SessionTokenError,
    parse_token,
    parse_value,
)
from strongroom.kms.identities.sessions import (
    INVALID,
    TEMPORARY,
    TEMPORARY_ID,
    require_unexpired,
    session_holder,
)
from strongroom.kms.keys.directory import Directory, PrincipalEntry
from strongroom.protocol.sigv4 import Refused


class Credentials:
    """Finds whose access keys are."""

    def __init__(
        self, directory: Directory, link: HsmLink, gate: Gate, lookup: Lookup, clock: Callable[[], float]
    ) -> None:
        """All of them are the home region's."""
        self._directory = directory
        self._link = link
        self._gate = gate
        self._lookup = lookup
        self._clock = clock

    async def load(self, access_key_id: str, session_token: bytes | None) -> PrincipalEntry | None:
        """Who an active access key is, kept in the directory; None for every other id, or a token that is not its own.

        Raises:
            Refused: the session is over.
        """
        if access_key_id.startswith(TEMPORARY):
            return await self._load_session(access_key_id, session_token)
        directory = self._directory
        generation = directory.generation
        record = await directory.store.get(AccessKeyRecord, access_key_id)
        if record is None or record.status is not AccessKeyStatus.ACTIVE:
            return None
        owner = await self._lookup.owner(record.account, record.user_name, access_key_id)
        if owner is None:
            return None
        secret = AccessKeySecret(await self._unseal(SECRET_COLUMN, access_key_id, record.sealed_secret))
        entry = PrincipalEntry(owner.principal, owner.documents, secret, last_use=directory.key_uses.of(access_key_id))
        directory.keep_principal(access_key_id, entry, generation)
        return entry

    async def renewed(self, entry: PrincipalEntry) -> PrincipalEntry:
        """Who somebody is by now, with what he may do now: for a call that had to wait.

        Whom no access key identified (an operator, who holds a web identity) is who he was.

        Raises:
            Refused: he is nobody any more.
        """
        access_key_id = entry.principal.access_key_id
        if not access_key_id:
            return entry
        known = self._directory.known_principal(access_key_id)
        if known is None:
            known = await self.load(access_key_id, None if entry.session is None else entry.session.token)
        if known is None:
            raise Refused("UnrecognizedClientException", INVALID)
        return known

    def is_known(self, access_key_id: str) -> bool:
        """Whether whose it is need not be looked up."""
        return self._directory.known_principal(access_key_id) is not None

    async def forget_ended(self) -> None:
        """Sessions that are over, again and again: they would stay until others need their room, and nobody uses them."""
        now_s = self._clock()
        self._directory.forget_principals(
            lambda entry: entry.session is not None and now_s >= entry.session.claims.expires_at_s
        )

    async def _load_session(self, access_key_id: str, session_token: bytes | None) -> PrincipalEntry | None:
        """1. the token is of this home and for this key, 2. still valid, 3. of somebody who exists, 4. opened by the HSM."""
        directory = self._directory
        generation = directory.generation
        if session_token is None or TEMPORARY_ID.fullmatch(access_key_id) is None:
            return None
        try:
            opened = parse_token(access_key_id, session_token, partial(directory.store.tag, PURPOSE))  # 1
            require_unexpired(opened.claims, self._clock())  # 2
            holder = await session_holder(self._lookup, access_key_id, opened.claims)  # 3
            if holder is None:
                return None
            value = await self._unseal(COLUMN, access_key_id, opened.sealed)  # 4
            secret = parse_value(value, opened.encoded_claims)
        except SessionTokenError:
            return None
        except KMSInternalException as fault:
            if isinstance(fault.__cause__, RefusedError):  # What was sealed under a domain key that is gone.
                return None
            raise
        entry = PrincipalEntry(holder.principal, holder.documents, secret, Session(opened.claims, session_token))
        directory.keep_principal(access_key_id, entry, generation)
        return entry

    async def _unseal(self, column: str, row: str, sealed: bytes) -> bytes:
        answer = await self._link.call(
            (self._gate.chore("UnsealAccessKey"),),
            (),
            lambda request_id: UnsealColumn(request_id, column, row, sealed),
            PlaintextAnswer,
        )
        return answer.plaintext
