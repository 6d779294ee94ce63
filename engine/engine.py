"""The engine: log entries in, states of panes out. It reads no clock: time is the stamps in the log.

An entry moves the watermark first, which closes slots and turns running totals into deltas; then its rows are told
apart (repeated, late), and go to their slot: an open one of 1 s panes, or, behind the closed boundary, the pending
panes of the finest level that still keeps their time. A flush hands the pending panes to the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from engine import dedup, levels, panes, repeats
from engine.flushes import Shared, take_marks
from engine.kernels.grouping import group
from engine.ledger import Ledger
from engine.levels import SPANS, WIDTHS, Retention, floor
from engine.lifetime import Lifetime
from engine.model import OWN_PREFIX, Applied, Batch, Codes, Entry, Event, Flags, Floats, Ints, Mark
from engine.newest import Newest
from engine.rejects import Rejects
from engine.rules.book import Book
from engine.series import Catalogue
from engine.slots import Slot
from engine.tables import Found, TableId, Tables
from engine.terms import Terms
from engine.totals import Totals
from engine.writers import Writers

SLOT = WIDTHS[0]
"""Width of an open slot, in ms: one pane of the finest stored level."""
CHECK_EVERY = 65_536
"""Samples between two looks at the memory of the open slots."""
_BLOCK_BITS = 40
_OWN_RAW = 2000
"""Newest raw samples kept of the server's own metrics; they take no place from the others."""


@dataclass(frozen=True, slots=True)
class Options:
    """What an engine is set up with; times in ms, sizes in bytes."""

    lateness: int = 60_000
    retention: Retention = field(default_factory=Retention)
    max_series: int = 1_000_000
    max_series_per_name: int = 50_000
    pane_memory: int = 256 << 20
    raw_samples: int = 10_000
    dedup: dedup.Bound = field(default_factory=dedup.Bound)
    max_rejects: int = 1000
    shared: bool = False
    """Whether other processes follow the same log, and its owner alone writes to the store."""


@dataclass(slots=True)
class Delivery:
    """What an entry brought, for those who watch: its accepted samples as columns, and its accepted events."""

    position: int
    stamp: int
    series: Codes
    rows: Ints
    times: Ints
    values: Floats
    events: list[tuple[int, Event]] = field(default_factory=list)
    """(row, event)."""
    marks: Sequence[Mark] = ()


Slots = dict[tuple[int, int], Slot]
"""Pending panes by (level, block start)."""


class Engine:
    """All state that the log determines. Only one owner writes to it; reads are synchronous."""

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()
        self.catalogue = Catalogue(self.options.max_series, self.options.max_series_per_name)
        self.position = 0
        self.stamp = 0
        self.watermark = 0
        self.closed = 0
        """Everything before this time is closed: it lies in pending panes or in the store."""
        self.open: dict[int, Slot] = {}
        self.tables = Tables()
        self.totals = Totals()
        self.lifetime = Lifetime(self.catalogue)
        self.pending: Slots = {}
        self.frozen: Slots = {}
        """Pending panes that a flush is writing."""
        self.horizons: tuple[int, ...] = (0,) * len(WIDTHS)
        """Per level, the start of the oldest block it keeps. Never moves back, even when a retention is raised: what
        was let go of is not there any more."""
        self.rolled: tuple[int, ...] = (0,) * len(WIDTHS)
        """Per level, up to where the store has folded its blocks into the next level."""
        self.generation = 0
        """The number of the newest flush that is written."""
        self.events: list[tuple[int, int, Event]] = []
        self.frozen_events: list[tuple[int, int, Event]] = []
        self.newest = Newest(self.options.raw_samples)
        self.newest_own = Newest(_OWN_RAW)
        self.seen = dedup.Window(self.options.dedup)
        self.ledger = Ledger()
        self.stored = 0
        """Samples in panes that finished flushes have handed to the store."""
        self.rejects = Rejects(self.options.max_rejects)
        self.writers = Writers()
        self.shared = Shared() if self.options.shared else None
        self.terms = Terms()
        self.book = Book()
        self.flushed_series = 0
        self.flushed_position = 0
        """The log position up to which the store holds the events."""
        self.unchecked = 0
        """Samples taken since the memory of the open slots was looked at."""

    def apply(self, entry: Entry, position: int) -> tuple[Applied, Delivery]:
        """Takes one entry, in log order. An entry that its writer appended twice changes nothing the second time."""
        self.position = position
        if self.is_repeated(entry):
            return Applied(position, self.stamp), Delivery(position, self.stamp, *NOTHING)
        self.advance(entry.stamp)
        applied = Applied(position, self.stamp)
        for name in entry.sketched:
            self.catalogue.sketch(name)
        self.ledger.received += entry.rows
        self.ledger.rejected.update(entry.rejected)
        self.rejects.add(position, self.stamp, entry.rejects)
        repeats.find(entry, applied, self.seen, self.ledger)
        delivery = self._deliver(entry, applied)
        self.relieve()
        if entry.marks:
            delivery.marks = entry.marks
            take_marks(self, entry.marks)
        return applied, delivery

    def is_repeated(self, entry: Entry) -> bool:
        """Whether its writer has appended this entry before; counts it, or remembers it from here on."""
        if self.writers.takes(entry):
            return False
        self.ledger.repeated += 1
        return True

    def advance(self, stamp: int) -> None:
        """Moves time to a stamp: closes what the watermark has passed. Earlier stamps change nothing."""
        if stamp > self.stamp:
            self.stamp = stamp
            self.watermark = max(self.watermark, stamp - self.options.lateness)
            keep = self.options.retention
            self.horizons = tuple(
                max(horizon, keep.horizon(level, self.watermark)) for level, horizon in enumerate(self.horizons)
            )
            self.seen.expire(stamp)
            boundary = floor(self.watermark, SLOT)
            if boundary > self.closed:
                self._close(boundary)

    @property
    def samples_to_check(self) -> int:
        """Samples until the memory of the open slots is looked at again."""
        return CHECK_EVERY - self.unchecked

    @property
    def open_bytes(self) -> int:
        """Memory of the open slots and points."""
        return sum(slot.nbytes for slot in self.open.values()) + self.totals.nbytes

    @property
    def pending_bytes(self) -> int:
        """Memory of the panes that wait for a flush, and of those in one."""
        slots = (*self.pending.values(), *self.frozen.values())
        return sum(slot.nbytes for slot in slots)

    @property
    def open_samples(self) -> int:
        """Samples in the open slots, counted there."""
        return sum(slot.samples for slot in self.open.values())

    @property
    def pending_samples(self) -> int:
        """Samples that wait for a flush, and those in one, counted in their panes."""
        return sum(slot.samples for slot in (*self.pending.values(), *self.frozen.values()))

    @property
    def balanced(self) -> bool:
        """Whether every row that came is accounted for, and every accepted one is in a pane or too old for any."""
        ledger = self.ledger
        held = self.open_samples + self.pending_samples + self.stored + ledger.expired
        return ledger.balanced and ledger.accepted == held

    def _deliver(self, entry: Entry, applied: Applied) -> Delivery:
        events = list(enumerate(entry.events))
        if applied.events_duplicate is not None and applied.events_duplicate.any():
            events = [(row, event) for row, event in events if not applied.events_duplicate[row]]
        self.ledger.events += len(events)
        self.ledger.duplicate += len(entry.events) - len(events)
        self.events.extend((applied.position, row, event) for row, event in events)
        series, rows, times, values = self._ingest(entry.batch, applied, entry.epoch) if entry.batch else NOTHING
        return Delivery(applied.position, applied.stamp, series, rows, times, values, events)

    def _ingest(self, batch: Batch, applied: Applied, epoch: int) -> tuple[Codes, Ints, Ints, Floats]:
        series, folded, unknown = self.series_of(batch, epoch)
        times, values = batch.times, batch.values
        n = len(series)
        rows = np.arange(n)
        if unknown is not None or (applied.duplicate is not None and applied.duplicate.any()):
            duplicate = np.zeros(n, np.bool_) if applied.duplicate is None else applied.duplicate
            lost = np.zeros(n, np.bool_) if unknown is None else unknown & ~duplicate
            rows = np.flatnonzero(~(lost | duplicate))
            series, times, values = series[rows], times[rows], values[rows]
            self.ledger.duplicate += int(duplicate.sum())
            if lost.any():
                self.ledger.rejected["lost_series"] += int(lost.sum())
        self.ledger.accepted += len(rows)
        if folded is not None:
            self.count_folded(series, folded[rows])
        if not len(rows):
            return NOTHING
        earliest = int(times.min())
        late = None
        if earliest < applied.stamp - self.options.lateness:
            late = times < applied.stamp - self.options.lateness
            applied.late = np.zeros(n, np.bool_)
            applied.late[rows] = late
            self.ledger.late += int(late.sum())
        self.take(series, rows, times, np.full(len(rows), applied.position), values, late, earliest)
        return series, rows, times, values

    def take(
        self, series: Codes, rows: Ints, times: Ints, positions: Ints, values: Floats, late: Flags | None, earliest: int
    ) -> None:
        """Accepted samples, in log order, go everywhere they belong. rows: within their entries."""
        self._file(series, times, positions, values, late, earliest)
        self._keep(series, rows, times, positions, values)
        self.lifetime.add(series, times, values)
        self.unchecked += len(series)

    def series_of(self, batch: Batch, epoch: int) -> Found:
        """The series of each row. Numbers that the log does not explain are unknown: its beginning is missing."""
        ids, folded = self.catalogue.resolve(batch.keys)
        self.lifetime.reserve()
        if batch.table is None:
            return Found(ids[batch.codes], None if folded is None else folded[batch.codes], None)
        table = epoch, batch.table.id
        self.tables.define(table, batch.table.numbers, ids, folded)
        return self.tables.find(table, batch.codes)

    def series_in(self, table: TableId, numbers: Codes) -> Found:
        """The series of rows by their numbers in a table that there is; it is the one used last then."""
        self.tables.touch(table)
        return self.tables.find(table, numbers)

    def _keep(self, series: Codes, rows: Ints, times: Ints, positions: Ints, values: Floats) -> None:
        """Puts raw samples into the ring they belong to."""
        own = self.catalogue.own[series] if self.catalogue.any_own else None
        if own is None or not own.any():
            self.newest.add(series, rows, times, positions, values)
            return
        for ring, chosen in ((self.newest_own, own), (self.newest, ~own)):
            ring.add(series[chosen], rows[chosen], times[chosen], positions[chosen], values[chosen])

    def newest_of(self, name: str | None) -> Newest:
        """The ring that holds the raw samples of a metric; without a name, of all but the server's own."""
        return self.newest_own if name is not None and name.startswith(OWN_PREFIX) else self.newest

    def count_folded(self, series: Codes, folded: Flags) -> None:
        """Counts the rows that went to an __other__ series. folded: which of the rows."""
        self.ledger.folded += int(folded.sum())
        numbers = self.catalogue.name_numbers[series[folded]]
        for number, count in zip(*np.unique(numbers, return_counts=True), strict=True):
            self.catalogue.by_number[int(number)].folded += int(count)

    def _file(
        self, series: Codes, times: Ints, positions: Ints, values: Floats, late: Flags | None, earliest: int
    ) -> None:
        """Puts each sample where its time belongs."""
        if earliest < self.closed:
            behind = times < self.closed
            self._file_behind(series[behind], times[behind], positions[behind], values[behind])
            totals = self.catalogue.totals[series]
            self.ledger.late_total += int((totals & late).sum()) if late is not None else 0
            self.ledger.squeezed += int((totals & behind & (~late if late is not None else True)).sum())
            ahead = ~behind
            series, times, positions, values = series[ahead], times[ahead], positions[ahead], values[ahead]
            late = late[ahead] if late is not None else None
            if not len(series):
                return
        elif late is not None:
            self.ledger.late_total += int((self.catalogue.totals[series] & late).sum())
        slots = times - times % SLOT
        first = int(slots[0])
        if (slots == first).all():
            self._file_slot(first, series, times, positions, values, late)
            return
        groups = group(slots // SLOT)
        for begin, end, slot in zip(groups.starts, [*groups.starts[1:], len(slots)], groups.keys, strict=True):
            at = groups.order[begin:end]
            lag = late[at] if late is not None else None
            self._file_slot(int(slot) * SLOT, series[at], times[at], positions[at], values[at], lag)

    def _file_slot(
        self, start: int, series: Codes, times: Ints, positions: Ints, values: Floats, late: Flags | None
    ) -> None:
        slot = self.open.get(start)
        if slot is None:
            for older in self.open.values():
                older.raw.settle()
            slot = self.open[start] = Slot(start, levels.BASE, self.catalogue)
        slot.add(series, times, positions, values)
        totals = self.catalogue.totals[series]
        if late is not None:
            totals = totals & ~late
        if totals.all():
            self.totals.add(start, series, times, positions, values)
        elif totals.any():
            self.totals.add(start, series[totals], times[totals], positions[totals], values[totals])

    def _file_behind(self, series: Codes, times: Ints, positions: Ints, values: Floats) -> None:
        """Samples whose slot is closed join the pending panes of the finest level that keeps their time."""
        level = np.zeros(len(times), np.int64)
        for number, horizon in enumerate(self.horizons):
            level[times < horizon] = number + 1
        spans = np.array([*SPANS, 1])[level]
        blocks = times // spans
        groups = group((level << _BLOCK_BITS) | blocks)
        for begin, end, key in zip(groups.starts, [*groups.starts[1:], len(times)], groups.keys, strict=True):
            number = int(key) >> _BLOCK_BITS
            at = groups.order[begin:end]
            if number >= len(SPANS):
                self.ledger.expired += len(at)
                continue
            start = (int(key) & ((1 << _BLOCK_BITS) - 1)) * SPANS[number]
            self._pending(number, start).add(series[at], times[at], positions[at], values[at])

    def _pending(self, level: int, start: int) -> Slot:
        slot = self.pending.get((level, start))
        if slot is None:
            slot = self.pending[level, start] = Slot(start, WIDTHS[level], self.catalogue)
        return slot

    def _close(self, boundary: int) -> None:
        """Folds the slots before the boundary to panes of the finest level, their increases included."""
        self.closed = boundary
        series, times, deltas = self.totals.close(boundary)
        slots_of = times - times % SLOT
        for start in sorted(start for start in self.open if start < boundary):
            slot = self.open.pop(start)
            together = panes.concat(slot.parts())
            unique = self.catalogue.sketched_rows(together.series)
            _, folded = panes.fold(together, together.series.astype(np.int64), panes.ALL, unique)
            folded.start = np.full(len(folded), start, np.int64)
            mine = slots_of == start
            if mine.any():
                into = np.searchsorted(folded.series, series[mine])
                folded.state["increase"] = folded.state["increase"] + np.bincount(
                    into, weights=deltas[mine], minlength=len(folded)
                )
            block = floor(start, SPANS[0])
            level = next((number for number in levels.LEVELS if start >= self.horizons[number]), None)
            if level == 0:
                self._pending(0, block).add_panes(folded)
            elif level is not None:
                self._pending_coarse(level, folded)
            else:
                self.ledger.expired += int(folded.state["count"].sum())

    def _pending_coarse(self, level: int, folded: panes.Panes) -> None:
        """Panes that the finer levels let go of at once: the stamps jumped ahead, or a retention is very short."""
        start = int(folded.start[0])
        folded.start = np.full(len(folded), floor(start, WIDTHS[level]), np.int64)
        self._pending(level, floor(start, SPANS[level])).add_panes(folded)

    def relieve(self) -> None:
        """Closes the oldest slots early while the open ones hold more than their memory; never the newest.

        Looks every CHECK_EVERY samples, after a whole entry.
        """
        if self.unchecked < CHECK_EVERY:
            return
        self.unchecked = 0
        limit = floor(self.stamp, SLOT)
        while self.open_bytes > self.options.pane_memory:
            oldest = min(self.open, default=limit)
            if oldest >= limit:
                return
            self._close(oldest + SLOT)


_NONE = np.empty(0, np.int64)
NOTHING = (_NONE.astype(np.int32), _NONE, _NONE, _NONE.astype(np.float64))
