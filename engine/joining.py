"""Applying many small entries together, as a replay does: numpy's calls cost more than the few samples of one entry.

The result is that of applying one entry after the other, to the last bit. So entries are joined only while time closes
nothing and lets nothing go between them, and only those that bring samples and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np

from engine.engine import NOTHING, SLOT, Delivery, Engine
from engine.levels import LEVELS, floor
from engine.model import Batch, Codes, Entry, Flags, Floats, Ints
from engine.tables import Found, TableId

Placed = tuple[int, Entry]
"""A log position and the entry there."""
_Named = tuple[TableId | None, Batch]
"""A batch, and the table of its numbers; None where its keys are spelt."""


def apply_all(engine: Engine, entries: Sequence[Placed]) -> Iterator[Delivery]:
    """Applies entries in log order; what could be joined is delivered together.

    A delivery of joined entries has the position and the stamp of the last of them, and row numbers within each.
    """
    at = 0
    while at < len(entries):
        position, entry = entries[at]
        if _plain(entry) and not engine.writers.has(entry):
            engine.advance(entry.stamp)
            stretch = _take_stretch(engine, entries, at)
            yield stretch.apply()
            at = stretch.end
        else:
            yield engine.apply(entry, position)[1]
            at += 1


def _plain(entry: Entry) -> bool:
    more = entry.events or entry.requests or entry.rejected or entry.sketched or entry.rejects or entry.marks
    return not more and (entry.batch is None or not entry.batch.ids)


def _take_stretch(engine: Engine, entries: Sequence[Placed], begin: int) -> _Stretch:
    """The entries from the one at `begin` on that can be joined, to whose stamp the engine has moved. Not empty."""
    before, room, takes = _next_change(engine), engine.samples_to_check, engine.writers.takes
    stretch = _Stretch(engine)
    stamp, at = engine.stamp, begin
    while at < len(entries) and room > 0:
        position, entry = entries[at]
        if entry.stamp >= before or not _plain(entry):
            break
        at += 1
        if not takes(entry):
            engine.ledger.repeated += 1
            continue
        if entry.stamp > stamp:
            stamp = entry.stamp
        batch = entry.batch
        if batch is not None:
            room -= len(batch.codes)
            stretch.batches.append(batch)
            stretch.epochs.append(entry.epoch)
            stretch.positions.append(position)
            stretch.stamps.append(stamp)
    stretch.end, stretch.position, stretch.stamp = at, entries[at - 1][0], stamp
    return stretch


def _next_change(engine: Engine) -> int:
    """The first stamp at which a slot is closed or a level lets go of a block."""
    watermark, keep = engine.watermark, engine.options.retention
    passes = (keep.next_change(level, watermark) for level in LEVELS)
    return min(floor(watermark, SLOT) + SLOT, *passes) + engine.options.lateness


class _Stretch:
    """The batches of some entries, in log order, with the writer, the position and the stamp of each.

    end: where the entries go on after it; position, stamp: of the last entry.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.batches: list[Batch] = []
        self.epochs: list[int] = []
        self.positions: list[int] = []
        self.stamps: list[int] = []
        self.end = self.position = self.stamp = 0

    def apply(self) -> Delivery:
        """Hands all to the engine."""
        engine = self._engine
        engine.advance(self.stamp)
        engine.position = self.position
        delivery = Delivery(engine.position, engine.stamp, *self._take())
        engine.relieve()
        return delivery

    def _series(self) -> list[Found]:
        """The series of all rows, in order. New ones get their numbers in the order of the log."""
        found: list[Found] = []
        section: list[_Named] = []
        for epoch, batch in zip(self.epochs, self.batches, strict=True):
            table = None if batch.table is None else (epoch, batch.table.id)
            if table is None or not (batch.keys or table not in self._engine.tables):
                section.append((table, batch))
                continue
            if section:
                found.append(_find(self._engine, section))
                section = []
            found.append(self._engine.series_of(batch, epoch))
        if section:
            found.append(_find(self._engine, section))
        return found

    def _take(self) -> tuple[Codes, Ints, Ints, Floats]:
        """(series, row numbers, times, values) of the samples that the engine took."""
        if not self.batches:
            return NOTHING
        engine, batches, found = self._engine, self.batches, self._series()
        counts = _rows(batches)
        series = np.concatenate([part.series for part in found])
        folded, unknown = _flags(found, "folded"), _flags(found, "unknown")
        times, values = (
            np.concatenate([batch.times for batch in batches]), np.concatenate([batch.values for batch in batches])
        )  # fmt: skip
        engine.ledger.received += len(series)
        rows = np.arange(len(series)) - np.repeat(np.cumsum(counts) - counts, counts)
        positions, stamps = np.repeat(self.positions, counts), np.repeat(self.stamps, counts)
        if unknown is not None:
            known = np.flatnonzero(~unknown)
            engine.ledger.rejected["lost_series"] += len(series) - len(known)
            series, times, values, rows = series[known], times[known], values[known], rows[known]
            positions, stamps = positions[known], stamps[known]
            folded = None if folded is None else folded[known]
        engine.ledger.accepted += len(series)
        if folded is not None:
            engine.count_folded(series, folded)
        if not len(series):
            return NOTHING
        earliest = int(times.min())
        late = None
        if earliest < int(stamps[-1]) - engine.options.lateness:
            late = times < stamps - engine.options.lateness
            engine.ledger.late += int(late.sum())
        engine.take(series, rows, times, positions, values, late, earliest)
        return series, rows, times, values


def _find(engine: Engine, section: Sequence[_Named]) -> Found:
    """The series of the rows of some batches: of all whose keys are spelt at once, and of each table at once."""
    members: dict[TableId | None, list[int]] = {}
    for number, (table, _) in enumerate(section):
        members.setdefault(table, []).append(number)
    parts: dict[TableId | None, Found] = {}
    for table in sorted(members, key=lambda table: members[table][-1]):  # so that the engine uses them in this order
        batches = [section[number][1] for number in members[table]]
        parts[table] = _spelt(engine, batches) if table is None else engine.series_in(table, _codes(batches))
    if len(parts) == 1:
        return parts[section[0][0]]
    rows = _rows([batch for _, batch in section])
    found = Found(np.empty(int(rows.sum()), np.int32), None, None)
    for table, part in parts.items():
        mine = np.zeros(len(section), np.bool_)
        mine[members[table]] = True
        found = _filled(found, np.repeat(mine, rows), part)
    return found


def _filled(whole: Found, rows: Flags, part: Found) -> Found:
    """Puts what was found of some rows in its place."""
    whole.series[rows] = part.series
    flags: list[Flags | None] = []
    for held, given in ((whole.folded, part.folded), (whole.unknown, part.unknown)):
        if given is not None:
            held = np.zeros(len(rows), np.bool_) if held is None else held
            held[rows] = given
        flags.append(held)
    return Found(whole.series, *flags)


def _spelt(engine: Engine, batches: Sequence[Batch]) -> Found:
    """Of batches whose keys are spelt; with new ones, one after the other, as each may name a unit."""
    keys = list(chain.from_iterable(batch.keys for batch in batches))
    ids = engine.catalogue.known(keys)
    if ids is None:
        each = [engine.series_of(batch, 0) for batch in batches]
        return Found(np.concatenate([found.series for found in each]), _flags(each, "folded"), None)
    held = np.fromiter((len(batch.keys) for batch in batches), np.int64, len(batches))
    return Found(ids[_codes(batches) + np.repeat(np.cumsum(held) - held, _rows(batches))], None, None)


def _rows(batches: Sequence[Batch]) -> Ints:
    return np.fromiter((len(batch.codes) for batch in batches), np.int64, len(batches))


def _codes(batches: Sequence[Batch]) -> Codes:
    return np.concatenate([batch.codes for batch in batches])


def _flags(found: Sequence[Found], name: str) -> Flags | None:
    """The flags of that name of all rows, None where there are none."""
    parts: list[Flags | None] = [getattr(one, name) for one in found]
    if all(part is None for part in parts):
        return None
    return np.concatenate(
        [np.zeros(len(one.series), np.bool_) if part is None else part for one, part in zip(found, parts, strict=True)]
    )
