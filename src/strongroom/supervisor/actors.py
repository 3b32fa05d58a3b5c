"""The children as the supervisor's loop sees them: an HSM per region, and the service's workers.

An HSM's start has two halves: its process, made here and now (it dies with the thread that made it), and the talk on its
control channel, which may take long and therefore has a thread: one region's HSM that hangs must not keep the others'
waiting. A worker says on its channel that it serves, and may ask for a region there.
"""

from __future__ import annotations

import socket
import subprocess
import time
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from strongroom.boundary.messages import UNREADABLE
from strongroom.supervisor import children
from strongroom.supervisor.home import HSM_ID, RegionHome
from strongroom.supervisor.hsm_control import ControlChannel, bring_up
from strongroom.supervisor.listeners import Listeners
from strongroom.supervisor.preparation import prepare_region
from strongroom.supervisor.users import Users

# Of a machine that has fifty times as much to do: who gives up earlier starts from nothing again, and never serves there.
READY_S_MAX: Final = 60.0
_MESSAGE_BYTES_MAX: Final = 4096


class Actor:
    """One child: its process, and when to start it again after it died."""

    def __init__(self, name: str) -> None:
        self.name: Final = name
        self.process: subprocess.Popen[bytes] | None = None
        self.back_off: Final = children.BackOff()
        self.due_s: float | None = None

    def end(self) -> None:
        """Never two of a kind: the next start must find the place empty."""
        if self.process is not None:
            children.stop(self.process)
            self.process = None

    def start_later(self) -> None:
        self.end()
        self.due_s = time.monotonic() + self.back_off.delay_s()

    def note_death(self) -> int | None:
        """The exit status of a child that has died since; it is due again then."""
        process = self.process
        if process is None or process.poll() is None:
            return None
        self.process = None
        self.due_s = time.monotonic() + self.back_off.delay_s()
        return process.returncode


class Hsm(Actor):
    """One region's HSM."""

    def __init__(
        self, region: str, place: RegionHome, users: Users, host_public: bytes, threads: Executor, *, is_home: bool
    ) -> None:
        super().__init__("hsm" if is_home else f"hsm of {region}")
        self.region: Final = region
        self.place: Final = place
        # Whether the home has this region already: its domain was made, and is in use.
        self.is_made = is_home
        self._is_home = is_home
        self._users = users
        self._host_public = host_public
        self._threads = threads
        self._channel: ControlChannel | None = None
        self.talk: Future[list[Path]] | None = None
        # The last reason why it did not start.
        self.said = ""

    def start(self) -> None:
        if not self._is_home:
            prepare_region(self.place, self._users, was_made=self.is_made)
        self.process, control = children.start_hsm(str(self.place.hsm_config(HSM_ID)), self._users.hsm)
        self.close()
        self._channel = ControlChannel(control)
        self.talk = self._threads.submit(bring_up, self._channel, self.place, HSM_ID, self.region, self._host_public)

    def finish(self) -> None:
        """The end of a start; waits for the talk where it still goes on.

        Raises:
            HomeError: it refused, hung up, or has lost its state.
        """
        assert self.talk is not None, "nothing was started"
        talk, self.talk = self.talk, None
        talk.result()
        self.said = ""
        self.back_off.serves()

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()


class WorkerMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a worker says: that it serves; that it has a region's store; that a caller wants a region."""

    said: Literal["ready", "opened", "wanted"]
    region: str = ""


class Worker(Actor):
    """One process of the service."""

    def __init__(self, name: str, config: str, uid: int, listeners: Listeners) -> None:
        super().__init__(f"kms {name}")
        self.worker: Final = name
        self._number = int(name.removeprefix("w")) - 1
        self._config = config
        self._uid = uid
        self._listeners = listeners
        self.channel: socket.socket | None = None
        self.serves = False
        # Until when a started one may take to say that it serves.
        self.ready_by_s: float | None = None

    def start(self) -> None:
        self.close()
        handed = self._listeners.handed_to(self.worker)
        self.process, self.channel = children.start_kms(self._config, self._uid, self.worker, handed)
        self.channel.setblocking(False)  # noqa: FBT003 -- the socket's own interface.
        self.ready_by_s = time.monotonic() + READY_S_MAX

    def hear(self) -> WorkerMessage | None:
        """What it says; None for a channel that ended, or for what is no message.

        Raises:
            EOFError: the channel has ended.
        """
        assert self.channel is not None
        try:
            data = self.channel.recv(_MESSAGE_BYTES_MAX)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if not data:
            raise EOFError
        try:
            message = msgspec.json.decode(data, type=WorkerMessage)
        except UNREADABLE:
            return None
        if message.said == "ready":
            self.serves = True
            self.ready_by_s = None
            self.back_off.serves()
        return message

    def tell(self, what: dict[str, Any]) -> None:
        """Without waiting: one that is too busy to be told asks when it needs to know."""
        if self.channel is not None:
            try:
                self.channel.send(msgspec.json.encode(what))
            except OSError:
                return

    def close(self) -> None:
        self._listeners.forget_load(self._number)
        self.serves = False
        self.ready_by_s = None
        if self.channel is not None:
            self.channel.close()
            self.channel = None
