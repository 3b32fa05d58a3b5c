"""Several workers serve as one: what any of them does, all know; what becomes of one is nobody else's business.

They share the sockets that the supervisor made, the stores and the HSMs; each has an audit chain of its own.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from strongroom.cli.admin_socket import ask, ask_worker, workers
from strongroom.kms.wire.acceptor import STAND_BY
from testkit.installation import START_S_MAX, Installation, client, free_port
from testkit.raw import Raw, RawKms, assert_allowed, whole_lines
from testkit.workers import Workers, connection_to, stop_between_commits, stopped, worker_of

COUNT = 4


@pytest.fixture
def own() -> Iterator[Installation]:
    """Four workers that the test may break."""
    running = Installation("--workers", str(COUNT))
    yield _started(running)
    running.destroy()


@pytest.fixture(scope="module")
def four() -> Iterator[Installation]:
    """Four workers that tests share."""
    running = Installation("--workers", str(COUNT))
    yield _started(running)
    running.destroy()


def _started(installation: Installation, count: int = COUNT) -> Installation:
    """Started, and every worker serves."""
    installation.start()
    assert len(installation.pids_of("kms")) == count
    return installation


def _wait(condition: Callable[[], bool], within_s: float = START_S_MAX) -> float:
    started = time.monotonic()
    while not condition():
        waited = time.monotonic() - started
        assert waited < within_s, f"not within {within_s} s"
        time.sleep(0.01)
    return time.monotonic() - started


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in whole_lines(path)] if path.exists() else []


def _heads(installation: Installation) -> list[dict[str, Any]]:
    return _lines(installation.home / "service" / "audit" / "heads.jsonl")


def _records_of(installation: Installation, worker: str) -> int:
    paths = (installation.home / "service" / "audit").glob(f"audit-{worker}-*.jsonl")
    return sum(len(path.read_bytes().splitlines()) - 1 for path in paths)


def _signed(installation: Installation) -> dict[str, int]:
    """How far the last signed head vouches for each writer."""
    heads = _heads(installation)
    return {head["writer"]: head["seq"] for head in heads[-1]["heads"]} if heads else {}


def _verified(installation: Installation) -> str:
    return installation.cli("audit", "verify", "--home", str(installation.home)).stdout


# ── who takes a connection ──────────────────────────────────────────────────────────────────────────────────────────


def _filled(connections: int) -> list[int]:
    """How so many connections should lie, the fullest worker first: workers beyond the cores stand by."""
    cores = len(os.sched_getaffinity(0))
    counts = [0] * COUNT
    for _ in range(connections):
        counts[min(range(COUNT), key=lambda at: counts[at] + (0 if at < cores else STAND_BY))] += 1
    return sorted(counts, reverse=True)


def test_connections_spread_over_as_many_workers_as_there_are_cores_and_then_over_all(four: Installation) -> None:
    with Workers(four, COUNT):
        pass
    time.sleep(1.5)  # Longer than a sweep: what ended is forgotten.
    connections = []
    spread: Counter[str] = Counter()
    for _ in range(2 * STAND_BY * COUNT):  # One after the other: in a burst, whoever is awake helps.
        connections.append(Raw(four.port))
        spread[worker_of(connections[-1])] += 1
    for connection in connections:
        connection.__exit__()
    found = [count for _, count in spread.most_common()]
    assert len(found) == COUNT
    expected = _filled(len(connections))
    print(f"{found} connections, {expected} expected")
    # Exactly so on a quiet machine (tests/kms/test_acceptor.py); on a busy one, one that is late is helped out.
    assert all(abs(one - other) <= 32 for one, other in zip(found, expected, strict=True))


def test_connections_that_ended_make_room_again(four: Installation) -> None:
    """The fullest worker is left with none: the next ones are its own, where they would be everybody's otherwise."""
    with Workers(four, COUNT):
        by_worker = _opened(four, 40)
        fullest = max(by_worker, key=lambda worker: len(by_worker[worker]))
        _close(by_worker.pop(fullest))
        # Whoever is late is helped out: on a busy machine, not every try finds the worker awake.
        tries = []
        while not tries or (tries[-1] < 9 and len(tries) < 60):
            time.sleep(1.5)  # Longer than a sweep.
            fresh = _opened(four, 12)
            tries.append(len(fresh.get(fullest, ())))
            _close(*fresh.values())
        _close(*by_worker.values())
    assert tries[-1] >= 9, f"it took {tries} of 12 each"


def _opened(installation: Installation, count: int) -> dict[str, list[Raw]]:
    """New connections by who took them, one after the other: in a burst, whoever is awake helps."""
    by_worker: dict[str, list[Raw]] = {}
    for _ in range(count):
        connection = Raw(installation.port)
        by_worker.setdefault(worker_of(connection), []).append(connection)
    return by_worker


def _close(*connections: list[Raw]) -> None:
    for connection in itertools.chain(*connections):
        connection.__exit__()


def test_what_one_worker_makes_every_worker_uses(four: Installation) -> None:
    with Workers(four, COUNT) as pinned:
        made = [assert_allowed(connection.call("CreateKey"))["KeyMetadata"] for connection in pinned.connections]
        for key in made:
            for answer in pinned.ask_all("GenerateDataKey", {"KeyId": key["Arn"], "KeySpec": "AES_256"}):
                blob = assert_allowed(answer)["CiphertextBlob"]
                assert [one.status for one in pinned.ask_all("Decrypt", {"CiphertextBlob": blob})] == [200] * COUNT


# ── one of them is ill ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_worker_that_stands_still_holds_back_no_new_connection(own: Installation) -> None:
    pids = own.pids_of("kms")
    with stopped(pids["w2"], own.home / "service" / "store.db"):
        slowest = 0.0
        seen = set()
        for _ in range(60):
            began = time.monotonic()
            with Raw(own.port) as connection:
                seen.add(worker_of(connection))
                assert_allowed(connection.call("CreateKey"))
            slowest = max(slowest, time.monotonic() - began)
        assert len(seen) <= COUNT - 1
        with socket.socket(socket.AF_UNIX) as operators:
            operators.connect(str(own.home / "run" / "kms" / "admin.sock"))
            assert ask(own.home, "status")["worker"] != "w2"
    print(f"the slowest of 60 new connections with a key each: {slowest * 1000:.0f} ms")
    # A connection that waited for the stopped one would have no answer at all.
    assert slowest < own.late_s(2.0)
    assert own.pids_of("kms") == pids
    _wait(lambda: _serves(own, "w2"))


def _answers(installation: Installation, worker: str) -> bool:
    return bool(ask_worker(installation.home, worker, "status")["worker"] == worker)


def test_with_one_worker_stopped_and_killed_the_others_serve_and_it_comes_back(own: Installation) -> None:
    pid = own.pids_of("kms")["w3"]
    stop_between_commits(pid, own.home / "service" / "store.db")
    raw = RawKms(own)
    assert_allowed(raw.call("CreateKey"))
    os.kill(pid, signal.SIGKILL)
    assert_allowed(raw.call("CreateKey"))
    _wait(lambda: own.pids_of("kms").get("w3", pid) != pid)
    with Workers(own, COUNT) as pinned:
        assert len(pinned.connections) == COUNT


def test_a_worker_that_is_killed_costs_only_its_own_connections_and_nobody_is_refused(own: Installation) -> None:
    """While workers are killed one after the other, a client that opens a connection per call is never turned away."""
    kms = RawKms(own)
    key_id = assert_allowed(kms.call("CreateKey"))["KeyMetadata"]["KeyId"]
    refused: list[str] = []
    cut_off = served = 0
    going_on = threading.Event()

    def call() -> None:
        nonlocal cut_off, served
        while not going_on.is_set():
            try:
                connection = Raw(own.port)
            except OSError as error:
                refused.append(str(error))
                continue
            with connection:
                try:
                    answer = connection.call("Encrypt", {"KeyId": key_id, "Plaintext": "eA=="})
                except (EOFError, OSError):
                    cut_off += 1  # It was the killed worker's already.
                    continue
                served += 1
                if answer.status != 200:
                    refused.append(str(answer))

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for name in ("w1", "w2", "w3", "w4"):
            pid = own.pids_of("kms")[name]
            os.kill(pid, signal.SIGKILL)
            _wait(lambda name=name, pid=pid: own.pids_of("kms").get(name, pid) != pid)
            _wait(lambda name=name: _serves(own, name))
    finally:
        going_on.set()
        for thread in threads:
            thread.join(START_S_MAX)
    print(f"{served} calls served, {cut_off} cut off by four kills")
    assert not refused
    assert served > 100
    assert cut_off <= 4 * len(threads), "a killed worker took more with it than it had"


def _serves(installation: Installation, worker: str) -> bool:
    try:
        return _answers(installation, worker)
    except (OSError, TimeoutError):
        return False


def test_a_service_that_starts_again_as_a_whole_keeps_callers_waiting_and_refuses_none() -> None:
    """With one worker there is nobody else: what arrives meanwhile waits in the kernel's queue."""
    alone = Installation()
    try:
        alone.start()
        for _ in range(3):
            pid = alone.pid_of("kms")
            os.kill(pid, signal.SIGKILL)
            _wait(lambda pid=pid: not Path(f"/proc/{pid}").exists())
            with Raw(alone.port) as connection:
                assert_allowed(connection.call("CreateKey"))
    finally:
        alone.destroy()


# ── start and stop ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_start_is_announced_when_all_workers_serve_and_not_before(own: Installation) -> None:
    # `_started` waited for the words alone.
    names = workers(own.home)
    assert names == [f"w{number}" for number in range(1, COUNT + 1)]
    assert [ask_worker(own.home, name, "status")["worker"] for name in names] == names


def test_a_stop_answers_what_is_under_way_and_signs_for_every_record(own: Installation) -> None:
    pids = own.pids_of("kms")
    with Workers(own, COUNT) as pinned:
        for connection in pinned.connections * 5:
            assert_allowed(connection.call("CreateKey"))
        for connection in pinned.connections:
            connection.send(connection.request("CreateKey"))
        time.sleep(0.001)
        own.stop()
        late = [connection.read_to_end() for connection in pinned.connections]
    assert all(len(answers) <= 1 and all(answer.status == 200 for answer in answers) for answers in late)
    assert not [pid for pid in pids.values() if Path(f"/proc/{pid}").exists()]
    assert _signed(own) == {name: _records_of(own, name) for name in pids}
    assert "Traceback" not in own.output.read_text()
    assert ", 0 records after the last head, 0 problems" in _verified(own)


def test_an_idle_stop_is_quick_with_many_workers(own: Installation) -> None:
    began = time.monotonic()
    own.stop()
    took = time.monotonic() - began
    print(f"{COUNT} idle workers stop in {took:.2f} s")
    assert took < own.late_s(6.0)


@pytest.mark.parametrize("number", ["0", "65", "-1"])
def test_a_number_of_workers_that_makes_no_sense_is_refused(tmp_path: Path, number: str) -> None:
    refused = Installation()
    try:
        done = refused.cli("up", "--dev", "--home", str(tmp_path / "h"), "--workers", number, check=False)
        assert (done.returncode, done.stderr) == (1, "strongroom: --workers takes a number from 1 to 64\n")
        assert not (tmp_path / "h").exists()
    finally:
        refused.destroy()


def test_a_port_that_somebody_has_is_said_in_a_line_and_the_home_starts_elsewhere(own: Installation) -> None:
    second = Installation()
    second.port = own.port
    try:
        done = second.cli(
            "up", "--dev", "--home", str(second.home), "--port", str(own.port), "--listen", "127.0.0.1", check=False
        )
        assert done.returncode == 1
        assert done.stderr == f"strongroom: 127.0.0.1 port {own.port} cannot be served on: Address already in use\n"
        assert not second.home.exists(), "a start that cannot serve decides nothing"
        second.port = free_port()
        second.start()
    finally:
        second.destroy()


# ── the audit trail ─────────────────────────────────────────────────────────────────────────────────────────────────


def _signer(installation: Installation) -> str:
    """The worker that has the lock of the head log."""
    lock = installation.home / "service" / "audit" / "heads.lock"
    inode = lock.stat().st_ino
    locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    holders = {words[4] for words in locks if words[5].endswith(f":{inode}")}
    (signer,) = [name for name, pid in installation.pids_of("kms").items() if str(pid) in holders]
    return signer


def test_when_the_worker_that_signs_is_killed_another_one_goes_on(own: Installation) -> None:
    with Workers(own, COUNT) as pinned:
        for connection in pinned.connections:
            assert_allowed(connection.call("CreateKey"))
    _wait(lambda: len(_heads(own)) >= 1)
    time.sleep(3.0)  # Every worker has asked for the lock by now, and was told that it is taken.
    signer = _signer(own)
    pid = own.pids_of("kms")[signer]
    with Workers(own, COUNT) as pinned:
        stays = pinned.without(connection_to(pinned, pid)).connections
        os.kill(pid, signal.SIGKILL)
        for connection in stays:
            assert_allowed(connection.call("CreateKey"))
    wanted = {name: _records_of(own, name) for name in own.pids_of("kms") if name != signer}
    # The one that comes back in its place is held up: it must be another one that goes on.
    _wait(lambda: own.pids_of("kms").get(signer, pid) != pid)
    with stopped(own.pids_of("kms")[signer]):
        _wait(lambda: all(_signed(own).get(name, 0) >= count for name, count in wanted.items()))
    assert "0 problems" in _verified(own)


def test_chains_of_workers_that_are_no_more_stay_signed_for(own: Installation) -> None:
    with Workers(own, COUNT) as pinned:
        for connection in pinned.connections:
            assert_allowed(connection.call("CreateKey"))
    own.stop()
    records = {f"w{number}": _records_of(own, f"w{number}") for number in range(1, COUNT + 1)}
    own._options[own._options.index("--workers") + 1] = "1"
    _started(own, 1)
    assert workers(own.home) == ["w1"]
    assert_allowed(RawKms(own).call("CreateKey"))
    own.stop()
    signed = _signed(own)
    assert {name: signed[name] for name in ("w2", "w3", "w4")} == {name: records[name] for name in ("w2", "w3", "w4")}
    assert signed["w1"] > records["w1"]
    assert "4 segments" in _verified(own)
    # And the check can fail: a dead worker's chain is no less guarded for it.
    (segment,) = (own.home / "service" / "audit").glob("audit-w3-*.jsonl")
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join(lines[:-1]))
    done = own.cli("audit", "verify", "--home", str(own.home), check=False)
    assert done.returncode == 1
    assert "the chain of w3 ends at" in done.stdout


def test_doctor_shows_every_worker_and_says_which_one_does_not_answer(own: Installation) -> None:
    told = own.cli("doctor", "--home", str(own.home)).stdout
    assert [f"ok    worker w{number}: its audit chain has" in told for number in range(1, COUNT + 1)] == [True] * COUNT
    (own.home / "run" / "kms" / "w9.sock").touch()
    done = own.cli("doctor", "--home", str(own.home), check=False)
    assert "bad   worker w9: no service answers" in done.stdout
    assert done.returncode == 1


def test_the_story_of_the_demo_finds_its_trace_whichever_worker_serves(own: Installation) -> None:
    url = f"http://127.0.0.1:{own.port}"
    done = own.cli("demo", "--home", str(own.home), "--endpoint", url, "--json")
    steps = json.loads(done.stdout)["steps"]
    assert any(step["trace"] for step in steps)
    assert not [step["trace_missing"] for step in steps if step["trace_missing"]]


# ── many at once ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_writers_in_all_workers_at_once_lose_nothing_and_see_no_error(four: Installation) -> None:
    """Every worker commits; the store takes one at a time."""
    with Workers(four, COUNT) as pinned, ThreadPoolExecutor(COUNT) as pool:

        def make(connection: Raw) -> list[str]:
            made = [assert_allowed(connection.call("CreateKey"))["KeyMetadata"]["KeyId"] for _ in range(40)]
            for key_id in made:
                assert_allowed(connection.call("DisableKey", {"KeyId": key_id}))
            return made

        keys = [key_id for made in pool.map(make, pinned.connections) for key_id in made]
        for key_id in keys:
            states = {
                assert_allowed(answer)["KeyMetadata"]["KeyState"]
                for answer in pinned.ask_all("DescribeKey", {"KeyId": key_id})
            }
            assert states == {"Disabled"}


def test_two_workers_that_change_the_same_record_both_succeed_in_some_order(four: Installation) -> None:
    with Workers(four, COUNT) as pinned, ThreadPoolExecutor(COUNT) as pool:
        key_id = assert_allowed(pinned.connections[0].call("CreateKey"))["KeyMetadata"]["KeyId"]

        def describe(numbered: tuple[int, Raw]) -> None:
            number, connection = numbered
            for at in range(10):
                body = {"KeyId": key_id, "Description": f"{number}-{at}"}
                answer = connection.call("UpdateKeyDescription", body)
                # Five lost races in a row are one refusal, never a lost or half-done change.
                assert answer.status == 200 or answer.code == "KMSInternalException", answer

        list(pool.map(describe, enumerate(pinned.connections)))
        described = {
            assert_allowed(answer)["KeyMetadata"]["Description"]
            for answer in pinned.ask_all("DescribeKey", {"KeyId": key_id})
        }
        assert len(described) == 1


# ── a home from before ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_home_of_the_release_before_starts_with_several_workers_and_serves_what_it_held(tmp_path: Path) -> None:
    homes = Path(__file__).parent / "homes"
    held = json.loads((homes / "schema-1.json").read_text())
    old = Installation("--workers", "2")
    try:
        shutil.unpack_archive(homes / "schema-1.tar.gz", tmp_path)
        (unpacked,) = [path.parent for path in tmp_path.rglob("strongroom.toml")]
        shutil.copytree(unpacked, old.home)
        (old.home / "seal" / "local.secret").chmod(0o400)
        _started(old, 2)
        kms = old.kms()
        for key in held["keys"]:
            state = kms.describe_key(KeyId=key["key_id"])["KeyMetadata"]
            assert (state["KeyState"], state["Description"]) == (key["state"], key["description"])
            if key["state"] == "Disabled":
                kms.enable_key(KeyId=key["key_id"])
            opened = kms.decrypt(CiphertextBlob=base64.b64decode(key["blob"]), EncryptionContext=key["context"])
            assert opened["Plaintext"].decode() == key["plaintext"]
        for name, key_id in held["aliases"].items():
            assert kms.describe_key(KeyId=name)["KeyMetadata"]["KeyId"] == key_id
        # A region is made on first use, for which a call waits a while, and no longer.
        other = client("kms", old.port, region="eu-west-1", retries={"total_max_attempts": 5})
        assert ":eu-west-1:" in other.create_key()["KeyMetadata"]["Arn"]
        for one in (kms, other):
            one.close()
    finally:
        old.destroy()
