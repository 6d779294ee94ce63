"""An engine's shares of the flushes of a shared log: the metrics of the partitions that it holds.

    mark `begin`, with a version for each engine ─▶ it rolls its metrics up, and writes their blocks
    mark `share` of each                         ─▶ the log's owner writes the rest, and makes all of it count

A share that is not there in time, or of an engine that does not hold what it held when the flush began, is of no use:
the owner rolls its metrics up itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from engine.engine import Delivery, Engine
from engine.flushes import BEGIN, SHARE, Frozen
from engine.model import Entry, Mark
from engine.rollup import Share, roll
from engine.terms import partition_of
from server.errors import ApiError
from server.log import LogError
from server.marks import Submit
from server.store import BlockKey, SharedStore, StoreConflict, StoreError, WrittenShare
from server.subscribers.rollups import list_blocks, read_panes
from server.wire.blocks import encode

logger = logging.getLogger("streamgauge.rollups")


class _Job(NamedTuple):
    """What this engine is to write of a flush: the metrics of the partitions that it holds, under a version."""

    frozen: Frozen
    version: int
    held: list[int]


class Shares:
    """One engine's. name: of this process; is_heard: whether the others cannot have taken it for dead."""

    def __init__(
        self, engine: Engine, store: SharedStore, submit: Submit, name: str, is_heard: Callable[[], bool]
    ) -> None:
        self._engine, self._store, self._submit = engine, store, submit
        self._name, self._is_heard = name, is_heard
        self._job: _Job | None = None
        self._due = asyncio.Event()

    def applied(self, delivery: Delivery) -> None:
        """Sees every entry."""
        shared, terms = self._engine.shared, self._engine.terms
        for mark in delivery.marks:
            if mark.kind != BEGIN or not mark.text or shared is None or mark.fence != shared.fence:
                continue
            version, held = json.loads(mark.text).get(self._name), terms.held_by(self._name)
            if version and held and shared.frozen is not None and shared.frozen.generation == mark.number:
                self._job = _Job(shared.frozen, version, held)
                self._due.set()

    async def run(self) -> None:
        """Writes what there is to write; for ever."""
        while True:
            await self._due.wait()
            self._due.clear()
            job, self._job = self._job, None
            if job is None:
                continue
            try:
                await self._do(job)
            except (StoreError, LogError, ApiError) as error:
                logger.warning("a share of flush %d is left to the log's owner: %s", job.frozen.generation, error)

    async def _do(self, job: _Job) -> None:
        try:
            done = await asyncio.to_thread(self._write, job)
        except StoreError:
            if self._is_awaited(job):
                await self._say(job, None)
            raise
        await self._say(job, done)
        logger.info("a share of flush %d is written, %d bytes", job.frozen.generation, done.size)

    async def _say(self, job: _Job, done: WrittenShare | None) -> None:
        mark = Mark(SHARE, job.frozen.generation, text=json.dumps([self._name, done]))
        await self._submit(Entry(self._engine.stamp, marks=[mark]))

    def _write(self, job: _Job) -> WrittenShare:
        with rolling_up(self._engine, job.frozen):
            return self._roll(job)

    def _roll(self, job: _Job) -> WrittenShare:
        pending, generation, held = job.frozen.pending, job.frozen.generation, set(job.held)
        self._store.refresh(generation - 1)
        share = Share(lambda name: partition_of(name) in held, singles=False)
        read, listed = partial(read_panes, self._store), partial(list_blocks, self._store)
        blocks, _ = roll(pending, self._engine.catalogue, read, listed, share)
        encoded = {BlockKey(*block): encode(rows, tight=True) for block, rows in blocks.items()}
        return self._store.write_share(generation, job.version, encoded, partial(self._may, job))

    def _may(self, job: _Job) -> bool:
        """Whether it can still count."""
        return self._is_heard() and self._is_awaited(job)

    def _is_awaited(self, job: _Job) -> bool:
        """Whether the log's owner waits for it, as far as the log has been read here."""
        shared = self._engine.shared
        is_going_on = shared is not None and shared.frozen is job.frozen
        return is_going_on and self._engine.terms.held_by(self._name) == job.held


@contextlib.contextmanager
def rolling_up(engine: Engine, frozen: Frozen) -> Iterator[None]:
    """Rolls a flush up, on a thread. StoreConflict for whatever goes wrong once the flush is given up: what it took is
    pending again then, and samples are added to it under the thread's hands."""
    try:
        yield
    except Exception as error:
        if isinstance(error, StoreError) or engine.shared is None or engine.shared.frozen is frozen:
            raise
        raise StoreConflict("the flush was given up while it was rolled up") from error


def read_share(text: str) -> tuple[str, WrittenShare | None]:
    """(engine, what it has written) of a mark `share`; None for what could not be."""
    engine, done = json.loads(text)
    if done is None:
        return engine, None
    version, buckets, size = done
    return engine, WrittenShare(version, {int(level): starts for level, starts in buckets.items()}, size)
