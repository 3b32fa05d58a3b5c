"""A real installation in a temporary home: `strongroom up` as a user would start it, with its real processes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

# Of a machine that is many times slower, or has as much else to do: it must end, no more.
START_S_MAX = 120.0
# What a start takes on a free machine with two cores, from its command until all of it serves.
_START_S = 1.0
REGION = "us-east-1"
ACCOUNT = "000000000000"


# Below those that Linux gives to whoever asks for any port, and to whoever connects (ip_local_port_range).
_PORTS = range(12_000, 32_000)
# Kept until this process ends.
_CLAIMS: list[socket.socket] = []


def free_port() -> int:
    """A port of this test process alone, until it ends: installations come back to theirs.

    One that the kernel chose would be anybody's until it is served on, and again between a stop and the next start. So it
    is claimed, under a name that every test process of this machine sees.
    """
    while True:
        port = random.SystemRandom().choice(_PORTS)
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0strongroom-test-port-{port}")
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
        else:
            _CLAIMS.append(claim)
            return port


def client(
    service: str, port: int, access_key_id: str = "test", secret: str = "test", region: str = REGION, **config: Any
) -> Any:
    """A stock boto3 client for a port on loopback, without retries."""
    settings = {"retries": {"total_max_attempts": 1}, "read_timeout": 60, **config}
    return boto3.client(
        service,
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name=region,
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret,
        config=Config(**settings),
    )


class Installation:
    """Starts on `start`, leaves nothing on `destroy`. Short paths, because sockets lie below the home."""

    def __init__(self, *options: str, development: bool = True, python: str = sys.executable) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="sr-"))
        self.home = self.root / "h"
        self.port = free_port()
        self.output = self.root / "output"
        self.environment = dict(os.environ)
        self._python = python
        self._options = [*(["--dev"] if development else []), *options]
        self.process: subprocess.Popen[bytes] | None = None
        # How long its last start took.
        self.start_s = 0.0

    def start(self) -> Installation:
        """Start and wait until all of it serves: every worker, each with every region."""
        said = self._announced()
        began = time.monotonic()
        self.launch()
        self.wait_until_ready()
        while self._announced() == said:
            assert self.process is not None
            going_on = self.process.poll() is None and time.monotonic() - began < START_S_MAX
            assert going_on or self._announced() > said, f"not all of it serves:\n{self.output.read_text()}"
            time.sleep(0.01)
        self.start_s = time.monotonic() - began
        return self

    def late_s(self, promised_s: float) -> float:
        """What a promise of so many seconds can be held to here and now.

        It is made for a machine that has nothing else to do. By how much this one is slower, two things say: how long the
        last start took, and how many processes want a core.
        """
        wanting = os.getloadavg()[0] / len(os.sched_getaffinity(0))
        return promised_s * max(1.0, wanting, self.start_s / _START_S)

    def _announced(self) -> int:
        """How often a start of this home came to its end."""
        return self.output.read_text().count("Strongroom serves.") if self.output.exists() else 0

    def launch(self) -> None:
        """Start, and wait for nothing."""
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [
                    *(self._python, "-m", "strongroom.supervisor", "up"),
                    *("--home", str(self.home), "--port", str(self.port), *self._options),
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.environment,
            )

    def wait_until_ready(self, within_s: float = START_S_MAX) -> float:
        """Seconds until /readyz says yes."""
        started = time.monotonic()
        while time.monotonic() - started < within_s:
            if self.is_ready():
                return time.monotonic() - started
            if self.process is not None and self.process.poll() is not None:
                break
            time.sleep(0.01)
        raise AssertionError(f"not ready within {within_s} s:\n{self.output.read_text()}")

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=10) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def pid_of(self, actor: str) -> int:
        """The process id of `hsm` (the home region's) or `kms` (the first worker).

        Raises:
            LookupError: it does not run now.
        """
        first = {"hsm": str(self.home / "hsm" / "hsm-1.toml"), "kms": "w1"}[actor]
        try:
            return self.pids_of(actor)[first]
        except KeyError:
            raise LookupError(actor) from None

    def pids_of(self, actor: str) -> dict[str, int]:
        """All processes of a kind that run now: workers by their names, HSMs by their configuration files."""
        assert self.process is not None
        option = {"hsm": b"--config", "kms": b"--worker"}[actor]
        found = {}
        for entry in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            try:
                words = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue  # It ended meanwhile.
            if f"strongroom.{actor}".encode() in words:
                found[words[words.index(option) + 1].decode()] = int(entry)
        return dict(sorted(found.items()))

    def kms(self, access_key_id: str = "test", secret: str = "test", **config: Any) -> Any:
        return client("kms", self.port, access_key_id, secret, **config)

    def client(self, service: str, access_key_id: str = "test", secret: str = "test", **config: Any) -> Any:
        return client(service, self.port, access_key_id, secret, **config)

    def sts(self, access_key_id: str = "test", secret: str = "test", **config: Any) -> Any:
        return client("sts", self.port, access_key_id, secret, **config)

    def cli(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the command line against this home."""
        return subprocess.run(
            [self._python, "-m", "strongroom.cli", *arguments],
            capture_output=True,
            text=True,
            check=check,
            env=self.environment,
            timeout=240,
        )

    def cli_program(self) -> Callable[..., subprocess.CompletedProcess[str]]:
        """The installed `strongroom`, as an operator's shell would find it."""
        program = Path(self._python).parent / "strongroom"

        def run(*arguments: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [program, *arguments], capture_output=True, text=True, check=False, env=self.environment, timeout=240
            )

        return run

    def stop(self) -> None:
        """SIGTERM, as a service manager would."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)

    def destroy(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.root, ignore_errors=True)
