"""The rollups of the process that owns a shared log: where a flush begins, and that it is done, stands in the log.

    submit(begin) ─▶ log ─▶ all who follow it freeze the same panes; here they are captured at that moment
    write to the store, as ever
    submit(done)  ─▶ log ─▶ all see what is in the store now, and let go of those panes
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from engine.engine import Delivery
from engine.flushes import BEGIN, DONE, Frozen
from engine.model import Applied, Entry, Mark
from server.store import StoreConflict
from server.subscribers.rollups import Job, Rollups

Submit = Callable[[Entry], Awaitable[Applied]]


class OwnersRollups(Rollups):
    """Rollups under a fence; of no use once another process has a higher one."""

    def __init__(self, fence: int, submit: Submit, *parts: Any, **settings: Any) -> None:
        super().__init__(*parts, **settings)
        self.fence, self._submit = fence, submit
        self._begun: asyncio.Future[Job] | None = None

    def applied(self, delivery: Delivery) -> None:
        """Sees every entry, its marks among them."""
        super().applied(delivery)
        shared, waiting = self.engine.shared, self._begun
        if not delivery.marks or waiting is None or waiting.done() or shared is None or shared.frozen is None:
            return
        if any(mark.kind == BEGIN and mark.fence == self.fence for mark in delivery.marks):
            waiting.set_result(self._captured(shared.frozen))

    async def _begin(self) -> Job:
        begun: asyncio.Future[Job] = asyncio.get_running_loop().create_future()
        self._begun = begun
        try:
            await self._mark(Mark(BEGIN, self.engine.generation + 1, self.fence))
            if not begun.done():
                raise StoreConflict("another process has become the owner of the log")
            return begun.result()
        finally:
            self._begun = None

    async def _end(self, taken: Frozen, rolled: tuple[int, ...]) -> None:
        await self._mark(Mark(DONE, taken.generation, self.fence, rolled))
        if self.engine.generation < taken.generation:
            raise StoreConflict("another process has become the owner of the log")

    async def _mark(self, mark: Mark) -> None:
        await self._submit(Entry(self.engine.stamp, marks=[mark]))
