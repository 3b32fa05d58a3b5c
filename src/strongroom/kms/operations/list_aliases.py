"""ListAliases: the aliases of the account and region, or of one key, a page at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from strongroom.kms.calls import Call
from strongroom.kms.gate import Demand, OnAccount
from strongroom.kms.keys.directory import PARTITION
from strongroom.kms.operations.requests import format_marker, parse_marker
from strongroom.kms.permits import KEYLESS
from strongroom.kms.service import Service
from strongroom.kms.wire.shapes import AliasListEntry, ListAliasesRequest, ListAliasesResponse
from strongroom.protocol.arn import format_alias_arn

# KMS API reference, ListAliases: "If you do not include a value, it defaults to 50", at most 100.
_LIMIT_DEFAULT: Final = 50
_LIMIT_MAX: Final = 100


def demands(request: ListAliasesRequest) -> Sequence[Demand]:
    return (OnAccount("kms:ListAliases"),)


async def run(service: Service, call: Call, request: ListAliasesRequest) -> ListAliasesResponse:
    (admission,) = call.admissions
    admission.permit.redeem(KEYLESS)
    key_id = None
    if request.KeyId is not None:
        entry = await service.gate.find(call, "kms:ListAliases", request.KeyId, aliases=False)
        key_id = entry.record.key_id
    limit = min(request.Limit or _LIMIT_DEFAULT, _LIMIT_MAX)
    after = parse_marker(request.Marker)
    records = await service.directory.store.list_aliases(call.account, service.region, key_id, after, limit + 1)
    page, more = records[:limit], len(records) > limit
    return ListAliasesResponse(
        Aliases=[
            AliasListEntry(
                AliasName=record.name,
                AliasArn=format_alias_arn(PARTITION, record.region, record.account, record.name),
                TargetKeyId=record.key_id,
                CreationDate=record.created_at_s,
                LastUpdatedDate=record.updated_at_s,
            )
            for record in page
        ],
        NextMarker=format_marker(page[-1].name) if more else None,
        Truncated=more,
    )
