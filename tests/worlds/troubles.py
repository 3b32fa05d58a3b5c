"""What can be done to a service by whoever reaches it, and to the machine it runs on; each with a size.

Nothing here waits for a time but for what the service does: hanging up, refusing, holding.
"""

from __future__ import annotations

import io
import json
import mmap
import os
import random
import resource
import socket
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import botocore.auth
import pytest

from strongroom.kms.wire.http import BODY_BYTES_MAX, IDLE_S_MAX
from testkit.installation import REGION, START_S_MAX, Installation
from testkit.raw import Raw, allow, amz_date, ask_admin, call_headers, make_user, policy, raw_request, signed_headers
from testkit.waiting import wait_until
from testkit.workers import Workers, probe, stopped
from worlds.bombs import bombs
from worlds.enduring import WORKERS, Scene, Trouble, hsms

HOUR_S: Final = 3600.0
_HUNDRED_MB: Final = 100_000_000
_CHUNK: Final = b"x" * 65_536
# A hundred newcomers are served while the trouble is at its worst.
_SERVED: Final = 100
# As many ask at a time, without reading, as one worker answers while a few newcomers come.
_ASKING: Final = 40


# ── connections ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _connections(port: int, count: int) -> Iterator[list[socket.socket]]:
    """Open at the same time; what the test process may have open is raised as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 512
    if soft < wanted:
        assert hard == resource.RLIM_INFINITY or hard >= wanted, f"{count} connections need a limit of {wanted} files"
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    opened: list[socket.socket] = []
    try:
        opened.extend(socket.create_connection(("127.0.0.1", port), START_S_MAX) for _ in range(count))
        yield opened
    finally:
        for one in opened:
            one.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _is_open(connection: socket.socket) -> bool:
    """Whether the service has not hung up; what it says before is nobody's business."""
    connection.setblocking(False)
    try:
        while connection.recv(65_536):
            pass
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def idle_and_slow(idle: int, slow: int, *, wait_for_idle: bool = False, **promises: float) -> Trouble:
    """Many say nothing, and are let; some send a byte of a request now and then, until they are hung up on."""

    def bring(scene: Scene) -> None:
        port, began = scene.installation.port, time.monotonic()
        with _connections(port, idle) as silent, _connections(port, slow) as slowly:
            request = b"POST / HTTP/1.1\r\nHost: x\r\n" + b"X-Header: of a request that never ends\r\n" * 1000
            remaining = list(slowly)
            deadline = time.monotonic() + scene.patience_s
            for at in range(len(request)):
                for one in remaining:
                    with suppress(OSError):
                        one.send(request[at : at + 1])
                time.sleep(0.25)
                remaining = [one for one in remaining if _is_open(one)]
                if not remaining:
                    break
                assert time.monotonic() < deadline, f"{len(remaining)} requests are never whole, and still waited for"
            dropped = sum(not _is_open(one) for one in silent)
            # A machine that is too slow for this came too late to see it.
            assert not dropped or time.monotonic() - began > IDLE_S_MAX, f"{dropped} silent connections were dropped"
            scene.newcomer.wait_for(_SERVED)
            if wait_for_idle:
                wait_until(lambda: not any(map(_is_open, silent)), scene.patience_s * 2, "silent connections closed")

    return Trouble(bring, **promises)


def answers_never_read(clients: int, rounds: int, *, wait_for_end: bool = False, memory_mib_max: int = 48) -> Trouble:
    """Requests one after the other, for answers of 32 KiB: who does not read them is not read, and hung up on at last."""

    def bring(scene: Scene) -> None:
        port = scene.installation.port
        statement = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "kms:*", "Resource": "*"}
        text = json.dumps({"Version": "2012-10-17", "Id": "x" * 32_000, "Statement": [statement]})
        with Raw(port) as raw:
            key_id = raw.call("CreateKey", {"Policy": text}).json["KeyMetadata"]["KeyId"]
            request = raw.request("GetKeyPolicy", {"KeyId": key_id, "PolicyName": "default"})
        with _connections(port, clients) as opened:
            for one in opened:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                one.setblocking(False)
            for number in range(0, rounds * clients, _ASKING):
                for at in range(number, number + _ASKING):
                    # Who was not read for a while may have sent more than may wait behind one another, and is hung up on.
                    with suppress(OSError):
                        opened[at % clients].send(request * 8)
                scene.newcomer.wait_for(4, within_s=scene.patience_s)
            print(sum(map(_is_established, opened)), "of", clients, "who never read are still there")
            scene.newcomer.wait_for(_SERVED, within_s=scene.patience_s)
            if wait_for_end:
                assert any(map(_is_established, opened))
                wait_until(lambda: not any(map(_is_established, opened)), scene.patience_s, "who never reads gone")

    return Trouble(bring, memory_mib_max=memory_mib_max)


def _is_established(connection: socket.socket) -> bool:
    """Without reading."""
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == b"\x01"


def more_connections_than_files(count: int) -> Trouble:
    """Silent ones; beside them the trail needs its next files.

    On a busy machine a client's kept connection is silent for long enough to make room for another.
    """

    def bring(scene: Scene) -> None:
        with _connections(scene.installation.port, count):
            before = len(_segments(scene.installation))
            scene.newcomer.wait_for(_SERVED, within_s=scene.patience_s)
            wait_until(
                lambda: len(_segments(scene.installation)) > before + 3, scene.patience_s, "new files of the trail"
            )

    return Trouble(bring, frozenset({"ConnectionClosedError"}))


def _segments(installation: Installation) -> list[Path]:
    return list((installation.home / "service" / "audit").glob("audit-w*-*.jsonl"))


# ── bodies and headers ──────────────────────────────────────────────────────────────────────────────────────────────────


def _head(port: int, *headers: tuple[bytes, bytes]) -> bytes:
    """Of a request whose body is still to come."""
    return raw_request([(b"Host", b"127.0.0.1:%d" % port), *call_headers("Encrypt"), *headers])


def _answers_to(port: int, data: bytes, within_s: float) -> list[int]:
    """The statuses of all answers until the service hangs up, which it must."""
    with Raw(port) as raw:
        with suppress(ConnectionError):
            raw.send(data)
        try:
            return [answer.status for answer in raw.read_to_end(within_s)]
        except TimeoutError:
            raise AssertionError("what should be refused is waited for") from None


_LENGTH: Final = (b"Content-Length", str(_HUNDRED_MB).encode())
_CHUNKED: Final = (b"Transfer-Encoding", b"chunked")


def huge_bodies(senders: int, unfinished: int, *, to_the_end: bool = False) -> Trouble:
    """100 MB each, with a length and in chunks; and as many of the largest that are taken as are never whole.

    Whoever sends them hangs up when all have come, or waits `to_the_end` that the service does.

    A body of 100 MB is refused before its first byte is sent, so none of it needs to be read.
    """

    def bring(scene: Scene) -> None:
        port = scene.installation.port
        for header, status in ((_LENGTH, 413), (_CHUNKED, 400)):
            assert _answers_to(port, _head(port, header), scene.patience_s) == [status], "refused by its head alone"
        with ThreadPoolExecutor(senders) as pool:
            sent = list(pool.map(lambda number: _stream(port, (_LENGTH, _CHUNKED)[number % 2]), range(senders)))
        assert max(sent) < _HUNDRED_MB, "nobody sends all of it"
        with _connections(port, unfinished) as opened:
            whole = (b"Content-Length", str(BODY_BYTES_MAX).encode())
            for one in opened:
                one.settimeout(scene.patience_s)
                with suppress(OSError):  # Over the budget.
                    one.sendall(_head(port, whole) + b"x" * (BODY_BYTES_MAX - 1))
            scene.newcomer.wait_for(_SERVED, within_s=scene.patience_s)
            # Whether it is for the budget or for the time: nobody keeps them.
            if to_the_end:
                wait_until(lambda: not any(map(_is_open, opened)), scene.patience_s, "unfinished requests closed")

    # The budget of 64 MiB, twice: what was read lies in the reader's buffer, too.
    return Trouble(bring, frozenset({"503"}), memory_mib_max=160)


def _stream(port: int, header: tuple[bytes, bytes]) -> int:
    """Send on, whatever is answered, until it is hung up; how much left, most of it into the kernel's buffers."""
    sent = 0
    with socket.create_connection(("127.0.0.1", port), START_S_MAX) as connection, suppress(OSError):
        connection.sendall(_head(port, header))
        while sent < _HUNDRED_MB:
            connection.sendall(b"%x\r\n%b\r\n" % (len(_CHUNK), _CHUNK) if header is _CHUNKED else _CHUNK)
            sent += len(_CHUNK)
    return sent


def json_bombs(rounds: int) -> Trouble:
    """Signed by somebody who is known, so that they are read as far as anything is."""

    def bring(scene: Scene) -> None:
        thrown = bombs(scene.key_id)

        def throw(number: int) -> None:
            bomb = thrown[number % len(thrown)]
            with Raw(scene.installation.port) as raw:
                raw.send(bomb.signed_for(raw))
                answer = raw.read_answer()
            assert answer.status < 500, f"{bomb.name}: {answer}"

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(throw, range(rounds * len(thrown))))
        scene.newcomer.wait_for(_SERVED)

    return Trouble(bring, memory_mib_max=64)


def header_floods(rounds: int) -> Trouble:
    """Too many, too long, without an end; and names that nobody sent before, again and again."""

    def bring(scene: Scene) -> None:
        port, names = scene.installation.port, random.Random(rounds)
        floods = [
            [(b"X-%d" % at, b"x") for at in range(70)],
            [(b"X-Long", b"x" * 40_000)],
            [(b"X" * 40_000, b"x")],
            [(b"X-%d" % at, b"x" * 1000) for at in range(60)],
        ]

        def pour(number: int) -> None:
            flood = _head(port, *floods[number % len(floods)], (b"Content-Length", b"0"))
            statuses = _answers_to(port, flood, scene.patience_s)
            assert statuses in ([431], []), f"a flood was answered {statuses}"

        def pour_without_an_end(_: int) -> None:
            with socket.create_connection(("127.0.0.1", port), START_S_MAX) as connection, suppress(OSError):
                connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\n")
                for at in range(100_000):
                    connection.sendall(b"X-%d: %b\r\n" % (at, b"x" * 1000))
                raise AssertionError("100 MB of headers were read")

        def name(number: int) -> None:
            made = [(b"X-%d" % names.getrandbits(200), b"x") for _ in range(30)]
            agent = (b"User-Agent", b"agent %d" % names.getrandbits(200))
            host = b"127.0.0.1:%d" % port
            with Raw(port) as raw:
                headers = [(b"Host", host), *call_headers("ListKeys"), agent, *made, (b"Content-Length", b"0")]
                if number % 2:
                    headers = signed_headers(host.decode(), b"", [*call_headers("ListKeys"), agent, *made])
                raw.send(raw_request(headers))
                assert raw.read_answer().status in {200, 400}

        with ThreadPoolExecutor(4) as pool:
            for flood in (pour, pour_without_an_end, *[name] * 10):
                list(pool.map(flood, range(rounds)))
        scene.newcomer.wait_for(_SERVED)

    # Lists of names are remembered up to 12 MiB, verified headers up to 50 MiB.
    return Trouble(bring, memory_mib_max=96)


# ── the machine ─────────────────────────────────────────────────────────────────────────────────────────────────────────


# How long whoever asks a silent HSM may have to wait for a refusal, and for an answer once it answers again.
_SILENCE_S_MAX: Final = 5.0
_RECOVERY_S_MAX: Final = 2.0


def hsm_stands_still(seconds: float, crowd: int, region: str = REGION, **promises: float) -> Trouble:
    """SIGSTOP: it neither answers nor ends. Whoever asks in its region is refused in time, also a crowd; nobody else is.

    But who a caller is that was not known yet, the home region's HSM alone can say.
    """

    def bring(scene: Scene) -> None:
        unknown = _callers_not_known_yet(scene)
        late_s = scene.newcomer.late_s()
        with stopped(hsms(scene.installation)[region]):
            began = time.monotonic()
            wait_until(lambda: not _is_ready(scene, region), scene.patience_s, "a probe that says no")
            _ask_in_vain(scene, crowd, late_s, region)
            _require_asked_elsewhere(scene, region, unknown, "DependencyTimeoutException" if region == REGION else "")
            scene.newcomers[region].wait_for(1, "DependencyTimeoutException", began, scene.patience_s)
            time.sleep(max(0.0, seconds - (time.monotonic() - began)))
        scene.ended_s = time.monotonic()
        wait_until(lambda: _is_ready(scene, region), scene.patience_s, "a probe that says yes")
        _require_asked_elsewhere(scene, region, unknown, "")

    silent = frozenset({"DependencyTimeoutException", "KMSInternalException"})
    return Trouble(
        bring, silent, refused_in=region, refused_s_max=_SILENCE_S_MAX, recovery_s_max=_RECOVERY_S_MAX, **promises
    )


def _is_ready(scene: Scene, region: str) -> bool:
    with Raw(scene.installation.port) as raw:
        raw.send(probe(raw.host, f"/readyz/{region}".encode()))
        return raw.read_answer().status == 200


def _ask_in_vain(scene: Scene, crowd: int, late_s: float, region: str) -> None:
    """All at once; each is told in time that the HSM does not answer."""
    body = {"KeyId": scene.keys[region], "KeySpec": "AES_256"}
    with ExitStack() as stack:
        asking = [stack.enter_context(Raw(scene.installation.port)) for _ in range(crowd)]
        sent = []
        for one in asking:
            request = one.request("GenerateDataKey", body, region=region)
            sent.append(time.monotonic())
            one.send(request)
        for one, since in zip(asking, sent, strict=True):
            try:
                answer, waited = one.read_answer(scene.patience_s), time.monotonic() - since
            except TimeoutError:
                raise AssertionError("whoever asks a silent HSM is never refused") from None
            assert answer.code == "DependencyTimeoutException", f"after {waited:.2f} s: {answer}"
            # Those before it in this list were read first.
            assert waited <= _SILENCE_S_MAX + late_s + (sent[-1] - sent[0]), f"after {waited:.2f} s"


def _callers_not_known_yet(scene: Scene) -> list[dict[str, Any]]:
    """How requests of two are signed who never asked; afterwards, every worker knows the newcomers."""
    user = make_user(scene.installation, "somebody", policy(allow("kms:*")))
    session = _session(scene)
    with Workers(scene.installation, WORKERS) as workers:
        assert all(answer.status == 200 for answer in workers.ask_all("ListKeys"))
    return [{"access_key_id": user.access_key_id, "secret": user.secret}, session]


def _session(scene: Scene) -> dict[str, Any]:
    """How requests of one that begins now are signed."""
    sts = scene.installation.sts()
    begun = sts.get_session_token()["Credentials"]
    sts.close()
    return {
        "access_key_id": begun["AccessKeyId"],
        "secret": begun["SecretAccessKey"],
        "extra": [(b"X-Amz-Security-Token", begun["SessionToken"].encode())],
    }


def _require_asked_elsewhere(scene: Scene, region: str, callers: list[dict[str, Any]], code: str) -> None:
    """All at once, in the other regions."""

    def ask(name: str, signing: dict[str, Any]) -> str:
        with Raw(scene.installation.port) as raw:
            body = {"KeyId": scene.keys[name], "KeySpec": "AES_256"}
            return raw.call("GenerateDataKey", body, region=name, **signing).code

    asked = [(name, signing) for name in scene.keys if name != region for signing in callers]
    with ThreadPoolExecutor(max(1, len(asked))) as pool:
        codes = list(pool.map(lambda one: ask(*one), asked))
    assert codes == [code] * len(asked)


def full_disk(disk: Path, times: int, *, refused_share: float, on_reserve: int) -> Trouble:
    """Somebody else fills the disk, until so many of the calls are refused, and makes room again.

    Where the trail lies there too, it has a reserve, and calls are served as long as that lasts.
    """

    def bring(scene: Scene) -> None:
        for _ in range(times):
            ballast = disk / "ballast"
            if on_reserve:
                wait_until(lambda: _reserves(disk) == WORKERS, scene.patience_s, "a reserve for each worker")
            with ballast.open("wb", buffering=0) as file:
                _fill(file)
                if on_reserve:
                    scene.newcomer.wait_for(on_reserve, within_s=scene.patience_s)
                refused_since = time.monotonic()
                while not _are_refused(scene, refused_since, refused_share):
                    assert time.monotonic() - refused_since < scene.patience_s, "a full disk refuses nobody"
                    _fill(file)
                scene.newcomer.wait_for(_SERVED, "KMSInternalException", within_s=scene.patience_s)
            ballast.unlink()
            scene.newcomer.wait_for_calm(scene.patience_s)

    return Trouble(bring, frozenset({"KMSInternalException"}))


def _reserves(disk: Path) -> int:
    return sum(1 for _ in (disk / "audit").glob("reserve-*"))


def _fill(file: io.FileIO) -> None:
    """To the last page."""
    for length in (1 << 20, mmap.PAGESIZE):
        with suppress(OSError):
            while file.write(bytes(length)) == length:
                pass


def _are_refused(scene: Scene, since: float, share: float) -> bool:
    calls = scene.newcomer.calls[-60:]
    return sum(bool(call.code) and call.started > since for call in calls) >= share * len(calls)


# What every Python process of the installation does first: its wall clock is the machine's and what the file says.
_OWN_CLOCK: Final = """
import mmap, struct, sys, time
if any(name in sys.orig_argv for name in ("strongroom.kms", "strongroom.hsm")):
    with open({path!r}, "rb") as file:
        offset = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    machine = time.time
    time.time = lambda: machine() + struct.unpack_from("d", offset)[0]
if "strongroom.kms" in sys.orig_argv:
    from strongroom.kms.chores import access_key_flush, region_chores
    access_key_flush.INTERVAL_S = region_chores.INTERVAL_S = 0.5
"""


def with_a_clock_of_its_own(installation: Installation) -> None:
    """Before its start, after what is planted; its chores look twice a second."""
    folder = installation.root / "clock"
    folder.mkdir()
    _offset_file(installation).write_bytes(bytes(mmap.PAGESIZE))
    (folder / "sitecustomize.py").write_text(_OWN_CLOCK.format(path=str(_offset_file(installation))))
    planted = installation.environment.get("PYTHONPATH")
    installation.environment["PYTHONPATH"] = os.pathsep.join(filter(None, (planted, str(folder))))


def _offset_file(installation: Installation) -> Path:
    return installation.root / "clock-offset"


def clock_jumps(*hours: float) -> Trouble:
    """Of the service and the HSM, one after the other; whoever has the same time is served, and nothing is destroyed."""

    def bring(scene: Scene) -> None:
        installation = scene.installation
        with Raw(installation.port) as raw:
            doomed = raw.call("CreateKey").json["KeyMetadata"]["KeyId"]
            assert raw.call("ScheduleKeyDeletion", {"KeyId": doomed, "PendingWindowInDays": 7}).status == 200
        total = 0.0
        with _clocks(scene) as set_all:
            for jump in hours:
                total += jump
                set_all(total * HOUR_S)
                # Both workers' chores have looked, several times.
                scene.newcomer.wait_for_calm(scene.patience_s)
                if abs(jump) > 24:
                    wait_until(lambda: _is_held(installation), scene.patience_s, "destructive chores held")
                _require_served_by_the_clock(scene, total * HOUR_S)
                scene.newcomer.wait_for(_SERVED, within_s=scene.patience_s)
        scene.newcomer.wait_for_calm(scene.patience_s)
        with Raw(installation.port) as raw:
            state = raw.call("DescribeKey", {"KeyId": doomed})
            assert state.status == 200, f"a jump destroyed a key: {state}"
            assert state.json["KeyMetadata"]["KeyState"] == "PendingDeletion"

    return Trouble(bring, frozenset({"SignatureDoesNotMatch", "InvalidSignatureException"}))


@contextmanager
def _clocks(scene: Scene) -> Iterator[Callable[[float], None]]:
    """Sets the service's, the HSM's, the newcomer's and, for as long as this lasts, the load's."""
    offset_s = 0.0

    def set_all(seconds: float) -> None:
        nonlocal offset_s
        offset_s = seconds
        set_clock(scene.installation, seconds)
        scene.newcomer.set_clock(seconds)

    with pytest.MonkeyPatch.context() as patched:
        # Of boto3: it signs with this time.
        patched.setattr(botocore.auth, "get_current_datetime", lambda: datetime.now(UTC) + timedelta(seconds=offset_s))
        yield set_all
        set_all(0.0)


def _require_served_by_the_clock(scene: Scene, offset_s: float) -> None:
    """The load, with grants and rotation among the rest, and a session that begins now."""
    before = len(scene.answered)
    session = _session(scene)
    with Raw(scene.installation.port) as raw:
        key_id = raw.call("CreateKey", date=amz_date(offset_s)).json["KeyMetadata"]["KeyId"]
        for operation, body in (("GenerateDataKey", {"KeySpec": "AES_256"}), ("RotateKeyOnDemand", {})):
            answer = raw.call(operation, {"KeyId": key_id, **body}, date=amz_date(offset_s), **session)
            assert answer.status == 200, f"{offset_s / HOUR_S:.0f} hours off: {answer}"
    wanted = {"CreateGrant", "EnableKeyRotation"}
    wait_until(lambda: wanted <= set([*scene.answered.values()][before:]), scene.patience_s, f"{wanted} by the load")


def set_clock(installation: Installation, offset_s: float) -> None:
    """So far from the machine's, at once."""
    with _offset_file(installation).open("r+b") as file:
        os.pwrite(file.fileno(), struct.pack("d", offset_s), 0)


def _is_held(installation: Installation) -> bool:
    (region,) = ask_admin(installation, "status")["regions"]
    return region["clock"]["held_since_s"] is not None
