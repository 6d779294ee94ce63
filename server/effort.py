"""What a piece of work costs by itself: without the time in which it waits for others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Effort:
    """Counts from its making on, for the task that made it."""

    def __init__(self) -> None:
        self._begun = time.perf_counter()
        self._elsewhere = 0.0
        _current.set(self)

    @property
    def seconds(self) -> float:
        """What the work has cost so far."""
        return self.elapsed - self._elsewhere

    @property
    def elapsed(self) -> float:
        """Seconds since its making."""
        return time.perf_counter() - self._begun

    def _waited(self, seconds: float) -> None:
        self._elsewhere += seconds


_current: ContextVar[Effort | None] = ContextVar("effort", default=None)


async def on_thread(room: asyncio.Semaphore, call: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
    """Calls on a thread, once there is room. Only what the call itself takes counts as effort of the task."""
    begun, took = time.perf_counter(), 0.0

    def timed() -> T:
        nonlocal took
        before = time.perf_counter()
        try:
            return call(*given, **named)
        finally:
            took = time.perf_counter() - before

    try:
        async with room:
            return await asyncio.to_thread(timed)
    finally:
        effort = _current.get()
        if effort is not None:
            effort._waited(time.perf_counter() - begun - took)
