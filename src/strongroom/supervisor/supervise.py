"""The supervisor's loop: start HSM, then service; restart what dies, with back-off; stop everything on SIGTERM.

A mute HSM does not die, and is not restarted: silence is its answer, and its operators' business.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Final

from strongroom.supervisor import children
from strongroom.supervisor.banner import print_banner
from strongroom.supervisor.home import Home, HomeError, HomeSettings
from strongroom.supervisor.hsm_control import ControlChannel, bring_up
from strongroom.supervisor.preparation import HSM_ID, Options, prepare
from strongroom.supervisor.users import Users

_READY_S_MAX: Final = 20.0


class _Actor:
    """One child: its process, and when to start it again after it died."""

    def __init__(self, name: str) -> None:
        self.name: Final = name
        self.process: subprocess.Popen[bytes] | None = None
        self.back_off: Final = children.BackOff()
        self.due_s: float | None = None


class Supervisor:
    """One home, one HSM, one service."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.home: Final = Home(options.home)
        self._users: Users | None = None
        self._settings: HomeSettings | None = None
        self._hsm = _Actor("hsm")
        self._kms = _Actor("kms")
        self._channel: ControlChannel | None = None
        # The descriptor on which a starting service will say that it serves, and until when it may take.
        self._ready: int | None = None
        self._ready_by_s = 0.0
        self._announced = False
        self._stopping = False

    @property
    def users(self) -> Users:
        assert self._users is not None, "prepare first"
        return self._users

    def prepare(self) -> None:
        """See `preparation.prepare`."""
        self._users, self._settings = prepare(self.home, self._options)

    # ── running ─────────────────────────────────────────────────────────────────────────────────────────────────

    def run(self) -> None:
        """Until SIGTERM or SIGINT.

        Raises:
            HomeError: an actor could not be started at all.
        """
        wake, signals = socket.socketpair()
        signals.setblocking(False)  # noqa: FBT003 -- the socket's own interface.
        signal.set_wakeup_fd(signals.fileno())
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, self._on_signal)
        try:
            with wake, signals, selectors.DefaultSelector() as selector:
                selector.register(wake, selectors.EVENT_READ)
                self._start_all()
                self._watch(selector, wake)
        finally:
            signal.set_wakeup_fd(-1)
            self._stop_all()

    def _on_signal(self, number: int, _: object) -> None:
        if number != signal.SIGCHLD:
            self._stopping = True

    def _start_all(self) -> None:
        if "hsm" in self._options.actors:
            self._start_hsm()
        if "kms" in self._options.actors:
            self._start_kms()
        else:
            self._announce()

    def _announce(self) -> None:
        """Once, when everything that was asked for serves."""
        if not self._announced:
            self._announced = True
            assert self._settings is not None
            url = self._options.url if "kms" in self._options.actors else ""
            print_banner(self.home, self._settings, url, self.users)

    def _start_hsm(self) -> None:
        self._hsm.process, control = children.start_hsm(str(self.home.hsm_config(HSM_ID)), self.users.hsm)
        if self._channel is not None:
            self._channel.close()
        self._channel = ControlChannel(control)
        region = self._settings.region if self._settings else ""
        bring_up(self._channel, self.home, HSM_ID, region, self.users.kms)
        self._hsm.back_off.serves()

    def _start_kms(self) -> None:
        """Start it and go on: what it says on `ready` is heard in `_watch`, where an HSM's death is seen meanwhile."""
        self._kms.process, self._ready = children.start_kms(str(self.home.kms_config), self.users.kms)
        self._ready_by_s = time.monotonic() + _READY_S_MAX

    # ── watching ────────────────────────────────────────────────────────────────────────────────────────────────

    def _watch(self, selector: selectors.BaseSelector, wake: socket.socket) -> None:
        """1. wait for a signal, a word of the service or a time, 2. note who died, 3. start whose time has come."""
        while not self._stopping:
            if self._ready is not None and self._ready not in selector.get_map():
                selector.register(self._ready, selectors.EVENT_READ)
            for key, _ in selector.select(self._timeout_s()):  # 1
                if key.fileobj is wake:
                    wake.recv(4096)
                else:
                    selector.unregister(key.fd)
                    self._on_ready()
            for actor in (self._hsm, self._kms):
                self._note_death(actor)  # 2
                if actor.due_s is not None and actor.due_s <= time.monotonic() and not self._stopping:
                    actor.due_s = None
                    self._restart(actor)  # 3
            if self._ready is not None and time.monotonic() > self._ready_by_s:
                selector.unregister(self._ready)
                self._on_late()

    def _timeout_s(self) -> float | None:
        times = [actor.due_s for actor in (self._hsm, self._kms) if actor.due_s is not None]
        if self._ready is not None:
            times.append(self._ready_by_s)
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _on_ready(self) -> None:
        """The service serves, or has ended before it did."""
        assert self._ready is not None
        serves = os.read(self._ready, 16) == b"ready\n"
        self._forget_ready()
        if serves:
            self._kms.back_off.serves()
            self.home.note_store()
            self._announce()
        elif not self._announced:
            raise HomeError("the service did not start; its own words are above")

    def _on_late(self) -> None:
        """A first start that takes too long is given up; a later one is ended, and so started again like any that died."""
        self._forget_ready()
        if not self._announced:
            raise HomeError("the service does not start; its own words are above")
        _say("kms does not start in time")
        if self._kms.process is not None:
            children.stop(self._kms.process)

    def _forget_ready(self) -> None:
        assert self._ready is not None
        os.close(self._ready)
        self._ready = None

    def _note_death(self, actor: _Actor) -> None:
        process = actor.process
        if process is None or process.poll() is None or self._stopping:
            return
        actor.process = None
        actor.due_s = time.monotonic() + actor.back_off.delay_s()
        _say(f"{actor.name} ended ({process.returncode}); starting it again")

    def _restart(self, actor: _Actor) -> None:
        start: Callable[[], None] = self._start_hsm if actor is self._hsm else self._start_kms
        try:
            start()
        except (HomeError, OSError) as error:
            _say(f"{actor.name}: {error}")
            if actor.process is not None:  # Never two of a kind: the next try must find the place empty.
                children.stop(actor.process)
                actor.process = None
            actor.due_s = time.monotonic() + actor.back_off.delay_s()

    def _stop_all(self) -> None:
        """The service first: it still wants a last audit head signed."""
        for actor in (self._kms, self._hsm):
            if actor.process is not None:
                children.stop(actor.process)
        if self._channel is not None:
            self._channel.close()


def _say(text: str) -> None:
    print(f"strongroom: {text}", file=sys.stderr, flush=True)
