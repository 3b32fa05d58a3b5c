"""Turns come in the order in which they were asked for, one at a time, and nothing is kept of those that are over."""

from __future__ import annotations

import asyncio

from strongroom.kms.turns import Turns


def test_turns_come_one_at_a_time_and_in_order() -> None:
    async def main() -> list[str]:
        turns, seen = Turns(), []

        async def one(name: str) -> None:
            await turns.take("key")
            seen.append(f"{name} begins")
            await asyncio.sleep(0.001)
            seen.append(f"{name} ends")
            turns.give("key")

        await asyncio.gather(*(one(str(number)) for number in range(4)))
        assert not turns._queues
        return seen

    assert asyncio.run(main()) == [f"{number} {what}" for number in range(4) for what in ("begins", "ends")]


def test_those_of_one_subject_do_not_wait_for_those_of_another() -> None:
    async def main() -> None:
        turns = Turns()
        await turns.take("one")
        await asyncio.wait_for(turns.take("other"), 1)
        turns.give("one")
        turns.give("other")
        assert not turns._queues

    asyncio.run(main())


def test_a_thousand_who_wait_are_no_stack_of_a_thousand() -> None:
    """None of them waits for anything in its turn, as when it finds that it may not."""

    async def main() -> None:
        turns, over = Turns(), []

        async def one(number: int) -> None:
            await turns.take("key")
            over.append(number)
            turns.give("key")

        await turns.take("key")
        waiting = [asyncio.create_task(one(number)) for number in range(5_000)]
        await asyncio.sleep(0)
        turns.give("key")
        await asyncio.gather(*waiting)
        assert over == list(range(5_000))

    asyncio.run(main())
