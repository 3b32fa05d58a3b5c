"""Who may retire a grant: the grant itself says so, and no key policy.

| who | because |
|---|---|
| the retiring principal | the grant names it |
| the grantee | the grant names it, and RetireGrant is among its operations |
| the account that made the grant, the account of the key | as a backup: its root, and whom its IAM policies let |

Whom the grant names needs no IAM policy, whichever account he is of; a Deny of `kms:RetireGrant`, a boundary and session
policies hold against him as always. Where the grant names an account, that account's IAM policies say who of it may. So it
is asked what a policy of the resource would be asked, within one account, and the answer is `retirement`'s document.

Source: KMS developer guide, "Retiring and revoking grants".
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from strongroom.kms.iam.documents import PolicyDocument, PolicyKind, Statement
from strongroom.kms.iam.patterns import parse_patterns
from strongroom.kms.iam.principals import Named, is_unique_id, root_arn

RETIRE: Final = "kms:RetireGrant"
_OPERATION: Final = "RetireGrant"
_RETIRE: Final = parse_patterns((RETIRE,), folds=True)
_ANYTHING: Final = parse_patterns(("*",))
_ARN: Final = "arn:"


def retirement(
    grantee: str,
    retiring: str,
    operations: Collection[str],
    issuing_account: str,
    key_account: str,
    arns_of_then: Mapping[str, str],
) -> PolicyDocument:
    """The document that lets them; `grantee` and `retiring` are unique ids, ARNs, names of services, or empty.

    `arns_of_then` has, by the ids, the ARNs that the grant was made with.
    """
    named = {retiring, grantee if _OPERATION in operations else ""} - {""}
    arns = {name for name in named if name.startswith(_ARN)}
    ids = {name: arns_of_then.get(name, name) for name in named if is_unique_id(name)}
    # An account is named by its root, and by that all of it.
    roots = {arn for arn in arns if arn == root_arn(arn.split(":")[4])}
    accounts = {issuing_account, key_account, *(root.split(":")[4] for root in roots)}
    principals = Named(
        accounts=frozenset(accounts),
        arns=frozenset(arns - roots),
        services=frozenset(named - arns - ids.keys()),
        ids=ids,
    )
    statement = Statement(
        sid="",
        allows=True,
        principals=principals,
        excepts_principals=False,
        actions=_RETIRE,
        excepts_actions=False,
        resources=_ANYTHING,
        excepts_resources=False,
        conditions=(),
    )
    return PolicyDocument(PolicyKind.KEY, (statement,), "the grant")
