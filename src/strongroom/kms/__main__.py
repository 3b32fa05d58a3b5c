"""A worker of the KMS service: `python -m strongroom.kms --config FILE --parent PID --ready-fd N`, by the supervisor.

Writes one line to the ready descriptor when it serves. SIGTERM stops it cleanly.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import signal
import sqlite3
import sys

import uvloop

from strongroom.boundary.domain_token import DomainTokenError
from strongroom.kms.app import App
from strongroom.kms.audit.heads import AuditInUseError
from strongroom.kms.audit.segments import AuditDamagedError, AuditUnavailableError
from strongroom.kms.config import KmsConfig, load_config
from strongroom.kms.faults import Fault
from strongroom.kms.process import confine, harden
from strongroom.kms.repositories import RowForgedError, StoreUnavailableError
from strongroom.kms.storage.migrations import StoreTooNewError

# What an operator can do something about; anything else is ours to see in full.
_CANNOT_START = (
    Fault,
    OSError,
    sqlite3.DatabaseError,
    AuditDamagedError,
    AuditInUseError,
    AuditUnavailableError,
    DomainTokenError,
    RowForgedError,
    StoreTooNewError,
    StoreUnavailableError,
)


async def _serve(config: KmsConfig, ready_fd: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # The terminal's Ctrl-C is the supervisor's to act on.
    app = App(config)
    await app.start()
    # What lives now lives long: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)
    os.write(ready_fd, b"ready\n")
    os.close(ready_fd)
    await stop.wait()
    await app.stop()


def main() -> None:
    parser = argparse.ArgumentParser(prog="strongroom.kms")
    parser.add_argument("--config", required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--ready-fd", type=int, required=True)
    arguments = parser.parse_args()
    harden(arguments.parent)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(name)s %(levelname)s %(message)s")
    try:
        config = load_config(arguments.config)
    except ValueError as error:  # msgspec's and tomllib's refusals are such.
        raise SystemExit(f"strongroom: the service cannot start: {arguments.config}: {error}") from None
    if config.confine_writing and not confine(config.confine_reading, config.confine_writing):
        logging.getLogger("strongroom.kms").warning("this kernel has no Landlock: the service can see the HSM's seal")
    try:
        uvloop.run(_serve(config, arguments.ready_fd))
    except _CANNOT_START as error:
        reason = f"{error.code}: the HSM did not answer or refused" if isinstance(error, Fault) else str(error)
        raise SystemExit(f"strongroom: the service cannot start: {reason}") from None


if __name__ == "__main__":
    main()
