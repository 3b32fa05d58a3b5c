"""One writer's audit chain: appended before the answer leaves, synced within 20 ms, refused when the disk is full.

Invariants:
- `append` returned: every event is in the file, in one write with its batch, and survives a killed process.
- `append` raised `AuditUnavailableError`: the calls must be refused. Events that came into the file before the disk
  gave out stay (`recorded` says how many): a whole record is never taken back, because a head may name it already.
- The file ends with a whole record whenever `append` has returned or raised and the disk let us cut; a tail that could
  not be cut is cut before the next write.
- After a failed sync nothing is accepted until what was not synced has been written and synced again.
- Nothing here waits for a sync but the sync thread; `append_durable` gives a future.
- No name in an event names a file: the files are named after the writer and the sequence only.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from strongroom.kms.audit import retention
from strongroom.kms.audit.chain import Head, extend, require_writer
from strongroom.kms.audit.events import EventTimes, own_event
from strongroom.kms.audit.heads import AuditInUseError, last_signed_of, lock_file, open_directory
from strongroom.kms.audit.recovery import recover
from strongroom.kms.audit.reserve import Reserve
from strongroom.kms.audit.segments import (
    DISK_FULL,
    AuditUnavailableError,
    Disk,
    PartialWriteError,
    Segment,
    segments_by_writer,
    sync_directory,
)

SEGMENT_BYTES_MAX: Final = 64 << 20
RESERVE_BYTES: Final = 1 << 20
# At most 20 ms lie between a write and its sync; the difference is for the thread to wake up.
SYNC_DELAY_S: Final = 0.012
# How often a sink that failed is tried again, and a missing reserve made again.
RETRY_INTERVAL_S: Final = 0.25
# A disk whose sync hangs is refused before memory fills up with what it has not synced.
UNSYNCED_BYTES_MAX: Final = 16 << 20
NOISE_INTERVAL_S: Final = 60.0
# A second in all: a worker that starts waits for one that is about to remove segments of its chain.
_LOCK_TRIES: Final = 21
_LOCK_PAUSE_S: Final = 0.05
# Kinds of noise are named by our own code; the bound is for the day when one is not.
NOISE_KINDS_MAX: Final = 64


class AuditLog:
    """The open chain of one writer; appends may come from any thread."""

    def __init__(
        self,
        directory: Path,
        writer: str,
        *,
        clock: Callable[[], float],
        event_ids: Callable[[], str],
        segment_bytes_max: int = SEGMENT_BYTES_MAX,
        reserve_bytes: int = RESERVE_BYTES,
        disk: Disk | None = None,
    ) -> None:
        """Open the chain and recover it from a crash; `clock` gives epoch seconds for the log's own events.

        Raises:
            AuditInUseError: another process writes this chain.
            AuditDamagedError: the chain is not what an HSM signed.
            OSError: the directory cannot be used.
        """
        self._directory = directory
        self._writer = require_writer(writer)
        self._clock = clock
        self._event_ids = event_ids
        self._segment_bytes_max = segment_bytes_max
        self._disk = disk or Disk()
        self._times = EventTimes()
        # Entering the lock itself is cheaper than entering its condition; they are one.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._retired: list[Segment] = []
        self._waiting: list[concurrent.futures.Future[None]] = []
        self._owed: list[bytes] = []
        self._refused = 0
        self._write_error: OSError | None = None
        self._sync_error: OSError | None = None
        self._dirty = False
        self._dirty_since = 0.0
        self._names_dirty = True
        self._closing = False
        self._noise: dict[str, int] = {}
        self._noise_flushed_s = clock()
        self._lock_fd, self._head, self._segment, cut_bytes = _open_chain(directory, writer, self._disk)
        self._closed_bytes = _bytes_of(directory, writer) - (0 if self._segment is None else self._segment.size)
        self._reserve = Reserve(directory, writer, reserve_bytes, self._disk)
        self._reserve.make()
        self._reserve_tried_s = time.monotonic()
        if cut_bytes:
            self._owed.append(self._own_event("AuditRecovered", {"recovered": cut_bytes}))
            with self._lock:
                self._try_owed()
        self._thread = threading.Thread(target=self._run, name=f"audit-{writer}", daemon=True)
        self._thread.start()

    # --- appending ---------------------------------------------------------------------------------------------------

    def append(self, events: Sequence[bytes]) -> Head:
        """Chain encoded events and write them in one go; the head after them.

        Raises:
            AuditUnavailableError: refuse the calls that these events record.
        """
        with self._lock:
            return self._append(events)

    def append_durable(self, events: Sequence[bytes]) -> concurrent.futures.Future[None]:
        """`append`, and a future that is done when the disk has synced the events (`asyncio.wrap_future` awaits it).

        The future fails with `AuditUnavailableError` when the sync fails. It is settled in the sync thread.
        """
        done: concurrent.futures.Future[None] = concurrent.futures.Future()
        with self._lock:
            self._append(events)
            self._waiting.append(done)
            self._mark_dirty()
        return done

    def _append(self, events: Sequence[bytes]) -> Head:
        if self._closing:
            raise AuditUnavailableError("the audit log is closed")
        if self._sync_error is not None:
            self._refused += len(events)
            raise AuditUnavailableError(f"the audit log cannot be synced: {self._sync_error}")
        if self._segment is not None and self._segment.unsynced_bytes > UNSYNCED_BYTES_MAX:
            self._refused += len(events)
            raise AuditUnavailableError("the audit log's disk does not keep up")
        owed = self._all_owed()
        batch = [*owed, *events] if owed else events
        lines, head = extend(self._head, batch)
        if not lines:
            return head
        try:
            self._writable_segment().write(b"".join(lines), self._reserve.release)
        except PartialWriteError as error:
            recorded = self._write_failed(owed, batch, lines, error)
            raise AuditUnavailableError(f"the audit log cannot be written: {error}", recorded) from error
        self._head = head
        if owed:
            self._owed.clear()
            self._refused = 0
            self._write_error = None
        if not self._dirty:
            self._mark_dirty()
        return head

    def _mark_dirty(self) -> None:
        self._dirty = True
        self._dirty_since = time.monotonic()
        self._changed.notify()

    def _writable_segment(self) -> Segment:
        segment = self._segment
        if segment is not None and segment.size < self._segment_bytes_max:
            return segment
        while True:
            try:
                if segment is not None:
                    segment.mend()
                fresh = Segment.create(self._directory, self._head, self._disk)
                break
            except OSError as error:
                if error.errno not in DISK_FULL or not self._reserve.release():
                    raise PartialWriteError(0, error) from error
        if segment is not None:
            self._retired.append(segment)
            self._closed_bytes += segment.size
        self._segment = fresh
        self._names_dirty = True
        return fresh

    def _write_failed(
        self, owed: list[bytes], batch: Sequence[bytes], lines: list[bytes], error: PartialWriteError
    ) -> int:
        """Go on from the last whole record; how many of the caller's events it includes."""
        whole = b"".join(lines).count(b"\n", 0, error.whole)
        self._head = extend(self._head, batch[:whole])[1]
        if whole:
            self._mark_dirty()
        if whole >= len(owed):
            self._owed.clear()
            self._refused = 0
        recorded = max(0, whole - len(owed))
        self._refused += len(batch) - len(owed) - recorded
        self._write_error = error.error
        return recorded

    def _all_owed(self) -> list[bytes]:
        """Events of our own that go in front of the next batch."""
        if self._write_error is None and not self._refused:
            return self._owed.copy() if self._owed else self._owed
        return [*self._owed, self._own_event("AuditSinkRestored", {"refused": self._refused})]

    def _own_event(self, name: str, details: dict[str, Any]) -> bytes:
        return own_event(name, self._times.format(self._clock()), self._event_ids(), details)

    # --- what others see ---------------------------------------------------------------------------------------------

    def head(self) -> Head:
        """The last record appended; `heads.collect_heads` gives those that may be signed."""
        return self._head

    @property
    def on_reserve(self) -> bool:
        """The disk was full and the reserve is being used up; calls are refused once it is."""
        return self._reserve.missing

    @property
    def is_available(self) -> bool:
        """Whether the last write and sync worked, or one has worked since."""
        return self._sync_error is None and self._write_error is None

    @property
    def unsynced_bytes(self) -> int:
        """Written, and not yet on stable storage."""
        segment = self._segment
        return 0 if segment is None else segment.unsynced_bytes

    @property
    def total_bytes(self) -> int:
        """The size of this writer's segments."""
        segment = self._segment
        return self._closed_bytes + (0 if segment is None else segment.size)

    def count_noise(self, kind: str) -> None:
        """Count a request that no credential vouches for, instead of recording it; `kind` is a word of our code."""
        with self._lock:
            if kind not in self._noise and len(self._noise) >= NOISE_KINDS_MAX:
                kind = "other"
            self._noise[kind] = self._noise.get(kind, 0) + 1

    def flush_noise(self, now_s: float) -> bool:
        """Record the counts once a minute, in one event; True when one was written. Counts outlive a failed write."""
        with self._lock:
            # A clock that was set back must not silence the counter.
            if not self._noise or abs(now_s - self._noise_flushed_s) < NOISE_INTERVAL_S:
                return False
            counts = dict(sorted(self._noise.items()))
            try:
                self._append([self._own_event("UnauthenticatedRequests", {"counts": counts})])
            except AuditUnavailableError as error:
                if not error.recorded:
                    return False
            self._noise.clear()
            self._noise_flushed_s = now_s
            return True

    def retain(self, days: float, have_it_signed: Callable[[], None] = lambda: None) -> list[str]:
        """Remove segments whose records are all older than `days` and under a signed head; their names.

        This writer's, and those of writers that have ended. The chain records first what goes, and `have_it_signed` comes
        back when a head covers that. Waits for the disk: call it off the event loop.

        Raises:
            AuditUnavailableError: the record could not be made; nothing was removed of that chain.
        """
        cutoff = EventTimes().format(self._clock() - days * 86_400)
        removed = self._retain_chain(self._writer, cutoff, have_it_signed)
        for writer in segments_by_writer(self._directory):
            if writer != self._writer:
                with contextlib.suppress(AuditInUseError):
                    removed += self._retain_chain(writer, cutoff, have_it_signed)
        return removed

    def _retain_chain(self, writer: str, cutoff: str, have_it_signed: Callable[[], None]) -> list[str]:
        """Another writer's chain is locked for two moments, and not while a signature is waited for: it may come back.

        If it does, its segments stay. Then the chain starts before the record says, which is nothing that is missing.
        """
        with self._locked(writer):
            paths, start = retention.removable_segments(self._directory, writer, cutoff)
        if start is None:
            return []
        event = self._own_event(
            retention.EVENT_NAME, {"writer": start.writer, "first": start.seq + 1, "previous": start.hash.hex()}
        )
        self.append_durable([event]).result()
        have_it_signed()
        with self._locked(writer):
            # Oldest first: a crash in between leaves a chain that starts where some head still vouches for it.
            for path in paths:
                self._remove(writer, path)
            sync_directory(self._directory)
        return [path.name for path in paths]

    @contextlib.contextmanager
    def _locked(self, writer: str) -> Iterator[None]:
        """Hold the lock of a chain; this writer's own is held anyway.

        Raises:
            AuditInUseError: its writer runs.
        """
        if writer == self._writer:
            yield
            return
        lock_fd = lock_file(self._directory / f"{writer}.lock")
        try:
            yield
        finally:
            os.close(lock_fd)

    def _remove(self, writer: str, path: Path) -> None:
        # The writer may have been back for a while, and have shortened its chain itself.
        with contextlib.suppress(FileNotFoundError):
            size = path.stat().st_size
            path.unlink()
            if writer == self._writer:
                with self._lock:
                    self._closed_bytes -= size

    def record_head_retention(self, previous: bytes) -> None:
        """Record durably that the head lines up to the digest `previous` are about to be removed."""
        self.append_durable([self._own_event(retention.EVENT_NAME, {"heads_previous": previous.hex()})]).result()

    # --- syncing -----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while self._wait_for_work():
            with self._lock:
                segments = [*self._retired, *([] if self._segment is None else [self._segment])]
                work = [(segment, segment.begin_sync()) for segment in segments]
                waiting, self._waiting = self._waiting, []
                names_dirty, self._names_dirty = self._names_dirty, False
                self._dirty = False
            error = self._sync(work, names_dirty=names_dirty)
            with self._lock:
                for segment, batch in work:
                    segment.end_sync(batch, synced=error is None)
                self._sync_error = error
                if error is None:
                    # One that was filled and left meanwhile has records that this sync did not see.
                    retired = [one for one in segments if one is not self._segment and not one.unsynced_bytes]
                    self._retired = [segment for segment in self._retired if segment not in retired]
                else:
                    retired = []
                    self._dirty = True
                    self._names_dirty |= names_dirty
            for segment in retired:
                segment.close()
            _settle(waiting, error)
            if self._closing:
                return
            self._mend_reserve()

    def _wait_for_work(self) -> bool:
        """Wait until a sync is due, mending the sink while there is nothing else to do; False to stop."""
        while True:
            with self._lock:
                ailing = self._sync_error is not None or self._write_error is not None or self._reserve.missing
                if self._sync_error is not None or not self._dirty:
                    if self._closing:
                        return self._dirty
                    self._changed.wait(RETRY_INTERVAL_S if ailing else None)
                if self._write_error is not None:
                    self._try_owed()
                if self._dirty:
                    due_s = self._dirty_since + SYNC_DELAY_S - time.monotonic()
                    self._changed.wait_for(lambda: bool(self._waiting) or self._closing, max(0.0, due_s))
                    due = True
                else:
                    due = False
            if due:
                return True
            self._mend_reserve()

    def _mend_reserve(self) -> None:
        """When it is time; also of a log that is never idle. Allocating takes its time: not under the lock."""
        now_s = time.monotonic()
        if self._reserve.missing and now_s - self._reserve_tried_s >= RETRY_INTERVAL_S:
            self._reserve_tried_s = now_s
            self._reserve.make()

    def _try_owed(self) -> None:
        with contextlib.suppress(AuditUnavailableError):
            self._append(())

    def _sync(self, work: list[tuple[Segment, list[bytes]]], *, names_dirty: bool) -> OSError | None:
        try:
            for segment, batch in work:
                if batch:
                    segment.sync(batch)
            if names_dirty:
                sync_directory(self._directory)
        except OSError as error:
            return error
        return None

    def close(self) -> None:
        """Sync what was appended and let go of the files."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
            self._changed.notify()
        self._thread.join()
        _settle(self._waiting, self._sync_error or OSError("the audit log was closed"))
        for segment in self._retired:
            segment.close()
        if self._segment is not None:
            self._segment.close()
        os.close(self._lock_fd)


def _bytes_of(directory: Path, writer: str) -> int:
    return sum(path.stat().st_size for _, path in segments_by_writer(directory).get(writer, []))


def _open_chain(directory: Path, writer: str, disk: Disk) -> tuple[int, Head, Segment | None, int]:
    """The lock of the chain, and what recovery found under it."""
    open_directory(directory)
    lock_fd = _lock_own(directory / f"{writer}.lock")
    try:
        return lock_fd, *recover(directory, writer, last_signed_of(directory, writer), disk)
    except BaseException:
        os.close(lock_fd)
        raise


def _lock_own(path: Path) -> int:
    """Another worker's retention may hold it for a moment."""
    for _ in range(_LOCK_TRIES - 1):
        with contextlib.suppress(AuditInUseError):
            return lock_file(path)
        time.sleep(_LOCK_PAUSE_S)
    return lock_file(path)


def _settle(waiting: list[concurrent.futures.Future[None]], error: OSError | None) -> None:
    """Outside the lock: callbacks may do anything."""
    for done in waiting:
        if not done.set_running_or_notify_cancel():
            continue
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(AuditUnavailableError(f"the audit log was not synced: {error}"))
