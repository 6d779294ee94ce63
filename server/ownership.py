"""Owning a shared log: for as long as the lease lasts this process writes the store's flushes, trims the log, and says
which engine has which part of the work.

    standby ──lease──▶ take the store over ──▶ mark `owner` in the log ──▶ rollups, partitioning ──lost──▶ standby
                       (whoever had it can write no more)

A standby has followed the log all the time, so nothing has to be read again. What the owner before had begun and not
said to be done is settled by the mark: it says which flush the store has as its newest.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine

from engine import checkpoint
from engine.engine import Delivery, Engine
from engine.flushes import OWNER
from engine.model import Entry, Mark
from server.errors import ApiError
from server.log import Lease, LogError
from server.pipeline import Pipeline
from server.store import SharedStore, StoreError
from server.subscribers.rollups_owner import OwnersRollups
from server.tasks import end

logger = logging.getLogger("streamgauge.owner")

PAUSE = 1.0
"""Seconds before ownership that has failed is tried again, by this process or another."""


class Ownership:
    """One process's part in it. make: the rollups for a fence; besides: what else the owner does, for ever."""

    def __init__(
        self, lease: Lease, store: SharedStore, pipeline: Pipeline, make: Callable[[int], OwnersRollups],
        besides: Callable[[int], Coroutine[None, None, None]],
    ) -> None:  # fmt: skip
        self.lease, self.store, self.pipeline = lease, store, pipeline
        self._make, self._besides = make, besides
        self.rollups: OwnersRollups | None = None
        store.guard = lambda: lease.valid

    @property
    def engine(self) -> Engine:
        return self.pipeline.engine

    @property
    def flushes(self) -> int:
        return self.rollups.flushes if self.rollups is not None else 0

    @property
    def last_seconds(self) -> float:
        return self.rollups.last_seconds if self.rollups is not None else 0.0

    @property
    def checkpoint_bytes(self) -> int:
        return self.rollups.checkpoint_bytes if self.rollups is not None else 0

    def applied(self, delivery: Delivery) -> None:
        """Sees every entry."""
        if self.rollups is not None:
            self.rollups.applied(delivery)

    async def run(self) -> None:
        """Owns whenever it can; for ever."""
        await self.pipeline.caught_up()
        while True:
            fence = await self.lease.acquired()
            try:
                await self._own(fence)
            except (StoreError, LogError, ApiError) as error:
                logger.error("this process cannot own the log now: %s", error)
                await self.lease.release()
                await asyncio.sleep(PAUSE)
            finally:
                self.rollups = None

    async def _own(self, fence: int) -> None:
        """Until the lease is lost."""
        number, rolled = await asyncio.to_thread(self._take_over)
        await self.pipeline.submit(Entry(self.pipeline.stamp(), marks=[Mark(OWNER, number, fence, rolled)]))
        logger.info("this process owns the log from here on, with fence %d", fence)
        self.rollups = self._make(fence)
        work = [
            asyncio.create_task(self.rollups.run(), name="rollups"),
            asyncio.create_task(self._besides(fence), name="partitions"),
        ]
        lost = asyncio.create_task(self.lease.lost(), name="lease")
        try:
            await asyncio.wait({*work, lost}, return_when=asyncio.FIRST_COMPLETED)
            for task in work:
                if task.done():
                    task.result()
            logger.warning("this process does not own the log any more")
        finally:
            await self._end(*work, lost)

    async def _end(self, *tasks: asyncio.Task[None]) -> None:
        """Ends what runs; what a flush under way still wants to write is refused by the store's guard."""
        await end(*tasks)
        if self.rollups is not None:
            with contextlib.suppress(StoreError, LogError, ApiError):
                await self.rollups.settle()

    def _take_over(self) -> tuple[int, tuple[int, ...]]:
        """(the store's newest flush, its `rolled`)."""
        number = self.store.take_over()
        if number == self.engine.generation:
            return number, self.engine.rolled
        newest = self.store.newest_checkpoint()
        assert newest is not None
        return number, tuple(checkpoint.decode(newest.data)[0]["rolled"])

    async def close(self) -> None:
        """A last flush where this process owns, and then anybody may own at once."""
        rollups = self.rollups
        if rollups is not None and self.lease.valid:
            try:
                await rollups.flush()
            except (StoreError, LogError, ApiError) as error:
                logger.error("the last flush could not be written; the log has what it would hold: %s", error)
        await self.lease.release()
        await self.lease.close()
