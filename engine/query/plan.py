"""The plan: which series a query reads, in which groups and steps, and where each stretch of time lies.

Time is covered from coarse to fine: the middle of a range by the coarsest panes that divide the step, its ends by
finer ones, the newest stretch by the open base panes. Every moment is read from exactly one level.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from engine.aggregates import Aggregate
from engine.engine import Engine
from engine.errors import BadTimeRange, TooExpensive
from engine.levels import BASE, LEVELS, PACKED, WIDTHS, ceil, floor, span
from engine.model import COUNTER, Codes
from engine.query.value import Query
from engine.rollup import BlockId

OPEN = -1
"""The level of the open base panes."""


class Stretch(NamedTuple):
    """A stretch of time, [start, end) in ms, and the level that answers for it."""

    level: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What a query may cost: series read, and points (groups x steps) answered."""

    series: int = 20_000
    points: int = 200_000


@dataclass(frozen=True, slots=True)
class Bounds:
    """When a query looks: [start, end) in ms, aligned to the resolution; step None for one value over the range."""

    start: int
    end: int
    step: int | None
    resolution: int
    finest: int
    """The level of that resolution."""

    @property
    def steps(self) -> int:
        return 1 if self.step is None else (self.end - self.start) // self.step

    @property
    def seconds(self) -> float:
        """Seconds that each value covers."""
        return (self.step or self.end - self.start) / 1000


@dataclass(slots=True)
class Groups:
    """Series by group. of_series: group number by series id, -1 for series not asked for; labels: values by group."""

    of_series: Codes
    labels: list[tuple[str, ...]]
    series: int
    counters: bool
    """Whether any of them is a counter."""


def bounds(query: Query, engine: Engine, at: int) -> Bounds:
    """When the query looks, as of `at`. Raises BadTimeRange for a range that ends before it starts."""
    if query.start is not None and query.start >= (at + 1 if query.end is None else query.end):
        raise BadTimeRange("the range ends before it starts: `from` must be earlier than `to`, or than now")
    last = at + 1 if query.end is None else query.end
    start = last - query.range if query.start is None else query.start
    finest = _finest(start, query.step, engine)
    resolution = BASE if finest == OPEN else WIDTHS[finest]
    step = None if query.step is None else ceil(query.step, resolution)
    unit = step or resolution
    end = ceil(last, unit)
    start = end - ceil(query.range, unit) if query.start is None else floor(query.start, unit)
    return Bounds(start, end, step, resolution, finest)


def _finest(start: int, step: int | None, engine: Engine) -> int:
    # One finest pane of room: aligning the range moves its start back by less than that.
    if start - WIDTHS[0] >= engine.closed and start - (step or 0) >= engine.closed:
        return OPEN
    for level in LEVELS:
        if start - (step or 0) >= engine.horizons[level]:
            return level
    return LEVELS[-1]


def check_points(query: Query, bounds: Bounds, groups: int, limits: Limits) -> None:
    """Raises TooExpensive when the answer would have more points than allowed."""
    points = groups * bounds.steps
    if points > limits.points:
        fits = max(1, limits.points // max(groups, 1))
        if bounds.step is None:
            raise TooExpensive(f"{groups} groups are more than the {limits.points} allowed; group by fewer labels")
        wider = ceil((bounds.end - bounds.start) // fits + 1, bounds.resolution) // 1000
        raise TooExpensive(
            f"{groups} groups x {bounds.steps} steps are {points} points, more than the {limits.points} allowed; "
            f"a step of {wider}s or a range of {fits * bounds.step // 1000}s would fit"
        )


def groups(query: Query, engine: Engine, limits: Limits) -> Groups:
    """The series asked for and their groups. Raises TooExpensive beyond the limit."""
    catalogue = engine.catalogue
    series, rows = catalogue.select(query.name, query.matchers, query.type)
    if len(series) > limits.series:
        raise TooExpensive(
            f"the query reads {len(series)} series, more than the {limits.series} allowed; "
            f"narrow it with label matchers, or raise MAX_QUERY_SERIES"
        )
    of_series = np.full(len(catalogue), -1, np.int32)
    counters = bool((catalogue.types[series] == COUNTER).any())
    if query.group_by and not len(series):
        return Groups(of_series, [], 0, counters)
    if not query.group_by:
        of_series[series] = 0
        return Groups(of_series, [()], len(series), counters)
    name = catalogue.names[query.name]
    combined = np.zeros(len(series), np.int64)
    for label in query.group_by:
        codes = name.codes(label)[rows]
        combined = np.unique(combined * (int(codes.max()) + 1) + codes, return_inverse=True)[1]
    _, first, numbers = np.unique(combined, return_index=True, return_inverse=True)
    of_series[series] = numbers
    columns = [name.value_column(label) for label in query.group_by]
    labels = [tuple(values[codes[row]] for values, codes in columns) for row in rows[first]]
    return Groups(of_series, labels, len(series), counters)


def cover(bounds: Bounds, engine: Engine) -> list[Stretch]:
    """Which level answers for which stretch of the range; no moment twice, none left out."""
    found: list[Stretch] = []
    closed = min(max(engine.closed, bounds.start), bounds.end)
    if closed < bounds.end:
        found.append(Stretch(OPEN, closed, bounds.end))
    if bounds.start < closed:
        _cover(bounds.start, closed, LEVELS[-1], bounds, engine, found)
    return found


def _cover(start: int, end: int, level: int, bounds: Bounds, engine: Engine, found: list[Stretch]) -> None:
    if start >= end:
        return
    if level > 0:
        usable = bounds.step is None or bounds.step % WIDTHS[level] == 0
        inner_start = ceil(start, WIDTHS[level])
        inner_end = min(floor(end, WIDTHS[level]), engine.rolled[level - 1])
        if not usable or inner_start >= inner_end:
            _cover(start, end, level - 1, bounds, engine, found)
            return
        found.append(Stretch(level, inner_start, inner_end))
        _cover(start, inner_start, level - 1, bounds, engine, found)
        _cover(inner_end, end, level - 1, bounds, engine, found)
        return
    found.append(Stretch(level, start, end))


def blocks(query: Query, stretches: list[Stretch], engine: Engine) -> list[BlockId]:
    """The stored blocks that the stretches lie in; none that retention has let go of, nor before the first flush."""
    found: list[BlockId] = []
    if not engine.generation:
        return found
    for level, begin, end in stretches:
        if level != OPEN:
            # What is not rolled yet lies nowhere else, even where time has leapt beyond its retention.
            kept = engine.horizons[level]
            kept = max(begin, min(kept, engine.rolled[level] or kept))
            packed = min(end, engine.rolled[0]) if level == 0 and engine.options.retention.patient else kept
            if packed > kept:
                found += _blocks(PACKED, kept, packed, query.name)
            found += _blocks(level, max(kept, packed), end, query.name)
    return found


def _blocks(number: int, begin: int, end: int, name: str) -> list[BlockId]:
    return [BlockId(number, start, name) for start in range(floor(begin, span(number)), end, span(number))]


def needs(aggregate: Aggregate) -> frozenset[str]:
    """The pane columns to read; every answer carries counts."""
    return aggregate.need | {"count"}
