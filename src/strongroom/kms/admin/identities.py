"""IAM's operations for operators.

The operations are the very ones that callers have over HTTP, decoded from the same form; who asks is the operator, whom the
admin socket identified, and whom no policy limits. Answers come as JSON: with times as text and documents as documents.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from strongroom.boundary.secret import AccessKeySecret
from strongroom.kms.audit.events import EventTimes
from strongroom.kms.calls import Call
from strongroom.kms.faults import Fault
from strongroom.kms.iam.evaluate import Documents
from strongroom.kms.iam.principals import Principal, PrincipalKind
from strongroom.kms.identities.faults import NoSuchEntity, ValidationError
from strongroom.kms.identities.operation import Operation, perform
from strongroom.kms.identities.operations.table import TABLE
from strongroom.kms.identities.records import AccountRecord
from strongroom.kms.keys.directory import PrincipalEntry
from strongroom.kms.service import Service
from strongroom.kms.trail import logged_parameters
from strongroom.kms.turns import Turns
from strongroom.kms.wire.model import Rule, Shape, structure_rule
from strongroom.kms.wire.query_codec import decode_query
from strongroom.kms.wire.validation import RequestRefused
from strongroom.protocol.strict_json import parse_strictly

_SOURCE: Final = "iam.amazonaws.com"
# Members of answers that hold documents, escaped (API reference, GetPolicyVersion).
_DOCUMENTS: Final = frozenset({"AssumeRolePolicyDocument", "Document", "PolicyDocument"})


def operator_entry(account: str, uid: int) -> PrincipalEntry:
    """An operator who acts in an account."""
    principal = Principal(PrincipalKind.OPERATOR, account, f"operator:{uid}", str(uid))
    return PrincipalEntry(principal, Documents(), AccessKeySecret(b""))


class IdentityCommands:
    """Of one worker."""

    def __init__(self, home: Service) -> None:
        self._home: Final = home
        self._turns: Final = Turns()

    async def perform(self, call: Call, account: str, action: str, form: str) -> Any:
        """Do an action of IAM; `form` is an object of parameters, named as the Query protocol names them.

        Raises:
            Fault, RequestRefused: AWS's own.
        """
        row, parameters = TABLE.get(action), _parsed(form)
        if row is None:
            raise ValidationError(f"there is no action {action!r}")
        account = account or self._home.main_account
        call.operation, call.event_source = action, _SOURCE
        call.principal_entry = await self._in_account(operator_entry(account, int(call.principal.principal_id)))
        typed = decode_query(action, parameters)
        call.parameters = logged_parameters(typed)
        call.request = typed
        response = await self._recorded(call, row, typed)
        return {} if response is None else _plain(structure_rule(type(response)), response)

    async def _in_account(self, entry: PrincipalEntry) -> PrincipalEntry:
        """The operator in his account, which may have been deleted while he waited for his turn.

        Raises:
            NoSuchEntity: it was, or never was.
        """
        account = entry.principal.account
        if account != self._home.main_account and await self._home.identities.get(AccountRecord, account) is None:
            raise NoSuchEntity(f"There is no account {account}.")
        return entry

    async def _recorded(self, call: Call, row: Operation, typed: Shape) -> Shape | None:
        """What it comes to; the outcome of a change is in the trail before the operator hears of it."""
        trail = self._home.trail
        try:
            response = await perform(self._home, call, row, typed, self._turns, self._in_account)
        except Fault as fault:
            if row.mutates:
                await trail.record([trail.outcome(call, fault, read_only=False)])
            raise
        if row.mutates:
            await trail.record([trail.outcome(call, None, read_only=False)])
        return response


def _parsed(form: str) -> Mapping[str, str]:
    try:
        return msgspec.json.decode(form, type=dict[str, str])
    except msgspec.MsgspecError:
        raise RequestRefused("MalformedInput", "The parameters are no object of texts.") from None


def _plain(rule: Rule, value: Any) -> Any:
    """An answer as JSON."""
    if rule.members:
        present = [(member, getattr(value, member.name)) for member in rule.members]
        return {
            member.name: _document(part) if member.name in _DOCUMENTS else _plain(member.rule, part)
            for member, part in present
            if part is not None
        }
    if rule.kind == "list" and rule.element is not None:
        return [_plain(rule.element, part) for part in value]
    return EventTimes().format(value) if rule.kind == "timestamp" else value


def _document(escaped: str) -> Any:
    return parse_strictly(unquote(escaped).encode())
