"""Executing a plan: panes from everywhere folded by group and step, and the answer made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine import panes
from engine.aggregates import Aggregate, find
from engine.engine import Engine
from engine.errors import OutOfReach
from engine.model import Floats, Ints
from engine.panes import Panes
from engine.query.plan import OPEN, Bounds, Groups, Stretch, needs
from engine.query.value import Query
from engine.rollup import BlockId
from engine.sketches import columns as sketches

MISSING_GROUP = "default"
"""The name of a label a series does not have, in `group`."""
_SMALL = 1_000_000
"""Cells of table worth adding into for any number of panes."""
_ADDITIVE = frozenset({"sum", "count", "increase"})


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


@dataclass(slots=True)
class Reading:
    """What a query reads from the engine, taken between two entries; its arrays do not change afterwards."""

    parts: list[Panes]
    increases: tuple[Any, Ints, Floats]
    """(series, time, delta) of the open points of running totals."""
    types: Any
    generation: int
    position: int


def read_live(
    bounds: Bounds, stretches: list[Stretch], groups: Groups, aggregate: Aggregate, engine: Engine
) -> Reading:
    """The open and the pending panes of the groups' series in the range."""
    wanted = groups.of_series >= 0
    need = needs(aggregate)
    parts: list[Panes] = []
    opened = [stretch for stretch in stretches if stretch.level == OPEN]
    for slots in (engine.frozen, engine.pending):
        for slot in slots.values():
            if slot.start < bounds.end and slot.start + slot.width * slot.per_slot > bounds.start:
                parts.extend(slot.select(wanted, need))
    for stretch in opened:
        for start, slot in engine.open.items():
            if start < stretch.end and start + 5000 > stretch.start:
                parts.extend(slot.select(wanted, need))
    parts = [inside(part, bounds.start, bounds.end) for part in parts]
    nothing = (np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0))
    increases = nothing
    if "increase" in need and opened:
        increases = engine.totals.open(wanted, opened[0].start, opened[0].end)
    return Reading(parts, increases, engine.catalogue.types, engine.generation, engine.position)


def inside(part: Panes, start: int, end: int) -> Panes:
    """The panes that start in [start, end)."""
    if not len(part) or (int(part.start.min()) >= start and int(part.start.max()) < end):
        return part
    return part.take(np.flatnonzero((part.start >= start) & (part.start < end)))


def execute(
    query: Query, bounds: Bounds, groups: Groups, reading: Reading, blocks: Mapping[BlockId, Panes],
    stretches: list[Stretch],
) -> Table:  # fmt: skip
    """The answer of an aggregating query. blocks: the stored ones that exist, their columns loaded on demand."""
    aggregate = find(query.aggregation or "count")
    need = needs(aggregate)
    parts = [*reading.parts, *stored_parts(blocks, stretches, query.name, need)]
    size, rows = len(groups.labels) * bounds.steps, sum(map(len, parts))
    if need <= _ADDITIVE and size * len(parts) <= 8 * rows + _SMALL:
        keys, folded = _add_up(parts, bounds, groups, need)
    else:
        keys, folded = _fold(parts, bounds, groups, need)
    if "increase" in need:
        _credit(folded, keys, reading.increases, bounds, groups)
    return _table(aggregate, bounds, groups, keys, folded)


def stored_parts(
    blocks: Mapping[BlockId, Panes], stretches: list[Stretch], name: str, need: frozenset[str]
) -> list[Panes]:
    """The panes of the blocks that lie in their level's stretches."""
    found = []
    for block, part in blocks.items():
        for level, start, end in stretches:
            if level == block.level and block.name == name:
                rows = inside(part, start, end)
                if len(rows):
                    found.append(rows)
    return found


def _place(part: Panes, bounds: Bounds, groups: Groups) -> tuple[Ints, Any]:
    """The (group, step) key of each pane, and which panes are asked for at all."""
    series = part.series
    known = series < len(groups.of_series)  # a series may be newer than the plan
    group = groups.of_series[series] if known.all() else np.where(known, groups.of_series[series * known], -1)
    keys = group.astype(np.int64)
    if bounds.step is not None:
        keys = keys * bounds.steps + (part.start - bounds.start) // bounds.step
    return keys, group >= 0


def _add_up(parts: list[Panes], bounds: Bounds, groups: Groups, need: frozenset[str]) -> tuple[Ints, Panes]:
    """Sums without sorting, for columns that only add."""
    size = len(groups.labels) * bounds.steps
    totals = {name: np.zeros(size) for name in need}
    for part in parts:
        keys, wanted = _place(part, bounds, groups)
        everything = bool(wanted.all())
        keys = keys if everything else keys[wanted]
        for name in need:
            column = part.state[name] if everything else part.state[name][wanted]
            totals[name] += np.bincount(keys, weights=column, minlength=size)
    keys = np.flatnonzero(totals["count"])
    state: panes.Columns = {name: column[keys] for name, column in totals.items()}
    state["count"] = state["count"].astype(np.int64)
    return keys, Panes(np.zeros(len(keys), np.int32), keys, state, None)


def _fold(parts: list[Panes], bounds: Bounds, groups: Groups, need: frozenset[str]) -> tuple[Ints, Panes]:
    chosen, keys = [], []
    for part in parts:
        placed, wanted = _place(part, bounds, groups)
        rows = np.flatnonzero(wanted)
        chosen.append(part if len(rows) == len(part) else part.take(rows))
        keys.append(placed[rows])
    if not any(map(len, chosen)):
        return np.empty(0, np.int64), panes.empty()
    together = panes.concat([part for part in chosen if len(part)], need)
    unique = np.ones(len(together), np.bool_) if need == _UNIQUE else None
    return panes.fold(together, np.concatenate(keys), need, unique)


_UNIQUE = frozenset({"count", "sketch"})


def _credit(folded: Panes, keys: Ints, increases: tuple[Any, Ints, Floats], bounds: Bounds, groups: Groups) -> None:
    """Adds the open running totals' increases; each point's own sample is among the panes, so its key exists."""
    series, times, deltas = increases
    if not len(series):
        return
    at = groups.of_series[series].astype(np.int64)
    if bounds.step is not None:
        at = at * bounds.steps + (times - bounds.start) // bounds.step
    added = np.bincount(np.searchsorted(keys, at), weights=deltas, minlength=len(keys))
    folded.state["increase"] = folded.state["increase"] + added


def _table(aggregate: Aggregate, bounds: Bounds, groups: Groups, keys: Ints, folded: Panes) -> Table:
    steps = bounds.steps
    empty = np.nan if aggregate.empty is None else float(aggregate.empty)
    values = np.full(len(groups.labels) * steps, empty)
    counts = np.zeros(len(groups.labels) * steps, np.int64)
    notes = []
    if len(keys):
        values[keys] = aggregate.finish(folded, bounds.seconds)
        counts[keys] = folded.state["count"]
    if aggregate.counters_only and groups.series and not groups.counters:
        values[:] = np.nan
        notes.append(f"{aggregate.name} reads counters, and none of these series is one")
    error = 0.0
    if folded.sketches is not None and aggregate.name not in ("unique",):
        error = sketches.error_bound(folded.sketches)
    times = bounds.start + np.arange(steps) * (bounds.step or 0)
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


def raw(engine: Engine, bounds: Bounds, groups: Groups) -> RawRows:
    """The raw samples in the range, as far as they are kept."""
    held = engine.newest.view()
    known = held.series < len(groups.of_series)
    chosen = known & (groups.of_series[held.series * known] >= 0)
    at = np.flatnonzero(chosen & (held.times >= bounds.start) & (held.times < bounds.end))
    at = at[np.lexsort((held.rows[at], held.positions[at], held.times[at]))][::-1]
    return RawRows(
        held.series[at], held.rows[at], held.times[at], held.positions[at], held.values[at],
        int(engine.newest.forgotten) + 1,
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
    if bounds.step is not None:
        keys = keys * bounds.steps + (rows.times[order] - bounds.start) // bounds.step
    size = len(groups.labels) * bounds.steps
    values, counts = np.full(size, np.nan), np.bincount(keys, minlength=size)
    for key in np.flatnonzero(counts):
        result = fn([float(v) for v in rows.values[order][keys == key]], dict(query.params))
        values[key] = np.nan if result is None else float(result)
    times = bounds.start + np.arange(bounds.steps) * (bounds.step or 0)
    return Table(groups.labels, times, values.reshape(-1, bounds.steps), counts.reshape(-1, bounds.steps))
