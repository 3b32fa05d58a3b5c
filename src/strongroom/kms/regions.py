"""The regions of a worker: the home region, which the worker cannot be without, and the others, each opened by itself.

Invariants:
- The home region is open before the first request is taken. Another region that does not open costs nobody else anything;
  it is tried again, and its callers are told to come back.
- In a development home, a request whose signature was verified and which names one of AWS's regions has the supervisor
  make it. Nothing else does: no other name, nobody without a credential, no home that is not for development.
- Whoever waits for a region waits a bounded time.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Protocol

from strongroom.boundary.domain_token import DomainTokenError
from strongroom.kms.config import RegionConfig
from strongroom.kms.driver import Deferred
from strongroom.kms.faults import DependencyTimeoutException, Fault
from strongroom.kms.hsm_link.link import HsmLink
from strongroom.kms.region import Region
from strongroom.kms.repositories import RowForgedError, StoreUnavailableError
from strongroom.kms.service import Service
from strongroom.kms.storage.migrations import StoreTooNewError
from strongroom.protocol.regions import REGIONS

WAIT_S_MAX: Final = 15.0
_TRY_AGAIN_S: Final = (0.2, 1.0, 5.0)
# Why a region does not open: its HSM, its files, its rows. All of them may be better at the next try.
CANNOT_OPEN: Final = (
    Fault,
    OSError,
    sqlite3.DatabaseError,
    DomainTokenError,
    RowForgedError,
    StoreTooNewError,
    StoreUnavailableError,
)
_LOG = logging.getLogger("strongroom.kms")


class RegionRefusedError(Exception):
    """The supervisor does not make this region: for whoever named it, there is none."""


class Supervision(Protocol):
    """The supervisor, as far as regions are concerned."""

    def want(self, region: str) -> None:
        """Have it made; what comes of it is told later."""

    def opened(self, region: str) -> None:
        """Say that this worker has the region's store."""


class Regions:
    """Finds a request's region by its name."""

    def __init__(
        self,
        home: Region,
        make: Callable[[RegionConfig], Region],
        supervision: Supervision,
        *,
        on_first_use: bool,
    ) -> None:
        self.home: Final = home
        # Every link whose waiting commands a batch sends off.
        self.links: Final[list[HsmLink]] = [home.link]
        self._make = make
        self._supervision = supervision
        self._on_first_use = on_first_use
        self._open: dict[str, Region] = {home.name: home}
        self._opening: dict[str, asyncio.Task[None]] = {}
        self._waiting: dict[str, list[Deferred[Service]]] = {}
        # Regions of this home that could not be opened: there is nothing to wait for, until they can.
        self._broken: set[str] = set()
        self.on_open: Callable[[Region], None] = lambda _: None

    def find(self, name: str) -> Service | None:
        """An open region."""
        region = self._open.get(name)
        return None if region is None else region.service

    def opened(self) -> list[Region]:
        """All that are open, the home region first."""
        return list(self._open.values())

    def not_open(self) -> list[str]:
        """Those of this home that cannot be used now."""
        return sorted({*self._opening, *self._broken})

    def is_answering(self, name: str) -> bool:
        region = self._open.get(name)
        return region is not None and region.link.is_answering

    def wait_for(self, name: str) -> Deferred[Service] | None:
        """A region that is not open, once it is; None for one that does not exist. For verified requests only.

        Awaiting it raises DependencyTimeoutException when that takes too long or cannot be now, RegionRefusedError when
        it will not be.
        """
        is_ours = name in self._opening or name in self._waiting or name in self._broken
        if not is_ours and not (self._on_first_use and name in REGIONS):
            return None
        deferred: Deferred[Service] = Deferred()
        if name in self._broken:
            deferred.fail(DependencyTimeoutException())
            return deferred
        waiting = self._waiting.get(name)
        if waiting is None:
            waiting = self._waiting[name] = []
            asyncio.get_running_loop().call_later(WAIT_S_MAX, self._give_up, name, waiting)
            if name not in self._opening:
                self._supervision.want(name)
        waiting.append(deferred)
        return deferred

    # ── opening ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def open_all(self, configs: Sequence[RegionConfig], within_s: float) -> None:
        """Begin to open these, and wait a while for all of them: a start is not held up by one that is ill."""
        for config in configs:
            self.add(config)
        if self._opening:
            await asyncio.wait(self._opening.values(), timeout=within_s)

    def add(self, config: RegionConfig) -> None:
        """Open a region, unless it is open or about to be."""
        name = config.name
        if not config.domain_token:
            _LOG.warning("the region %s is not whole: its HSM has no domain", name)
            self._broken.add(name)
        elif name not in self._open and name not in self._opening:
            self._opening[name] = asyncio.get_running_loop().create_task(self._keep_opening(config))

    def not_made(self, name: str, is_refused: bool) -> None:  # noqa: FBT001 -- as the supervisor's channel tells it.
        """The supervisor does not make it, or could not."""
        for deferred in self._waiting.pop(name, []):
            deferred.fail(RegionRefusedError() if is_refused else DependencyTimeoutException())

    async def _keep_opening(self, config: RegionConfig) -> None:
        tries = 0
        while not await self._try_to_open(config):
            await asyncio.sleep(_TRY_AGAIN_S[min(tries, len(_TRY_AGAIN_S) - 1)])
            tries += 1

    async def _try_to_open(self, config: RegionConfig) -> bool:
        region: Region | None = None
        try:
            region = self._make(config)
            await region.open()
        except CANNOT_OPEN as error:
            _LOG.warning("the region %s cannot be opened and will be tried again: %s", config.name, _reason(error))
            if region is not None:
                region.close()
            self._broken.add(config.name)
            self.not_made(config.name, False)  # noqa: FBT003 -- see there.
            return False
        except BaseException:
            if region is not None:
                region.close()
            raise
        self._open[region.name] = region
        self._broken.discard(region.name)
        del self._opening[region.name]
        self.links.append(region.link)
        self._supervision.opened(region.name)
        self.on_open(region)
        for deferred in self._waiting.pop(region.name, []):
            deferred.resolve(region.service)
        return True

    def _give_up(self, name: str, waiting: list[Deferred[Service]]) -> None:
        if self._waiting.get(name) is waiting:
            self.not_made(name, False)  # noqa: FBT003 -- see there.

    # ── stop ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def stop_opening(self) -> None:
        for task in self._opening.values():
            task.cancel()
        for task in self._opening.values():
            with suppress(asyncio.CancelledError):
                await task

    def close(self) -> None:
        for region in self._open.values():
            region.close()


def _reason(error: Exception) -> str:
    return f"{error.code}: the HSM did not answer or refused" if isinstance(error, Fault) else str(error)
