"""What users of AWS can have besides access keys, and nobody has here: lists of it are empty, single ones do not exist.

Clients ask before they delete a user (Terraform's `force_destroy`) or show one. Wordings as LocalStack recorded them from
AWS (`test_iam_users.snapshot.json`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from strongroom.kms.calls import Call
from strongroom.kms.identities.demands import OnIdentity
from strongroom.kms.identities.faults import NoSuchEntity
from strongroom.kms.identities.operation import Operation
from strongroom.kms.identities.operations.finding import (
    Found,
    find_nothing,
    find_user_or_caller,
    on_found,
    own_action,
)
from strongroom.kms.identities.records import UserRecord
from strongroom.kms.service import Service
from strongroom.kms.wire.iam_shapes import OPERATIONS
from strongroom.kms.wire.model import Shape

# Operation: the member of its answer that stays empty.
_OF_A_USER: Final = {
    "ListMFADevices": "MFADevices",
    "ListSSHPublicKeys": "SSHPublicKeys",
    "ListServiceSpecificCredentials": "ServiceSpecificCredentials",
    "ListSigningCertificates": "Certificates",
}
_OF_THE_ACCOUNT: Final = {
    "ListAccountAliases": ("AccountAliases", "*"),
    "ListVirtualMFADevices": ("VirtualMFADevices", "mfa/"),
}


def _empty(operation: str, member: str) -> Shape:
    answer = OPERATIONS[operation].response
    assert answer is not None, f"{operation} answers nothing"
    return answer(**{member: [], "IsTruncated": False})


def _list_of_user(member: str) -> Callable[[Service, Call, Any, Found[UserRecord]], Awaitable[Shape]]:
    async def run(service: Service, call: Call, request: Any, found: Found[UserRecord]) -> Shape:
        if not found.is_root:
            found.require()
        return _empty(call.operation, member)

    return run


def _list_of_account(member: str) -> Callable[[Service, Call, Any, None], Awaitable[Shape]]:
    async def run(service: Service, call: Call, request: Any, found: None) -> Shape:
        return _empty(call.operation, member)

    return run


def _on_account(what: str) -> Callable[[Call, Any, None], tuple[OnIdentity, ...]]:
    def demands(call: Call, request: Any, found: None) -> tuple[OnIdentity, ...]:
        arn = what if what == "*" else f"arn:aws:iam::{call.account}:{what}"
        return (OnIdentity(own_action(call), arn),)

    return demands


async def _no_login_profile(service: Service, call: Call, request: Any, found: Found[UserRecord]) -> None:
    name = "root" if found.is_root else found.require().name
    raise NoSuchEntity(f"Login Profile for User {name} cannot be found.")


ROWS: Final[dict[str, Operation]] = {
    **{name: Operation(find_user_or_caller, on_found, _list_of_user(member)) for name, member in _OF_A_USER.items()},
    **{
        name: Operation(find_nothing, _on_account(what), _list_of_account(member))
        for name, (member, what) in _OF_THE_ACCOUNT.items()
    },
    "DeleteLoginProfile": Operation(find_user_or_caller, on_found, _no_login_profile, mutates=True),
    "GetLoginProfile": Operation(find_user_or_caller, on_found, _no_login_profile),
}
