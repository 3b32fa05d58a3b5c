"""The processes of a run: the product (one or two), the bare server, the load generator.

Each starts in a session of its own, so that a Ctrl-C reaches only the bench, which then ends every child by its id.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import venv
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

from tests.bench.messages import Define, Failure, Sample, Slice

from strongroom.cli.admin_socket import ask

ROOT = Path(__file__).resolve().parents[2]
READY_WAIT_MAX_S = 60.0
END_WAIT_MAX_S = 15.0
# A slice has its own limit per answer; this one is for a load process that died silently.
REPLY_WAIT_MAX_S = 90.0
LOG_LINES_SHOWN = 40


class BenchError(Exception):
    pass


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Memory:
    """Resident KiB per role, each page that processes share divided by their number (PSS)."""

    service_kib: int
    hsm_kib: int


def resident_kib(pid: int) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))


@dataclass(frozen=True)
class ProcessId:
    """A pid alone may be given to a stranger; with its start time it may not."""

    pid: int
    started: str


def _stat_fields(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the third on: the second, the name, may hold blanks and brackets."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


def descendants(ancestor: int) -> list[ProcessId]:
    children: dict[int, list[ProcessId]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = _stat_fields(int(entry.name))
                children.setdefault(int(fields[1]), []).append(ProcessId(int(entry.name), fields[19]))
    found: list[ProcessId] = []
    waiting = [ancestor]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += [child.pid for child in below]
    return found


def is_running(process: ProcessId) -> bool:
    try:
        fields = _stat_fields(process.pid)
    except OSError:
        return False
    return fields[19] == process.started and fields[0] != "Z"


def end(child: subprocess.Popen[bytes], known: Sequence[ProcessId] = ()) -> None:
    """SIGTERM, wait, then SIGKILL for it and for every descendant that it left behind.

    A parent that is dead already cannot be asked for its descendants: `known` are those seen while it lived.
    """
    below = set(known)
    if child.poll() is None:
        below.update(descendants(child.pid))
    child.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(END_WAIT_MAX_S)
    if child.poll() is None:
        child.kill()
        child.wait()
    for process in below:
        if is_running(process):
            print(f"bench: {process.pid} outlived its supervisor and is killed", file=sys.stderr)
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)


def overlay_interpreter(checkout: Path, folder: Path) -> Path:
    """An interpreter that sees `checkout`'s source first and our installed packages after it.

    PYTHONPATH would not do: a product that starts its children isolated (`python -I`) would run our source in them.
    """
    source = checkout.resolve() / "src"
    if not (source / "strongroom").is_dir():
        raise BenchError(f"{checkout}: no src/strongroom there")
    venv.EnvBuilder(with_pip=False, symlinks=True).create(folder)
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    target = next(folder.glob("lib/python*/site-packages"))
    (target / "base.pth").write_text(f"{source}\n{packages}\n")
    return folder / "bin" / "python"


class Product:
    """`strongroom up --dev` in a home of its own, from this checkout or from another one."""

    def __init__(
        self,
        name: str,
        *,
        program: Path | None = None,
        checkout: Path | None = None,
        workers: int = 1,
        keys_max: int | None = None,
    ) -> None:
        """`keys_max` is a limit other than the default."""
        self.name = name
        self.workers = workers
        self._keys_max = keys_max
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix=f"strongroom-bench-{name}-"))
        self._log = self._folder / "log"
        self._child: subprocess.Popen[bytes] | None = None
        self._command = [str(program or ROOT / ".venv/bin/strongroom")]
        self._checkout = checkout
        self._known: list[ProcessId] = []

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def pids(self) -> dict[str, tuple[int, ...]]:
        """Role → processes, found by command line among the supervisor's descendants."""
        assert self._child is not None
        roles: dict[str, list[int]] = {"service": [], "hsm": []}
        for module, role in (("strongroom.kms", "service"), ("strongroom.hsm", "hsm")):
            for process in descendants(self._child.pid):
                with contextlib.suppress(OSError):
                    if module in command_line(process.pid):
                        roles[role].append(process.pid)
            if not roles[role]:
                raise BenchError(f"{self.name}: no {module} process below {self._child.pid}\n{self._log_tail()}")
        return {role: tuple(pids) for role, pids in roles.items()}

    def status(self) -> dict[str, Any]:
        """What the first worker tells operators of itself."""
        answer: dict[str, Any] = ask(self._folder / "home", "status")
        return answer

    def memory(self) -> Memory:
        """Of all processes of a role together."""
        pids = self.pids()
        return Memory(*(sum(map(resident_kib, pids[role])) for role in ("service", "hsm")))

    def _start(self) -> None:
        if self._checkout is not None:
            interpreter = overlay_interpreter(self._checkout, self._folder / "venv")
            entry = "import sys; from strongroom.cli.__main__ import main; sys.exit(main())"
            self._command = [str(interpreter), "-c", entry]
        elif not Path(self._command[0]).exists():
            raise BenchError(f"{self._command[0]} does not exist: run `make install` first")
        if self._keys_max is not None:
            home = self._folder / "home"
            home.mkdir(mode=0o700)
            (home / "limits.toml").write_text(f"keys_max = {self._keys_max}\n")
        arguments = ["up", "--dev", "--home", str(self._folder / "home"), "--port", str(self.port)]
        if self.workers > 1:
            arguments += ["--workers", str(self.workers)]
        with self._log.open("wb") as log:
            self._child = subprocess.Popen(
                self._command + arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self._folder,
            )
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        assert self._child is not None
        deadline_s = time.monotonic() + READY_WAIT_MAX_S
        while time.monotonic() < deadline_s:
            if self._child.poll() is not None:
                raise BenchError(f"{self.name}: ended with {self._child.returncode}\n{self._log_tail()}")
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
            with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
                connection.request("GET", "/readyz")
                if connection.getresponse().status == 200:
                    self._known = descendants(self._child.pid)
                    return
            time.sleep(0.05)
        raise BenchError(f"{self.name}: not ready after {READY_WAIT_MAX_S:.0f} s\n{self._log_tail()}")

    def _log_tail(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()
        return "\n".join(["its log ends:", *lines[-LOG_LINES_SHOWN:]])

    def _end(self) -> None:
        if self._child is not None:
            end(self._child, self._known)
        shutil.rmtree(self._folder, ignore_errors=True)


def _ports_from(line: bytes) -> dict[str, int]:
    if not line:
        raise BenchError("the bare server ended at its start; its standard error is above")
    ports: dict[str, int] = json.loads(line)
    return ports


class BareServer:
    """`bare.py` in a process; its ports are known once it is entered."""

    def __init__(self, answers: dict[str, bytes]) -> None:
        self._answers = answers
        self.ports: dict[str, int] = {}
        self.pid = 0

    def __enter__(self) -> Self:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.bare"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            cwd=ROOT,
        )
        try:
            assert self._child.stdin is not None
            assert self._child.stdout is not None
            encoded = {name: base64.b64encode(answer).decode() for name, answer in self._answers.items()}
            self._child.stdin.write(json.dumps(encoded).encode() + b"\n")
            self._child.stdin.flush()
            self.ports = _ports_from(self._child.stdout.readline())
            self.pid = self._child.pid
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        end(self._child)
        for stream in (self._child.stdin, self._child.stdout):
            if stream is not None:
                stream.close()


class LoadGenerator:
    """`load.py` in a process, and the socket to it."""

    def __enter__(self) -> Self:
        ours, theirs = socket.socketpair()
        with theirs:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "tests.bench.load", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                cwd=ROOT,
            )
        self._connection = Connection(ours.detach())
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        end(self._child)

    def define(self, name: str, requests: list[bytes]) -> None:
        self._connection.send(Define(name, requests))

    def start(self, order: Slice) -> None:
        self._connection.send(order)

    def finish(self) -> Sample:
        if not self._connection.poll(REPLY_WAIT_MAX_S):
            raise BenchError("the load generator is silent")
        try:
            reply = self._connection.recv()
        except EOFError:
            raise BenchError("the load generator died") from None
        if isinstance(reply, Failure):
            raise BenchError(reply.text)
        assert isinstance(reply, Sample)
        return reply

    def run(self, order: Slice) -> Sample:
        self.start(order)
        return self.finish()


def latencies_ns(sample: Sample) -> list[int]:
    values = array("Q")
    values.frombytes(sample.latencies)
    return sorted(values)


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP unwind like Ctrl-C does, so that children end and folders vanish."""

    def unwind(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    previous = {number: signal.signal(number, unwind) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
