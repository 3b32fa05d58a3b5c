"""The HSM's configuration: one TOML file, read once, before the sandbox; unknown names refuse the start."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec


class HsmConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an HSM is told at its start. Paths are absolute."""

    hsm_id: str
    socket: str
    # Peers whose user id is not listed are hung up on before they say a word.
    allowed_uids: list[int]
    # Two copies; either may be missing or torn.
    sealed_states: list[str]
    seal_secret: str


def load_config(path: str) -> HsmConfig:
    return msgspec.convert(tomllib.loads(Path(path).read_text(encoding="utf-8")), HsmConfig)
