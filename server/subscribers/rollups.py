"""From the engine to the store: flushes, which are checkpoints, and what retention lets go of.

A flush takes all pending panes and events and the engine's state between two entries, rolls them up on a thread, and
writes blocks and checkpoint in one transaction. Only then is the log trimmed, and only behind the checkpoint before,
which the store keeps as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from engine import checkpoint
from engine.engine import Delivery, Engine
from engine.errors import BadCheckpoint
from engine.flushes import Frozen, freeze, thaw
from engine.levels import HOUR, LEVELS, PACKED, floor, folded_at
from engine.model import Event
from engine.panes import ALL, Panes
from engine.rollup import ALL_OF_IT, BlockId, Share, roll
from server.backlog import FLUSH_BYTES, Backlog
from server.log import Log, LogUnavailable
from server.store import (
    BlockKey,
    Flush,
    Store,
    StoreDamaged,
    StoredEvent,
    StoreUnavailable,
    StoreVersion,
    WrittenShare,
)
from server.wire.blocks import Block, encode, samples_of

logger = logging.getLogger("streamgauge.rollups")

BUSY_SHARE = 20
"""A flush that took t seconds is followed by at least this many times t without one."""
EXPIRE_SECONDS = 60.0
REPLAYED_SAMPLES, REPLAYED_ENTRIES = 5_000_000, 50_000
"""What the log may hold before a patient store gets a flush: a start replays it in two or three seconds. A flush
before the hour is over costs about half as much again as the hour."""
RETRY_SECONDS, MAX_RETRY_SECONDS = 1.0, 15.0
_LOOK_EVERY = 4096
_WAY_OUT = (
    "start the release that wrote it, restore a backup, or move the store away to start with what the log still holds"
)


@dataclass(slots=True)
class Job:
    """One flush under way: what it takes, and the engine's state without that."""

    taken: Frozen
    header: dict[str, Any]
    arrays: checkpoint.Arrays
    encoded: list[bytes] = field(default_factory=list)
    """The arrays as bytes, once they are."""
    share: Share = ALL_OF_IT
    """What is rolled up here."""
    shares: list[WrittenShare] = field(default_factory=list)
    """The rest, which others have written."""


class Rollups:
    """Writes what the engine has closed."""

    def __init__(
        self, engine: Engine, store: Store, log: Log, backlog: Backlog, *, interval: float, max_events: int,
        event_retention: int, log_bytes: int, flushed: Callable[[list[BlockId]], None],
    ) -> None:  # fmt: skip
        """interval: seconds between flushes; max_events: events held before one is due; event_retention: ms;
        log_bytes: size of the log at which a flush is due; flushed: told which blocks were written."""
        self.engine, self.store, self.log, self.backlog = engine, store, log, backlog
        self.interval, self.max_events, self.event_retention = interval, max_events, event_retention
        self._log_bytes, self._flushed = log_bytes, flushed
        self._is_patient = engine.options.retention.patient
        self._catalogue = _checksum(engine.catalogue.keys[: engine.flushed_series])
        self._due = asyncio.Event()
        self._unseen = 0
        self._entries = self._samples = 0
        self._trimmable = engine.position
        self._flush: asyncio.Task[None] | None = None
        self._patient = False
        self._hurry = asyncio.Event()
        self.last_seconds = 0.0
        self.flushes = 0
        self.checkpoint_bytes = 0
        """Size of the last checkpoint."""

    def applied(self, delivery: Delivery) -> None:
        """Sees every entry; asks for a flush when much is pending."""
        self._unseen += len(delivery.series) + 1
        self._entries += 1
        self._samples += len(delivery.series)
        if self._unseen >= _LOOK_EVERY or len(self.engine.events) >= self.max_events:
            self._unseen = 0
            if self.backlog.nbytes >= FLUSH_BYTES or len(self.engine.events) >= self.max_events:
                self._due.set()

    async def run(self) -> None:
        """Flushes when it is time or when much is pending; for ever. Waits for a store that is not available."""
        self._patient = True
        try:
            await self._run()
        finally:
            self._patient = False
            self._hurry.set()

    async def _run(self) -> None:
        expired = time.monotonic()
        while True:
            try:
                async with asyncio.timeout(max(self.interval, self.last_seconds * BUSY_SHARE)):
                    await self._due.wait()
            except TimeoutError:
                if not self.is_worth_it():
                    continue
            await self.flush()
            if time.monotonic() - expired >= EXPIRE_SECONDS:
                try:
                    await self.expire()
                except (StoreUnavailable, StoreDamaged) as error:
                    logger.error("retention has to wait, the store is not available: %s", error)
                expired = time.monotonic()

    def is_worth_it(self) -> bool:
        """Whether a patient store has waited long enough: an hour is over, or a start would have much to replay."""
        engine = self.engine
        return (
            not self._is_patient
            or not engine.generation
            or floor(engine.closed, folded_at(0, True)) > engine.rolled[0]
            or self._samples >= REPLAYED_SAMPLES
            or self._entries >= REPLAYED_ENTRIES
            or self.log.size() >= self._log_bytes
        )

    async def flush(self) -> None:
        """One flush; when it returns, all that was applied before is durable in the store.

        It goes on when its caller is cancelled, and the next one waits for it: what it has taken out of the engine is
        nowhere else but in the log. After one that failed none begins; its error is raised again.
        """
        await self.settle()
        self._flush = asyncio.create_task(self._flush_now(), name="flush")
        await asyncio.shield(self._flush)

    async def settle(self) -> None:
        """Waits for the flush that is under way. Raises what the last one failed with."""
        if self._flush is not None:
            await asyncio.wait([self._flush])
            self._flush.result()

    async def _flush_now(self) -> None:
        self._due.clear()
        begun = time.perf_counter()
        self.backlog.begun()
        try:
            job = await self._begin()
            written, rolled, waited = await self._write_at_last(job)
            await self._end(job.taken, rolled)
        finally:
            self.backlog.ended()
        self._flushed(written)
        try:
            await self.log.trim(self._trimmable)
        except LogUnavailable as error:  # the checkpoint is written; the next one trims further
            logger.warning("the log is not trimmed: %s", error)
        self._trimmable = job.taken.position
        self.flushes += 1
        took = time.perf_counter() - begun
        self.last_seconds = took - waited
        logger.debug(
            "flush %d at position %d: %d blocks in %.3f s", job.taken.generation, job.taken.position, len(written), took
        )

    async def _begin(self) -> Job:
        return self._captured(freeze(self.engine))

    async def _end(self, taken: Frozen, rolled: tuple[int, ...]) -> None:
        thaw(self.engine, taken, rolled)

    async def _write_at_last(self, job: Job) -> tuple[list[BlockId], tuple[int, ...], float]:
        """Writes the job, again and again while the store or the log is not available and `run` is running.

        Answers what `_write` does, and the seconds that passed before the try that succeeded. A try that failed has
        written nothing; meanwhile the log holds what the store lacks, and is not trimmed.
        """
        begun = time.perf_counter()
        pause = RETRY_SECONDS
        while True:
            waited = time.perf_counter() - begun
            try:
                await self.log.sync()
                return *await asyncio.to_thread(self._write, job), waited
            except (StoreUnavailable, StoreDamaged, LogUnavailable) as error:
                if not self._patient:
                    raise
                self.backlog.failed(error)
                job.share, job.shares = ALL_OF_IT, []  # what others have written may not count any more
                logger.error("flush %d is tried again in %g s: %s", job.taken.generation, pause, error)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._hurry.wait()
                pause = min(2 * pause, MAX_RETRY_SECONDS)

    def _captured(self, taken: Frozen) -> Job:
        """The job of a flush that has just taken what it writes."""
        self._entries = self._samples = 0
        header, arrays = checkpoint.capture(self.engine)
        self._catalogue = _checksum(taken.series, self._catalogue)
        header["catalogue"] = self._catalogue
        return Job(taken, header, arrays)

    def _write(self, job: Job) -> tuple[list[BlockId], tuple[int, ...]]:
        if not job.encoded:
            job.encoded = checkpoint.encode_arrays(job.arrays)
            checkpoint.release(self.engine)
        taken = job.taken
        blocks, rolled = roll(taken.pending, self.engine.catalogue, self._read, self._list, job.share)
        job.header |= {"generation": taken.generation, "rolled": list(rolled)}
        flush = Flush(
            taken.generation, taken.position, [checkpoint.encode_header(job.header, job.arrays), *job.encoded],
            {BlockKey(*block): encode(rows, tight=self._is_patient) for block, rows in blocks.items()},
            [stored_event(position, row, event) for position, row, event in taken.events],
            list(enumerate(taken.series, taken.known)),
            [(taken.generation, taken.chunk)] if taken.chunk else [],
            taken.oldest_chunk,
            # What this flush packs goes with the next one: till then somebody may look for the single blocks.
            taken.pending.rolled[0] if self._is_patient else 0,
            job.shares,
        )  # fmt: skip
        self.store.write(flush)
        self.checkpoint_bytes = sum(map(len, flush.checkpoint))
        return list(blocks), rolled

    def _read(self, wanted: list[BlockId]) -> dict[BlockId, Panes]:
        return read_panes(self.store, wanted)

    def _list(self, level: int, start: int, end: int) -> list[BlockId]:
        return list_blocks(self.store, level, start, end)

    async def expire(self) -> None:
        """Lets go of what is past its retention. StoreUnavailable, StoreDamaged."""
        horizons, watermark = self._unneeded(), self.engine.watermark
        await asyncio.to_thread(self._expire, horizons, watermark - self.event_retention)

    def _unneeded(self) -> list[int]:
        """Per level, before when its blocks may go: past its retention, and folded into the next level."""
        engine = self.engine
        folded = [*engine.rolled[:-1], engine.horizons[-1]]
        return [min(horizon, rolled) for horizon, rolled in zip(engine.horizons, folded, strict=True)]

    def _expire(self, horizons: list[int], events_before: int) -> None:
        if self._is_patient:  # an hour at a time: each note of it is billed
            horizons, events_before = [floor(each, HOUR) for each in horizons], floor(events_before, HOUR)
        for level, horizon in enumerate(horizons):
            gone = self.store.expire(level, horizon, samples_of if level == LEVELS[-1] else None)
            if level == 0 and self._is_patient:
                gone += self.store.expire(PACKED, horizon)
            if gone:
                logger.debug("retention let go of %d blocks of level %d", gone, level)
        self.store.expire_events(events_before)


def read_panes(store: Store, wanted: list[BlockId]) -> dict[BlockId, Panes]:
    """The panes of the blocks that are stored. Blocks the thread."""
    found = store.read_blocks([BlockKey(*block) for block in wanted])
    return {BlockId(*key): Block(data, generation).panes(ALL) for key, (generation, data) in found.items()}


def list_blocks(store: Store, level: int, start: int, end: int) -> list[BlockId]:
    """The stored blocks of a level that begin in [start, end). Blocks the thread."""
    return [BlockId(*key) for key in store.list_blocks(level, start, end)]


def stored_event(position: int, row: int, event: Event) -> StoredEvent:
    """An event with its place in the log."""
    return StoredEvent(position, row, event.time, event.type, event.user_id, event.session_id, event.body)


def restore(engine: Engine, store: Store) -> None:
    """Puts a new engine where the store's newest checkpoint was taken; does nothing for a new store.

    Raises StoreError where it cannot be used.
    """
    newest = store.newest_checkpoint()
    if newest is None:
        return
    keys = [key for _, key in store.series()]
    try:
        header, _ = checkpoint.decode(newest.data)
        if "catalogue" in header and header["catalogue"] != _checksum(keys[: header["series"]]):
            raise StoreDamaged(f"the stored names of the series are damaged; {_WAY_OUT}")
        checkpoint.restore(engine, newest.data, keys, store.dedup_chunks())
    except BadCheckpoint as error:
        raise StoreVersion(f"the store's newest checkpoint cannot be used: {error}. {_WAY_OUT.capitalize()}") from error
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise StoreDamaged(f"the store's newest checkpoint is damaged ({error!r}); {_WAY_OUT}") from error
    engine.flushed_position = newest.position


def _checksum(keys: list[bytes], before: int = 0) -> int:
    for key in keys:
        before = zlib.crc32(key, before)
    return before
