"""References to KMS keys: what a caller may pass as `KeyId`, and the ARNs that every answer carries.

    arn:PARTITION:kms:REGION:ACCOUNT:key/KEY_ID           a key ARN
    arn:PARTITION:kms:REGION:ACCOUNT:alias/NAME           an alias ARN
    KEY_ID       a UUID, or `mrk-` and 32 hex digits for a multi-Region key; lower-case
    alias/NAME   an alias name

Source: KMS API Reference, parameter `KeyId`; the wordings of refusals are those that KMS answers.

Invariants:
- Nothing is folded: no case, no blanks, no Unicode form. Two references that differ name different things.
- `parse_key_ref(str(value)) == value` for each of the four values.
- Parsing says nothing about existence, nor about whether region and account are the caller's.
"""

from dataclasses import dataclass
from functools import lru_cache

# KMS API Reference: KeyId, length 1 to 2048.
KEY_REF_CHARS_MAX = 2048
# KMS API Reference: AliasName, length 1 to 256, `^alias/[a-zA-Z0-9/_-]+$`.
ALIAS_NAME_CHARS_MAX = 256

_DIGITS = frozenset("0123456789")
_HEX_DIGITS = _DIGITS | frozenset("abcdef")
_LABEL_CHARACTERS = _DIGITS | frozenset("abcdefghijklmnopqrstuvwxyz-")
_ALIAS_CHARACTERS = _DIGITS | frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ/_-")


class MalformedArn(Exception):  # noqa: N818 -- a refusal is an answer, not an error of ours
    """The text is no reference to a key. `code` is the AWS exception's name, `message` its text."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = "NotFoundException"
        self.message = message


@dataclass(frozen=True, slots=True)
class KeyId:
    key_id: str

    def __str__(self) -> str:
        return self.key_id


@dataclass(frozen=True, slots=True)
class KeyArn:
    partition: str
    region: str
    account: str
    key_id: str

    def __str__(self) -> str:
        return format_key_arn(self.partition, self.region, self.account, self.key_id)


@dataclass(frozen=True, slots=True)
class AliasName:
    """`alias_name` includes the prefix `alias/`, as the API's own AliasName does."""

    alias_name: str

    def __str__(self) -> str:
        return self.alias_name


@dataclass(frozen=True, slots=True)
class AliasArn:
    """`alias_name` includes the prefix `alias/`, as the API's own AliasName does."""

    partition: str
    region: str
    account: str
    alias_name: str

    def __str__(self) -> str:
        return format_alias_arn(self.partition, self.region, self.account, self.alias_name)


KeyRef = KeyId | KeyArn | AliasName | AliasArn


def format_key_arn(partition: str, region: str, account: str, key_id: str) -> str:
    return f"arn:{partition}:kms:{region}:{account}:key/{key_id}"


def format_alias_arn(partition: str, region: str, account: str, alias_name: str) -> str:
    """`alias_name` includes the prefix `alias/`."""
    return f"arn:{partition}:kms:{region}:{account}:{alias_name}"


def format_key_missing(key_arn: str) -> str:
    """The text of KMS's NotFoundException for a well-formed key ARN."""
    return f"Key '{key_arn}' does not exist"


def format_alias_missing(alias_arn: str) -> str:
    """The text of KMS's NotFoundException for a well-formed alias ARN."""
    return f"Alias {alias_arn} is not found."


def format_wrong_region(region: str) -> str:
    """The text of KMS's NotFoundException for an ARN of another region than the one that was asked."""
    return f"Invalid arn {region}"


def is_key_id(text: str) -> bool:
    if len(text) == 36:
        if text.startswith("mrk-"):
            return _HEX_DIGITS.issuperset(text[4:])
        groups = text.split("-")
        return [len(group) for group in groups] == [8, 4, 4, 4, 12] and _HEX_DIGITS.issuperset("".join(groups))
    return False


def is_alias_name(text: str) -> bool:
    """Whether the text is an alias name, prefix included."""
    return (
        text.startswith("alias/")
        and len(text) in range(7, ALIAS_NAME_CHARS_MAX + 1)
        and _ALIAS_CHARACTERS.issuperset(text)
    )


@lru_cache(maxsize=4096)
def parse_key_ref(text: str) -> KeyRef:
    """Parse a reference, or raise MalformedArn. Pure, so remembering the answers is safe.

    1. What does not begin with `arn:` is a key id or an alias name.
    2. An ARN has six fields, `kms` is its service, its account has twelve digits.
    3. Its resource is a key or an alias.
    """
    # 1.
    if not text.startswith("arn:"):
        if is_key_id(text):
            return KeyId(text)
        if is_alias_name(text):
            return AliasName(text)
        raise MalformedArn(f"Invalid keyId '{text[:KEY_REF_CHARS_MAX]}'")
    # 2.
    fields = text.split(":")
    if len(fields) != 6:
        raise MalformedArn(f"Invalid arn {text[:KEY_REF_CHARS_MAX]}")
    _, partition, service, region, account, resource = fields
    well_formed = (
        service == "kms"
        and partition != ""
        and region != ""
        and _LABEL_CHARACTERS.issuperset(partition + region)
        and len(account) == 12
        and _DIGITS.issuperset(account)
    )
    if not well_formed:
        raise MalformedArn(f"Invalid arn {text[:KEY_REF_CHARS_MAX]}")
    # 3.
    if resource.startswith("key/"):
        key_id = resource[4:]
        if not is_key_id(key_id):
            raise MalformedArn(f"Invalid keyId '{key_id[:KEY_REF_CHARS_MAX]}'")
        return KeyArn(partition, region, account, key_id)
    if is_alias_name(resource):
        return AliasArn(partition, region, account, resource)
    raise MalformedArn(f"Invalid arn {text[:KEY_REF_CHARS_MAX]}")
