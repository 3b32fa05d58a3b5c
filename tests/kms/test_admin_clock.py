"""An operator's word that the clock is right, over several regions: one that cannot write it down stops no other."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from strongroom.kms.admin.commands import AdminCommands
from strongroom.kms.audit.events import EventIds
from strongroom.kms.chores.clock_guard import ClockGuard, held_since_s
from strongroom.kms.repositories import StoreUnavailableError
from testkit.module import REGION, operational_hsm
from testkit.worker import DAY_S, Clocks, Worker


def test_a_region_that_cannot_write_it_down_stops_no_other_and_the_outcome_is_recorded(tmp_path: Path) -> None:
    async def scene(ill: Worker, well: Worker) -> None:
        for worker in (ill, well):
            guard = ClockGuard(worker.store, REGION, worker.clocks.uptime)
            await guard.observe(worker.clocks())
            worker.clocks.now_s += 2 * DAY_S
            assert await guard.observe(worker.clocks())

        async def refuse(_: Any) -> None:
            raise StoreUnavailableError("the disk is full")

        ill.store.commit = refuse  # type: ignore[method-assign]
        opened = [SimpleNamespace(name=worker.name, service=worker.service) for worker in (ill, well)]
        home = SimpleNamespace(service=ill.service, store=ill.store)
        regions = cast("Any", SimpleNamespace(home=home, opened=lambda: opened))
        commands = AdminCommands(regions, cast("Any", None), EventIds(bytes(9)), cast("Any", None), "w1", 1)
        answer = await commands.run(1000, "accept-clock", {})
        assert [(row["region"], row.get("error")) for row in answer] == [("w1", "StoreUnavailableError"), ("w2", None)]
        assert answer[1]["held_since_s"] is not None
        assert await held_since_s(ill.store, REGION) is not None
        assert await held_since_s(well.store, REGION) is None
        outcomes = [e for e in ill.events() if e["eventName"] == "accept-clock" and "phase" not in e]
        assert len(outcomes) == 1

    async def main() -> None:
        hsm = operational_hsm()
        folders = [tmp_path / name for name in ("ill", "well")]
        for folder in folders:
            folder.mkdir()
        with Worker(folders[0], hsm, Clocks()) as ill, Worker(folders[1], hsm, Clocks(), "w2") as well:
            await scene(ill, well)

    asyncio.run(main())
