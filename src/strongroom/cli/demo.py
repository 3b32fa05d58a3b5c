"""`strongroom demo`: the story of an envelope, told with a real file, the public API and the HSM's own trace.

The client of the story is this program: it encrypts and decrypts the file itself. What the tables say comes from the
service's answers and, for the HSM, from its trace (names and lengths, no secrets) behind the admin socket.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from strongroom.cli.admin_socket import AdminRefusedError, ask_worker, workers
from strongroom.cli.envelope import CHUNK_BYTES, EnvelopeError, decrypt_file, encrypt_file, wipe
from strongroom.cli.kms_client import ApiRefusedError, KmsClient, SettingError, credentials_from

_MB: Final = 1_000_000
_SIZE_MB_MAX: Final = 500
# KMS API reference, Encrypt: Plaintext has at most 4,096 bytes.
_ENCRYPT_BYTES_MAX: Final = 4096
_WIDTH: Final = 110
_ENDPOINT: Final = "http://127.0.0.1:4599"
_CONTEXT: Final = {"purpose": "strongroom-demo", "file": "holiday.bin"}
_WRONG_CONTEXT: Final = {**_CONTEXT, "file": "payroll.bin"}

_ACTORS: Final = ("client", "KMS service", "HSM", "storage")
_HELD: Final = (
    "plain data key",
    "wrapped data key",
    "HBK",
    "EKT",
    "domain key",
    "plaintext file",
    "ciphertext file",
)
_LEGEND: Final = (
    "An id or a size: holds it now. In brackets: only while it worked on this step. The client is its memory and its own "
    "file; storage is what lies on disks for good, the KMS service's store and the client's folder."
)


class StoryError(Exception):
    """Something happened that the story says cannot."""


def add_parser(commands: Any, add_home: Callable[[argparse.ArgumentParser], None]) -> None:
    parser = commands.add_parser(
        "demo",
        help="the story of an envelope, with a real file",
        description="Encrypt a real file the way KMS is meant to be used, and see after each step who holds which key.",
        epilog="example: strongroom demo --endpoint http://127.0.0.1:4599 --size-mb 50",
        allow_abbrev=False,
    )
    parser.add_argument("--endpoint", help=f"the service (default: AWS_ENDPOINT_URL_KMS, or {_ENDPOINT})")
    parser.add_argument("--access-key-id", help="who calls (default: the environment's, or the development key)")
    parser.add_argument("--secret", help="the secret access key that belongs to it")
    parser.add_argument("--size-mb", type=_size, default=50, help="size of the file (default: 50)")
    add_home(parser)
    parser.set_defaults(run=_run)


def _size(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _SIZE_MB_MAX:
        raise argparse.ArgumentTypeError(f"a size is a number from 1 to {_SIZE_MB_MAX}")
    return int(text)


def _run(parsed: argparse.Namespace, home: Path) -> int:
    told: list[Step] = []

    def tell(step: Step) -> None:
        told.append(step)
        if not parsed.json:
            print("\n".join(_lines(len(told), step)), flush=True)

    try:
        credentials = credentials_from(os.environ, parsed.access_key_id, parsed.secret)
        client = KmsClient(parsed.endpoint or os.environ.get("AWS_ENDPOINT_URL_KMS") or _ENDPOINT, credentials)
        with tempfile.TemporaryDirectory(prefix="strongroom-demo-") as folder:
            _Story(client, HsmTrace(home), Path(folder), tell).play(parsed.size_mb * _MB)
    except (ApiRefusedError, EnvelopeError, SettingError, StoryError) as error:
        print(f"strongroom: {error}", file=sys.stderr)
        return 1
    if not parsed.json:
        print("\n".join(_wrapped(_LEGEND)))
    else:
        print(json.dumps({"endpoint": client.endpoint, "steps": [asdict(step) for step in told]}, indent=2))
    return 0


# ── the HSM's trace ─────────────────────────────────────────────────────────────────────────────────────────────────


class HsmTrace:
    """What the HSM told of the commands on our key; `missing` says why there is nothing, where there is nothing."""

    def __init__(self, home: Path) -> None:
        self._home = home
        # Each worker has a trace of its own, and any of them may serve the next call.
        self._workers = workers(home)
        self.missing = "" if self._workers else f"no service answers on {home / 'run' / 'kms'}"
        self._ask("on")

    def _ask(self, switch: str) -> list[dict[str, Any]]:
        try:
            return [
                entry for worker in self._workers for entry in ask_worker(self._home, worker, "trace", switch=switch)
            ]
        except (OSError, AdminRefusedError) as error:
            self.missing = str(error)
            return []

    def read(self, hbkid: str, command: str) -> dict[str, Any] | None:
        """The last such command on this backing key. Other clients' commands are in the trace too, and passed over."""
        if self.missing:
            return None
        ours = [entry for entry in self._ask("read") if entry["hbkid"] == hbkid and entry["command"] == command]
        if not ours and not self.missing:
            self.missing = f"the service of {self._home} is not the one at this endpoint"
        return ours[-1] if ours else None

    def off(self) -> None:
        if not self.missing:
            self._ask("off")


# ── the story ───────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Step:
    """One page of the story. `holdings`: actor, what is held, how it shows in the table; nothing secret anywhere."""

    title: str
    text: list[str]
    facts: dict[str, Any]
    hierarchy: str
    holdings: dict[str, dict[str, str]]
    trace: dict[str, Any] | None
    trace_missing: str


@dataclass(slots=True)
class _KeyNames:
    """What is known by name of the keys above the data, as the answers and the trace tell it."""

    size: str
    hbkid: str = ""
    nonce: str = ""
    domain_key_id: str = ""
    ekt_length: int = 0
    has_data_key: bool = False

    def learn(self, trace: Mapping[str, Any]) -> None:
        self.nonce, self.domain_key_id = trace["nonce"], trace["domain_key_id"]
        self.ekt_length = trace["ekt_length"]

    def hierarchy(self) -> str:
        """From the data up; empty as long as no data key exists."""
        if not self.has_data_key:
            return ""
        unknown = "not told without a trace"
        nonce = _short(self.nonce) or unknown
        domain_key = _short(self.domain_key_id) or unknown
        return (
            f"data ({self.size}) <- data key <- derived key (nonce {nonce}) "
            f"<- HBK (HBKID {_short(self.hbkid)}) <- domain key ({domain_key})"
        )


@dataclass(slots=True)
class _Story:
    """The steps in their order; `_holds` is what each actor keeps between them."""

    _client: KmsClient
    _trace: HsmTrace
    _folder: Path
    _tell: Callable[[Step], None]
    _holds: dict[str, dict[str, str]] = field(default_factory=lambda: {actor: {} for actor in _ACTORS})
    _names: _KeyNames = field(default_factory=lambda: _KeyNames(""))
    _key_arn: str = ""

    def play(self, size: int) -> None:
        """1. a key, 2. how it does not work, 3. to 6. the way in, 7. and 8. the way back, 9. the wrong context."""
        plain = self._folder / "holiday.bin"
        self._names.size = f"{size // _MB} MB"
        try:
            self._create_key()  # 1
            _make_file(plain, size)
            self._holds["client"]["plaintext file"] = self._names.size
            digest = _sha256(plain)
            self._send_the_file(plain)  # 2
            data_key, wrapped = self._generate_data_key()  # 3
            try:
                self._encrypt_locally(data_key, plain, digest)  # 4
                self._wipe(data_key, plain)  # 5
            finally:
                wipe(data_key)
            self._store(wrapped)  # 6
            data_key = self._decrypt_data_key()  # 7
            try:
                self._decrypt_locally(data_key, digest)  # 8
            finally:
                wipe(data_key)
            self._wrong_context()  # 9
        finally:
            self._trace.off()

    # ── steps ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _create_key(self) -> None:
        metadata = self._client.call("CreateKey", Description="strongroom demo")["KeyMetadata"]
        self._key_arn, self._names.hbkid = metadata["Arn"], metadata["CurrentKeyMaterialId"]
        self._holds["HSM"]["domain key"] = "held"
        self._holds["storage"]["EKT"] = "held"
        self._page(
            "Create a KMS key",
            [
                f"The KMS key {metadata['KeyId']} is not a key but a record: a name that points to key material.",
                "The material, the HBK, was born in the HSM and left it only sealed under a domain key: that is the EKT.",
            ],
            {"key_arn": self._key_arn, "key_state": metadata["KeyState"], "hbkid": self._names.hbkid},
            {"HSM": {"HBK": _short(self._names.hbkid), "EKT": "made"}, "KMS service": {"EKT": "carried"}},
        )

    def _send_the_file(self, plain: Path) -> None:
        content = plain.read_bytes()
        whole = self._refusal("Encrypt", KeyId=self._key_arn, Plaintext=_base64(content))
        start = content[: _ENCRYPT_BYTES_MAX + 1]
        larger = self._refusal("Encrypt", KeyId=self._key_arn, Plaintext=_base64(start))
        self._client.call("Encrypt", KeyId=self._key_arn, Plaintext=_base64(start[:-1]))
        trace = self._read_trace("Encrypt")
        self._page(
            "How it does not work: send the file to KMS",
            [
                f"All {len(content):,} bytes to Encrypt are refused: {whole}",
                f"{len(start):,} bytes to Encrypt are refused: {larger}",
                f"{_ENCRYPT_BYTES_MAX:,} bytes are its most, and they are taken: KMS encrypts keys, not files.",
            ],
            {
                "whole_file": {
                    "bytes": len(content),
                    "status": whole.status,
                    "code": whole.code,
                    "message": whole.message,
                },
                "over_the_limit": {
                    "bytes": len(start),
                    "status": larger.status,
                    "code": larger.code,
                    "message": larger.message,
                },
            },
            self._passing({}),
            trace=trace,
        )

    def _generate_data_key(self) -> tuple[bytearray, bytes]:
        answer = self._client.call(
            "GenerateDataKey", KeyId=self._key_arn, KeySpec="AES_256", EncryptionContext=_CONTEXT
        )
        data_key = bytearray(base64.b64decode(answer.pop("Plaintext")))
        wrapped = base64.b64decode(answer["CiphertextBlob"])
        trace = self._read_trace("GenerateDataKey")
        sizes = {"plain data key": f"{len(data_key)} B", "wrapped data key": f"{len(wrapped)} B"}
        self._holds["client"] |= sizes
        self._names.has_data_key = True
        self._page(
            "GenerateDataKey",
            [
                f"A new data key for this file, bound to the encryption context {json.dumps(_CONTEXT)}.",
                "It comes twice: plain, to encrypt with, and wrapped under a key derived from the HBK and a fresh nonce.",
            ],
            {
                "encryption_context": _CONTEXT,
                "data_key_bytes": len(data_key),
                "wrapped_data_key_bytes": len(wrapped),
                "key_material_id": answer["KeyMaterialId"],
            },
            self._passing(sizes),
            trace=trace,
        )
        return data_key, wrapped

    def _encrypt_locally(self, data_key: bytearray, plain: Path, digest: str) -> None:
        encrypted = self._folder / "holiday.bin.encrypted"
        encrypt_file(data_key, plain, encrypted)
        size = encrypted.stat().st_size
        self._holds["storage"]["ciphertext file"] = f"{size:,} B"
        self._page(
            "Encrypt the file where it is",
            [
                f"The client encrypts with AES-256-GCM in chunks of {CHUNK_BYTES:,} bytes; nothing goes to KMS.",
                f"The file has SHA-256 {digest}; encrypted it is {size:,} bytes long.",
            ],
            {"plaintext_sha256": digest, "ciphertext_bytes": size, "chunk_bytes": CHUNK_BYTES},
            {},
        )

    def _wipe(self, data_key: bytearray, plain: Path) -> None:
        wipe(data_key)
        plain.unlink()
        del self._holds["client"]["plain data key"], self._holds["client"]["plaintext file"]
        self._page(
            "Wipe the plain data key",
            [
                "The buffer with the plain data key is overwritten with zeros, and the plaintext file is deleted.",
                "That is as far as Python goes: the JSON text in which the key arrived, and the cipher's copy, are freed",
                "but stay in memory until something else is written there. The HSM keeps keys in memory that it can wipe.",
            ],
            {"wiped_bytes": len(data_key), "is_zero": not any(data_key)},
            {},
        )

    def _store(self, wrapped: bytes) -> None:
        wrapped_file = self._folder / "holiday.bin.wrapped-key"
        wrapped_file.write_bytes(wrapped)
        self._holds["storage"]["wrapped data key"] = self._holds["client"].pop("wrapped data key")
        names = sorted(path.name for path in self._folder.iterdir())
        self._page(
            "Store the wrapped key beside the encrypted file",
            [
                f"On the client's disk lie {' and '.join(names)}.",
                "Whoever takes both has nothing without KMS: only the HSM unwraps the key, for whom the key policy names.",
            ],
            {"files": {name: (self._folder / name).stat().st_size for name in names}},
            {},
        )

    def _decrypt_data_key(self) -> bytearray:
        wrapped = (self._folder / "holiday.bin.wrapped-key").read_bytes()
        answer = self._client.call("Decrypt", CiphertextBlob=_base64(wrapped), EncryptionContext=_CONTEXT)
        data_key = bytearray(base64.b64decode(answer.pop("Plaintext")))
        before, trace = self._names.nonce, self._read_trace("Decrypt")
        sizes = {"plain data key": f"{len(data_key)} B", "wrapped data key": f"{len(wrapped)} B"}
        self._holds["client"]["plain data key"] = sizes["plain data key"]
        text = [
            "The wrapped key and the same context go to Decrypt. No key is named: the wrapped key says which HBK it needs.",
        ]
        if trace is not None:
            _require(self._names.nonce == before, "Decrypt used another nonce than GenerateDataKey")
            text.append("The HSM opened the EKT and, with the nonce of the first time, derived the same key again.")
        _require(answer["KeyId"] == self._key_arn, "another KMS key answered")
        self._page(
            "Decrypt the wrapped key",
            text,
            {
                "key_arn": answer["KeyId"],
                "key_material_id": answer["KeyMaterialId"],
                "algorithm": answer["EncryptionAlgorithm"],
            },
            self._passing(sizes),
            trace=trace,
        )
        return data_key

    def _decrypt_locally(self, data_key: bytearray, digest: str) -> None:
        plain = self._folder / "holiday.bin.again"
        decrypt_file(data_key, self._folder / "holiday.bin.encrypted", plain)
        again = _sha256(plain)
        _require(again == digest, "the decrypted file is not the one that was encrypted")
        wipe(data_key)
        del self._holds["client"]["plain data key"]
        self._holds["client"]["plaintext file"] = self._names.size
        self._page(
            "Decrypt the file and compare",
            [f"SHA-256 before {digest}", f"SHA-256 after  {again}: equal. The data key is wiped again."],
            {"sha256_before": digest, "sha256_after": again, "equal": True},
            {"client": {"plain data key": f"{len(data_key)} B"}},
        )

    def _wrong_context(self) -> None:
        wrapped = (self._folder / "holiday.bin.wrapped-key").read_bytes()
        refused = self._refusal("Decrypt", CiphertextBlob=_base64(wrapped), EncryptionContext=_WRONG_CONTEXT)
        _require(refused.code == "InvalidCiphertextException", f"the wrong context was refused as {refused}")
        self._client.call("DisableKey", KeyId=self._key_arn)
        self._page(
            "The wrong context is refused",
            [
                f"Decrypt with the context {json.dumps(_WRONG_CONTEXT)}: {refused}",
                "The context is authenticated with the data key; as with AWS, the refusal says no more than that.",
                "The KMS key of this demo stays, disabled.",
            ],
            {"status": refused.status, "code": refused.code, "message": refused.message},
            # A refused command leaves no trace, but to find the context wrong the HSM had to open the EKT.
            self._passing({"wrapped data key": f"{len(wrapped)} B"}),
        )

    # ── shared ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _refusal(self, operation: str, **members: Any) -> ApiRefusedError:
        try:
            self._client.call(operation, **members)
        except ApiRefusedError as refused:
            return refused
        raise StoryError(f"{operation} was answered although it had to be refused")

    def _read_trace(self, command: str) -> dict[str, Any] | None:
        trace = self._trace.read(self._names.hbkid, command)
        if trace is not None:
            self._names.learn(trace)
            self._holds["HSM"]["domain key"] = _short(trace["domain_key_id"])
            self._holds["storage"]["EKT"] = f"{trace['ekt_length']} B"
        return trace

    def _passing(self, sizes: dict[str, str]) -> dict[str, dict[str, str]]:
        """What service and HSM had while they worked on a command under our key."""
        ekt = {"EKT": f"{self._names.ekt_length} B" if self._names.ekt_length else "carried"}
        return {"KMS service": sizes | ekt, "HSM": sizes | ekt | {"HBK": _short(self._names.hbkid)}}

    def _page(
        self,
        title: str,
        text: list[str],
        facts: dict[str, Any],
        passing: dict[str, dict[str, str]],
        trace: dict[str, Any] | None = None,
    ) -> None:
        holdings = {}
        for actor in _ACTORS:
            bracketed = {held: f"({value})" for held, value in passing.get(actor, {}).items()}
            holdings[actor] = bracketed | self._holds[actor]
        if self._trace.missing:
            holdings["HSM"] = {}
        self._tell(Step(title, text, facts, self._names.hierarchy(), holdings, trace, self._trace.missing))


def _require(holds: bool, otherwise: str) -> None:  # noqa: FBT001 -- reads as the sentence that it is.
    if not holds:
        raise StoryError(otherwise)


def _sha256(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def _make_file(path: Path, size: int) -> None:
    with path.open("xb") as target:
        for offset in range(0, size, CHUNK_BYTES):
            target.write(os.urandom(min(CHUNK_BYTES, size - offset)))


def _short(identifier: str) -> str:
    return identifier[:8]


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


# ── the page ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _lines(number: int, step: Step) -> Iterator[str]:
    bold, plain = ("\x1b[1m", "\x1b[0m") if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else ("", "")
    yield f"{bold}{number}. {step.title}{plain}"
    for sentence in step.text:
        yield from _wrapped(sentence)
    yield ""
    yield from _table(step)
    if step.hierarchy:
        yield ""
        yield from _wrapped(step.hierarchy)
    yield ""


def _table(step: Step) -> Iterator[str]:
    first_words, other_words = zip(*(held.split(" ", 1) if " " in held else (held, "") for held in _HELD), strict=True)
    rows = [["", *first_words], ["who holds what", *other_words]]
    rows += [[actor, *(step.holdings[actor].get(held, "-") for held in _HELD)] for actor in _ACTORS]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HELD) + 1)]
    for actor, *cells in rows:
        name = actor.ljust(widths[0]) + "  "
        if actor == "HSM" and step.trace_missing:
            yield from _wrapped(f"{name}the trace is not available: {step.trace_missing}", indent=len(name))
        else:
            columns = (cell.ljust(width) for cell, width in zip(cells, widths[1:], strict=True))
            yield f"   {name}{'  '.join(columns)}".rstrip()


def _wrapped(text: str, indent: int = 0) -> list[str]:
    """Lines of the page's width, and no word or path broken; what follows the first line is indented."""
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent="   ",
        subsequent_indent=" " * (3 + indent),
        break_on_hyphens=False,
        break_long_words=False,
    )
