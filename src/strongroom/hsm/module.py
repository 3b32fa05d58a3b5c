"""The cryptographic module: its states, who may ask what in which state, and the battery of checks before each answer.

| state | session | control | leaves to |
|---|---|---|---|
| SELF_TEST | nothing | nothing | INITIALISED, OPERATIONAL |
| INITIALISED | nothing | create or recover a domain, status | OPERATIONAL |
| OPERATIONAL | everything, once its sealed state is acknowledged | acknowledge, status | MUTE |
| MUTE | silence | silence | (only a restart) |

Only the module's own checks mute it: nothing that a peer sends is escalated beyond a refusal.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Final, Never

from strongroom.boundary import control
from strongroom.boundary.messages import (
    COMMANDS_PER_FRAME_MAX,
    UNREADABLE,
    Answer,
    AnswerFrame,
    Command,
    RefusedAnswer,
    decode_command_frame,
    encode_message,
)
from strongroom.boundary.statuses import RefusedError, Status
from strongroom.hsm.arena import Arena
from strongroom.hsm.commands import HANDLERS, Work
from strongroom.hsm.domain.domain import Domain, DomainMaker
from strongroom.hsm.entropy import Entropy, EntropyFailureError
from strongroom.hsm.hardening import is_undumpable
from strongroom.hsm.rinse import rinse


class ModuleState(StrEnum):
    """As shown in status."""

    SELF_TEST = "SELF_TEST"
    INITIALISED = "INITIALISED"
    OPERATIONAL = "OPERATIONAL"
    MUTE = "MUTE"


class MuteError(Exception):
    """The module says nothing any more."""


Clock = Callable[[], float]


class Module:
    """Everything behind the socket."""

    def __init__(self, arena: Arena, entropy: Entropy, clock: Clock, maker: DomainMaker, hsm_id: str) -> None:
        self.arena: Final = arena
        self.entropy: Final = entropy
        self.clock: Final = clock
        self.state = ModuleState.SELF_TEST
        self.measures: dict[str, str] = {"arena": arena.kind}
        self._maker = maker
        self._hsm_id = hsm_id
        self._domain: Domain | None = None
        self._acknowledged = False
        self._frames = self._commands = self._refusals = 0
        self._started_at_s = int(clock())
        # The battery, cheap first. Each entry is a reason to fall silent.
        self._battery: tuple[Callable[[], bool], ...] = (is_undumpable, arena.canaries_intact)

    # ── states ──────────────────────────────────────────────────────────────────────────────────────────────────

    def power_on(self, sealed_states: list[bytes]) -> None:
        """From SELF_TEST to OPERATIONAL by the newest sealed state that opens, or to INITIALISED without any.

        Raises:
            RefusedError: there are sealed states and none opens: that is for people to decide, not to overwrite.
        """
        opened = []
        for sealed in sealed_states:
            try:
                opened.append(self._maker.restart(sealed))
            except RefusedError:
                continue
        if sealed_states and not opened:
            raise RefusedError(Status.AUTHENTICATION_FAILED)
        if opened:
            self._domain = max(opened, key=lambda domain: domain.state.version)
            self._acknowledged = True
        self.state = ModuleState.OPERATIONAL if opened else ModuleState.INITIALISED
        rinse()

    def check(self) -> None:
        """The battery.

        Raises:
            MuteError: a check failed, now or before; all keys are gone.
        """
        if self.state is not ModuleState.MUTE and all(check() for check in self._battery):
            return
        self.mute()

    def mute(self) -> Never:
        """Zeroize and fall silent: only for what the module itself found wrong.

        Raises:
            MuteError: always.
        """
        self.zeroize()
        self.state = ModuleState.MUTE
        raise MuteError from None

    def zeroize(self) -> None:
        """Overwrite every key."""
        self._domain = None
        self.arena.zeroize()

    def domain(self) -> Domain:
        """The domain, for work.

        Raises:
            RefusedError: NOT_OPERATIONAL; STATE_UNACKNOWLEDGED before the supervisor stored the sealed state.
        """
        if self._domain is None:
            raise RefusedError(Status.NOT_OPERATIONAL)
        if not self._acknowledged:
            raise RefusedError(Status.STATE_UNACKNOWLEDGED)
        return self._domain

    # ── session ─────────────────────────────────────────────────────────────────────────────────────────────────

    def execute(self, plaintext: bytes) -> bytes:
        """Answer the commands of one frame.

        Raises:
            RefusedError: the frame as a whole is no good.
            MuteError: the battery failed.
        """
        self.check()
        domain = self.domain()
        try:
            frame = decode_command_frame(plaintext)
        except UNREADABLE:
            raise RefusedError(Status.MALFORMED) from None
        if len(frame.commands) > COMMANDS_PER_FRAME_MAX:
            raise RefusedError(Status.MALFORMED)
        self._frames += 1
        self._commands += len(frame.commands)
        with self.arena.scratch() as scratch:
            work = Work(domain, scratch, self.entropy, self.clock, self.report, frame)
            answers = [self._answer(work, command) for command in frame.commands]
        encoded = encode_message(AnswerFrame(answers, work.traces))
        del work, answers, frame
        rinse()
        return encoded

    def _answer(self, work: Work, command: Command) -> Answer:
        try:
            return HANDLERS[type(command)](work, command)
        except RefusedError as refused:
            status = refused.status
        except EntropyFailureError:
            self.mute()
        except Exception:  # noqa: BLE001 -- a programmer's error fails one command; its text and frames go nowhere.
            status = Status.INTERNAL
        self._refusals += 1
        return RefusedAnswer(command.request_id, status)

    # ── control ─────────────────────────────────────────────────────────────────────────────────────────────────

    def answer_control(self, body: bytes) -> bytes:
        """Answer one control command."""
        self.check()
        mark = self.arena.lasting.used
        answer: control.ControlAnswer
        try:
            answer = self._control(control.decode_command(body))
        except UNREADABLE:
            answer = control.ControlRefused(Status.MALFORMED)
        except RefusedError as refused:
            answer = control.ControlRefused(refused.status)
        except EntropyFailureError:
            self.mute()
        except Exception:  # noqa: BLE001 -- as in `_answer`.
            answer = control.ControlRefused(Status.INTERNAL)
        if isinstance(answer, control.ControlRefused):
            self.arena.lasting.rewind(mark)  # Half-made keys of a refused command.
        encoded = control.encode(answer)
        rinse()
        return encoded

    def _control(self, command: control.ControlCommand) -> control.ControlAnswer:
        match command:
            case control.ReportStatus():
                return self.report()
            case control.AcknowledgeState(version):
                if self._domain is None or self._domain.state.version != version:
                    raise RefusedError(Status.OUT_OF_ORDER)
                self._acknowledged = True
                return control.Done()
        if self.state is not ModuleState.INITIALISED:
            raise RefusedError(Status.OUT_OF_ORDER)
        now_s = int(self.clock())
        match command:
            case control.CreateDomain():
                self._domain, created = self._maker.create(command, now_s)
            case control.RecoverDomain():
                self._domain, created = self._maker.recover(command, now_s)
        self.state = ModuleState.OPERATIONAL
        return created

    def report(self) -> control.StatusReport:
        state = self._domain.state if self._domain else None
        return control.StatusReport(
            state=self.state.value,
            hsm_id=self._domain.identity.member.member_id if self._domain else self._hsm_id,
            domain_id=state.domain_id if state else b"",
            domain_name=state.name if state else "",
            region=state.region if state else "",
            state_version=state.version if state else 0,
            state_acknowledged=self._acknowledged,
            domain_key_ids=[info.domain_key_id for info in state.domain_keys] if state else [],
            member_ids=[member.member_id for member in state.members] if state else [],
            measures=self.measures,
            frames=self._frames,
            commands=self._commands,
            refusals=self._refusals,
            started_at_s=self._started_at_s,
        )
