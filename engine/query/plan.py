"""The plan: which series a query reads, in which groups and steps, and where each stretch of time lies.

Time is covered from coarse to fine: the middle of a range by the coarsest panes that divide the step, its ends by
finer ones, the newest stretch by the open base panes. Steps of uneven length are covered one by one in that way, for
only their edges have to lie between two panes. Every moment is read from exactly one level.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from engine.aggregates import Aggregate
from engine.engine import Engine
from engine.errors import TooExpensive
from engine.levels import BASE, LEVELS, PACKED, WIDTHS, ceil, floor, span
from engine.model import COUNTER, Codes, Flags, Ints
from engine.query.bounds import Bounds, asked, edges_over, steps_over
from engine.query.calendar import Calendar
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
    start, last = asked(query, at)
    if query.calendar is not None and query.step is None:
        return _by_calendar(query, query.calendar, start, last, at, engine)
    finest = _finest(last - query.range if start is None else start, query.step, engine)
    resolution = BASE if finest == OPEN else WIDTHS[finest]
    step = None if query.step is None else ceil(query.step, resolution)
    unit = step or resolution
    end = ceil(last, unit)
    start = end - ceil(query.range, unit) if start is None else floor(start, unit)
    over = None if query.calendar is None or step is None else steps_over(start, end, step, at)
    return Bounds(start, end, step, resolution, finest, query.calendar, over=over)


def _by_calendar(query: Query, wanted: Calendar, start: int | None, last: int, at: int, engine: Engine) -> Bounds:
    """Bounds whose steps are those of a calendar, as nearly as the panes can tell that are kept since the start."""
    for finest in (OPEN, *LEVELS):
        resolution, kept_from = (BASE, engine.closed) if finest == OPEN else (WIDTHS[finest], engine.horizons[finest])
        calendar = wanted.kept_at(resolution)
        first, end = _numbers(query, wanted, calendar, start, last)
        if calendar.start(first) >= kept_from:
            break
    edges, exact_from = wanted.edges(first, end), None
    if (edges % resolution).any():
        dividing = [level for level in LEVELS if not (edges % WIDTHS[level]).any()]
        exact_from = engine.horizons[dividing[-1]] if dividing else engine.closed
        edges = calendar.edges(first, end)
    else:
        calendar = wanted
    return Bounds(
        int(edges[0]), int(edges[-1]), None, resolution, finest, calendar, edges, edges_over(edges, at), exact_from
    )


def _numbers(query: Query, wanted: Calendar, calendar: Calendar, start: int | None, last: int) -> tuple[int, int]:
    """The first step and the one after the last. A start or end at an edge stays there, wherever that is rounded to."""
    first, end = calendar.span(start, last, query.range)
    if start is not None and wanted.after(start - 1) == start:
        first = wanted.number(start)
    ended = query.end is not None or (query.period is not None and query.period.last)
    if ended and wanted.after(last - 1) == last:
        end = wanted.number(last)
    return first, max(end, first + 1)


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
        if not bounds.stepped:
            raise TooExpensive(f"{groups} groups are more than the {limits.points} allowed; group by fewer labels")
        wider = f"{ceil((bounds.end - bounds.start) // fits + 1, bounds.resolution) // 1000}s"
        if bounds.calendar is not None:
            times = -(-bounds.steps // max(1, fits - 1))  # one may be cut by the start of the range
            wider = f"{bounds.calendar.count * times}{bounds.calendar.unit}"
        shortest = int(np.diff(bounds.edges).min()) if bounds.edges is not None else bounds.step or 0
        raise TooExpensive(
            f"{groups} groups x {bounds.steps} steps are {points} points, more than the {limits.points} allowed; "
            f"a step of {wider} or a range of {fits * shortest // 1000}s would fit"
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
        if bounds.edges is None:
            _cover(bounds.start, closed, LEVELS[-1], bounds, engine, found)
        else:
            _cover_between(bounds.edges, bounds.start, closed, engine, found)
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


def _cover_between(edges: Ints, start: int, end: int, engine: Engine, found: list[Stretch]) -> None:
    """As `_cover`, for steps between edges: no pane holds time of two of them."""
    starts, ends = np.array([start]), np.array([end])
    for level in reversed(LEVELS[1:]):
        width = WIDTHS[level]
        # What is left, cut where a step begins within a pane of this level.
        cuts = edges[(edges % width != 0) & (edges > start) & (edges < end)]
        begins = np.union1d(starts, cuts[_within(cuts, starts, ends)])
        finishes = np.union1d(ends, cuts[_within(cuts, starts, ends)])
        inner_start = -(-begins // width) * width
        inner_end = np.minimum(finishes - finishes % width, engine.rolled[level - 1])
        usable = inner_start < inner_end
        found += [Stretch(level, one, other) for one, other in _joined(inner_start[usable], inner_end[usable])]
        # The rest goes to the finer levels: what lies before and behind each part that is answered for, else all of it.
        begins = np.concatenate([begins, inner_end[usable]])
        finishes = np.concatenate([np.where(usable, inner_start, finishes), finishes[usable]])
        rest = _joined(begins[begins < finishes], finishes[begins < finishes])
        starts, ends = np.array(rest, np.int64).reshape(-1, 2).T
    found += [Stretch(LEVELS[0], one, other) for one, other in zip(starts.tolist(), ends.tolist(), strict=True)]


def _within(moments: Ints, starts: Ints, ends: Ints) -> Flags:
    """Which moments lie inside, and not at the start, of one of the stretches, which are in order."""
    at = np.searchsorted(starts, moments, "left") - 1
    return (at >= 0) & (moments < ends[at]) if len(starts) else np.zeros(len(moments), np.bool_)


def _joined(starts: Ints, ends: Ints) -> list[tuple[int, int]]:
    """Stretches in order, those that touch made one."""
    order = np.argsort(starts)
    starts, ends = starts[order], ends[order]
    apart = np.flatnonzero(starts[1:] != ends[:-1])
    firsts, lasts = np.append(0, apart + 1), np.append(apart, len(starts) - 1)
    return list(zip(starts[firsts].tolist(), ends[lasts].tolist(), strict=True)) if len(starts) else []


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
    return list(dict.fromkeys(found))  # two stretches between edges may lie in one block


def _blocks(number: int, begin: int, end: int, name: str) -> list[BlockId]:
    return [BlockId(number, start, name) for start in range(floor(begin, span(number)), end, span(number))]


def needs(aggregate: Aggregate) -> frozenset[str]:
    """The pane columns to read; every answer carries counts."""
    return aggregate.need | {"count"}
