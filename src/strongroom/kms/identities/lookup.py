"""From a record of an identity to the principal that it is, with every document that says what it may do.

Invariants:
- A document that is named and cannot be had, or cannot be understood any more, denies everything: it may have been the one
  that denied. That goes for a permissions boundary too, which is never ignored.
- Documents are parsed once per text: many users and sessions share a few of them.
- An account that is not of this home has no principals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from strongroom.kms.iam.documents import PolicyDocument, PolicyError, PolicyKind, parse_policy
from strongroom.kms.iam.evaluate import Documents
from strongroom.kms.iam.parsed_once import parsed_once
from strongroom.kms.iam.principals import Principal, root_principal, user_principal
from strongroom.kms.identities.managed_policies import policy_text
from strongroom.kms.identities.organization import Organization
from strongroom.kms.identities.records import AccountRecord, GroupRecord, RoleRecord, UserRecord
from strongroom.kms.repositories import Store

_NOTHING: Final = '{"Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}'
_NOBODY: Final = '{"Statement":[{"Effect":"Deny","Principal":"*","Action":"*"}]}'


class Identity(msgspec.Struct, frozen=True):
    """A principal with its documents."""

    principal: Principal
    documents: Documents


class Lookup:
    """Looks up the identities of all accounts of a home."""

    def __init__(self, store: Store, main_account: str, organization: Organization) -> None:
        """`store` is the home region's, where all identities lie."""
        self.store: Final = store
        self._main_account: Final = main_account
        self._organization: Final = organization

    async def has_account(self, account: str) -> bool:
        return account == self._main_account or await self.store.get(AccountRecord, account) is not None

    async def owner(self, account: str, user_name: str, access_key_id: str) -> Identity | None:
        """A user, or with an empty name the account's root."""
        if not user_name:
            return await self.root(account, access_key_id)
        user = await self.store.get(UserRecord, account, user_name)
        return None if user is None else await self.user(user, access_key_id)

    async def root(self, account: str, access_key_id: str, issued_at_s: float | None = None) -> Identity | None:
        if not await self.has_account(account):
            return None
        principal = root_principal(account, access_key_id, issued_at_s=issued_at_s)
        return Identity(principal, Documents(service_controls=self._organization.service_controls(account)))

    async def user(self, user: UserRecord, access_key_id: str, issued_at_s: float | None = None) -> Identity | None:
        if not await self.has_account(user.account):
            return None
        principal = user_principal(
            user.account,
            user.name,
            user.user_id,
            access_key_id,
            user.tags,
            path=user.path or "/",
            issued_at_s=issued_at_s,
        )
        own = _inline(user.identity_policies), await self._managed(user.attached_policies or ())
        of_groups = [await self._of_group(user.account, name) for name in user.groups or ()]
        return Identity(principal, await self._documents(user, (*own, *of_groups)))

    async def role_documents(self, role: RoleRecord) -> Documents | None:
        """What every session of a role may do, before its session policies."""
        if not await self.has_account(role.account):
            return None
        own = _inline(role.identity_policies), await self._managed(role.attached_policies)
        return await self._documents(role, own)

    async def session_policies(self, inline: str | None, arns: Sequence[str]) -> tuple[PolicyDocument, ...] | None:
        """The documents that limit a session, together; None where none was passed."""
        if inline is None and not arns:
            return None
        passed = () if inline is None else (_document(inline, PolicyKind.SESSION, "session policy"),)
        return passed + await self._managed(arns, PolicyKind.SESSION)

    async def _documents(
        self, owner: UserRecord | RoleRecord, identity: Iterable[tuple[PolicyDocument, ...]]
    ) -> Documents:
        boundary = None
        if owner.boundary_arn is not None:
            (boundary,) = await self._managed((owner.boundary_arn,), PolicyKind.BOUNDARY)
        return Documents(
            tuple(document for documents in identity for document in documents),
            boundary,
            service_controls=self._organization.service_controls(owner.account),
        )

    async def _of_group(self, account: str, name: str) -> tuple[PolicyDocument, ...]:
        group = await self.store.get(GroupRecord, account, name)
        if group is None:
            return (_document(None, PolicyKind.IDENTITY, f"group {name}"),)
        return _inline(group.identity_policies, f"group {name}: ") + await self._managed(group.attached_policies)

    async def _managed(self, arns: Iterable[str], kind: PolicyKind = PolicyKind.IDENTITY) -> tuple[PolicyDocument, ...]:
        return tuple([_document(await policy_text(self.store, arn), kind, arn) for arn in arns])


def _inline(policies: Mapping[str, str], whose: str = "") -> tuple[PolicyDocument, ...]:
    return tuple([_document(text, PolicyKind.IDENTITY, whose + name) for name, text in policies.items()])


def trust_policy(role: RoleRecord) -> PolicyDocument:
    """Who may assume a role."""
    return _document(role.trust_policy, PolicyKind.TRUST, f"role {role.name}").bound(role.principal_ids or {})


def _document(text: str | None, kind: PolicyKind, name: str) -> PolicyDocument:
    """A stored document, or one that denies everything in its place."""
    if text is None:
        return _denying(kind, f"{name} (which does not exist)")
    return _parsed_once(text, kind, name)


def _parse(text: str, kind: PolicyKind, name: str) -> PolicyDocument:
    try:
        return parse_policy(text, kind, name, is_stored=True)
    except PolicyError as error:
        return _denying(kind, f"{name} (which cannot be read: {error})")


def _denying(kind: PolicyKind, name: str) -> PolicyDocument:
    return parse_policy(_NOBODY if kind is PolicyKind.TRUST else _NOTHING, kind, name)


_parsed_once: Final = parsed_once(_parse, short_max=4_000, long_max=64)
