"""The supervisor's loop: start HSMs, then workers; restart what dies, with back-off; stop everything on SIGTERM.

A mute HSM does not die, and is not restarted: silence is its answer, and its operators' business. The home region's HSM is
what a start depends on; another region's that does not start is said and tried again, and the others serve.

The first worker is started alone: it makes what there is to make in the store. When it serves, the others follow.
"""

from __future__ import annotations

import re
import selectors
import signal
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

import msgspec

from strongroom.supervisor import children
from strongroom.supervisor.actors import Hsm, Worker
from strongroom.supervisor.banner import print_banner
from strongroom.supervisor.home import Home, HomeError, HomeSettings
from strongroom.supervisor.hsm_control import service_host_public
from strongroom.supervisor.listeners import Listeners, bind_public
from strongroom.supervisor.preparation import Options, Prepared, describe_region, prepare, write_kms_config
from strongroom.supervisor.service_manager import READY, STOPPING, tell_service_manager
from strongroom.supervisor.users import Users

# As AWS names its regions; private ones may choose. It becomes the name of a directory.
REGION: Final = re.compile(r"[a-z0-9]{1,16}(?:-[a-z0-9]{1,16}){1,5}")
# Each is a process and a domain of its own. AWS has fewer than forty.
REGIONS_MAX: Final = 16


class Supervisor:
    """One home: an HSM per region, and the workers that they serve."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.home: Final = Home(options.home)
        self._prepared: Prepared | None = None
        self._listeners: Listeners | None = None
        # By region, the home region's first.
        self._hsms: dict[str, Hsm] = {}
        self._workers: list[Worker] = []
        self._threads = ThreadPoolExecutor(REGIONS_MAX, "hsm-talk")
        self._selector = selectors.DefaultSelector()
        self._wake, self._signals = socket.socketpair()
        # The start's own half, in which whatever cannot be started ends it all.
        self._starting = True
        # Whether a worker has served: what there was to make is made, and whatever dies from here on is started again.
        self._served = False
        self._announced = False
        self._stopping = False

    @property
    def prepared(self) -> Prepared:
        assert self._prepared is not None, "prepare first"
        return self._prepared

    @property
    def settings(self) -> HomeSettings:
        return self.prepared.settings

    @property
    def users(self) -> Users:
        return self.prepared.users

    def prepare(self) -> None:
        """See `preparation.prepare`. The addresses are taken before it: a start that cannot serve decides nothing."""
        options = self._options
        if "kms" not in options.actors:
            self._prepared = prepare(self.home, options)
            return
        public = bind_public(options.listen, options.port)
        metrics = None if options.metrics is None else bind_public(*options.metrics)
        self._prepared = prepare(self.home, options)
        names = [f"w{number}" for number in range(1, options.workers + 1)]
        self._listeners = Listeners(public, metrics, self.home, names)
        config, uid = str(self.home.kms_config), self.users.kms
        self._workers = [Worker(name, config, uid, self._listeners) for name in names]

    # ── running ─────────────────────────────────────────────────────────────────────────────────────────────────

    def run(self) -> None:
        """Until SIGTERM or SIGINT.

        Raises:
            HomeError: an actor could not be started at all.
        """
        self._signals.setblocking(False)  # noqa: FBT003 -- the socket's own interface.
        signal.set_wakeup_fd(self._signals.fileno())
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, self._on_signal)
        self._selector.register(self._wake, selectors.EVENT_READ)
        try:
            self._start_all()
            self._watch()
        finally:
            signal.set_wakeup_fd(-1)
            self._stop_all()

    def _on_signal(self, number: int, _: object) -> None:
        if number != signal.SIGCHLD:
            self._stopping = True

    def _start_all(self) -> None:
        if "hsm" in self._options.actors:
            self._start_hsms()
        elif new := [name for name in self._options.regions if name not in self._all_regions()]:
            raise HomeError(f"{self.home.root} has no region {new[0]}: a start of its HSM makes it")
        if self._listeners is None:
            self._starting = False
            self._announce()
            return
        self._write_config()
        self._listeners.listen()
        self._starting = False
        self._start(self._workers[0])

    def _start_hsms(self) -> None:
        """All at once; the home region's must come up, and so must one that is named for the first time."""
        home, *listed = self._all_regions()
        wanted = [*listed, *(name for name in self._options.regions if name not in (home, *listed))]
        if len(wanted) >= REGIONS_MAX:
            raise HomeError(f"a home has at most {REGIONS_MAX} regions")
        for name in (home, *wanted):
            hsm = self._add_hsm(name)
            hsm.is_made = name == home or name in listed
        for hsm in self._hsms.values():
            try:
                hsm.start()
            except (HomeError, OSError) as error:
                self._not_started(hsm, error)
        for hsm in self._hsms.values():
            if hsm.talk is not None:
                self._finish(hsm)

    def _all_regions(self) -> list[str]:
        """Those that the home has, the home region first."""
        return [self.settings.region, *self.settings.regions]

    def _add_hsm(self, name: str) -> Hsm:
        is_home = name == self.settings.region
        place = self.home if is_home else self.home.other_region(name)
        public = service_host_public(self.home, self.users.kms)
        hsm = self._hsms[name] = Hsm(name, place, self.users, public, self._threads, is_home=is_home)
        return hsm

    def _announce(self) -> None:
        """Once, when everything that was asked for serves."""
        if not self._announced:
            self._announced = True
            url = self._options.url if "kms" in self._options.actors else ""
            print_banner(self.home, self.settings, url, self.users)
            tell_service_manager(READY)

    # ── watching ────────────────────────────────────────────────────────────────────────────────────────────────

    def _watch(self) -> None:
        """1. wait for a signal, a word or a time, 2. note who died or came up, 3. start whose time has come."""
        while not self._stopping:
            for key, _ in self._selector.select(self._timeout_s()):  # 1
                if key.fileobj is self._wake:
                    self._wake.recv(4096)
                else:
                    self._hear(key.data)
            for hsm in [hsm for hsm in self._hsms.values() if hsm.talk is not None and hsm.talk.done()]:  # 2
                self._finish(hsm)
            for actor in list(self._actors()):
                status = None if self._stopping else actor.note_death()
                if status is not None:
                    _say(f"{actor.name} ended ({status}); starting it again")
                if actor.due_s is not None and actor.due_s <= time.monotonic() and not self._stopping:
                    actor.due_s = None
                    self._start(actor)  # 3
            for worker in self._workers:
                if worker.ready_by_s is not None and time.monotonic() > worker.ready_by_s:
                    self._on_late(worker)

    def _actors(self) -> Iterator[Hsm | Worker]:
        yield from self._hsms.values()
        yield from self._workers

    def _timeout_s(self) -> float | None:
        times = [actor.due_s for actor in self._actors() if actor.due_s is not None]
        times += [worker.ready_by_s for worker in self._workers if worker.ready_by_s is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _start(self, actor: Hsm | Worker) -> None:
        try:
            if isinstance(actor, Worker):
                self._forget_channel(actor)
                actor.start()
                assert actor.channel is not None
                self._selector.register(actor.channel, selectors.EVENT_READ, actor)
            else:
                actor.start()
                assert actor.talk is not None
                actor.talk.add_done_callback(lambda _: self._poke())
        except (HomeError, OSError) as error:
            if isinstance(actor, Hsm):
                self._not_started(actor, error)
            else:
                _say(f"{actor.name}: {error}")
                actor.start_later()

    # ── HSMs ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _poke(self) -> None:
        """From a thread: have the loop look around."""
        with suppress(OSError):
            self._signals.send(b"\0")

    def _finish(self, hsm: Hsm) -> None:
        """Its HSM is up, or will not come up now."""
        try:
            hsm.finish()
            if not hsm.is_made:
                settings = self.home.add_region(hsm.region)
                self._prepared = msgspec.structs.replace(self.prepared, settings=settings)
                hsm.is_made = True
                if not self._starting:
                    _say(f"the region {hsm.region} is made; what recovers its keys lies in {hsm.place.recovery}")
        except (HomeError, OSError) as error:
            self._not_started(hsm, error)
            return
        if not self._starting and self._workers:
            self._tell_of(hsm)

    def _tell_of(self, hsm: Hsm) -> None:
        """To the workers that run, and to those that are started later."""
        try:
            for worker in self._workers:
                worker.tell(describe_region(hsm.place, hsm.region))
            self._write_config()
        except (HomeError, OSError) as error:
            _say(f"the workers' configuration could not be written, and stays as it was: {error}")

    def _not_started(self, hsm: Hsm, error: Exception) -> None:
        """One that was made is tried again; one that was asked for while we ran is given up, and what there is stays."""
        if self._starting and (hsm.place is self.home or not hsm.is_made):
            raise error
        if str(error) != hsm.said:  # What a person must mend is said once, and not at every try.
            hsm.said = str(error)
            _say(f"{hsm.name}: {error}")
        if hsm.is_made:
            hsm.start_later()
            return
        hsm.end()
        hsm.close()
        del self._hsms[hsm.region]
        for worker in self._workers:
            worker.tell({"failed": hsm.region})

    def _write_config(self) -> None:
        """The workers' configuration, with every region that was made; without an HSM of ours, with those noted."""
        home, others = self.settings.region, self.settings.regions
        places = [(self.home, home), *((self.home.other_region(name), name) for name in others)]
        regions = [describe_region(place, name) for place, name in places]
        if not regions[0]["domain_token"]:
            raise HomeError(f"{self.home.root} has no domain yet: its HSM makes one at its first start")
        write_kms_config(self.home, self._options, self.prepared, regions)

    # ── workers ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _hear(self, worker: Worker) -> None:
        try:
            message = worker.hear()
        except EOFError:
            self._forget_channel(worker)
            if not self._served and not self._stopping:
                raise HomeError("the service did not start; its own words are above") from None
            return
        if message is None:
            return
        match message.said:
            case "ready":
                self._on_ready()
            case "opened":
                if message.region in self.settings.regions:
                    self.home.other_region(message.region).note_store()
            case "wanted":
                self._on_wanted(worker, message.region)

    def _on_ready(self) -> None:
        self._served = True
        self.home.note_store()
        for worker in self._workers:
            if worker.process is None and worker.due_s is None:
                self._start(worker)
        if all(worker.serves for worker in self._workers):
            self._announce()

    def _on_wanted(self, worker: Worker, region: str) -> None:
        """A caller of a development home signed for a region that is not there yet: make it, and tell every worker.

        The name comes from another user's process: it is checked here again, as far as it could do harm.
        """
        hsm = self._hsms.get(region)
        if hsm is not None and hsm.is_made:
            worker.tell(describe_region(hsm.place, region))
        elif hsm is None:
            may = self._options.development and "hsm" in self._options.actors and len(self._hsms) < REGIONS_MAX
            if not (may and REGION.fullmatch(region)):
                worker.tell({"refused": region})
                return
            _say(f"a caller wants the region {region}: making it")
            self._start(self._add_hsm(region))

    def _on_late(self, worker: Worker) -> None:
        """A first start that takes too long is given up; a later one is ended, and so started again like any that died."""
        self._forget_channel(worker)
        if not self._served:
            raise HomeError("the service does not start; its own words are above")
        _say(f"{worker.name} does not start in time")
        if worker.process is not None:
            children.stop(worker.process)

    def _forget_channel(self, worker: Worker) -> None:
        if worker.channel is not None:
            self._selector.unregister(worker.channel)
        worker.close()

    # ── stop ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _stop_all(self) -> None:
        """The workers first: they still want a last audit head signed."""
        tell_service_manager(STOPPING)
        if self._listeners is not None:
            self._listeners.close()
        for actors in (self._workers, self._hsms.values()):
            children.stop(*(actor.process for actor in actors if actor.process is not None))
        for worker in self._workers:
            self._forget_channel(worker)
        for hsm in self._hsms.values():
            hsm.close()
        self._threads.shutdown()
        self._selector.close()
        self._wake.close()
        self._signals.close()


def _say(text: str) -> None:
    print(f"strongroom: {text}", file=sys.stderr, flush=True)
