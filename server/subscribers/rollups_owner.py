"""The rollups of the process that owns a shared log: where a flush begins, and that it is done, stands in the log.

    submit(begin) ─▶ log ─▶ all who follow it freeze the same panes; here they are captured at that moment
    large ones: the engines write their shares of it (see server.subscribers.rollups_shares)
    write the rest to the store, as ever
    submit(done)  ─▶ log ─▶ all see what is in the store now, and let go of those panes
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Mapping
from typing import Any, cast

from engine.engine import Delivery
from engine.flushes import BEGIN, DONE, SHARE, Frozen
from engine.levels import floor, folded_at
from engine.model import Entry, Mark
from engine.rollup import BlockId, Share
from engine.terms import ASSIGN, partition_of
from server.marks import Submit
from server.store import SharedStore, StoreConflict, WrittenShare
from server.subscribers.rollups import Job, Rollups
from server.subscribers.rollups_shares import read_share, rolling_up

logger = logging.getLogger("streamgauge.rollups")

SHARED_NAMES = 1_000
"""Metric names from which on engines share a flush: each share costs some index items and marks of its own."""
SHARE_SECONDS = 120.0
"""What a share may take; who is dead is known much earlier."""
LOOK_SECONDS = 0.1


class OwnersRollups(Rollups):
    """Rollups under a fence; of no use once another process has a higher one."""

    def __init__(self, fence: int, submit: Submit, *parts: Any, **settings: Any) -> None:
        super().__init__(*parts, **settings)
        self.fence, self._submit = fence, submit
        self._begun: asyncio.Future[Job] | None = None
        self._generation = 0
        self._expected: dict[str, tuple[int, list[int]]] = {}
        """Of the flush that goes on: the engines whose shares may still come, their versions, and the partitions that
        they hold."""
        self._came: list[WrittenShare] = []
        """Those that have."""
        self._done: set[int] = set()
        """Their partitions."""
        self._complete = asyncio.Event()

    def applied(self, delivery: Delivery) -> None:
        """Sees every entry, its marks among them."""
        super().applied(delivery)
        for mark in delivery.marks:
            if mark.kind == BEGIN and mark.fence == self.fence:
                self._see_begin(mark)
            elif mark.kind == SHARE and mark.number == self._generation:
                self._see_share(mark)
            elif mark.kind == ASSIGN:
                self._drop_lost()

    def _see_begin(self, mark: Mark) -> None:
        shared, waiting = self.engine.shared, self._begun
        if waiting is None or waiting.done() or shared is None or shared.frozen is None:
            return
        terms = self.engine.terms
        self._generation, self._came, self._done = mark.number, [], set()
        given = json.loads(mark.text) if mark.text else {}
        self._expected = {
            engine: (version, held) for engine, version in given.items() if (held := terms.held_by(engine))
        }
        self._look_whether_complete()
        waiting.set_result(self._captured(shared.frozen))

    def _see_share(self, mark: Mark) -> None:
        engine, done = read_share(mark.text)
        version, held = self._expected.get(engine, (0, []))
        if done is not None and done.version != version:  # of a flush that was given up
            return
        self._expected.pop(engine, None)
        if done is not None:
            self._came.append(done)
            self._done.update(held)
        self._look_whether_complete()

    def _drop_lost(self) -> None:
        """Of an engine that does not hold what it held nothing is to come any more."""
        held_by = self.engine.terms.held_by
        self._expected = {engine: each for engine, each in self._expected.items() if held_by(engine) == each[1]}
        self._look_whether_complete()

    def _look_whether_complete(self) -> None:
        if self._expected:
            self._complete.clear()
        else:
            self._complete.set()

    async def _begin(self) -> Job:
        versions = await self._versions()
        begun: asyncio.Future[Job] = asyncio.get_running_loop().create_future()
        self._begun = begun
        try:
            text = json.dumps(versions) if versions else ""
            await self._mark(Mark(BEGIN, self.engine.generation + 1, self.fence, text=text))
            if not begun.done():
                raise StoreConflict("another process has become the owner of the log")
            return begun.result()
        finally:
            self._begun = None

    async def _versions(self) -> Mapping[str, int]:
        """A version for the share of each engine; none where it is not worth it, or nobody is there to share."""
        engine, store = self.engine, cast(SharedStore, self.store)
        engines, over = sorted(set(engine.terms.engines.values())), floor(engine.closed, folded_at(0, True))
        is_large = len(engine.catalogue.names) >= SHARED_NAMES
        has_more = any(level or start < over for level, start in engine.pending)  # than single blocks of this hour
        if not is_large or not has_more or len(engines) < 2:
            return {}
        return dict(zip(engines, await asyncio.to_thread(store.versions, len(engines)), strict=True))

    def _write(self, job: Job) -> tuple[list[BlockId], tuple[int, ...]]:
        with rolling_up(self.engine, job.taken):
            return super()._write(job)

    async def _write_at_last(self, job: Job) -> tuple[list[BlockId], tuple[int, ...], float]:
        await self._wait_for_shares()
        if self._came:
            job.shares, done = self._came, self._done
            job.share = Share(lambda name: partition_of(name) not in done, singles=True)
        return await super()._write_at_last(job)

    async def _wait_for_shares(self) -> None:
        """Until all have come that may come."""
        until = time.monotonic() + SHARE_SECONDS
        while self._expected and not self._hurry.is_set() and time.monotonic() < until:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._complete.wait()
        if self._expected:
            logger.warning("flush %d goes on without %d shares", self._generation, len(self._expected))
        self._expected = {}

    async def _end(self, taken: Frozen, rolled: tuple[int, ...]) -> None:
        await self._mark(Mark(DONE, taken.generation, self.fence, rolled))
        if self.engine.generation < taken.generation:
            raise StoreConflict("another process has become the owner of the log")

    async def _mark(self, mark: Mark) -> None:
        await self._submit(Entry(self.engine.stamp, marks=[mark]))
