"""Who asks, in a question that an operator puts together: a principal that exists, with what it may do now.

A role's session may have been given policies when it began: they are named with the question, and limit it as they limit
such a session. A web identity is nobody's record: whoever its provider says that he is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from strongroom.kms.iam.documents import PolicyError, PolicyKind, parse_policy
from strongroom.kms.iam.evaluate import Documents
from strongroom.kms.iam.principals import PrincipalKind, role_session_principal, web_identity_principal
from strongroom.kms.identities.arns import arn_of
from strongroom.kms.identities.lookup import Identity, Lookup
from strongroom.kms.identities.managed_policies import find_policy
from strongroom.kms.identities.providers import Provider
from strongroom.kms.identities.records import RoleRecord

# Of a role that is asked about by its own ARN: what it may, any of its sessions may.
_ANY_SESSION: Final = "any"
_ANYBODY: Final = "anybody"
_ARN: Final = re.compile(
    r"arn:aws:(?:iam::(?P<account>[0-9]{12}):(?P<root>root|user/(?:.*/)?(?P<user>[^/]+)|role/(?:.*/)?(?P<role>[^/]+)"
    r"|oidc-provider/(?P<provider>.+))"
    r"|sts::(?P<of>[0-9]{12}):assumed-role/(?P<assumed>[^/]+)/(?P<session>[^/]+))",
    re.ASCII,
)


class NotExplainedError(Exception):
    """The question names something that is not there, or is none; the text says what."""


class Askers:
    """Finds them; `providers` are those of web identities, by their issuers."""

    def __init__(self, lookup: Lookup, providers: Mapping[str, Provider]) -> None:
        self._lookup: Final = lookup
        self._providers: Final = {provider.name: provider for provider in providers.values()}

    async def find(self, arn: str, session_policies: Sequence[str], stated: Mapping[str, Sequence[str]]) -> Identity:
        """The principal that an ARN names: a root, a user, a role, a role's session that might be, or a web identity.

        `session_policies` are documents, one at most, and ARNs of managed policies.

        Raises:
            NotExplainedError: there is no such principal or policy.
        """
        match = _ARN.fullmatch(arn)
        if match is None:
            raise NotExplainedError(
                f"{arn} is not the ARN of an account's root, a user, a role, a role's session or a web identity's provider"
            )
        found: dict[str, Any] = match.groupdict(default="")
        account = found["account"] or found["of"]
        role_name = found["role"] or found["assumed"]
        if found["provider"]:
            identity = self._web_identity(account, found["provider"], stated)
        elif role_name:
            identity = await self._session(account, role_name, found["session"] or _ANY_SESSION)
        else:
            identity = await self._lookup.owner(account, found["user"], "")
        is_by_name = bool(found["user"] or found["role"])
        if identity is None or (is_by_name and arn not in {identity.principal.arn, identity.principal.issuer_arn}):
            raise NotExplainedError(f"there is no {arn}")
        return await self._limited(identity, session_policies) if session_policies else identity

    async def _session(self, account: str, role_name: str, session_name: str) -> Identity | None:
        role = await self._lookup.store.get(RoleRecord, account, role_name)
        documents = None if role is None else await self._lookup.role_documents(role)
        if role is None or documents is None:
            return None
        principal = role_session_principal(arn_of(role), role.role_id, session_name, "", tags=role.tags)
        return Identity(principal, documents)

    def _web_identity(self, account: str, name: str, stated: Mapping[str, Sequence[str]]) -> Identity | None:
        """Whoever the stated claims say; his token would be looked at first."""
        provider = self._providers.get(name)
        if provider is None or not provider.serves(account):
            return None
        subject = next(iter(stated.get(f"{name}:sub", ())), _ANYBODY)
        return Identity(web_identity_principal(provider.arn(account), subject, account), Documents())

    async def _limited(self, identity: Identity, session_policies: Sequence[str]) -> Identity:
        if identity.principal.kind is not PrincipalKind.ROLE_SESSION:
            raise NotExplainedError(
                f"{identity.principal.arn} is no role and no role's session: it has no session policies"
            )
        arns = [text for text in session_policies if text.startswith("arn:")]
        inline = [text for text in session_policies if not text.startswith("arn:")]
        if len(inline) > 1:
            raise NotExplainedError("a session has one policy that is no managed one, at most")
        for text in inline:
            try:
                parse_policy(text, PolicyKind.SESSION)
            except PolicyError as error:
                raise NotExplainedError(f"the session policy: {error}") from None
        for arn in arns:
            if await find_policy(self._lookup.store, arn) is None:
                raise NotExplainedError(f"there is no {arn}")
        passed = await self._lookup.session_policies(inline[0] if inline else None, arns)
        return Identity(identity.principal, msgspec.structs.replace(identity.documents, session=passed))
