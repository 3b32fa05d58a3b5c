"""`heads.jsonl`: the heads of all writers' chains, merged and signed by the HSM every few seconds.

One process of an installation keeps it. Everything here may wait for the disk: call it off the event loop.

1. `propose` reads every writer's last whole record from the files, makes it durable and digests the heads.
2. The caller has the HSM sign the digest (`messages.SignAuditHead`).
3. `append` writes the line and makes it durable.

A head never names a record that a power cut could still take, and no whole record is ever taken back by its writer: so
a chain that does not reach a signed head was changed. Each line names the digest of the line before it.
"""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path
from typing import Final

import msgspec

from strongroom.kms.audit.chain import (
    LINE_BYTES_MAX,
    NO_DIGEST,
    ChainError,
    Head,
    SignedHead,
    format_signed_head,
    merged_digest,
    parse_signed_head,
)
from strongroom.kms.audit.recovery import read_tail, whole_head
from strongroom.kms.audit.segments import (
    DIRECTORY_MODE,
    FILE_MODE,
    AuditDamagedError,
    AuditUnavailableError,
    Disk,
    PartialWriteError,
    Segment,
    segments_by_writer,
    sync_directory,
)

HEADS_NAME: Final = "heads.jsonl"
# As which a sector reads that was never written.
_HOLE: Final = b"\0"


class AuditInUseError(Exception):
    """Another process keeps this chain, or the heads of this directory."""


class HeadProposal(msgspec.Struct, frozen=True):
    """What the HSM is asked to sign: `digest`, over these heads after the line with the digest `previous`."""

    heads: tuple[Head, ...]
    previous: bytes
    digest: bytes


def open_directory(directory: Path) -> None:
    if not directory.is_dir():
        directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        sync_directory(directory.parent)
    directory.chmod(DIRECTORY_MODE)


def lock_file(path: Path) -> int:
    """A descriptor that holds the lock until it is closed; the lock dies with its process."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise AuditInUseError(f"{path.name} is held by another process") from None
    return fd


def _read_last(directory: Path) -> tuple[SignedHead | None, int]:
    """The last whole line of `heads.jsonl`, and where it ends.

    Of a line that a power cut met, any sectors may be there: the end is then cut off, or the beginning is a hole.
    """
    try:
        file = (directory / HEADS_NAME).open("rb")
    except FileNotFoundError:
        return None, 0
    with file:
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - 2 * LINE_BYTES_MAX)
        file.seek(start)
        tail = file.read(size - start)
    end = tail.rfind(b"\n") + 1
    # Only what was never synced has holes; a line that is anything else but a head was changed.
    while _HOLE in (line := tail[tail.rfind(b"\n", 0, max(0, end - 1)) + 1 : end]):
        end -= len(line)
    if not end:
        if start:
            raise AuditDamagedError(f"{HEADS_NAME} does not end with a head line")
        return None, 0
    try:
        signed = parse_signed_head(line)
    except ChainError as error:
        raise AuditDamagedError(f"the last line of {HEADS_NAME}: {error}") from None
    return signed, start + end


def last_signed(directory: Path) -> SignedHead | None:
    return _read_last(directory)[0]


def last_signed_of(directory: Path, writer: str) -> Head | None:
    """The writer's head in the last head line. Its signature is not verified here: no keys are known at the start."""
    signed = last_signed(directory)
    return None if signed is None else next((head for head in signed.heads if head.writer == writer), None)


def collect_heads(directory: Path, known: tuple[Head, ...], disk: Disk, whole: set[str]) -> tuple[Head, ...]:
    """Every writer's last whole record, durable when this returns; what is in `known` was durable already.

    A chain goes on from its known head only when it is whole, and `whole` remembers those: of one whose writer a power
    cut ended, the last record may be there and not the one before. Its writer cuts that off when it comes back.
    """
    heads = []
    before = {head.writer: head for head in known}
    for writer, segments in segments_by_writer(directory).items():
        signed = before.get(writer)
        head = _end_of(segments) if writer in whole else whole_head(segments, writer, signed)
        if head is None:
            head = signed
        else:
            whole.add(writer)
        if head is None or head.seq == 0:
            continue
        heads.append(head)
        if head not in known:
            for _, path in segments[-2:]:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    disk.sync(fd)
                finally:
                    os.close(fd)
    if any(head not in known for head in heads):
        sync_directory(directory)
    return tuple(heads)


def _end_of(segments: list[tuple[int, Path]]) -> Head | None:
    """The newest segment may have been born a moment ago, without its first line yet."""
    return next((tail for _, path in reversed(segments) if (tail := read_tail(path)) is not None), None)


class HeadLog:
    """The one keeper of a directory's head lines."""

    def __init__(self, directory: Path, *, disk: Disk | None = None) -> None:
        """Open, and cut off a last line that a power cut tore.

        Raises:
            AuditInUseError: another process keeps the heads.
            AuditDamagedError: the last line is not a head line.
        """
        self._directory = directory
        self._disk = disk or Disk()
        open_directory(directory)
        # Held while the file is added to or shortened: both happen in threads.
        self.changing: Final = threading.Lock()
        self._whole: set[str] = set()
        self._lock_fd = lock_file(directory / "heads.lock")
        try:
            self._last, size = _read_last(directory)
            self._file = self._open(size)
        except BaseException:
            os.close(self._lock_fd)
            raise

    def _open(self, size: int) -> Segment:
        path = self._directory / HEADS_NAME
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE))
        sync_directory(self._directory)
        return Segment.reopen(path, 0, size, self._disk)

    @property
    def last(self) -> SignedHead | None:
        return self._last

    def propose(self) -> HeadProposal | None:
        """What to sign now; None when nothing was recorded since the last head.

        Raises:
            AuditUnavailableError: the records could not be made durable.
        """
        known = () if self._last is None else self._last.heads
        try:
            heads = collect_heads(self._directory, known, self._disk, self._whole)
        except OSError as error:
            raise AuditUnavailableError(f"no head can be proposed: {error}") from error
        if heads == known:
            return None
        previous = NO_DIGEST if self._last is None else self._last.digest
        return HeadProposal(heads, previous, merged_digest(previous, heads))

    def append(
        self, proposal: HeadProposal, *, domain_id: bytes, hsm_id: str, signed_at_s: int, signature: bytes
    ) -> None:
        """Write the signed head; durable when this returns.

        Raises:
            AuditUnavailableError: the disk did not take it; propose again later.
        """
        with self.changing:
            self._append(
                SignedHead(
                    proposal.heads, proposal.previous, proposal.digest, domain_id, hsm_id, signed_at_s, signature
                )
            )

    def _append(self, signed: SignedHead) -> None:
        previous = NO_DIGEST if self._last is None else self._last.digest
        if signed.previous != previous:
            raise ValueError("another head was appended since this one was proposed")
        try:
            self._file.write(format_signed_head(signed), lambda: False)
        except PartialWriteError as error:
            raise AuditUnavailableError(f"a head was not written: {error}") from error
        self._last = signed
        batch = self._file.begin_sync()
        try:
            self._file.sync(batch)
        except OSError as error:
            self._file.end_sync(batch, synced=False)
            raise AuditUnavailableError(f"a head was not synced: {error}") from error
        self._file.end_sync(batch, synced=True)

    def replace(self, temporary: Path, last: SignedHead, size: int) -> None:
        """Put a shorter file (durable already) in the place of the old one; for whoever holds `changing`."""
        temporary.replace(self._directory / HEADS_NAME)
        sync_directory(self._directory)
        self._file.close()
        self._file = self._open(size)
        self._last = last

    def close(self) -> None:
        self._file.close()
        os.close(self._lock_fd)
