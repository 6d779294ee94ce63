"""The river itself: log -> engine -> subscribers.

    submit ──▶ log.append ──▶ log.follow ──▶ engine.apply ──┬──▶ who submitted (Applied)
                                                            └──▶ subscribers (Delivery), in order

What is submitted here comes back through the log before it is applied, so that a first run and a replay are the same
code in the same order. A subscriber is called for every entry and must not wait; what it does with it is its own
matter and bound.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence

from engine.engine import Delivery, Engine
from engine.joining import apply_all
from engine.model import Applied, Batch, Entry, Mark, format_offset
from server.backlog import Backlog
from server.counts import Ring
from server.damage import pack_note
from server.log import Log, LogDamaged, LogError, LogFull, LogUnavailable, Record
from server.numbering import Numbering
from server.wire.entry import pack_entry, unpack_entry

logger = logging.getLogger("streamgauge.pipeline")

TICK_SECONDS = 1.0
REPLAY_WATCH_SECONDS = 2.0
Subscriber = Callable[[Delivery], None]


class Pipeline:
    """The only writer of the engine."""

    def __init__(self, log: Log, engine: Engine, backlog: Backlog, subscribers: Sequence[Subscriber] = ()) -> None:
        self.log, self.engine, self.backlog, self.subscribers = log, engine, backlog, list(subscribers)
        self.writer = secrets.randbits(62) | 1
        self._sequence = 0
        self._written = 0
        """Rows handed to the log, without those of appends that failed."""
        self._numbering = Numbering()
        self._setbacks = log.setbacks
        self._waiting: dict[int, asyncio.Future[Applied]] = {}
        self._caught_up = asyncio.Event()
        self._target = 0
        self.gather = 0.0
        """Seconds for which entries are let come together, where nobody waits for an answer of this process."""
        self.before_marks: Callable[[Sequence[Mark]], Awaitable[None]] = _nothing
        """Awaited before an entry with marks is applied."""
        self._ended = ""
        """Why nothing is applied any more."""
        self._last_append = 0.0
        self.lag = Ring()
        """Seconds from handing an entry to the log until it is applied."""
        self.appended = self.appended_bytes = self.replayed = 0
        self.append_seconds = 0.0

    @property
    def is_caught_up(self) -> bool:
        """Whether the replay has ended."""
        return self._caught_up.is_set()

    def stamp(self) -> int:
        """Arrival time now, in ms; never before the newest stamp in the log."""
        return max(time.time_ns() // 1_000_000, self.engine.stamp)

    def offset(self, position: int) -> str:
        """A position as it leaves the server."""
        return format_offset(self.log.epoch, position)

    async def submit(self, entry: Entry) -> Applied:
        """Appends an entry and waits until it is applied.

        Raises LogFull, LogUnavailable, and ApiError store_stalled for an entry with rows (see server.backlog).
        """
        rows = entry.rows
        if rows and not self.backlog.passes():
            await self.backlog.passage()
        if self._ended:
            raise LogUnavailable(self._ended)
        self._sequence += 1
        sequence = self._sequence
        entry.epoch, entry.sequence, entry.written = self.writer, sequence, self._written
        self._written += rows
        if entry.batch is not None and entry.batch.whole:
            entry.batch = self._shorten(entry.batch)
        self._last_append = begun = time.monotonic()
        applied: asyncio.Future[Applied] = asyncio.get_running_loop().create_future()
        self._waiting[sequence] = applied
        try:
            payload = pack_entry(entry)
            await self.log.append(payload, entry, pack_note(self.writer, entry.written + entry.rows))
            self.append_seconds += time.monotonic() - begun
            self.appended += 1
            self.appended_bytes += len(payload)
            result = await applied
            if entry.batch is not None and entry.batch.table is not None:
                self._numbering.confirm(entry.batch.table)
            self.lag.add(time.monotonic() - begun)
            return result
        except (LogFull, LogUnavailable):  # nobody is told that these rows are kept
            self._written -= rows
            raise
        finally:
            self._waiting.pop(sequence, None)

    def _shorten(self, batch: Batch) -> Batch:
        numbering = self._numbering
        lost = self.log.setbacks != self._setbacks  # entries that spelt keys may be gone
        if lost or (numbering.confirmed and (self.writer, numbering.table) not in self.engine.tables):
            self._setbacks = self.log.setbacks
            numbering.forget()
        return numbering.shorten(batch)

    async def run(self) -> None:
        """Applies the log from the engine's position on, for ever."""
        try:
            await self._run()
        finally:
            self._end()

    async def _run(self) -> None:
        self._target = await self.log.newest()
        self._look_whether_caught_up()
        async for batch in self.log.follow(self.engine.position):
            if self._caught_up.is_set():
                await self._follow(batch)
                continue
            await self._replay(batch)
            await asyncio.sleep(0)  # a replay must leave room for /health
            await self.backlog.room()
            self._look_whether_caught_up()
        raise LogUnavailable("the log ended")

    def _look_whether_caught_up(self) -> None:
        if self.engine.position >= self._target:
            self._caught_up.set()

    def _end(self) -> None:
        """Nobody may wait for what is not applied any more: the process could not end in order."""
        self._ended = "the server ends; whether it has been appended is not known"
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(LogUnavailable(self._ended))
                waiting.exception()  # its append may raise first, and nobody ask for this one

    async def caught_up(self) -> None:
        """Returns when all that was in the log at the start has been applied."""
        await self._caught_up.wait()

    async def tick(self) -> None:
        """Appends a tick each second while nothing else is appended, so that time goes on; for ever."""
        await self._watch_replay()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            if time.monotonic() - self._last_append < TICK_SECONDS or self._is_moved_by_others():
                continue
            try:
                await self.submit(Entry(self.stamp()))
            except LogError as error:
                logger.warning("the log takes no tick: %s", error)

    def _is_moved_by_others(self) -> bool:
        """Whether somebody else who appends to the log has moved its time within the last second."""
        return time.time_ns() // 1_000_000 - self.engine.stamp < TICK_SECONDS * 1000

    async def _watch_replay(self) -> None:
        """Returns when the replay has ended, and does not let it wait for what a log has lost since the start."""
        while not self._caught_up.is_set():
            try:
                await asyncio.wait_for(self._caught_up.wait(), REPLAY_WATCH_SECONDS)
            except TimeoutError:
                await self._look_whether_it_is_there()

    async def _look_whether_it_is_there(self) -> None:
        try:
            newest = await self.log.newest()
        except LogError:  # it waits for the log, and says so
            return
        if newest < self._target:
            logger.error("the log ends with entry %d, it has lost those up to %d since the start", newest, self._target)
            self._target = newest
            self._look_whether_caught_up()

    async def _follow(self, batch: Sequence[Record]) -> None:
        """What comes now. Where others are answered elsewhere, more of it at a time costs less."""
        entries = [(record.position, _entry_of(record)) for record in batch]
        if self.gather and not any(entry.marks or entry.epoch == self.writer for _, entry in entries):
            self._apply_joined(entries)
        else:
            for position, entry in entries:
                if entry.marks:
                    await self.before_marks(entry.marks)
                self._apply(entry, position)
        if self.gather:
            await asyncio.sleep(self.gather)

    def _apply_joined(self, entries: Sequence[tuple[int, Entry]]) -> None:
        for delivery in apply_all(self.engine, entries):
            for subscriber in self.subscribers:
                subscriber(delivery)

    async def _replay(self, batch: Sequence[Record]) -> None:
        """What was in the log at the start; nobody waits for it, so small entries are joined."""
        entries = [(record.position, _entry_of(record)) for record in batch]
        self.replayed += len(entries)
        self._apply_joined(entries)
        marks = [mark for _, entry in entries for mark in entry.marks]
        if marks:  # nobody has asked anything yet, so it is soon enough
            await self.before_marks(marks)

    def _apply(self, entry: Entry, position: int) -> None:
        applied, delivery = self.engine.apply(entry, position)
        if entry.epoch == self.writer:
            self._give_up_before(entry.sequence)
            waiting = self._waiting.get(entry.sequence)
            if waiting is not None and not waiting.done():
                waiting.set_result(applied)
        for subscriber in self.subscribers:
            subscriber(delivery)

    def _give_up_before(self, sequence: int) -> None:
        """Our entries come in order: those that wait although a later one has come were lost by the log.

        Only a Redis that has answered an append and then gone back does that. They can never count any more, since a
        sequence below the last one is skipped as a repeat.
        """
        for earlier, waiting in self._waiting.items():
            if earlier >= sequence:
                return
            if not waiting.done():
                waiting.set_exception(LogUnavailable("the log has lost what it had taken; nothing of it counts"))
                waiting.exception()  # its append may raise first, and nobody ask for this one


async def _nothing(marks: Sequence[Mark]) -> None:
    """A process that is alone on its log."""


def _entry_of(record: Record) -> Entry:
    if isinstance(record.attachment, Entry):
        return record.attachment
    try:
        return unpack_entry(record.payload)
    except ValueError as error:
        raise LogDamaged(f"the log's entry {record.position} cannot be read: {error}") from error
