"""What the store holds of accepted rows, counted from its blocks, each stretch of time at the finest level that has it.

Level by level: every block of a level is read once and counted where no finer level holds its time, and its fold is
compared with the panes of the next level. Memory: the blocks of one metric within one block of the next level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from engine.levels import LEVELS, PACKED, SPANS, WIDTHS, floor, level_of
from engine.levels import span as block_span
from server.store import BlockKey, Snapshot, StoreDamaged
from server.verify.folds import COLUMNS, NOTHING, Pane, Rows, fold, join, unequal
from server.verify.report import Place, Report
from server.verify.words import level_name, series_name, time_of, times_of
from server.wire.blocks import Block

_EVER = 1 << 62


@dataclass(slots=True)
class Bounds:
    """Where a level's panes count. kept: per level, from where on it holds everything that is folded into the next;
    rolled: per level, up to where its blocks are folded into the next one; patient: see engine.levels.Retention."""

    kept: tuple[int, ...]
    rolled: tuple[int, ...]
    patient: bool = False


class Stored:
    """Counts what the blocks hold. Use it once."""

    def __init__(
        self, store: Snapshot, keys: list[bytes], bounds: Bounds, report: Report, progress: Callable[[int], None]
    ) -> None:
        """keys: of the series by id. progress: told how many blocks were read."""
        self._store, self._keys, self._bounds, self._report = store, keys, bounds, report
        self._progress = progress
        self._read = 0
        self._damaged: set[BlockKey] = set()
        self.count = np.zeros(len(keys), np.int64)
        self.sum = np.zeros(len(keys))
        self.magnitude = np.zeros(len(keys))

    def run(self) -> None:
        """Counts all levels; the places go to the report."""
        blocks = self._store.block_counts()
        finer = _EVER
        for level in LEVELS:
            kept = self._bounds.kept[level] if level + 1 in LEVELS else -_EVER
            place = Place(level_name(level), 0, blocks=sum(blocks.get(each, 0) for each in self._named(level)))
            for start in self._stretches(level):
                self._stretch(level, start, (kept, finer), place)
            self._report.places.append(place)
            finer = kept

    def _stretches(self, level: int) -> Iterator[int]:
        """The starts of the blocks of the next level in which this level or the next has anything."""
        span = SPANS[level + 1] if level + 1 in LEVELS else SPANS[level]
        at = -_EVER
        while True:
            numbers = [*self._named(level), *([level + 1] if level + 1 in LEVELS else [])]
            found = [self._store.next_block(each, at) for each in numbers]
            starts = [floor(key.start, span) for key in found if key is not None]
            if not starts:
                return
            yield min(starts)
            at = min(starts) + span

    def _stretch(self, level: int, start: int, counts: tuple[int, int], place: Place) -> None:
        span = SPANS[level + 1] if level + 1 in LEVELS else SPANS[level]
        mine: dict[str, list[BlockKey]] = {}
        for key in self._blocks(level, start, start + span):
            mine.setdefault(key.name, []).append(key)
        above = self._store.list_blocks(level + 1, start, start + 1) if level + 1 in LEVELS else []
        coarse = {key.name: key for key in above}
        for name in sorted(mine.keys() | coarse.keys()):
            folds = [fold for key in mine.get(name, ()) if (fold := self._take(key, counts, place)) is not None]
            if level + 1 in LEVELS and self._damaged.isdisjoint(mine.get(name, ())):
                self._compare(level, name, folds, coarse.get(name))

    def _named(self, level: int) -> tuple[int, ...]:
        """What blocks of a level are named with."""
        return (0, PACKED) if level == 0 and self._bounds.patient else (level,)

    def _blocks(self, level: int, start: int, end: int) -> list[BlockKey]:
        """The blocks of a level, without those that stay a while after they were packed."""
        if level or not self._bounds.patient:
            return self._store.list_blocks(level, start, end)
        packed = self._bounds.rolled[0]
        single = self._store.list_blocks(0, max(start, packed), end)
        return [*self._store.list_blocks(PACKED, start, min(end, packed)), *single]

    def _take(self, key: BlockKey, counts: tuple[int, int], place: Place) -> Rows | None:
        """Counts the rows of a block, and folds it to one pane per series; None where it cannot be read."""
        rows = self._rows(key)
        if rows is None:
            return None
        counted = (rows.start >= counts[0]) & (rows.start < counts[1])
        here = rows if counted.all() else rows.where(counted)
        if len(here.start):
            np.add.at(self.count, here.series, here.counts)
            np.add.at(self.sum, here.series, here.sums)
            np.add.at(self.magnitude, here.series, here.magnitude)
            place.rows += int(here.counts.sum())
            place.start = min(int(here.start.min()), place.start if place.start is not None else _EVER)
            place.end = max(int(here.start.max()), place.end if place.end is not None else -_EVER)
        level = level_of(key.level)
        return fold(rows, WIDTHS[level + 1] if level + 1 in LEVELS else SPANS[level])

    def _rows(self, key: BlockKey) -> Rows | None:
        self._read += 1
        self._progress(self._read)
        try:
            _, data = self._store.read_blocks([key])[key]
            panes = Block(data).panes(COLUMNS)
            if len(panes) and not 0 <= int(panes.series.min()) <= int(panes.series.max()) < len(self._keys):
                raise StoreDamaged(f"block of {key.name!r}, level {key.level}, start {key.start} names unknown series")
            counts, sums, least, most = (np.asarray(panes.state[name]) for name in COLUMNS)
            return Rows(panes.series.astype(np.int64), np.asarray(panes.start), counts, sums, least, most)
        except (StoreDamaged, ValueError) as error:
            self._damaged.add(key)
            where = f"{level_name(level_of(key.level))}, {times_of(key.start, block_span(key.level))}"
            self._report.cannot_read(f"{error} ({where})")
            return None

    def _compare(self, level: int, name: str, folds: list[Rows], coarse: BlockKey | None) -> None:
        """Each pane of the next level against the fold of the block below it."""
        kept, rolled = self._bounds.kept[level], self._bounds.rolled[level]
        fine = join(folds)
        fine = fine.where((fine.start >= kept) & (fine.start < rolled))
        panes = NOTHING
        if coarse is not None:
            found = self._rows(coarse)
            if found is None:
                return
            panes = found.where(found.start >= kept)
        for series, start, mine, theirs in unequal(fine, panes):
            who, finer = series_name(self._keys[series]), level_name(level)
            self._report.differ(
                "fold",
                f"{who}: the pane of {level_name(level + 1)} at {time_of(start)} has {shown(theirs)}, "
                f"its panes of {finer} have {shown(mine)}",
                0 if theirs is None else theirs.rows, 0 if mine is None else mine.rows,
                series=who, level=level_name(level + 1), start=start,
            )  # fmt: skip


def shown(pane: Pane | None) -> str:
    """A pane in words."""
    if pane is None:
        return "no rows"
    return f"{pane.rows:,} rows, sum {pane.total:.12g}, min {pane.least:.12g}, max {pane.most:.12g}"
