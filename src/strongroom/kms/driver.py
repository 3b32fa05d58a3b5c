"""Runs the service's coroutines without a task each.

An operation is an `async def` that awaits two things only: an answer of the HSM (`Deferred`), and what the store or the
audit trail has done or found (an `asyncio.Future`). Resuming it from the callback of either costs a tenth of what a task
costs, and everything that a frame of answers resumes runs in one loop turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")
Outcome = Callable[[T | None, BaseException | None], None]


class Deferred(Generic[T]):
    """A value that somebody will deliver once, by `resolve` or `fail`."""

    __slots__ = ("_error", "_resume", "_value")

    def __init__(self) -> None:
        self._resume: Callable[[], None] | None = None
        self._value: T | None = None
        self._error: BaseException | None = None

    def resolve(self, value: T) -> None:
        self._value = value
        if self._resume is not None:
            self._resume()

    def fail(self, error: BaseException) -> None:
        self._error = error
        if self._resume is not None:
            self._resume()

    def subscribe(self, resume: Callable[[], None]) -> None:
        self._resume = resume

    def __await__(self) -> Generator[Deferred[T], None, T]:
        if self._value is None and self._error is None:
            yield self
        if self._error is not None:
            raise self._error
        assert self._value is not None, "resumed without a value"
        return self._value


def drive(coroutine: Coroutine[Any, Any, T], outcome: Outcome[T]) -> None:
    """Run until the first wait; the rest runs from the callbacks of what is awaited. `outcome` is called once."""
    _Driven(coroutine, outcome).step()


class _Driven(Generic[T]):
    """A coroutine on its way."""

    __slots__ = ("_coroutine", "_outcome")

    def __init__(self, coroutine: Coroutine[Any, Any, T], outcome: Outcome[T]) -> None:
        self._coroutine = coroutine
        self._outcome = outcome

    def step(self, _: object = None) -> None:
        """Run until the next wait."""
        try:
            awaited = self._coroutine.send(None)
        except StopIteration as stop:
            self._outcome(stop.value, None)
        except BaseException as error:  # noqa: BLE001 -- handed to the outcome, which answers it.
            self._outcome(None, error)
        else:
            if isinstance(awaited, Deferred):
                awaited.subscribe(self.step)
            else:
                assert asyncio.isfuture(awaited), f"a driven coroutine cannot await {type(awaited).__name__}"
                awaited.add_done_callback(self.step)


def run(coroutine: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
    """The same for callers with a task of their own."""
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def outcome(value: T | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is None:
            future.set_result(value)  # type: ignore[arg-type]
        else:
            future.set_exception(error)

    drive(coroutine, outcome)
    return future
