"""ListResourceTags: a key's tags ordered by their keys, a page at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from strongroom.kms.calls import Call
from strongroom.kms.gate import Demand, OnKey
from strongroom.kms.keys.lifecycle import require_state
from strongroom.kms.operations.requests import format_marker, parse_marker
from strongroom.kms.service import Service
from strongroom.kms.wire.shapes import ListResourceTagsRequest, ListResourceTagsResponse, Tag

# KMS API reference, ListResourceTags: "between 1 and 50, inclusive. If you do not include a value, it defaults to 50."
_LIMIT_MAX: Final = 50


def demands(request: ListResourceTagsRequest) -> Sequence[Demand]:
    return (OnKey("kms:ListResourceTags", request.KeyId, aliases=False),)


async def run(service: Service, call: Call, request: ListResourceTagsRequest) -> ListResourceTagsResponse:
    (admission,) = call.admissions
    entry = admission.key
    admission.permit.redeem(entry.record.key_id)
    require_state(entry, call.operation)
    limit = min(request.Limit or _LIMIT_MAX, _LIMIT_MAX)
    after = parse_marker(request.Marker)
    tags = entry.record.tags
    keys = [key for key in sorted(tags) if key > after]
    page, more = keys[:limit], len(keys) > limit
    return ListResourceTagsResponse(
        Tags=[Tag(TagKey=key, TagValue=tags[key]) for key in page],
        NextMarker=format_marker(page[-1]) if more else None,
        Truncated=more,
    )
