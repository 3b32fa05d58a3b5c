"""The HSM process: `python -m strongroom.hsm --config FILE --control-fd N --parent PID`, started by the supervisor.

1. take away what an attacker could use, 2. self-tests, 3. open the socket, read seal and sealed state, 4. serve.
"""

from __future__ import annotations

import argparse
import gc
import os
import signal
import socket
import time
from pathlib import Path
from typing import Never

from strongroom.boundary.statuses import RefusedError
from strongroom.hsm.arena import Arena
from strongroom.hsm.config import HsmConfig, load_config
from strongroom.hsm.domain.domain import DomainMaker
from strongroom.hsm.domain.seal import SECRET_BYTES
from strongroom.hsm.entropy import Entropy, EntropyFailureError
from strongroom.hsm.hardening import harden
from strongroom.hsm.module import Module
from strongroom.hsm.self_tests import SelfTestError, run_self_tests
from strongroom.hsm.server import Server, listen


def _read_secret(path: str, view: memoryview) -> None:
    """Straight into the arena, through no buffer."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if os.readv(descriptor, [view]) != SECRET_BYTES:
            raise SystemExit(f"the seal secret must have {SECRET_BYTES} bytes")
    finally:
        os.close(descriptor)


def _build(config: HsmConfig, measures: dict[str, str]) -> Module:
    try:
        run_self_tests()
    except SelfTestError as failed:
        raise SystemExit(f"self-test failed: {failed}") from None
    measures["freed memory"] = "wiped"
    arena = Arena()
    seal_secret = arena.lasting.take(SECRET_BYTES)
    _read_secret(config.seal_secret, seal_secret)
    try:
        entropy = Entropy()
    except EntropyFailureError:
        raise SystemExit("self-test failed: the kernel's random bytes repeat themselves") from None
    maker = DomainMaker(config.hsm_id, arena.lasting, seal_secret, entropy)
    module = Module(arena, entropy, time.time, maker, config.hsm_id)
    module.measures.update(measures)
    copies = [path.read_bytes() for path in map(Path, config.sealed_states) if path.exists()]
    try:
        module.power_on(copies)
    except RefusedError:
        raise SystemExit("there is a sealed state, but this seal secret does not open it") from None
    return module


def _stop(*_: object) -> Never:
    raise SystemExit(0)


def main() -> None:
    parser = argparse.ArgumentParser(prog="strongroom.hsm")
    parser.add_argument("--config", required=True)
    parser.add_argument("--control-fd", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    arguments = parser.parse_args()
    measures = harden(arguments.parent)  # 1
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The terminal's Ctrl-C is the supervisor's to act on.
    config = load_config(arguments.config)
    module = _build(config, measures)  # 2
    listening = listen(config.socket)  # 3
    control = socket.socket(fileno=arguments.control_fd)
    gc.collect()
    gc.freeze()
    try:
        Server(module, listening, control, set(config.allowed_uids)).run()  # 4
    finally:
        module.zeroize()


if __name__ == "__main__":
    main()
