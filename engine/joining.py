"""Applying many small entries together, as a replay does: numpy's calls cost more than the few samples of one entry.

The result is that of applying one entry after the other, to the last bit. So entries are joined only while time closes
nothing and lets nothing go between them, and only those that bring samples and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from engine.engine import NOTHING, SLOT, Delivery, Engine
from engine.levels import LEVELS, floor
from engine.model import Batch, Codes, Entry, Flags, Floats, Ints
from engine.tables import Found

Placed = tuple[int, Entry]
"""A log position and the entry there."""


def apply_all(engine: Engine, entries: Sequence[Placed]) -> Iterator[Delivery]:
    """Applies entries in log order; what could be joined is delivered together.

    A delivery of joined entries has the position and the stamp of the last of them, and row numbers within each.
    """
    at = 0
    while at < len(entries):
        position, entry = entries[at]
        end = at + 1
        if _plain(entry) and not engine.writers.has(entry):
            engine.advance(entry.stamp)
            end = _end_of_stretch(engine, entries, at)
        if end - at > 1:
            yield _apply_joined(engine, entries[at:end])
        else:
            yield engine.apply(entry, position)[1]
        at = end


def _plain(entry: Entry) -> bool:
    if entry.events or entry.requests or entry.rejected or entry.sketched or entry.rejects:
        return False
    return entry.batch is None or not entry.batch.ids


def _end_of_stretch(engine: Engine, entries: Sequence[Placed], begin: int) -> int:
    """Where the entries end that can be joined with the one at `begin`, to whose stamp the engine has moved."""
    before = _next_change(engine)
    room = engine.samples_to_check
    for at in range(begin, len(entries)):
        entry = entries[at][1]
        if entry.stamp >= before or not _plain(entry):
            return at
        if entry.batch is not None:
            room -= len(entry.batch)
            if room <= 0:
                return at + 1
    return len(entries)


def _next_change(engine: Engine) -> int:
    """The first stamp at which a slot is closed or a level lets go of a block."""
    watermark, keep = engine.watermark, engine.options.retention
    passes = (keep.next_change(level, watermark) for level in LEVELS)
    return min(floor(watermark, SLOT) + SLOT, *passes) + engine.options.lateness


def _apply_joined(engine: Engine, entries: Sequence[Placed]) -> Delivery:
    joined = _Joined(engine)
    for position, entry in entries:
        if not engine.is_repeated(entry):
            joined.add(position, entry)
    engine.advance(joined.stamp)
    engine.position = entries[-1][0]
    delivery = Delivery(engine.position, engine.stamp, *joined.take())
    engine.relieve()
    return delivery


class _Joined:
    """The samples of some entries as columns, in log order."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.stamp = engine.stamp
        self._places: list[tuple[int, int, int]] = []
        """(rows, position, stamp) of each entry."""
        self._times: list[Ints] = []
        self._values: list[Floats] = []
        self._spelt: list[Batch] = []
        self._found: list[Found] = []
        """The series, of several entries at once where their keys are spelt."""

    def add(self, position: int, entry: Entry) -> None:
        """One more entry."""
        self.stamp = max(self.stamp, entry.stamp)
        batch = entry.batch
        if batch is None:
            return
        if batch.table is None:
            self._spelt.append(batch)
        else:
            self._resolve()  # new series get their numbers in the order of the log
            self._found.append(self._engine.series_of(batch, entry.epoch))
        self._times.append(batch.times)
        self._values.append(batch.values)
        self._places.append((len(batch), position, self.stamp))

    def _resolve(self) -> None:
        """Finds the series of what is spelt; new ones one entry after the other, as each may name a unit."""
        batches, self._spelt = self._spelt, []
        if not batches:
            return
        together = _together(batches)
        known = self._engine.catalogue.knows(together.keys)
        self._found += [self._engine.series_of(batch, 0) for batch in ([together] if known else batches)]

    def take(self) -> tuple[Codes, Ints, Ints, Floats]:
        """Hands all to the engine: (series, row numbers, times, values) of the samples it took."""
        if not self._places:
            return NOTHING
        self._resolve()
        engine = self._engine
        counts, at, stamped = np.array(self._places, np.int64).T
        series = np.concatenate([found.series for found in self._found])
        folded, unknown = _flags(self._found, "folded"), _flags(self._found, "unknown")
        times, values = np.concatenate(self._times), np.concatenate(self._values)
        engine.ledger.received += len(series)
        rows = np.arange(len(series)) - np.repeat(np.cumsum(counts) - counts, counts)
        positions, stamps = np.repeat(at, counts), np.repeat(stamped, counts)
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


def _together(batches: Sequence[Batch]) -> Batch:
    """Batches whose keys are spelt as one; a key may stand there more than once. Without values and times."""
    keys = [key for batch in batches for key in batch.keys]
    rows = np.fromiter((len(batch) for batch in batches), np.int64, len(batches))
    held = np.fromiter((len(batch.keys) for batch in batches), np.int64, len(batches))
    first = np.repeat(np.cumsum(held) - held, rows).astype(np.int32)
    codes = np.concatenate([batch.codes for batch in batches]) + first
    return Batch(keys, codes, NOTHING[3], NOTHING[2])


def _flags(found: Sequence[Found], name: str) -> Flags | None:
    """The flags of that name of all rows, None where there are none."""
    parts: list[Flags | None] = [getattr(one, name) for one in found]
    if all(part is None for part in parts):
        return None
    return np.concatenate(
        [np.zeros(len(one.series), np.bool_) if part is None else part for one, part in zip(found, parts, strict=True)]
    )
