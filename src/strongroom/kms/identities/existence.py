"""Whether the principals that somebody names exist: in key policies, in the trust policies of roles, in grants.

AWS refuses a name that nobody has, wherever a principal is named, because a name that is free today may be somebody else's
tomorrow. Who is looked up, and where:

| what is named | exists when |
|---|---|
| an account, by its id or the ARN of its root | it is one of this home's |
| a user, a role | the account has it, under this path |
| a session of a role, `assumed-role/ROLE/SESSION` | the account has the role: whoever assumes it names the session |
| a federated user | its account is one of this home's: whoever federates names him |
| a service of AWS | always: its name is all that there is of it |

Accounts of other homes are refused like accounts that AWS does not have. Nobody could ever come from one, so that letting
them in would only hide a mistyped number, and would let in, unasked, whoever makes an account of that number later.

AWS keeps the unique id behind a name and shows that once the principal is gone; here it is the name that is kept, so a
user or role that is made anew under its old name is named again by what named the old one.
Sources: KMS developer guide, "Creating a key policy" (principals must exist); IAM user guide, "AWS JSON policy elements:
Principal".
"""

from __future__ import annotations

import re
from typing import Final

from strongroom.kms.iam.principals import Named
from strongroom.kms.identities.records import AccountRecord, RoleRecord, UserRecord
from strongroom.kms.repositories import Store

_ARN: Final = re.compile(
    r"arn:aws:iam::(?P<iam>[0-9]{12}):(?:root|(?P<kind>user|role)(?P<path>/(?:[^/].*/)?)(?P<name>[^/]+))"
    r"|arn:aws:sts::(?P<sts>[0-9]{12}):(?:assumed-role/(?P<role>[^/]+)/[^/]+|federated-user/[^/]+)",
    re.ASCII,
)


class Existence:
    """Looks principals up among the accounts of a home."""

    def __init__(self, store: Store, main_account: str) -> None:
        """`store` is the home region's: the identities of all accounts lie there, whatever region asks."""
        self._store: Final = store
        self._main_account: Final = main_account

    async def account(self, account: str) -> bool:
        return account == self._main_account or await self._store.get(AccountRecord, account) is not None

    async def arn(self, arn: str) -> bool:
        """Whether there is the principal of this ARN; a text that is no principal's ARN is nobody's."""
        parsed = _ARN.fullmatch(arn)
        if parsed is None or not await self.account(account := parsed["iam"] or parsed["sts"]):
            return False
        if parsed["role"]:
            return await self._store.get(RoleRecord, account, parsed["role"]) is not None
        if parsed["kind"] is None:
            return True
        kind: type[UserRecord | RoleRecord] = UserRecord if parsed["kind"] == "user" else RoleRecord
        record = await self._store.get(kind, account, parsed["name"])
        return record is not None and (record.path or "/") == parsed["path"]

    async def first_missing(self, named: Named) -> str | None:
        """Of the principals of a statement, one that does not exist, as the statement calls it; None if all do.

        Providers of web identities are not asked for: an operator may configure one after the roles that trust it, and
        until then nobody comes from it.
        """
        for account in sorted(named.accounts):
            if not await self.account(account):
                return account
        for arn in sorted(named.arns):
            if not await self.arn(arn):
                return arn
        return None
