"""Who may: the one place where a caller, an action and what it is on become a question, and its answer a refusal.

Answers are kept under everything that they depend on (`iam/decisions.py`). A refusal leaves its reason with the call, for
the audit record: which statement of which document decided, which condition failed, what would have to change.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import msgspec

from strongroom.kms.calls import Call
from strongroom.kms.faults import AccessDeniedException
from strongroom.kms.iam.context import (
    AskedConstraints,
    AskedGrant,
    KeyFacts,
    RequestContext,
    StatedContext,
    Surroundings,
)
from strongroom.kms.iam.decisions import VaryingDecision
from strongroom.kms.iam.documents import PolicyDocument
from strongroom.kms.iam.evaluate import (
    NO_POLICY,
    NO_TRUST,
    Decision,
    Question,
    consulted_keys,
    evaluate,
    refusal_message,
    unseen_message,
)
from strongroom.kms.iam.explain import Trace, explain
from strongroom.kms.iam.grants import GrantConstraints, delegates
from strongroom.kms.iam.principals import Principal
from strongroom.kms.iam.retirement import RETIRE, retirement
from strongroom.kms.identities.demands import OnIdentity, stated_values
from strongroom.kms.identities.faults import AccessDenied
from strongroom.kms.keys.directory import PARTITION, Directory, KeyEntry, PrincipalEntry
from strongroom.kms.reasons import Reasons
from strongroom.kms.repositories import GrantRecord, KeyRecord
from strongroom.protocol.arn import AliasArn, AliasName, KeyArn, format_key_arn, parse_key_ref

# KMS developer guide, "AWS KMS permissions", column "Cross-account use": what can be done with another account's key.
ACROSS_ACCOUNTS: Final = frozenset(
    {
        *("kms:CreateGrant", "kms:ListGrants", "kms:RetireGrant", "kms:RevokeGrant"),
        *("kms:Encrypt", "kms:Decrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo"),
        *("kms:GenerateDataKey", "kms:GenerateDataKeyWithoutPlaintext"),
        *("kms:GenerateDataKeyPair", "kms:GenerateDataKeyPairWithoutPlaintext"),
        *("kms:GenerateMac", "kms:VerifyMac", "kms:Sign", "kms:Verify", "kms:DeriveSharedSecret"),
        *("kms:DescribeKey", "kms:GetPublicKey", "kms:GetKeyRotationStatus"),
    }
)
# What only some conditions ask for, and somebody must look up.
_ALIASES_KEY: Final = "kms:resourcealiases"
_SAME_KEY: Final = "kms:reencryptonsamekey"
# In the reason of a refusal.
_GRANTS_SHOWN_MAX: Final = 16
_THIS: Final = "this resource"
_BEHIND_CIPHERTEXT: Final = "the resource associated with this ciphertext"
# Told to operators alone.
_NO_CIPHERTEXT: Final = (
    "no key of this region made it: it was made in another region or elsewhere, or changed, or its key was deleted"
)
_NO_ALIAS: Final = "there is no such alias, or this action is not open across accounts"

# Whether ReEncrypt's two keys are one, for those who ask.
FindSameKey = Callable[[], Awaitable[bool | None]]


class Authorization:
    """Decides in one region, for the callers of all accounts."""

    def __init__(self, directory: Directory, clock: Callable[[], float], *, is_secure: bool) -> None:
        """`is_secure` says whether callers come over TLS."""
        self._directory: Final = directory
        self._clock = clock
        self._is_secure = is_secure
        self._reasons = Reasons()

    async def require_on_key(
        self, call: Call, action: str, entry: KeyEntry, key_ref: str, find_same_key: FindSameKey
    ) -> None:
        """Let it pass, or refuse it; what decides anew is kept under everything that it depends on.

        Raises:
            AccessDeniedException: in AWS's words.
        """
        caller = call.principal_entry
        kept = entry.decision(caller, action)
        if isinstance(kept, Decision):
            if not kept.allowed:
                question = await self._on_key(caller, action, entry)
                raise await self._refusal(call, question, kept, entry, key_ref)
            return
        question = await self._on_key(caller, action, entry)
        if entry.record.account != call.account and action not in ACROSS_ACCOUNTS:
            question = msgspec.structs.replace(question, resource_policy=NO_POLICY, grants=())
            raise await self._refusal(call, question, evaluate(question), entry, key_ref)
        if kept is None:
            keys = consulted_keys(question)
            if not keys:
                decision = evaluate(question)
                entry.remember(caller, action, decision)
                if not decision.allowed:
                    raise await self._refusal(call, question, decision, entry, key_ref)
                return
            kept = VaryingDecision(action, keys)
            entry.remember(caller, action, kept)
        context = await self._context(call, action, entry, kept.keys, key_ref, find_same_key)
        values = kept.values(context)
        found = kept.find(values)
        if found is None or not found.allowed:
            question = msgspec.structs.replace(question, context=context)
            if found is None:
                found = evaluate(question)
                kept.keep(values, found)
            if not found.allowed:
                raise await self._refusal(call, question, found, entry, key_ref)

    async def require_delegation(
        self,
        call: Call,
        action: str,
        entry: KeyEntry,
        key_ref: str,
        operations: frozenset[str],
        constraints: GrantConstraints,
    ) -> None:
        """For a grant that is to be made: whoever may only because a grant lets him must not give more than that one does.

        Raises:
            AccessDeniedException: in AWS's words.
        """
        question = await self._on_key(call.principal_entry, action, entry)
        giving = [grant for grant in question.grants if grant.gives(action)]
        too_little = [grant.grant_id for grant in giving if not delegates(grant, operations, constraints)]
        if not too_little:
            return
        left_out = frozenset(too_little)
        others = tuple(grant for grant in question.grants if grant.grant_id not in left_out)
        question = msgspec.structs.replace(question, grants=others)
        context = await self._context(call, action, entry, consulted_keys(question), key_ref, _no_other_key)
        question = msgspec.structs.replace(question, context=context)
        decision = evaluate(question)
        if not decision.allowed:
            also = [
                f"The grant {grant_id} would allow if the new one gave no more than it."
                for grant_id in too_little[:_GRANTS_SHOWN_MAX]
            ]
            raise await self._refusal(call, question, decision, entry, key_ref, also)

    async def require_retirement(self, call: Call, entry: KeyEntry, grant: GrantRecord, *, by_token: bool) -> None:
        """For a grant that is to go: it says itself who may (`iam/retirement.py`), whoever's key it is on.

        Raises:
            AccessDeniedException: in AWS's words.
        """
        caller, record = call.principal_entry, entry.record
        issuing_account = grant.issuing_account.split(":")[4]
        arns_of_then = {grant.grantee: grant.grantee_arn, grant.retiring: grant.retiring_arn}
        document = retirement(
            *(grant.grantee, grant.retiring, grant.operations, issuing_account, record.account),
            {kept: arn for kept, arn in arns_of_then.items() if arn is not None},
        )
        question = Question(caller.principal, caller.documents, RETIRE, entry.arn, resource_policy=document)
        asked = AskedGrant(AskedConstraints(grant.context_subset, grant.context_equals))
        keys = consulted_keys(question)
        context = await self._context(call, RETIRE, entry, keys, "", _no_other_key, request=asked)
        question = msgspec.structs.replace(question, context=context)
        decision = evaluate(question)
        if decision.allowed:
            return
        self._note(call, question, decision)
        if record.account == call.account:
            raise AccessDeniedException(refusal_message(question, decision))
        raise self.unseen_grant(call, RETIRE, entry, by_token=by_token)

    def require_on_account(self, call: Call, action: str, arn: str) -> None:
        """For what concerns no key: identity policies alone decide.

        Raises:
            AccessDeniedException: in AWS's words.
        """
        caller = call.principal_entry
        context = self.plain_context(call, action, None)
        question = Question(caller.principal, caller.documents, action, arn, context=context)
        decision = evaluate(question)
        if not decision.allowed:
            self._note(call, question, decision)
            raise AccessDeniedException(refusal_message(question, decision))

    def require_on_identity(self, call: Call, demand: OnIdentity) -> None:
        """For what IAM and STS do.

        Raises:
            AccessDenied: in AWS's words.
        """
        question = self._on_identity(call, demand)
        decision = evaluate(question)
        if decision.allowed:
            return
        self._note(call, question, decision)
        if question.is_cross_account:
            # As of a role that is not there: it has no tags, for which the caller's own policies could ask.
            unseen = msgspec.structs.replace(demand, tags={}, resource_policy=NO_TRUST)
            question = self._on_identity(call, unseen)
            decision = evaluate(question)
        raise AccessDenied(refusal_message(question, decision))

    def would_allow(self, call: Call, action: str, key: KeyRecord, key_policy: PolicyDocument) -> bool:
        """Whether the caller could do this to a key whose policy were this one; no leave to do anything."""
        caller = call.principal_entry
        question = Question(
            caller.principal,
            caller.documents,
            action,
            format_key_arn(PARTITION, key.region, key.account, key.key_id),
            resource_policy=key_policy,
            resource_account=key.account,
            context=self.plain_context(call, action, key),
        )
        return evaluate(question).allowed

    async def explain(self, call: Call, action: str, entry: KeyEntry, stated: Mapping[str, Sequence[str]]) -> Trace:
        """What would be decided for the caller, and why, of a request that says what is stated; no leave to do anything."""
        question = await self._on_key(call.principal_entry, action, entry)
        aliases = await self._directory.aliases_of(entry.record)
        derived = RequestContext(
            *(action, call.principal, self._surroundings(call)),
            request=call.request,
            key=entry.record,
            aliases=aliases,
        )
        trace = explain(msgspec.structs.replace(question, context=StatedContext(stated, derived)))
        if trace.decision.allowed:
            return trace
        predecessors = await self._predecessors(entry, call.principal)
        return msgspec.structs.replace(trace, changes=(*trace.changes, *predecessors))

    def question_on_identity(self, call: Call, demand: OnIdentity) -> Question:
        """What `require_on_identity` would decide; no leave to do anything."""
        return self._on_identity(call, demand)

    # ── refusals ────────────────────────────────────────────────────────────────────────────────────────────────

    def unseen_ciphertext(self, call: Call, action: str) -> AccessDeniedException:
        """For a ciphertext that no key here made, or another account's that lets nobody in."""
        if call.reason is None:
            call.reason = self._reasons.of_nothing(action, "a ciphertext", _NO_CIPHERTEXT)
        return AccessDeniedException(unseen_message(call.principal, action, _BEHIND_CIPHERTEXT))

    def unseen(self, call: Call, action: str, parsed: KeyArn | AliasArn) -> AccessDeniedException:
        """What a key would answer that lets nobody in: whoever asks must not learn that there is none."""
        if isinstance(parsed, AliasArn):
            if call.reason is None:
                call.reason = self._reasons.of_nothing(action, str(parsed), _NO_ALIAS)
            return AccessDeniedException(unseen_message(call.principal, action, _THIS))
        caller = call.principal_entry
        question = Question(
            caller.principal,
            caller.documents,
            action,
            str(parsed),
            resource_policy=NO_POLICY,
            resource_account=parsed.account,
            context=self.plain_context(call, action, None, resource_account=parsed.account),
        )
        decision = evaluate(question)
        if call.reason is None:
            self._note(call, question, decision)
        return AccessDeniedException(refusal_message(question, decision))

    def unseen_grant(self, call: Call, action: str, entry: KeyEntry, *, by_token: bool) -> AccessDeniedException:
        """For another account's key, with such a grant or without; who has no more than a token is not told which it is."""
        parsed = parse_key_ref(entry.arn)
        if by_token or not isinstance(parsed, KeyArn):
            return AccessDeniedException(unseen_message(call.principal, action, _THIS))
        return self.unseen(call, action, parsed)

    async def _refusal(
        self,
        call: Call,
        question: Question,
        decision: Decision,
        entry: KeyEntry,
        key_ref: str,
        also: Sequence[str] = (),
    ) -> AccessDeniedException:
        """Of another account's key nobody is told more than of one that is not there.

        Not which it is, unless its ARN was named; and nothing of its tags, aliases and kind, which the caller's own
        policies could ask for one by one, to see which of them refuses.
        """
        if self._reasons.is_due(question, decision):
            also = (*also, *await self._predecessors(entry, question.principal))
        self._note(call, question, decision, also)
        if entry.record.account != call.account:
            parsed = parse_key_ref(key_ref) if key_ref else None
            if not isinstance(parsed, KeyArn | AliasArn):
                return self.unseen_ciphertext(call, question.action)
            return self.unseen(call, question.action, parsed)
        return AccessDeniedException(refusal_message(question, decision))

    def _note(self, call: Call, question: Question, decision: Decision, also: Sequence[str] = ()) -> None:
        call.reason = self._reasons.of(question, decision, also)

    async def _predecessors(self, entry: KeyEntry, principal: Principal) -> list[str]:
        """Of grants for whoever had the caller's name before: to who reads names, they look as if they let him in."""
        records = await self._directory.grants_to_predecessors(entry, principal)
        return [
            f"The grant {record.grant_id} is for the {record.grantee_arn} of when it was made ({record.grantee}), "
            "not for the one of today."
            for record in records
        ]

    # ── what is asked ───────────────────────────────────────────────────────────────────────────────────────────

    async def _on_key(self, caller: PrincipalEntry, action: str, entry: KeyEntry) -> Question:
        """Without what the request says of itself."""
        return Question(
            caller.principal,
            caller.documents,
            action,
            entry.arn,
            resource_policy=entry.policy,
            resource_account=entry.record.account,
            resource_controls=entry.controls,
            grants=await self._directory.grants_naming(entry, caller.principal),
        )

    def _on_identity(self, call: Call, demand: OnIdentity) -> Question:
        caller, account = call.principal_entry, demand.resource_account
        # Roles are under them, what IAM manages is not.
        is_controlled = demand.resource_policy is not None
        derived = self.plain_context(call, demand.action, None, resource_account=account)
        return Question(
            caller.principal,
            caller.documents,
            demand.action,
            demand.arn,
            resource_policy=demand.resource_policy,
            resource_account=account,
            resource_controls=self._directory.organization.resource_controls(account) if is_controlled else (),
            context=StatedContext(stated_values(demand, call.request), derived),
        )

    def _surroundings(self, call: Call) -> Surroundings:
        origin = call.origin
        return Surroundings(
            self._directory.region,
            origin.source_ip,
            origin.user_agent,
            self._is_secure,
            self._clock(),
            organization_id=self._directory.organization.organization_id,
        )

    def plain_context(
        self, call: Call, action: str, key: KeyFacts | None, *, resource_account: str = ""
    ) -> RequestContext:
        """What a request says of itself, without what must be looked up."""
        return RequestContext(
            action,
            call.principal_entry.principal,
            self._surroundings(call),
            request=call.request,
            key=key,
            resource_account=resource_account,
        )

    async def _context(
        self,
        call: Call,
        action: str,
        entry: KeyEntry,
        keys: Sequence[str],
        key_ref: str,
        find_same_key: FindSameKey,
        *,
        request: object = None,
    ) -> RequestContext:
        """With what must be looked up, if one of the keys asks for it.

        `request` is what conditions are asked about, where that is not what was sent.
        """
        record = entry.record
        return RequestContext(
            action,
            call.principal_entry.principal,
            self._surroundings(call),
            request=request or call.request,
            key=record,
            key_ref_alias=_alias_of(key_ref) if key_ref else "",
            aliases=await self._directory.aliases_of(record) if _ALIASES_KEY in keys else (),
            same_key=await find_same_key() if _SAME_KEY in keys else None,
        )


async def _no_other_key() -> None:
    """Only ReEncrypt has two keys."""


def _alias_of(key_ref: str) -> str:
    """The alias by which a valid reference names its key; empty where it does not."""
    parsed = parse_key_ref(key_ref)
    return parsed.alias_name if isinstance(parsed, AliasName | AliasArn) else ""
