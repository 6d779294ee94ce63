"""Executing a plan: panes from everywhere folded by group and step, and the answer made of them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine.aggregates import Aggregate, find
from engine.engine import Engine
from engine.errors import OutOfReach
from engine.levels import level_of, span
from engine.model import Floats, Ints
from engine.panes import Panes
from engine.query.bounds import Bounds
from engine.query.follow import Folded, Follower, Increases, Reading, inside
from engine.query.plan import Groups, Stretch
from engine.query.value import Query
from engine.rollup import BlockId
from engine.sketches import columns as sketches

MISSING_GROUP = "default"
"""The name of a label a series does not have, in `group`."""


@dataclass(slots=True)
class Table:
    """An answer as columns. values: float64[groups, steps], nan for unknown; counts: int64[groups, steps]."""

    groups: list[tuple[str, ...]]
    times: Ints
    values: Floats
    counts: Ints
    error: float = 0.0
    """The relative error in force."""
    notes: list[str] = field(default_factory=list)


def execute(
    follower: Follower, bounds: Bounds, groups: Groups, reading: Reading, blocks: Mapping[BlockId, Panes],
    stretches: list[Stretch],
) -> Table:  # fmt: skip
    """The answer of an aggregating query. blocks: the stored ones that exist, with the columns it needs."""
    aggregate = find(follower.query.aggregation or "count")
    folded = follower.fold(reading, bounds, groups, stored_parts(blocks, stretches))
    if "increase" in follower.need:
        folded = _credit(folded, reading.increases, bounds, groups)
    return _table(aggregate, bounds, groups, folded.keys, folded.panes)


def stored_parts(blocks: Mapping[BlockId, Panes], stretches: list[Stretch]) -> dict[BlockId, list[Panes]]:
    """The panes of the blocks that lie in their level's stretches."""
    of_level: dict[int, list[tuple[int, int]]] = {}
    for level, start, end in sorted(stretches):
        of_level.setdefault(level, []).append((start, end))
    found = {}
    for block, part in blocks.items():
        mine = of_level.get(level_of(block.level), [])
        # Stretches do not overlap, so those that the block reaches into stand side by side.
        first = bisect_right(mine, block.start, key=lambda stretch: stretch[1])
        last = bisect_left(mine, block.start + span(block.level), key=lambda stretch: stretch[0])
        found[block] = [inside(part, start, end) for start, end in mine[first:last]]
    return found


def _credit(folded: Folded, increases: Increases, bounds: Bounds, groups: Groups) -> Folded:
    """Adds the open running totals' increases; each point's own sample is among the panes, so its key exists."""
    series, times, deltas = increases
    if not len(series):
        return folded
    at = groups.of_series[series].astype(np.int64)
    if bounds.stepped:
        at = at * bounds.steps + bounds.number(times)
    added = np.bincount(np.searchsorted(folded.keys, at), weights=deltas, minlength=len(folded.keys))
    state = {**folded.panes.state, "increase": folded.panes.state["increase"] + added}
    return Folded(folded.keys, Panes(folded.panes.series, folded.panes.start, state, folded.panes.sketches))


def _table(aggregate: Aggregate, bounds: Bounds, groups: Groups, keys: Ints, folded: Panes) -> Table:
    steps = bounds.steps
    empty = np.nan if aggregate.empty is None else float(aggregate.empty)
    values = np.full(len(groups.labels) * steps, empty)
    counts = np.zeros(len(groups.labels) * steps, np.int64)
    notes = []
    if len(keys):
        values[keys] = aggregate.finish(folded, bounds.seconds(keys))
        counts[keys] = folded.state["count"]
    if aggregate.counters_only and groups.series and not groups.counters:
        values[:] = np.nan
        notes.append(f"{aggregate.name} reads counters, and none of these series is one")
    error = 0.0
    if folded.sketches is not None and aggregate.name not in ("unique",):
        error = sketches.error_bound(folded.sketches)
    times = bounds.times
    by_group, counts_by_group = values.reshape(-1, steps), counts.reshape(-1, steps)
    if len(groups.labels) == 1 and not groups.labels[0]:
        return Table(groups.labels, times, by_group, counts_by_group, error, notes)
    present = np.flatnonzero(counts_by_group.any(axis=1))
    labels = [groups.labels[number] for number in present]
    return Table(labels, times, by_group[present], counts_by_group[present], error, notes)


@dataclass(slots=True)
class RawRows:
    """Raw samples that a query selects, newest first, and since when they are complete."""

    series: Any
    rows: Any
    times: Ints
    positions: Ints
    values: Floats
    complete_from: int


def raw(engine: Engine, bounds: Bounds, groups: Groups, name: str | None = None) -> RawRows:
    """The raw samples in the range, as far as they are kept. name: the metric asked for."""
    newest = engine.newest_of(name)
    held = newest.view()
    known = held.series < len(groups.of_series)
    chosen = known & (groups.of_series[held.series * known] >= 0)
    at = np.flatnonzero(chosen & (held.times >= bounds.start) & (held.times < bounds.end))
    at = at[np.lexsort((held.rows[at], held.positions[at], held.times[at]))][::-1]
    return RawRows(
        held.series[at], held.rows[at], held.times[at], held.positions[at], held.values[at],
        int(newest.forgotten) + 1,
    )  # fmt: skip


def execute_custom(query: Query, bounds: Bounds, groups: Groups, rows: RawRows, fn: Any) -> Table:
    """The answer of a registered aggregation over raw values. Raises OutOfReach when some are no longer kept."""
    if rows.complete_from > bounds.start:
        fits = max(0, (bounds.end - rows.complete_from) // 1000)
        raise OutOfReach(
            f"{query.aggregation} reads raw values, which are kept for the last {fits} s here; ask for a range within "
            "that, or raise METRIC_BUFFER_SIZE"
        )
    order = np.arange(len(rows.times))[::-1]
    keys = groups.of_series[rows.series].astype(np.int64)[order]
    if bounds.stepped:
        keys = keys * bounds.steps + bounds.number(rows.times[order])
    size = len(groups.labels) * bounds.steps
    values, counts = np.full(size, np.nan), np.bincount(keys, minlength=size)
    for key in np.flatnonzero(counts):
        result = fn([float(v) for v in rows.values[order][keys == key]], dict(query.params))
        values[key] = np.nan if result is None else float(result)
    return Table(groups.labels, bounds.times, values.reshape(-1, bounds.steps), counts.reshape(-1, bounds.steps))
