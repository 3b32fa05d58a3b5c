"""Why somebody could not be authenticated, in an operator's words: what he was told, and what is known of his access key.

He himself is told no more than AWS tells: not whether there is such an access key. What is said of it is what it is now.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from strongroom.kms.audit.events import EventTimes
from strongroom.kms.audit.why import one_line
from strongroom.kms.identities.records import AccessKeyRecord, AccessKeyStatus
from strongroom.kms.identities.sessions import EXPIRED, TEMPORARY
from strongroom.kms.repositories import Store
from strongroom.kms.telemetry.strangers import Stranger

# How `protocol/sigv4.py` begins to say that a signature is too old, or from the future.
_CLOCK: Final = ("Signature expired", "Signature not yet current")
# And that the signature is another one; other refusals of a signature say themselves what is wrong.
_MISMATCH: Final = "The request signature we calculated does not match"
_SIGNATURE: Final = "InvalidSignatureException"
_WITHOUT_KEY: Final = (
    "It named no access key: it was not signed, or its Authorization header cannot be read, or a web identity's token is "
    "what was refused."
)
_APART: Final = (
    "The clocks of caller and service are more than five minutes apart, or the request was on its way for as long."
)
_SIGNED_OTHERWISE: Final = (
    "So it was signed with another secret, or changed on its way, as a proxy does that rewrites host, path or headers."
)
_WRONG_SESSION: Final = (
    "Its session token is missing, or not the one that came with it, or of another home, or whoever began the session is "
    "gone: a role or user that was deleted, or made anew."
)


async def format_stranger(store: Store, request_id: str, stranger: Stranger) -> list[str]:
    """For people; `store` is the home region's."""
    time, told = EventTimes().format(stranger.at_s), f": {stranger.message}" if stranger.message else ""
    lines = [
        f"{time} somebody who could not be authenticated sent request {request_id} from {stranger.source_ip}",
        f"it was refused: {stranger.code}{told}",
        *[line async for line in _reasons(store, stranger)],
    ]
    return [one_line(line) for line in lines]


async def _reasons(store: Store, stranger: Stranger) -> AsyncIterator[str]:
    """1. when, 2. with which access key, 3. how it was signed."""
    is_mismatch = stranger.message.startswith(_MISMATCH)
    if stranger.message.startswith(_CLOCK):  # 1
        yield _APART
        return
    access_key_id = stranger.access_key_id
    if not access_key_id:  # 2
        yield _WITHOUT_KEY
        return
    if access_key_id.startswith(TEMPORARY):
        yield f"{access_key_id} is a temporary access key."
        if stranger.message == EXPIRED:
            yield "Its session is over."
        elif is_mismatch:
            yield _SIGNED_OTHERWISE
        elif stranger.code != _SIGNATURE:
            yield _WRONG_SESSION
        return
    record = await store.get(AccessKeyRecord, access_key_id)
    if record is None:
        yield f"There is no access key {access_key_id} in this home."
        return
    whose = f"the user {record.user_name}" if record.user_name else "the root"
    yield f"{access_key_id} is an access key of {whose} of the account {record.account}."
    if record.status is not AccessKeyStatus.ACTIVE:
        yield "It is inactive."
    elif is_mismatch:  # 3
        yield _SIGNED_OTHERWISE
    elif stranger.code != _SIGNATURE:
        yield "It is active now. A session token beside it would be refused: it is no temporary one."
