"""A worker of the KMS service: `python -m strongroom.kms --config FILE --worker NAME …`, by the supervisor.

It inherits the sockets that it serves on and its channel to the supervisor, on which it says when it serves. SIGTERM stops
it cleanly.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import signal
import socket
import sys

import uvloop

from strongroom.kms.app import App, Inherited
from strongroom.kms.audit.heads import AuditInUseError
from strongroom.kms.audit.segments import AuditDamagedError, AuditUnavailableError
from strongroom.kms.config import KmsConfig, load_config
from strongroom.kms.faults import Fault
from strongroom.kms.identities.configured import ConfiguredError
from strongroom.kms.process import confine, harden, use_small_pages
from strongroom.kms.regions import CANNOT_OPEN
from strongroom.kms.supervision import Supervisor
from strongroom.kms.telemetry.lines import LineWriter
from strongroom.kms.telemetry.service_log import ServiceLog, log_unhandled

# What an operator can do something about; anything else is ours to see in full.
_CANNOT_START = (*CANNOT_OPEN, ConfiguredError, AuditDamagedError, AuditInUseError, AuditUnavailableError)


async def _serve(config: KmsConfig, arguments: argparse.Namespace, lines: LineWriter) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log_unhandled)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # The terminal's Ctrl-C is the supervisor's to act on.
    supervisor = Supervisor(socket.socket(fileno=arguments.channel_fd))
    inherited = Inherited(
        socket.socket(fileno=arguments.listen_fd),
        arguments.loads_fd,
        [socket.socket(fileno=descriptor) for descriptor in arguments.operators_fd],
        None if arguments.metrics_fd is None else socket.socket(fileno=arguments.metrics_fd),
    )
    app = App(config, supervisor, inherited, lines)
    await app.start()
    # What lives now lives long: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)
    if config.tls_certificate:
        use_small_pages()
    supervisor.ready()
    await stop.wait()
    await app.stop()


def main() -> None:
    parser = argparse.ArgumentParser(prog="strongroom.kms")
    parser.add_argument("--config", required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--worker", required=True)
    parser.add_argument("--channel-fd", type=int, required=True)
    parser.add_argument("--listen-fd", type=int, required=True)
    parser.add_argument("--loads-fd", type=int, required=True)
    parser.add_argument("--operators-fd", type=int, action="append", default=[])
    parser.add_argument("--metrics-fd", type=int)
    arguments = parser.parse_args()
    harden(arguments.parent)
    lines = LineWriter(sys.stderr.fileno())
    _log_to(lines, arguments.worker)
    try:
        config = load_config(arguments.config, arguments.worker)
    except ValueError as error:  # msgspec's and tomllib's refusals are such.
        raise SystemExit(f"strongroom: the service cannot start: {arguments.config}: {error}") from None
    if config.confine_writing and not confine(config.confine_reading, config.confine_writing):
        logging.getLogger("strongroom.kms").warning("this kernel has no Landlock: the service can see the HSM's seal")
    try:
        uvloop.run(_serve(config, arguments, lines))
    except _CANNOT_START as error:
        reason = f"{error.code}: the HSM did not answer or refused" if isinstance(error, Fault) else str(error)
        raise SystemExit(f"strongroom: the service cannot start: {reason}") from None
    finally:
        lines.close()


def _log_to(lines: LineWriter, worker: str) -> None:
    """Everything that anything logs becomes lines; of what is no warning, our own words only."""
    root = logging.getLogger()
    root.addHandler(ServiceLog(lines, worker))
    root.setLevel(logging.WARNING)
    logging.getLogger("strongroom").setLevel(logging.INFO)


if __name__ == "__main__":
    main()
