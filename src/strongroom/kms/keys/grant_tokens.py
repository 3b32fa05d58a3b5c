"""Grant tokens: what CreateGrant gives out beside a grant's id, to show that there is such a grant.

In AWS a token lets its holder use a grant before every host knows of it. Here every worker knows of a grant when CreateGrant
has answered, so a token adds nothing to a decision: whoever presents one is told if it is none. It opens nothing to anybody
who is not the grantee, and it is no secret; all the same none is written down.

A token is stateless: it names its grant, and the store's tag says that this store's service made it. Another region has
another store. As text it is base64 for URLs, of a length that leaves no bit without meaning.

| offset | length | field |
|---|---|---|
| 0 | 4 | magic `SRGT` |
| 4 | 1 | version, 1 |
| 5 | 36 | key id, ASCII |
| 41 | 32 | grant id |
| 73 | 18 | nonce: no two tokens are the same |
| 91 | 32 | tag over all of this, with the purpose `grant tokens` |
"""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Callable
from typing import Final

TAG_PURPOSE: Final = "grant tokens"
_MAGIC: Final = b"SRGT\x01"
_KEY_ID: Final = slice(5, 41)
_GRANT_ID: Final = slice(41, 73)
NONCE_BYTES: Final = 18
_TAG_AT: Final = 91
TOKEN_BYTES: Final = 123

Tag = Callable[[str, bytes], bytes]


class GrantTokenError(ValueError):
    """The text is no grant token of this region."""


def new_grant_id() -> str:
    """64 hex digits, as AWS's are."""
    return secrets.token_hex(_GRANT_ID.stop - _GRANT_ID.start)


def format_grant_token(tag: Tag, key_id: str, grant_id: str) -> str:
    """A new token for a grant; `tag` is the store's."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    said = b"".join((_MAGIC, key_id.encode("ascii"), bytes.fromhex(grant_id), nonce))
    assert len(said) == _TAG_AT, f"{key_id} or {grant_id} is of another length"
    return base64.urlsafe_b64encode(said + tag(TAG_PURPOSE, said)).decode()


def parse_grant_token(tag: Tag, token: str) -> tuple[str, str]:
    """The ids of the key and the grant that a token names, if `tag` made it; both may be gone.

    1. it is base64 of the one length, 2. in the one way to write it, 3. it is of this kind, 4. the tag is right.

    Raises:
        GrantTokenError: it is not.
    """
    try:
        sealed = base64.urlsafe_b64decode(token.encode("ascii"))
    except ValueError:  # 1
        raise GrantTokenError from None
    # The decoder takes other alphabets too, and skips what is in none.
    if len(sealed) != TOKEN_BYTES or base64.urlsafe_b64encode(sealed).decode() != token:  # 2
        raise GrantTokenError
    if not sealed.startswith(_MAGIC):  # 3
        raise GrantTokenError
    if not hmac.compare_digest(tag(TAG_PURPOSE, sealed[:_TAG_AT]), sealed[_TAG_AT:]):  # 4
        raise GrantTokenError
    return sealed[_KEY_ID].decode("ascii"), sealed[_GRANT_ID].hex()
