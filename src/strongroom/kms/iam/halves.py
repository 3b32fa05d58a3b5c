"""Which side refuses: of what is asked of a resource, its own side decides one half, and the caller's the other.

Nothing here decides: each half is what `evaluate` says when the other one lets everything pass.
"""

from __future__ import annotations

from typing import Final

import msgspec

from strongroom.kms.iam.documents import PolicyKind, parse_policy
from strongroom.kms.iam.evaluate import Documents, Question, evaluate

_EVERYTHING: Final = parse_policy(
    '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}', PolicyKind.IDENTITY
)
# A policy that leaves it to the caller's account.
_LEAVING: Final = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"%s"},"Action":"sts:*"}]}'


class Halves(msgspec.Struct, frozen=True):
    """`is_enough` says that the resource's side lets this caller in by name, so that in one account nothing else need."""

    resource: bool
    caller: bool
    is_enough: bool


def halves_of_role(question: Question) -> Halves:
    """Of an action on a role: its trust policy with what controls it, and the caller's own documents with their limits."""
    bare = msgspec.structs.replace(question, documents=Documents())
    willing = msgspec.structs.replace(question, documents=Documents((_EVERYTHING,)))
    leaving = parse_policy(_LEAVING % question.principal.account, PolicyKind.TRUST)
    unheld = msgspec.structs.replace(question, resource_policy=leaving, resource_controls=())
    return Halves(evaluate(willing).allowed, evaluate(unheld).allowed, evaluate(bare).allowed)
