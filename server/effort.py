"""What a piece of work costs by itself: without the time in which it waits for others, or for a processor.

Work on the event loop is counted in CPU time, for on a busy machine a millisecond of it may take ten; work on a thread
in time that passes, for it may be reading a disk.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Effort:
    """Counts from its making on, for the task that made it. To be used on the event loop's thread."""

    def __init__(self) -> None:
        self._begun = time.perf_counter()
        self._used = time.thread_time()
        self._elsewhere = 0.0
        _current.set(self)

    @property
    def seconds(self) -> float:
        """What the work has cost so far."""
        return time.thread_time() - self._used - self._elsewhere

    @property
    def elapsed(self) -> float:
        """Seconds since its making."""
        return time.perf_counter() - self._begun

    def _waited(self, seconds: float) -> None:
        """Takes out what the loop did for others meanwhile, less what was done elsewhere for this task."""
        self._elsewhere += seconds


_current: ContextVar[Effort | None] = ContextVar("effort", default=None)


async def on_thread(room: asyncio.Semaphore, call: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
    """Calls on a thread, once there is room. Only what the call itself takes counts as effort of the task."""
    used, took = time.thread_time(), 0.0

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
            effort._waited(time.thread_time() - used - took)
