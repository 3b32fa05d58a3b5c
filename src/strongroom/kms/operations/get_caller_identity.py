"""GetCallerIdentity of STS: who signed; needs no permission (STS API reference)."""

from __future__ import annotations

from strongroom.kms.calls import Call


def run(call: Call) -> dict[str, str]:
    principal = call.principal
    return {"Arn": principal.arn, "UserId": principal.principal_id, "Account": principal.account}
