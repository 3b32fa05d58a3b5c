"""ListKeys: the keys of the account and region, a page at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from strongroom.kms.calls import Call
from strongroom.kms.gate import Demand, OnAccount
from strongroom.kms.keys.directory import PARTITION
from strongroom.kms.operations.requests import format_marker, parse_marker
from strongroom.kms.permits import KEYLESS
from strongroom.kms.service import Service
from strongroom.kms.wire.shapes import KeyListEntry, ListKeysRequest, ListKeysResponse
from strongroom.protocol.arn import format_key_arn

# KMS API reference, ListKeys: "If you do not include a value, it defaults to 100."
_LIMIT_DEFAULT: Final = 100


def demands(request: ListKeysRequest) -> Sequence[Demand]:
    return (OnAccount("kms:ListKeys"),)


async def run(service: Service, call: Call, request: ListKeysRequest) -> ListKeysResponse:
    (admission,) = call.admissions
    admission.permit.redeem(KEYLESS)
    limit = request.Limit or _LIMIT_DEFAULT
    after = parse_marker(request.Marker)
    records = await service.directory.store.list_keys(call.account, service.region, after, limit + 1)
    page, more = records[:limit], len(records) > limit
    return ListKeysResponse(
        Keys=[
            KeyListEntry(KeyId=r.key_id, KeyArn=format_key_arn(PARTITION, r.region, r.account, r.key_id)) for r in page
        ],
        NextMarker=format_marker(page[-1].key_id) if more else None,
        Truncated=more,
    )
