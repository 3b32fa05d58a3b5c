"""ListKeyRotations: the materials that rotations gave a key, oldest first; on request with the one that it began with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from strongroom.kms.calls import Call
from strongroom.kms.faults import InvalidMarkerException
from strongroom.kms.gate import Demand, OnKey
from strongroom.kms.keys.directory import KeyEntry, Material
from strongroom.kms.keys.lifecycle import require_state
from strongroom.kms.keys.rotation import require_rotatable
from strongroom.kms.operations.requests import format_marker, parse_marker
from strongroom.kms.service import Service
from strongroom.kms.wire.shapes import ListKeyRotationsRequest, ListKeyRotationsResponse, RotationsListEntry

# KMS API reference, ListKeyRotations: "If you do not include a value, it defaults to 100."
_LIMIT_DEFAULT: Final = 100
_ALL: Final = "ALL_KEY_MATERIAL"


def demands(request: ListKeyRotationsRequest) -> Sequence[Demand]:
    return (OnKey("kms:ListKeyRotations", request.KeyId, aliases=False),)


async def run(service: Service, call: Call, request: ListKeyRotationsRequest) -> ListKeyRotationsResponse:
    (admission,) = call.admissions
    entry = admission.key
    require_state(entry, call.operation)
    require_rotatable(entry)
    admission.permit.redeem(entry.record.key_id)
    listed = [
        material
        for material in entry.materials.values()
        if request.IncludeKeyMaterial == _ALL or material.record.rotation is not None
    ]
    start = _start(listed, parse_marker(request.Marker))
    end = start + (request.Limit or _LIMIT_DEFAULT)
    page, more = listed[start:end], end < len(listed)
    return ListKeyRotationsResponse(
        Rotations=[_rotation(entry, material) for material in page],
        NextMarker=format_marker(page[-1].material_id) if more else None,
        Truncated=more,
    )


def _start(listed: Sequence[Material], after: str) -> int:
    """Where the page begins: after the material that the marker names."""
    if not after:
        return 0
    for place, material in enumerate(listed, 1):
        if material.material_id == after:
            return place
    raise InvalidMarkerException("Invalid marker")


def _rotation(entry: KeyEntry, material: Material) -> RotationsListEntry:
    record = material.record
    if record.rotation is None:
        return RotationsListEntry(
            KeyId=entry.record.key_id, KeyMaterialId=material.material_id, KeyMaterialState=record.state.value
        )
    return RotationsListEntry(
        KeyId=entry.record.key_id,
        KeyMaterialId=material.material_id,
        KeyMaterialState=record.state.value,
        RotationDate=record.created_at_s,
        RotationType=record.rotation.value,
    )
