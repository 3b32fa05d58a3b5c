"""The KMS service's configuration: one TOML file, read once; unknown names refuse the start."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec

from strongroom.kms.limits import Limits


class KmsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a worker is told at its start. Paths are absolute; times are in seconds."""

    account: str
    region: str
    listen: str
    port: int
    hsm_socket: str
    # The domain token that the supervisor pinned, and the key by which the domain knows this host.
    domain_token: str
    host_id: str
    identity_key: str
    store: str
    audit_directory: str
    admin_socket: str
    # Beside root and this service's own user, who may give operators' commands.
    operator_uids: list[int]
    # Where the first administrator's access key is written; empty in a development home.
    first_access_key: str = ""
    # Well-known credentials test/test for the account's root.
    development: bool = False
    tls_certificate: str = ""
    tls_key: str = ""
    # Answers wait for the audit's sync as well as its write.
    strict_audit: bool = False
    audit_head_interval_s: float = 5.0
    worker: str = "w1"
    # What this process may still see of the file system after its start; empty: everything (it runs as its own user).
    confine_reading: list[str] = []
    confine_writing: list[str] = []
    limits: Limits = Limits()


def load_config(path: str) -> KmsConfig:
    return msgspec.convert(tomllib.loads(Path(path).read_text(encoding="utf-8")), KmsConfig)
