"""Coroutines run without tasks: each outcome is delivered once, whatever is awaited and in whatever order it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from strongroom.kms.driver import Deferred, drive, run


class Outcomes:
    """What was delivered."""

    def __init__(self) -> None:
        self.delivered: list[tuple[Any, BaseException | None]] = []

    def __call__(self, value: Any, error: BaseException | None) -> None:
        self.delivered.append((value, error))


def in_loop(scene: Callable[[], Any]) -> Any:
    async def main() -> Any:
        return await scene()

    return asyncio.run(main())


def test_a_coroutine_that_waits_for_nothing_is_done_at_once() -> None:
    async def immediate() -> int:
        return 7

    outcomes = Outcomes()
    drive(immediate(), outcomes)
    assert outcomes.delivered == [(7, None)]


def test_a_coroutine_goes_on_when_its_deferred_is_resolved() -> None:
    first: Deferred[int] = Deferred()
    second: Deferred[int] = Deferred()

    async def sum_of_both() -> int:
        return await first + await second

    outcomes = Outcomes()
    drive(sum_of_both(), outcomes)
    assert outcomes.delivered == []
    # The second arrives before anybody waits for it.
    second.resolve(2)
    assert outcomes.delivered == []
    first.resolve(1)
    assert outcomes.delivered == [(3, None)]


def test_a_failed_deferred_raises_where_it_is_awaited() -> None:
    deferred: Deferred[int] = Deferred()
    seen = []

    async def cautious() -> str:
        try:
            await deferred
        except KeyError as error:
            seen.append(error)
            return "caught"
        return "not reached"

    outcomes = Outcomes()
    drive(cautious(), outcomes)
    failure = KeyError("gone")
    deferred.fail(failure)
    assert outcomes.delivered == [("caught", None)]
    assert seen == [failure]


def test_a_deferred_that_failed_before_it_is_awaited_raises_too() -> None:
    deferred: Deferred[int] = Deferred()
    deferred.fail(KeyError("gone"))

    async def waits() -> int:
        return await deferred

    outcomes = Outcomes()
    drive(waits(), outcomes)
    ((value, error),) = outcomes.delivered
    assert value is None
    assert isinstance(error, KeyError)


@pytest.mark.parametrize("error", [ValueError("x"), AssertionError("y"), asyncio.CancelledError(), SystemExit(1)])
def test_whatever_ends_a_coroutine_is_its_outcome(error: BaseException) -> None:
    async def ends() -> None:
        raise error

    outcomes = Outcomes()
    drive(ends(), outcomes)
    assert outcomes.delivered == [(None, error)]


def test_falsy_values_are_values() -> None:
    for falsy in (0, "", b"", [], False):
        deferred: Deferred[Any] = Deferred()

        async def waits(awaited: Deferred[Any] = deferred) -> Any:
            return await awaited

        outcomes = Outcomes()
        drive(waits(), outcomes)
        deferred.resolve(falsy)
        assert outcomes.delivered == [(falsy, None)]


def test_futures_are_awaited_as_well() -> None:
    async def scene() -> None:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def waits() -> int:
            return await future + 1

        outcomes = Outcomes()
        drive(waits(), outcomes)
        future.set_result(1)
        # A future's callbacks come with the next turn of the loop.
        assert outcomes.delivered == []
        await asyncio.sleep(0)
        assert outcomes.delivered == [(2, None)]

    in_loop(scene)


def test_a_future_that_fails_or_is_cancelled_is_the_outcome() -> None:
    async def scene() -> None:
        for end in ("fail", "cancel"):
            future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

            async def waits(awaited: asyncio.Future[int] = future) -> int:
                return await awaited

            outcomes = Outcomes()
            drive(waits(), outcomes)
            if end == "fail":
                future.set_exception(KeyError("gone"))
            else:
                future.cancel()
            await asyncio.sleep(0)
            ((_, error),) = outcomes.delivered
            assert isinstance(error, KeyError if end == "fail" else asyncio.CancelledError)

    in_loop(scene)


def test_run_gives_a_future_for_callers_with_a_task() -> None:
    async def scene() -> None:
        deferred: Deferred[int] = Deferred()

        async def waits() -> int:
            return await deferred

        async def fails() -> int:
            raise KeyError("gone")

        future = run(waits())
        deferred.resolve(3)
        assert await future == 3
        with pytest.raises(KeyError):
            await run(fails())

    in_loop(scene)


def test_a_cancelled_run_lets_its_coroutine_finish_quietly() -> None:
    async def scene() -> None:
        deferred: Deferred[int] = Deferred()
        finished = []

        async def waits() -> None:
            finished.append(await deferred)

        future = run(waits())
        future.cancel()
        deferred.resolve(4)
        assert finished == [4]
        with pytest.raises(asyncio.CancelledError):
            await future

    in_loop(scene)


def test_a_driven_coroutine_cannot_await_anything_else() -> None:
    class Odd:
        def __await__(self) -> Any:
            yield "something"

    async def waits() -> None:
        await Odd()

    with pytest.raises(AssertionError, match="cannot await str"):
        drive(waits(), Outcomes())


def test_hundreds_of_deferreds_in_a_row_do_not_deepen_the_stack() -> None:
    """A resumed coroutine that finds its next answer there does not wait at all."""
    deferreds: list[Deferred[int]] = [Deferred() for _ in range(5000)]

    async def total() -> int:
        return sum([await deferred for deferred in deferreds])

    outcomes = Outcomes()
    drive(total(), outcomes)
    for deferred in reversed(deferreds):
        deferred.resolve(1)
    assert outcomes.delivered == [(5000, None)]
