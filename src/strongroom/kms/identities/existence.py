"""Whom somebody names: in key policies, in the trust policies of roles, in grants.

AWS refuses a name that nobody has, wherever a principal is named, and keeps of a user or role the unique id that is behind
the name: a name that is free today may be somebody else's tomorrow. Who is looked up, and what is kept:

| what is named | exists when | is kept as |
|---|---|---|
| an account, by its id or the ARN of its root | it is one of this home's | the account |
| a user, a role | the account has it, under this path | its unique id |
| a session, `assumed-role/ROLE/SESSION` | the account has the role | the role's unique id, `:`, SESSION |
| a user, a role, a session by its unique id | somebody has the id | the id |
| a federated user | its account is one of this home's: whoever federates names him | the ARN |
| a service of AWS | always: its name is all that there is of it | the name |

Whoever is shown such a document or grant sees the ARN that the one with this id has by then, which a rename changes, and the
id itself once he is gone. What was stored before ids were kept calls users and roles by their ARNs, whoever they are.

Accounts of other homes are refused like accounts that AWS does not have. Nobody could ever come from one, so that letting
them in would only hide a mistyped number, and would let in, unasked, whoever makes an account of that number later.

Sources: KMS developer guide, "Creating a key policy" (principals must exist); IAM user guide, "AWS JSON policy elements:
Principal", "IAM identifiers" (unique identifiers), "Rename an IAM user".
"""

from __future__ import annotations

import re
from typing import Final

from strongroom.kms.iam.documents import PolicyDocument
from strongroom.kms.iam.principals import is_unique_id, session_arn
from strongroom.kms.iam.restatement import restated
from strongroom.kms.identities.arns import arn_of
from strongroom.kms.identities.ids import USER
from strongroom.kms.identities.records import AccountRecord, RoleRecord, UserRecord
from strongroom.kms.repositories import Store

_ARN: Final = re.compile(
    r"arn:aws:iam::(?P<iam>[0-9]{12}):(?:root|(?P<kind>user|role)(?P<path>/(?:[^/].*/)?)(?P<name>[^/]+))"
    r"|arn:aws:sts::(?P<sts>[0-9]{12}):(?:assumed-role/(?P<role>[^/]+)/(?P<session>[^/]+)|federated-user/[^/]+)",
    re.ASCII,
)


class MissingPrincipalError(Exception):
    """Nobody has the name that is this error's text, as the document calls him."""


class Existence:
    """Looks principals up among the accounts of a home."""

    def __init__(self, store: Store, main_account: str) -> None:
        """`store` is the home region's: the identities of all accounts lie there, whatever region asks."""
        self._store: Final = store
        self._main_account: Final = main_account

    async def account(self, account: str) -> bool:
        return account == self._main_account or await self._store.get(AccountRecord, account) is not None

    async def identify(self, arn: str) -> str | None:
        """As what the principal of this ARN is kept; None where there is none, and for a text that is no principal's ARN."""
        parsed = _ARN.fullmatch(arn)
        if parsed is None or not await self.account(account := parsed["iam"] or parsed["sts"]):
            return None
        if parsed["role"]:
            assumed = await self._store.get(RoleRecord, account, parsed["role"])
            return None if assumed is None else f"{assumed.role_id}:{parsed['session']}"
        if parsed["kind"] is None:
            return arn
        kind: type[UserRecord | RoleRecord] = UserRecord if parsed["kind"] == "user" else RoleRecord
        record = await self._store.get(kind, account, parsed["name"])
        if record is None or (record.path or "/") != parsed["path"]:
            return None
        return record.user_id if isinstance(record, UserRecord) else record.role_id

    async def bindings(self, document: PolicyDocument) -> dict[str, str] | None:
        """The unique ids behind the ARNs that a document names, as they are now; None where there are none to keep.

        Providers of web identities are not asked for: an operator may configure one after the roles that trust it, and
        until then nobody comes from it.

        Raises:
            MissingPrincipalError: somebody who is named does not exist.
        """
        found: dict[str, str] = {}
        for named in document.named():
            for account in sorted(named.accounts):
                if not await self.account(account):
                    raise MissingPrincipalError(account)
            for unique_id in sorted(named.ids):
                if await self.arn_of_id(unique_id) is None:
                    raise MissingPrincipalError(unique_id)
            for arn in sorted(named.arns - found.keys()):
                kept = await self.identify(arn)
                if kept is None:
                    raise MissingPrincipalError(arn)
                found[arn] = kept
        return {arn: kept for arn, kept in sorted(found.items()) if kept != arn} or None

    # ── the way back ────────────────────────────────────────────────────────────────────────────────────────────

    async def arn_of_id(self, unique_id: str) -> str | None:
        """The ARN that the user, role or session of this id has now; None if he is gone."""
        of_whom, _, session = unique_id.partition(":")
        kind: type[UserRecord | RoleRecord] = UserRecord if of_whom.startswith(USER) else RoleRecord
        record = await self._store.with_unique_id(kind, of_whom)
        if record is None or not await self.account(record.account):
            return None
        return session_arn(record.account, record.name, session) if session else arn_of(record)

    async def shown(self, kept: str) -> str:
        """How somebody is called today who is kept so: the ARN, and of whom is gone the id."""
        return (await self.arn_of_id(kept) or kept) if is_unique_id(kept) else kept

    async def shown_text(self, document: PolicyDocument, text: str) -> str:
        """The text of a document with its principals called as they are today."""
        names: dict[str, str] = {}
        for named in document.named():
            for unique_id, called in named.ids.items():
                names[called] = names[unique_id] = await self.shown(unique_id)
        return restated(text, names) if names else text
