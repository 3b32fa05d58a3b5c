"""A root scan: is any part of these secrets in the memory of that process, or in those files?

A secret is looked for raw, byte-reversed (as OpenSSL's numbers lie), in hex of both cases, in base64 at every alignment,
as what `repr` makes of bytes (so do %r, tracebacks and structs; JSON doubles its backslashes), as a list of numbers, as
the digits of a Python number, as AES-256 key schedule and as HMAC-SHA-256 pads and states (who holds those holds the
key), and of each form every window counts: of 16 bytes, and where a byte of the secret takes up to five, of eight of them.

How it can be quick for thousands of needles: whatever window of 16 bytes lies in memory, it covers one whole word of 8
bytes at an address divisible by 8. So a mapping is read as words, and the words are intersected with the set of all
8-byte pieces of all needles; only where one agrees is the neighbourhood compared. A longer window covers more words in a
row, and fewer pieces are enough.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import re
import signal
import struct
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from testkit.workers import stand_still

WINDOW_BYTES = 16
# Where a byte of the secret takes up to four or five: what holds eight of them, as many as sixteen digits of hex tell.
_WINDOWS = {"repr": 32, "repr in JSON": 40, "list": 40}
_WORD_BYTES = 8
_CHUNK_BYTES = 2 << 20
_NEIGHBOURHOOD_BYTES = 512
_COMPARED_BYTES = 16 << 10
_ORDERS: tuple[Literal["big", "little"], ...] = ("big", "little")
# epoll_wait, epoll_pwait on x86_64 and epoll_pwait on aarch64: where a single-threaded server stands between two frames.
_EPOLL_CALLS = {"232", "281", "22"}


@dataclass(frozen=True)
class Hit:
    """A piece of a secret, where it should not be."""

    secret: str
    form: str
    where: str
    offset: int
    length: int


@dataclass
class Report:
    """What a scan read, what it could not read, and what it found."""

    hits: list[Hit] = field(default_factory=list)
    bytes_read: int = 0
    unreadable: list[str] = field(default_factory=list)

    @property
    def secretmem(self) -> list[str]:
        """Mappings of memfd_secret(2): the kernel gives them to nobody."""
        return [name for name in self.unreadable if "secretmem" in name]


# ── needles ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _aes_sbox() -> bytes:
    """FIPS 197, 5.1.1, by the usual walk over the generator 3 and its inverse."""
    box = bytearray(256)
    p = q = 1
    while True:
        p ^= (p << 1 ^ (0x11B if p & 0x80 else 0)) & 0x1FF
        p &= 0xFF
        q ^= q << 1
        q ^= q << 2
        q ^= q << 4
        q &= 0xFF
        q ^= 0x09 if q & 0x80 else 0
        rotated = q ^ (q << 1 | q >> 7) ^ (q << 2 | q >> 6) ^ (q << 3 | q >> 5) ^ (q << 4 | q >> 4)
        box[p] = (rotated & 0xFF) ^ 0x63
        if p == 1:
            break
    box[0] = 0x63
    return bytes(box)


_SBOX = _aes_sbox()


def aes_256_schedule(key: bytes) -> bytes:
    """All fifteen round keys (FIPS 197, 5.2): two neighbours among them give the key back."""
    words = [key[at : at + 4] for at in range(0, 32, 4)]
    constant = 1
    for at in range(8, 60):
        word = words[-1]
        if at % 8 == 0:
            word = bytes(_SBOX[byte] for byte in word[1:] + word[:1])
            word = bytes((word[0] ^ constant,)) + word[1:]
            constant = constant << 1 ^ (0x11B if constant & 0x80 else 0)
        elif at % 8 == 4:
            word = bytes(_SBOX[byte] for byte in word)
        words.append(bytes(a ^ b for a, b in zip(words[-8], word, strict=True)))
    return b"".join(words)


def _first_primes(count: int) -> list[int]:
    primes: list[int] = []
    number = 2
    while len(primes) < count:
        if all(number % prime for prime in primes):
            primes.append(number)
        number += 1
    return primes


def _root_bits(prime: int, degree: int) -> int:
    """The first 32 bits of the fraction of a prime's root, in whole numbers."""
    scaled = prime << 32 * degree
    low, high = 0, 1 << 36
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**degree <= scaled else (low, middle - 1)
    return low & 0xFFFFFFFF


_SHA256_START = [_root_bits(prime, 2) for prime in _first_primes(8)]
_SHA256_ROUNDS = [_root_bits(prime, 3) for prime in _first_primes(64)]


def sha256_state(block: bytes) -> list[int]:
    """The eight words of SHA-256 after one block (FIPS 180-4, 6.2.2): the library does not show them."""

    def right(x: int, n: int) -> int:
        return (x >> n | x << 32 - n) & 0xFFFFFFFF

    w = list(struct.unpack(">16I", block))
    for t in range(16, 64):
        s0 = right(w[t - 15], 7) ^ right(w[t - 15], 18) ^ w[t - 15] >> 3
        s1 = right(w[t - 2], 17) ^ right(w[t - 2], 19) ^ w[t - 2] >> 10
        w.append((w[t - 16] + s0 + w[t - 7] + s1) & 0xFFFFFFFF)
    a, b, c, d, e, f, g, h = _SHA256_START
    for t in range(64):
        s1 = right(e, 6) ^ right(e, 11) ^ right(e, 25)
        t1 = h + s1 + (e & f ^ ~e & g) + _SHA256_ROUNDS[t] + w[t]
        s0 = right(a, 2) ^ right(a, 13) ^ right(a, 22)
        t2 = s0 + (a & b ^ a & c ^ b & c)
        h, g, f, e, d, c, b, a = g, f, e, (d + t1) & 0xFFFFFFFF, c, b, a, (t1 + t2) & 0xFFFFFFFF
    return [(x + y) & 0xFFFFFFFF for x, y in zip(_SHA256_START, (a, b, c, d, e, f, g, h), strict=True)]


def _hmac_forms(secret: bytes) -> Iterator[tuple[str, bytes]]:
    padded = secret.ljust(64, b"\0")
    for name, byte in (("inner", 0x36), ("outer", 0x5C)):
        block = bytes(value ^ byte for value in padded)
        yield f"HMAC {name} pad", block[: len(secret)]
        state = sha256_state(block)
        # OpenSSL keeps words in the machine's order, its SHA-extension code two halves swapped among themselves.
        yield f"HMAC {name} state", struct.pack("=8I", *state)
        yield f"HMAC {name} state, big-endian", struct.pack(">8I", *state)


def _base64_forms(secret: bytes) -> Iterator[tuple[str, bytes]]:
    for skipped in range(3):
        whole = secret[skipped : skipped + (len(secret) - skipped) // 3 * 3]
        yield "base64", base64.b64encode(whole)
        yield "base64", base64.urlsafe_b64encode(whole)


def _number_forms(secret: bytes) -> Iterator[tuple[str, bytes]]:
    """As CPython keeps a whole number: digits of 30 bits, the lowest first, each in 32."""
    for order in _ORDERS:
        number = int.from_bytes(secret, order)
        digits = [number >> at & 0x3FFFFFFF for at in range(0, 8 * len(secret), 30)]
        yield "number", struct.pack(f"={len(digits)}I", *digits)


def _written_forms(secret: bytes) -> Iterator[tuple[str, bytes]]:
    """What it looks like where somebody printed or encoded it as it was."""
    shown = repr(secret)[2:-1]
    yield "repr", shown.encode()
    yield "repr in JSON", json.dumps(shown)[1:-1].encode()
    for separator in (",", ", "):
        yield "list", separator.join(map(str, secret)).encode()


def forms_of(secret: bytes, *, deep: bool = True) -> Iterator[tuple[str, bytes]]:
    """The forms of a secret; `deep` adds what only a process's memory holds."""
    yield "raw", secret
    yield "reversed", secret[::-1]
    yield "hex", secret.hex().encode()
    yield "hex", secret.hex().upper().encode()
    yield from _base64_forms(secret)
    yield from _written_forms(secret)
    yield from _number_forms(secret)
    if deep and len(secret) == 32:
        yield "AES key schedule", aes_256_schedule(secret)[32:]
        yield from _hmac_forms(secret)


class Needles:
    """The pieces of many secrets, ready to be looked for."""

    def __init__(self, secrets: Mapping[str, bytes], *, deep: bool = True) -> None:
        self._deep = deep
        self._pieces: dict[int, list[tuple[str, str, bytes, int]]] = defaultdict(list)
        self._words: set[int] = set()
        for name, secret in secrets.items():
            self.add(name, secret)

    def add(self, name: str, secret: bytes, *, deep: bool | None = None) -> None:
        """`deep` is worth its memory for keys; for data that was no key, plain forms are enough."""
        assert len(secret) >= WINDOW_BYTES, f"{name} is too short to be recognised"
        forms: dict[bytes, str] = {}
        for form, needle in forms_of(secret, deep=self._deep if deep is None else deep):
            forms.setdefault(needle, form)
        for needle, form in forms.items():
            # Any window covers so many neighbouring words: one of every so many is enough to find it.
            words = (_WINDOWS.get(form, WINDOW_BYTES) + 1) // _WORD_BYTES - 1
            for at in range(len(needle) - _WORD_BYTES + 1):
                if at // _WORD_BYTES % words == 0:
                    piece = struct.unpack_from("=Q", needle, at)[0]
                    self._pieces[piece].append((name, form, needle, at))
                    self._words.add(piece)

    def find(self, data: bytes) -> list[tuple[str, str, int, int]]:
        """(secret, form, offset, length) of every run of at least its window; `data` lies at an address divisible by 8."""
        whole = len(data) // _WORD_BYTES * _WORD_BYTES
        found = set()
        for word in self._words.intersection(memoryview(data)[:whole].cast("Q")):
            piece = struct.pack("=Q", word)
            at = data.find(piece)
            while at >= 0:
                for name, form, needle, place in self._pieces[word]:
                    before, after = _agreement(data, at, needle, place)
                    if after - before >= _WINDOWS.get(form, WINDOW_BYTES):
                        found.add((name, form, before, after - before))
                at = data.find(piece, at + 1)
        return sorted(found)


def _agreement(data: bytes, at: int, needle: bytes, place: int) -> tuple[int, int]:
    """How far data and needle agree around a common piece: (start, end) in data."""
    start, end = at, at + _WORD_BYTES
    while start > 0 and place - (at - start) > 0 and data[start - 1] == needle[place - (at - start) - 1]:
        start -= 1
    while end < len(data) and place + (end - at) < len(needle) and data[end] == needle[place + (end - at)]:
        end += 1
    return start, end


# ── memory ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class MappedRegion:
    """One line of /proc/PID/maps."""

    start: int
    end: int
    permissions: str
    name: str


def mappings(pid: int) -> list[MappedRegion]:
    found = []
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        parsed = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ *(.*)", line)
        assert parsed is not None, line
        start, end, permissions, name = parsed.groups()
        found.append(MappedRegion(int(start, 16), int(end, 16), permissions, name or "[anonymous]"))
    return found


def scan_process(pid: int, needles: Needles) -> Report:
    """Every readable mapping of a process. Raises PermissionError for whoever is not root."""
    return RepeatedScan(pid).scan(needles)


class RepeatedScan:
    """Scans of one process, which search what changed since the last one.

    So a needle must be new when it comes: what was in memory before there was a secret does not hold it. The first scan
    searches everything.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._before: dict[int, bytes] = {}

    def scan(self, needles: Needles) -> Report:
        """Every readable mapping. Raises PermissionError for whoever is not root."""
        report = Report()
        before, self._before = self._before, {}
        descriptor = os.open(f"/proc/{self._pid}/mem", os.O_RDONLY)
        try:
            for mapping in mappings(self._pid):
                if "r" in mapping.permissions:
                    for at, data in _read_mapping(descriptor, mapping, report):
                        self._before[at] = data
                        _search(mapping.name, at, data, before.get(at, b""), needles, report)
        finally:
            os.close(descriptor)
        return report


def _read_mapping(descriptor: int, mapping: MappedRegion, report: Report) -> Iterator[tuple[int, bytes]]:
    at = mapping.start
    while at < mapping.end:
        # What overlaps is read twice, so that a run over the seam is seen whole.
        length = min(_CHUNK_BYTES + _NEIGHBOURHOOD_BYTES, mapping.end - at)
        try:
            data = os.pread(descriptor, length, at)
        except OSError as error:
            if error.errno not in {errno.EIO, errno.EFAULT, errno.ENOMEM}:
                raise
            data = b""
        if not data:
            report.unreadable.append(f"{mapping.name} at {mapping.start:x}")
            return
        report.bytes_read += min(len(data), _CHUNK_BYTES)
        yield at, data
        at += _CHUNK_BYTES


def _search(where: str, at: int, data: bytes, before: bytes, needles: Needles, report: Report) -> None:
    for start, end in _changed(data, before):
        for secret, form, offset, size in needles.find(data[start:end]):
            hit = Hit(secret, form, where, at + start + offset, size)
            if hit not in report.hits:
                report.hits.append(hit)


def _changed(data: bytes, before: bytes) -> Iterator[tuple[int, int]]:
    """What differs, with its neighbourhood on both sides; all of it where the other one is of another length."""
    if len(before) != len(data):
        yield 0, len(data)
        return
    if before == data:
        return
    for start in range(0, len(data), _COMPARED_BYTES):
        end = start + _COMPARED_BYTES
        if before[start:end] != data[start:end]:
            yield max(start - _NEIGHBOURHOOD_BYTES, 0), min(end + _NEIGHBOURHOOD_BYTES, len(data))


@contextmanager
def between_frames(pid: int, within_s: float = 120.0) -> Iterator[None]:
    """Hold a single-threaded server still while it waits for its next event, and let it go on afterwards."""
    deadline = time.monotonic() + within_s
    while True:
        stand_still(pid)
        if Path(f"/proc/{pid}/syscall").read_text().split()[0] in _EPOLL_CALLS:
            break
        os.kill(pid, signal.SIGCONT)
        assert time.monotonic() < deadline, "the process never waits"
        time.sleep(0.005)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


# ── files ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def scan_files(paths: Iterable[Path], needles: Needles) -> Report:
    """The contents of files, and of everything below directories. A file that goes meanwhile is not there."""
    report = Report()
    for path in _files(paths):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            continue
        report.bytes_read += len(data)
        padding = b"\0" * (-len(data) % _WORD_BYTES)
        for secret, form, offset, size in needles.find(data + padding):
            report.hits.append(Hit(secret, form, str(path), offset, size))
    return report


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from (entry for entry in sorted(path.rglob("*")) if entry.is_file())
        elif path.is_file():
            yield path
