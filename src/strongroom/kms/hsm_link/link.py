"""The link to an HSM: redeems permits, gathers commands into frames, survives restarts of the HSM.

All commands that wait in a loop turn travel in one frame, each key once; a lone command waits for nobody. One frame is
under way at a time: the next fills while the HSM works (docs/adr/0005). A lost connection is opened again and what was
under way is asked again: every command is safe to repeat (an EKT that nobody stored is no key). A command that is not
answered within `ANSWER_S_MAX` fails as DependencyTimeoutException.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec

from strongroom.boundary.domain_token import DomainState
from strongroom.boundary.messages import (
    COMMANDS_PER_FRAME_MAX,
    Answer,
    AnswerFrame,
    Command,
    KeyBinding,
    RefusedAnswer,
    Trace,
    encode_message,
)
from strongroom.boundary.session import SESSION_LIFETIME_S
from strongroom.boundary.statuses import RefusedError, Status
from strongroom.kms.driver import Deferred
from strongroom.kms.faults import DependencyTimeoutException, fault_of
from strongroom.kms.hsm_link.channel import Channel
from strongroom.kms.hsm_link.host_session import HostIdentity, HostSession
from strongroom.kms.permits import KEYLESS, Permit

# Deadlines are looked at four times a second: whoever asks a silent HSM is told within five seconds.
ANSWER_S_MAX: Final = 4.75
SILENCE_S_MAX: Final = 1.0
FRAMES_UNDER_WAY_MAX: Final = 1
# Below the frame's 1 MiB by more than its seal; a single command with its keys is a tenth of it at most.
_FRAME_BYTES_MAX: Final = 900_000
# An EKT is a few kilobytes at most (RSA 4096). One that no frame could carry would take its neighbours' frame with it.
_BINDING_BYTES_MAX: Final = 16_384
_SESSION_RENEWAL_S: Final = SESSION_LIFETIME_S * 2 / 3
_RECONNECT_S: Final = (0.02, 0.05, 0.1, 0.2, 0.3)
_TRACES_KEPT: Final = 256
# Refusals that say "not with this session": ask for a new one.
_SESSION_IS_DEAD: Final = {
    Status.SESSION_EXPIRED,
    Status.TOKEN_INVALID,
    Status.UNKNOWN_DOMAIN_KEY,
    Status.UNKNOWN_DOMAIN,
}

A = TypeVar("A", bound=Answer)


class KeyHandle:
    """A key binding, encoded once and sent many times.

    Raises the fault of an invalid token where the binding is longer than any real one.
    """

    __slots__ = ("encoded", "key_id")

    def __init__(self, binding: KeyBinding) -> None:
        self.key_id = binding.key_id
        self.encoded = msgspec.Raw(encode_message(binding))
        if len(memoryview(self.encoded)) > _BINDING_BYTES_MAX:
            raise fault_of(RefusedError(Status.TOKEN_INVALID))


class _Call(Deferred[Any]):
    __slots__ = ("build", "deadline", "handles")

    def __init__(self, build: Callable[..., Command], handles: Sequence[KeyHandle], deadline: float) -> None:
        # What Deferred's own does: one call less on the hot path.
        self._resume = self._value = self._error = None
        self.build = build
        self.handles = handles
        self.deadline = deadline


class LinkStats(msgspec.Struct):
    """What the link did since it started; `round_trips_s` are the seconds of all frames together."""

    frames: int = 0
    commands: int = 0
    round_trips_s: float = 0.0
    lost: int = 0
    timeouts: int = 0


class HsmLink:
    """One HSM as the operations see it."""

    def __init__(
        self,
        address: str,
        identity: HostIdentity,
        domain: DomainState,
        batch: Callable[[Callable[[], None]], None],
    ) -> None:
        self.tracing = False
        self.traces: deque[Trace] = deque(maxlen=_TRACES_KEPT)
        self.stats: Final = LinkStats()
        self._sent_s = 0.0
        self._address = address
        self._identity = identity
        self._domain = domain
        self._batch = batch
        self._session: HostSession | None = None
        self._active: Channel | None = None
        self._waiting: deque[_Call] = deque()
        self._sent: dict[int, _Call] = {}
        self._next_id = 1
        self._failures = 0
        # The clock of deadlines, set by `_expire` every quarter of a second.
        self._tick_s = time.monotonic()
        self._flush_is_due = False
        self._is_silent = False
        self._closed = False
        self._timers: set[asyncio.TimerHandle] = set()
        self._connecting: asyncio.Task[None] | None = None

    # ── for operations ──────────────────────────────────────────────────────────────────────────────────────────

    def call(
        self,
        permits: Sequence[Permit],
        handles: Sequence[KeyHandle],
        build: Callable[..., Command],
        _answer_type: type[A],
    ) -> Deferred[A]:
        """Redeem the permits (one per key, or one for a keyless command) and ask the HSM.

        `build` gets the request id and the keys' places in the frame. Awaiting the result raises
        the fault of a refusal.
        """
        if handles:
            for permit, handle in zip(permits, handles, strict=True):
                permit.redeem(handle.key_id)
        else:
            (permit,) = permits
            permit.redeem(KEYLESS)
        call = _Call(build, handles, self._tick_s + ANSWER_S_MAX)
        self._waiting.append(call)
        if not self._flush_is_due:
            self._flush_is_due = True
            asyncio.get_running_loop().call_soon(self.flush)
        return call

    @property
    def is_open(self) -> bool:
        return self._active is not None

    @property
    def is_answering(self) -> bool:
        """Open, and not silent: nothing waits longer than `SILENCE_S_MAX`, and the last that did was answered."""
        oldest = next(iter(self._sent.values()), None)
        waits_long = oldest is not None and oldest.deadline - self._tick_s < ANSWER_S_MAX - SILENCE_S_MAX
        return self._active is not None and not self._is_silent and not waits_long

    # ── frames ──────────────────────────────────────────────────────────────────────────────────────────────────

    def flush(self) -> None:
        """Send what waits, as far as frames may be under way."""
        self._flush_is_due = False
        channel = self._active
        while channel is not None and self._waiting and channel.frames_under_way < FRAMES_UNDER_WAY_MAX:
            self._sent_s = time.perf_counter()
            channel.send_commands(self._next_frame())

    def _next_frame(self, commands_max: int = COMMANDS_PER_FRAME_MAX) -> bytes:
        places: dict[int, int] = {}
        keys: list[msgspec.Raw] = []
        commands: list[Command] = []
        first_id = self._next_id
        while self._waiting and len(commands) < commands_max:
            call = self._waiting.popleft()
            indexes = []
            for handle in call.handles:
                place = places.get(id(handle))
                if place is None:
                    place = places[id(handle)] = len(keys)
                    keys.append(handle.encoded)
                indexes.append(place)
            request_id = self._next_id
            self._next_id += 1
            self._sent[request_id] = call
            commands.append(call.build(request_id, *indexes))
        self.stats.commands += len(commands)
        frame = encode_message((self.tracing, keys, commands))
        if len(frame) > _FRAME_BYTES_MAX and len(commands) > 1:
            # Large data or contexts: put them back in their order, and send half of them.
            calls = [self._sent.pop(request_id) for request_id in range(first_id, self._next_id)]
            self._waiting.extendleft(reversed(calls))
            self.stats.commands -= len(calls)
            return self._next_frame(len(commands) // 2)
        return frame

    def _on_answers(self, _: Channel, frame: AnswerFrame) -> None:
        self._is_silent = False
        # One frame is under way at a time, so the last one sent is the one that is answered.
        self.stats.frames += 1
        self.stats.round_trips_s += time.perf_counter() - self._sent_s
        self.traces.extend(frame.traces)
        self._batch(lambda: self._deliver(frame))
        self.flush()

    def _deliver(self, frame: AnswerFrame) -> None:
        """Resume whoever waits for these answers; `batch` sees to what they do next."""
        for answer in frame.answers:
            call = self._sent.pop(answer.request_id, None)
            if call is None:
                continue  # It timed out before.
            try:
                if type(answer) is RefusedAnswer:
                    call.fail(fault_of(RefusedError(Status(answer.status))))
                else:
                    call.resolve(answer)
            except Exception as error:  # noqa: BLE001 -- whoever waited for this one must not cost the others theirs.
                context = {"message": "an answer was not taken", "exception": error}
                asyncio.get_running_loop().call_exception_handler(context)

    # ── connections ─────────────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Connect, and keep connected, until `close`."""
        self._connect()
        self._later(0.25, self._expire)
        self._later(_SESSION_RENEWAL_S, self._renew)

    def close(self) -> None:
        self._closed = True
        for timer in self._timers:
            timer.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
        if self._active is not None:
            self._active.close()

    def _later(self, delay_s: float, what: Callable[[], None]) -> None:
        def fire() -> None:
            self._timers.discard(handle)
            if not self._closed:
                what()

        handle = asyncio.get_running_loop().call_later(delay_s, fire)
        self._timers.add(handle)

    def _connect(self) -> None:
        self._connecting = asyncio.get_running_loop().create_task(self._connect_once())

    async def _connect_once(self) -> None:
        try:
            await asyncio.get_running_loop().create_unix_connection(
                lambda: Channel(
                    self._identity, self._domain, self._session, self._on_open, self._on_answers, self._on_lost
                ),
                self._address,
            )
        except OSError:
            self._reconnect_later()

    def _reconnect_later(self) -> None:
        delay = _RECONNECT_S[min(self._failures, len(_RECONNECT_S) - 1)]
        self._failures += 1
        self._later(delay, self._connect)

    def _on_open(self, channel: Channel) -> None:
        self._failures = 0
        self._session = channel.session
        retired, self._active = self._active, channel
        if retired is not None:
            self._retire(retired)
        self.flush()

    def _on_lost(self, channel: Channel, refused: Status | None) -> None:
        if refused in _SESSION_IS_DEAD:
            self._session = None
        if self._closed or (self._active is not None and channel is not self._active):
            return
        if self._active is not None:
            self.stats.lost += 1
        self._active = None
        # Ask again what was under way, in its old order and before what waits.
        self._waiting.extendleft(reversed(self._sent.values()))
        self._sent.clear()
        self._reconnect_later()

    def _renew(self) -> None:
        """A new session on a new connection; the old one ends when its frames are answered."""
        self._session = None
        self._connect()
        self._later(_SESSION_RENEWAL_S, self._renew)

    def _retire(self, channel: Channel) -> None:
        if channel.frames_under_way and channel.is_open:
            self._later(0.05, lambda: self._retire(channel))
        else:
            channel.close()

    def _expire(self) -> None:
        self._tick_s = now = time.monotonic()
        late = [request_id for request_id, call in self._sent.items() if call.deadline <= now]
        expired = [self._sent.pop(request_id) for request_id in late]
        while self._waiting and self._waiting[0].deadline <= now:
            expired.append(self._waiting.popleft())
        self._is_silent = self._is_silent or bool(expired)
        self.stats.timeouts += len(expired)
        for call in expired:
            call.fail(DependencyTimeoutException())
        self._later(0.25, self._expire)
