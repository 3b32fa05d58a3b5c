"""Where keys do not lie: the memory of both processes and every file, searched by root with the keys in hand.

The tests open the sealed state themselves (testkit.sealed_state) and so know domain key, HBKs and derived keys without
any switch inside the HSM. The HSM is searched outside its arena, which the kernel shows to nobody, while it stands
between two frames; the service and the files at any moment. The service has what it passes on, and nothing else: no key
that makes or opens a blob, no data key that went out wrapped only.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from botocore.exceptions import ClientError

from strongroom.boundary.messages import (
    CiphertextAnswer,
    DataKeyAnswer,
    Encrypt,
    GenerateRandom,
    HbkAnswer,
    KeyBinding,
    PlaintextAnswer,
    RefusedAnswer,
    SealColumn,
)
from strongroom.cli.admin_socket import ask
from strongroom.protocol.signing import sign
from testkit.installation import REGION, Installation
from testkit.memory import (
    Hit,
    Needles,
    RepeatedScan,
    Report,
    aes_256_schedule,
    between_frames,
    scan_files,
    scan_process,
    sha256_state,
)
from testkit.sealed_state import SealedState, derived_key, open_blob
from worlds.every_command import KINDS, Given, Host, Kind, bindings
from worlds.leaks import LEAKS

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root reads another process's memory")

CONTEXT = {"tenant": "blue", "purpose": "memory"}
# What a process keeps of the allocator's settings is what `supervisor.children` gives its HSM.
ALLOCATOR = {
    "PYTHONMALLOC": "malloc",
    "GLIBC_TUNABLES": "glibc.malloc.perturb=170:glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0",
}
BURST = 64
_MADE_KEPT = 200
_FRAMES_A_SESSION = 100
# A burst may be split, by a chore of the service or a busy machine, and is repeated then: most are whole.
_TRIES = 30
_SINGLES_A_SERVICE_SCAN = 20


class Made(NamedTuple):
    """`passed`: the service passed it on and so had it."""

    name: str
    secret: bytes
    passed: bool

    @property
    def is_key(self) -> bool:
        return self.name.startswith(("derived key", "HBK"))


class Scene:
    """An installation under load, and every secret that the load has touched."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.kms = installation.kms(max_pool_connections=4)
        self.store = installation.home / "service" / "store.db"
        self.state = SealedState.open(installation.home)
        lasting = {"domain key": self.state.domain_keys[self.state.active_id], "seal secret": self.state.seal_secret}
        lasting |= self.state.private_numbers()
        store_key = self.state.store_key(self.store)
        # What may be nowhere but in the arena; and what the service may know as well, since it passes it on.
        self._lasting = {**lasting, "store key": store_key}
        self._lasting_for_service = lasting
        self.for_hsm = Needles(self._lasting)
        self.for_service = Needles(self._lasting_for_service)
        self.for_files = Needles(
            {name: secret for name, secret in lasting.items() if name != "seal secret"}, deep=False
        )
        self.hbks: dict[str, bytes] = {}
        self.operations: Counter[str] = Counter()
        # Every derived key and data key; both processes are searched for the last ones of them, the files for all.
        self.made: list[Made] = []
        self._forgotten = 0
        self.hits: list[Hit] = []
        self.scans = self.service_scans = 0
        # Nothing becomes a needle after the first scan that was a secret before it.
        self._scan = RepeatedScan(installation.pid_of("hsm"))
        self._service_scan = RepeatedScan(installation.pid_of("kms"))
        self.blobs: list[tuple[str, bytes, bytes]] = []
        self.keys = [self.create_key(), self.create_key()]

    # ── what it knows ───────────────────────────────────────────────────────────────────────────────────────────

    def create_key(self) -> str:
        key_id = str(self.kms.create_key()["KeyMetadata"]["KeyId"])
        self.operations["CreateKey"] += 1
        for ekt in self.state.ekts(self.store):
            if ekt.key_id not in self.hbks:
                self.hbks[ekt.key_id] = ekt.hbk
                self.keep(f"HBK of {ekt.key_id}", ekt.hbk)
                self._lasting_for_service[f"HBK of {ekt.key_id}"] = ekt.hbk
                for needles in (self.for_service, self.for_files):
                    needles.add(f"HBK of {ekt.key_id}", ekt.hbk)
        assert key_id in self.hbks
        return key_id

    def learn(self, operation: str, key_id: str, blob: bytes, plaintext: bytes | None, *, passed: bool = True) -> None:
        """Take note of a blob; what we believe is its derived key is the one that opens it.

        `passed` is what it holds; of what is encrypted anew, that was said when it was learnt first.
        """
        opened = open_blob(self.hbks[key_id], key_id, blob, CONTEXT)
        assert plaintext is None or opened == plaintext
        key = derived_key(self.hbks[key_id], blob)
        self.learn_secret(Made(f"derived key ({operation})", key, passed=False))
        self.learn_secret(Made(f"data key ({operation})", opened[:64], passed))
        self.blobs.append((key_id, blob, opened))

    def learn_secret(self, made: Made) -> None:
        self.made.append(made)
        self._seek(made)

    def _seek(self, made: Made) -> None:
        for needles in (self.for_hsm, *(() if made.passed else (self.for_service,))):
            needles.add(made.name, made.secret, deep=made.is_key)

    def sealed_store_key(self) -> bytes:
        with closing(sqlite3.connect(f"file:{self.store}?mode=ro", uri=True)) as connection:
            ((value,),) = connection.execute("SELECT value FROM settings WHERE name = 'store-key'").fetchall()
        return bytes(value)

    # ── single commands ─────────────────────────────────────────────────────────────────────────────────────────

    def generate_data_key(self) -> None:
        key_id = self.keys[0]
        made = self.kms.generate_data_key(KeyId=key_id, KeySpec="AES_256", EncryptionContext=CONTEXT)
        self.learn("GenerateDataKey", key_id, made["CiphertextBlob"], made["Plaintext"])

    def generate_data_key_without_plaintext(self) -> None:
        key_id = self.keys[1]
        made = self.kms.generate_data_key_without_plaintext(KeyId=key_id, NumberOfBytes=48, EncryptionContext=CONTEXT)
        self.learn("GenerateDataKeyWithoutPlaintext", key_id, made["CiphertextBlob"], None, passed=False)

    def encrypt(self) -> None:
        key_id, plaintext = self.keys[0], secrets.token_bytes(200)
        made = self.kms.encrypt(KeyId=key_id, Plaintext=plaintext, EncryptionContext=CONTEXT)
        self.learn("Encrypt", key_id, made["CiphertextBlob"], plaintext)

    def decrypt(self) -> None:
        _, blob, plaintext = self.blobs[-1]
        assert self.kms.decrypt(CiphertextBlob=blob, EncryptionContext=CONTEXT)["Plaintext"] == plaintext

    def decrypt_with_the_wrong_context(self) -> None:
        _, blob, _ = self.blobs[-1]
        with pytest.raises(ClientError, match="InvalidCiphertextException"):
            self.kms.decrypt(CiphertextBlob=blob, EncryptionContext={"tenant": "red"})

    def re_encrypt(self) -> None:
        source, blob, plaintext = self.blobs[-1]
        destination = next(key_id for key_id in self.keys if key_id != source)
        made = self.kms.re_encrypt(
            CiphertextBlob=blob,
            SourceEncryptionContext=CONTEXT,
            DestinationKeyId=destination,
            DestinationEncryptionContext=CONTEXT,
        )
        self.learn("ReEncrypt", destination, made["CiphertextBlob"], plaintext)

    def make_key(self) -> None:
        self.keys = [self.create_key(), self.keys[0]]

    def single(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """The kinds of operation in turn, for ever; keys are made less often."""
        turn = 0
        while True:
            for operation in (
                self.generate_data_key,
                self.decrypt,
                self.encrypt,
                self.decrypt_with_the_wrong_context,
                self.re_encrypt,
                self.decrypt,
                self.generate_data_key_without_plaintext,
                self.re_encrypt,
            ):
                yield operation.__name__, operation
            turn += 1
            if turn % 2:
                yield "make_key", self.make_key

    # ── frames of many commands ─────────────────────────────────────────────────────────────────────────────────

    def burst(self, kind: str) -> bool:
        """64 requests of one kind at once; whether they reached the HSM in one frame."""
        source, blob, _ = self.blobs[-1]
        b64 = base64.b64encode(blob).decode()
        other = next(key_id for key_id in self.keys if key_id != source)
        bodies: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {
            "generate": (
                "GenerateDataKey",
                lambda: {"KeyId": source, "KeySpec": "AES_256", "EncryptionContext": CONTEXT},
            ),
            "encrypt": (
                "Encrypt",
                lambda: {
                    "KeyId": source,
                    "Plaintext": base64.b64encode(os.urandom(64)).decode(),
                    "EncryptionContext": CONTEXT,
                },
            ),
            "decrypt": ("Decrypt", lambda: {"CiphertextBlob": b64, "EncryptionContext": CONTEXT}),
            "fail": ("Decrypt", lambda: {"CiphertextBlob": b64, "EncryptionContext": {"tenant": "red"}}),
            "re-encrypt": (
                "ReEncrypt",
                lambda: {
                    "CiphertextBlob": b64,
                    "SourceEncryptionContext": CONTEXT,
                    "DestinationKeyId": other,
                    "DestinationEncryptionContext": CONTEXT,
                },
            ),
        }
        action, body = bodies[kind]
        before = self.counters()
        answers = _at_once(self.installation, action, [json.dumps(body()).encode() for _ in range(BURST)])
        after = self.counters()
        assert {status for status, _ in answers} == {400 if kind == "fail" else 200}, answers[0]
        self.operations[f"{action} (burst)"] += BURST
        if kind in {"generate", "encrypt", "re-encrypt"}:
            destination = other if kind == "re-encrypt" else source
            for _, answer in answers:
                self.learn(f"{action} in a burst", destination, base64.b64decode(answer["CiphertextBlob"]), None)
        # The second frame is the one that asks for the counters.
        return (after[0] - before[0], after[1] - before[1]) == (2, BURST + 1)

    def whole_burst(self, kind: str) -> int:
        """So many bursts, each with a look at both processes, until one reached the HSM in one frame."""
        for tried in range(1, _TRIES + 1):
            whole = self.burst(kind)
            self.scan_hsm(f"64 x {kind}")
            self.scan_service(f"64 x {kind}")
            if whole:
                return tried
        raise AssertionError(f"of {_TRIES} bursts of {kind} none reached the HSM in one frame")

    def counters(self) -> tuple[int, int]:
        hsm = ask(self.installation.home, "status")["hsm"]
        return hsm["frames"], hsm["commands"]

    # ── scans ───────────────────────────────────────────────────────────────────────────────────────────────────

    def keep(self, name: str, secret: bytes) -> None:
        """A secret that the HSM is searched for from now on."""
        self._lasting[name] = secret
        self.for_hsm.add(name, secret)

    def _forget_old(self) -> None:
        """Memory is bounded: what was clean after many frames cannot come back."""
        if len(self.made) - self._forgotten > 3 * _MADE_KEPT:
            self._forgotten = len(self.made) - _MADE_KEPT
            self.for_hsm, self.for_service = Needles(self._lasting), Needles(self._lasting_for_service)
            for made in self.made[self._forgotten :]:
                self._seek(made)

    def scan_hsm(self, after: str) -> None:
        self._forget_old()
        pid = self.installation.pid_of("hsm")
        with between_frames(pid):
            report = self._scan.scan(self.for_hsm)
        self._note("the HSM", after, report)
        self.scans += 1
        if self.scans % 250 == 0:
            print(f"{self.scans} scans, {len(self.hits)} hits; {sum(self.operations.values())} operations", flush=True)

    def scan_service(self, after: str) -> None:
        self._forget_old()
        self._note("the service", after, self._service_scan.scan(self.for_service))
        self.service_scans += 1

    def _note(self, where: str, after: str, report: Report) -> None:
        assert report.bytes_read > 8 << 20, where
        self.hits += report.hits
        for hit in report.hits:
            print(f"in {where}, after {after}: {hit}")

    def scan_files(self) -> Report:
        places = [entry for entry in self.installation.home.iterdir() if entry.name != "seal"]
        report = scan_files([*places, self.installation.output], self.for_files)
        for at in range(0, len(self.made), 2 * _MADE_KEPT):
            some = Needles(
                {f"{made.name} {n}": made.secret for n, made in enumerate(self.made[at : at + 2 * _MADE_KEPT])},
                deep=False,
            )
            report.hits += scan_files([*places, self.installation.output], some).hits
        return report


def _given(scene: Scene) -> tuple[list[KeyBinding], Given]:
    """Bindings and what else commands are made of: the key of the newest blob, and another one."""
    source, blob, _ = scene.blobs[-1]
    other = next(key_id for key_id in scene.keys if key_id != source)
    (first,), (second,) = (scene.state.ekts_of(scene.store, key_id) for key_id in (source, other))
    return bindings(scene.state, first, second), Given(blob, scene.sealed_store_key(), CONTEXT)


def _learn_frame(
    scene: Scene, keys: list[KeyBinding], kinds: list[Kind], commands: list[Any], answers: list[Any]
) -> None:
    """What the frame brought and made becomes needles, each blob with the key that made it."""
    assert [answer.request_id for answer in answers] == [command.request_id for command in commands]
    for kind, command, answer in zip(kinds, commands, answers, strict=True):
        name = f"{type(command).__name__} in a frame of {len(commands)}"
        refused = answer.status if isinstance(answer, RefusedAnswer) else None
        assert refused == kind.refused, (command, answer)
        match command:
            case SealColumn():
                scene.learn_secret(Made(f"value ({name})", command.value[:64], passed=False))
            case Encrypt():
                scene.learn_secret(Made(f"plaintext ({name})", command.plaintext[:64], passed=False))
        match answer:
            case DataKeyAnswer():
                scene.learn(name, keys[command.key].key_id, answer.blob, answer.plaintext, passed=False)
            case CiphertextAnswer():
                key = command.key if isinstance(command, Encrypt) else command.destination_key
                scene.learn(name, keys[key].key_id, answer.blob, None)  # Of what it holds, above or before.
            case PlaintextAnswer() if isinstance(command, GenerateRandom):
                scene.learn_secret(Made("random bytes", answer.plaintext, passed=False))
            case HbkAnswer():
                scene.learn_secret(Made("HBK made in a frame", scene.state.open_ekt(answer.ekt).hbk, passed=False))


def _at_once(installation: Installation, action: str, bodies: list[bytes]) -> list[tuple[int, dict[str, Any]]]:
    """Signed requests on a connection each, delivered while the service is held, so that it finds all of them."""
    host = f"127.0.0.1:{installation.port}"
    pid = installation.pid_of("kms")
    with ExitStack() as stack:
        address = ("127.0.0.1", installation.port)
        connections = [stack.enter_context(socket.create_connection(address, 60)) for _ in bodies]
        requests = [_signed(host, action, body) for body in bodies]
        time.sleep(0.05)
        os.kill(pid, signal.SIGSTOP)
        try:
            for connection, request in zip(connections, requests, strict=True):
                connection.sendall(request)
        finally:
            os.kill(pid, signal.SIGCONT)
        return [_answer(connection) for connection in connections]


def _signed(host: str, action: str, body: bytes) -> bytes:
    headers = [
        (b"X-Amz-Target", b"TrentService." + action.encode()),
        (b"Content-Type", b"application/x-amz-json-1.1"),
    ]
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    added = sign(
        "POST",
        host,
        b"/",
        headers,
        body,
        access_key_id="test",
        secret="test",
        region=REGION,
        service="kms",
        amz_date=now,
        session_token=None,
    )
    lines = [b"POST / HTTP/1.1", b"Host: " + host.encode(), b"Content-Length: %d" % len(body)]
    lines += [b"%b: %b" % header for header in (*headers, *added)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def _answer(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    received = b""
    while b"\r\n\r\n" not in received:
        received += _some(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
    )
    while len(body) < length:
        body += _some(connection)
    return int(head.split()[1]), json.loads(body)


def _some(connection: socket.socket) -> bytes:
    chunk = connection.recv(1 << 16)
    assert chunk, "the service hung up"
    return chunk


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    running = Installation()
    try:
        yield Scene(running.start())
    finally:
        running.destroy()


def _work(scene: Scene, operations: int, bursts: tuple[str, ...], frames: int, of_one_kind: int = 0) -> None:
    """Operations one by one with a scan after each, then bursts, then frames of our own, likewise."""
    scene.hits.clear()
    scene.scans = scene.service_scans = 0
    done = 0
    for name, operation in scene.single():
        operation()
        scene.operations[name] += 1
        done += 1
        scene.scan_hsm(name)
        if done % _SINGLES_A_SERVICE_SCAN == 0:
            scene.scan_service(name)
        if done >= operations:
            break
    tried = sum(map(scene.whole_burst, bursts))
    _own_frames(scene, frames, of_one_kind)
    scene.scan_service("all of it")
    print(
        f"{done} single operations, {tried} bursts of 64 ({len(bursts)} as one frame), "
        f"{frames} frames of 64 and {frames} of 1 of our own, {of_one_kind} of 64 of each of {len(KINDS)} kinds: "
        f"{scene.scans} scans of the HSM and {scene.service_scans} of the service, {len(scene.hits)} hits; "
        f"{dict(scene.operations)}"
    )
    assert not scene.hits, scene.hits[:10]
    files = scene.scan_files()
    assert not files.hits, files.hits[:10]
    assert files.bytes_read > 0


def _own_frames(scene: Scene, frames: int, of_one_kind: int) -> None:
    """Frames of every kind of command, of 64 and of one, then so many of 64 of each kind; sessions' keys are needles too."""
    host: Host | None = None
    asked = 0

    def ask(kinds: list[Kind]) -> None:
        nonlocal host, asked
        if asked % _FRAMES_A_SESSION == 0:  # Of a quarter of an hour, by which a campaign does not end.
            if host is not None:
                host.close()
            host = Host(scene.installation.home, scene.keep)
            scene.scan_hsm("handshake")
        asked += 1
        assert host is not None
        keys, given = _given(scene)
        commands = [kind.make(number, given) for number, kind in enumerate(kinds)]
        _learn_frame(scene, keys, kinds, commands, host.ask(keys, commands))
        scene.operations.update(f"{type(command).__name__} (in frames of our own)" for command in commands)
        scene.scan_hsm(f"a frame of {len(commands)}, last {type(commands[-1]).__name__}")

    try:
        for turn in range(frames):
            # One alone, another kind each time, and the last of a frame last: what it leaves nobody overwrites.
            at = turn % len(KINDS)
            ask((2 * (KINDS[at:] + KINDS[:at]))[:BURST])
            ask([KINDS[at]])
        for kind in KINDS:
            for _ in range(of_one_kind):
                ask([kind] * BURST)
    finally:
        if host is not None:
            host.close()


def test_after_single_and_64_command_frames_no_key_is_left_in_either_process_or_in_any_file(scene: Scene) -> None:
    _work(scene, 40, ("generate", "decrypt"), 8)


@pytest.mark.long
def test_after_360_operations_and_bursts_of_every_kind_no_key_is_left_anywhere(scene: Scene) -> None:
    _work(scene, 400, ("generate", "decrypt", "re-encrypt", "encrypt", "fail") * 2, 40, 1)
    assert scene.scans >= 400


@pytest.mark.campaign
def test_after_2000_operations_and_bursts_of_every_kind_no_key_is_left_anywhere(scene: Scene) -> None:
    _work(scene, 2000, ("generate", "decrypt", "re-encrypt", "encrypt", "fail") * 10, 500, 16)


# ── the scan itself: it finds what is there, and the measures are what makes the difference ─────────────────────────

# Keeps what it is given, or an HMAC object or a number made of it.
_KEEPER = """
import hmac, sys
given = sys.stdin.buffer.read(int(sys.argv[2]))
ways = {
    "hmac": lambda: hmac.new(given, b"", "sha256"),
    "number": lambda: int.from_bytes(given, "big"),
    "number, reversed": lambda: int.from_bytes(given, "little"),
    "bytes": lambda: bytes(bytearray(given)),
}
kept = ways[sys.argv[1]]()
print("ready", flush=True)
sys.stdin.buffer.read()
"""


def _found(key: bytes, kept: bytes, how: str = "bytes") -> set[str]:
    """In which forms the scan finds `key` in a process with the HSM's allocator that keeps `kept`."""
    environment = {"PATH": os.environ["PATH"], **ALLOCATOR}
    keeper = subprocess.Popen(
        [sys.executable, "-c", _KEEPER, how, str(len(kept))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    try:
        keeper.stdin.write(kept)
        keeper.stdin.flush()
        assert keeper.stdout.readline() == b"ready\n"
        report = scan_process(keeper.pid, Needles({"planted": key}))
        assert report.bytes_read > 8 << 20
        return {hit.form for hit in report.hits}
    finally:
        keeper.kill()
        keeper.communicate()


@pytest.mark.parametrize(
    ("kept", "found"),
    [
        (bytes, {"raw"}),
        (lambda key: key[::-1], {"reversed"}),
        (lambda key: key.hex().encode(), {"hex"}),
        (lambda key: key.hex().upper().encode(), {"hex"}),
        (base64.b64encode, {"base64"}),
        (lambda key: base64.b64encode(b"a" + key), {"base64"}),
        (lambda key: base64.urlsafe_b64encode(b"ab" + key), {"base64"}),
        (lambda key: b"abc" + key[:16], {"raw"}),
        (lambda key: b"x" + key[16:], {"raw"}),
        (lambda key: b"abcdefg" + key[5:21] + b"x", {"raw"}),
        (lambda key: repr(key).encode(), {"repr"}),
        (lambda key: repr(b"abc" + key[7:]).encode(), {"repr"}),
        (lambda key: json.dumps({"message": f"failed with {key!r}"}).encode(), {"repr in JSON"}),
        (lambda key: json.dumps(list(key)).encode(), {"list"}),
        (lambda key: msgspec.json.encode(list(b"abc" + key[7:])), {"list"}),
        (lambda key: aes_256_schedule(key)[77:100], {"AES key schedule"}),
        (lambda key: b"xyz" + key[3:18], set()),  # Fifteen bytes are under the window.
        (lambda key: secrets.token_bytes(len(key)), set()),
    ],
)
def test_the_scan_finds_a_planted_key_in_every_form(kept: Callable[[bytes], bytes], found: set[str]) -> None:
    key = secrets.token_bytes(32)
    assert _found(key, kept(key)) == found


# Keeps one thing after the other, and says so.
_COLLECTOR = """
import sys
kept = []
while given := sys.stdin.buffer.read(32):
    kept.append(bytes(bytearray(given)))
    print("ready", flush=True)
"""


def test_a_repeated_scan_finds_what_came_since_the_last_one() -> None:
    keys = {f"key {number}": secrets.token_bytes(32) for number in range(6)}
    needles, found = Needles({}), []
    command = [sys.executable, "-c", _COLLECTOR]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as collector:
        assert collector.stdin is not None
        assert collector.stdout is not None
        scan = RepeatedScan(collector.pid)
        for number, (name, key) in enumerate(keys.items()):
            needles.add(name, key)
            # Every other one is not given: a needle alone is no hit.
            if number % 2 == 0:
                collector.stdin.write(key)
                collector.stdin.flush()
                assert collector.stdout.readline() == b"ready\n"
            found.append({hit.secret for hit in scan.scan(needles).hits})
        collector.kill()
    for number, name in enumerate(keys):
        assert (name in found[number]) == (number % 2 == 0), found


def test_the_scan_finds_the_states_of_an_hmac_which_are_as_good_as_its_key() -> None:
    assert {"HMAC inner state", "HMAC outer state"} <= _found(key := secrets.token_bytes(32), key, "hmac")


@pytest.mark.parametrize("how", ["number", "number, reversed"])
def test_the_scan_finds_a_number_made_of_a_key(how: str) -> None:
    assert "number" in _found(key := secrets.token_bytes(32), key, how)


def test_the_scan_knows_what_stands_for_a_key() -> None:
    # FIPS 197, A.3, last round key; FIPS 180-4's example "abc".
    key = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
    assert aes_256_schedule(key)[-16:].hex() == "fe4890d1e6188d0b046df344706c631e"
    block = b"abc\x80" + bytes(52) + (24).to_bytes(8, "big")
    words = b"".join(word.to_bytes(4, "big") for word in sha256_state(block))
    assert words.hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    needles = Needles({"key": key})
    found = needles.find(bytes(24) + aes_256_schedule(key)[100:140] + bytes(24))
    assert ("key", "AES key schedule", 24, 40) in found


def test_the_hsm_without_the_allocators_settings_does_not_start(scene: Scene) -> None:
    config = scene.installation.home / "hsm" / "hsm-1.toml"
    refused = {}
    for name, environment in (("none", {}), ("half", {"PYTHONMALLOC": "malloc"}), ("whole", ALLOCATOR)):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            done = subprocess.run(
                [
                    *(sys.executable, "-m", "strongroom.hsm", "--config", str(_beside(config))),
                    *("--control-fd", str(theirs.fileno()), "--parent", str(os.getpid())),
                ],
                env={"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", ""), **environment},
                pass_fds=(theirs.fileno(),),
                capture_output=True,
                text=True,
                timeout=240,
                check=False,
            )
        refused[name] = done.stderr.strip()
    for name in ("none", "half"):
        assert refused[name] == "self-test failed: zeroisation of freed memory", refused
    # With them it comes as far as the seal, which this configuration does not have.
    assert "FileNotFoundError" in refused["whole"], refused


def _beside(config: Path) -> Path:
    """The same configuration, but for a socket and a seal of its own: the running HSM is not to be disturbed."""
    other = config.with_name("other.toml")
    text = config.read_text().replace("hsm-1.sock", "other.sock").replace("local.secret", "none.secret")
    other.write_text(text)
    return other


# Loaded by every python of an installation that has it on its path; it acts in the HSM and its launcher only, from
# outside of them: the product has no switch for this.
_WITHOUT_WIPING = """
import sys
if "strongroom.supervisor" in sys.orig_argv:
    import strongroom.supervisor.children
    strongroom.supervisor.children._HSM_ENVIRONMENT.clear()
if "strongroom.hsm" in sys.orig_argv:
    import strongroom.hsm.rinse, strongroom.hsm.self_tests
    strongroom.hsm.rinse.rinse = lambda: None
    strongroom.hsm.self_tests._TESTS.pop("zeroisation of freed memory")
"""


def test_without_the_measures_the_same_scan_is_full_of_keys(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(_WITHOUT_WIPING)
    careless = Installation()
    path = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    careless.environment["PYTHONPATH"] = os.pathsep.join(path)
    try:
        scene = Scene(careless.start())
        scene.generate_data_key()
        scene.burst("generate")
        scene.scan_hsm("GenerateDataKey, carelessly")
        kinds = {hit.secret.split(" ")[0] for hit in scene.hits}
        assert "data" in kinds
        assert len(scene.hits) > 10
    finally:
        careless.destroy()


@pytest.mark.long
def test_a_data_key_that_the_service_was_not_to_have_is_found_there() -> None:
    leaking = Installation()
    try:
        LEAKS["a data key that nobody asked for and the service keeps"].plant(leaking)
        scene = Scene(leaking.start())
        scene.scan_service("the start")
        assert scene.hits == []
        scene.generate_data_key_without_plaintext()
        scene.scan_service("GenerateDataKeyWithoutPlaintext")
        assert {hit.secret for hit in scene.hits} == {"data key (GenerateDataKeyWithoutPlaintext)"}
    finally:
        leaking.destroy()
