"""The KMS service's configuration: one TOML file, read once; unknown names refuse the start."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from strongroom.kms.limits import Limits


class RegionConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a worker is told of a region: here, or by its supervisor while it runs."""

    name: str
    hsm_socket: str
    # As the supervisor pinned it; empty for a region that is not whole, whose callers are told so.
    domain_token: bytes
    store: str


class KmsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a worker is told at its start. Paths are absolute; times are in seconds."""

    account: str
    # The first is the home region: the account's users and access keys are kept there.
    regions: list[RegionConfig]
    # The key by which every region's domain knows this host.
    host_id: str
    identity_key: str
    audit_directory: str
    # Beside root and this service's own user, who may give operators' commands.
    operator_uids: list[int]
    # Where the first administrator's access key is written; empty in a development home.
    first_access_key: str = ""
    # Well-known credentials test/test for the account's root; AWS's regions on first use.
    development: bool = False
    tls_certificate: str = ""
    tls_key: str = ""
    # Answers wait for the audit's sync as well as its write.
    strict_audit: bool = False
    audit_head_interval_s: float = 5.0
    # A segment that is longer is followed by a new one.
    audit_segment_bytes: Annotated[int, msgspec.Meta(ge=1 << 16)] = 64 << 20
    # Segments and heads older than this go; 0 keeps them for ever.
    audit_keep_days: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    # Which requests are logged beside being audited.
    request_log: Literal["all", "errors", "off"] = "errors"
    # Where workers tell each other their numbers, if anybody asks for them.
    metrics_directory: str = ""
    # How many workers there are, and which one this is.
    workers: int = 1
    worker: str = "w1"
    # What this process may still see of the file system after its start; empty: everything (it runs as its own user).
    confine_reading: list[str] = []
    confine_writing: list[str] = []
    limits: Limits = Limits()
    # Files of the home as they are, which a confined service could not read: an operator's TOML, and the JSON documents that
    # it names by their file names.
    organization: str = ""
    organization_documents: dict[str, str] = {}
    identity_providers: str = ""
    identity_provider_documents: dict[str, str] = {}


def load_config(path: str, worker: str) -> KmsConfig:
    config = msgspec.convert(tomllib.loads(Path(path).read_text(encoding="utf-8")), KmsConfig)
    return msgspec.structs.replace(config, worker=worker)
