"""Panes: the mergeable state of one slice of one series, kept as columns with a row per pane.

A raw sample is a pane too: count 1, and its value is sum, min, max, first and last at once. Such columns share one
array, so that sparse series cost no more than their samples.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.kernels.grouping import Groups, group
from engine.model import Codes, Flags, Floats, Ints
from engine.sketches import columns as sketch_columns
from engine.sketches.columns import Sketches

Columns = dict[str, NDArray[Any]]

STATE = (
    "count", "sum", "m2", "min", "max", "first_time", "first_position", "first",
    "last_time", "last_position", "last", "increase",
)  # fmt: skip
"""The columns of a pane's state. m2: sum of squares about the mean. first and last are ordered by (time, position)."""

INT_COLUMNS = frozenset({"count", "first_time", "first_position", "last_time", "last_position"})
ALL = frozenset({*STATE, "sketch"})
AT_ONCE = 1 << 16
"""Rows that are folded at once, about."""
_FIRST = ("first_time", "first_position", "first")
_LAST = ("last_time", "last_position", "last")


@dataclass(slots=True)
class Panes:
    """Rows of pane states. series: int32[n]; start: int64[n] in ms; state: the columns of STATE that are loaded;
    sketches: None where not loaded."""

    series: Codes
    start: Ints
    state: Columns
    sketches: Sketches | None
    _samples: int = field(default=-1, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.series)

    @property
    def nbytes(self) -> int:
        """Memory of all distinct arrays, in bytes."""
        columns: list[NDArray[Any]] = [self.series, self.start, *self.state.values()]
        own = {id(column): int(column.nbytes) for column in columns if column.strides != (0,)}
        return sum(own.values()) + (self.sketches.nbytes if self.sketches else 0)

    @property
    def samples(self) -> int:
        """The sum of their counts; summed once, for counts do not change."""
        if self._samples < 0:
            count = self.state["count"]
            self._samples = len(count) * int(count[0]) if _constant(count) else int(count.sum())
        return self._samples

    def take(self, rows: Ints) -> Panes:
        """Some rows, in the order given."""
        return self.pick(rows, ALL)

    def pick(self, rows: Ints, need: Collection[str]) -> Panes:
        """Some rows, in the order given, with the columns in `need`; columns that share an array go on sharing one."""
        ordered = _Ordered(rows)
        state = {name: ordered(column) for name, column in self.state.items() if name in need}
        sketches = self.sketches.take(rows) if self.sketches is not None and "sketch" in need else None
        return Panes(self.series[rows], self.start[rows], state, sketches)


def of_samples(series: Codes, start: Ints, times: Ints, positions: Ints, values: Floats, increase: Floats) -> Panes:
    """A pane per sample. increase: what each adds to its series' increase: the value for deltas, else 0."""
    n = len(series)
    state: Columns = {
        "count": np.broadcast_to(np.int64(1), n), "sum": values, "m2": np.broadcast_to(np.float64(0), n),
        "min": values, "max": values, "first_time": times, "first_position": positions, "first": values,
        "last_time": times, "last_position": positions, "last": values, "increase": increase,
    }  # fmt: skip
    return Panes(series, start, state, sketch_columns.of_values(values))


def empty() -> Panes:
    """No pane at all."""
    none = np.empty(0, np.int64)
    return of_samples(none.astype(np.int32), none, none, none, none.astype(np.float64), none.astype(np.float64))


def concat(parts: list[Panes], need: Collection[str] = ALL) -> Panes:
    """The rows of all parts, with the columns in `need`."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return empty()
    joined: dict[tuple[int, ...], NDArray[Any]] = {}
    state: Columns = {}
    for name in STATE:
        if name in need:
            columns = [part.state[name] for part in parts]
            same = tuple(map(id, columns))
            if same not in joined:
                joined[same] = _join(columns)
            state[name] = joined[same]
    sketches = None
    if "sketch" in need:
        sketches = sketch_columns.concat([p.sketches for p in parts if p.sketches is not None])
    return Panes(np.concatenate([p.series for p in parts]), np.concatenate([p.start for p in parts]), state, sketches)


def _join(columns: list[NDArray[Any]]) -> NDArray[Any]:
    if all(_constant(column) and column[0] == columns[0][0] for column in columns):
        return np.broadcast_to(columns[0][0], sum(map(len, columns)))
    return np.concatenate(columns)


def fold(panes: Panes, keys: Ints, need: Collection[str] = ALL, unique: Flags | None = None) -> tuple[Ints, Panes]:
    """Merges the rows with equal keys; rows of equal (time, position) must be in arrival order.

    keys: int64[n], not negative. unique: bool[n], rows whose distinct values are asked for. Returns the distinct keys,
    ascending, and a row for each, with series and start of the first row merged into it.
    """
    groups = group(keys)
    order, starts = groups.order, groups.starts
    if not len(order):
        return groups.keys, panes
    if len(order) > 4 * AT_ONCE and len(starts) > 1:
        parts = _fold_by_stretch(panes, keys, groups, need, unique)
        return groups.keys, concat(parts, {*parts[0].state, *(() if parts[0].sketches is None else ("sketch",))})
    lead = order[starts]
    if len(starts) == len(order) and unique is None:
        return groups.keys, panes.take(lead)
    state = _fold_state(panes.state, groups, set(need))
    sketches = None
    if "sketch" in need and panes.sketches is not None:
        wanted = None if unique is None else unique[lead]
        sketches = sketch_columns.merge(panes.sketches, groups, state["count"], wanted)
    return groups.keys, Panes(panes.series[lead], panes.start[lead], state, sketches)


def _fold_by_stretch(
    panes: Panes, keys: Ints, groups: Groups, need: Collection[str], unique: Flags | None
) -> list[Panes]:
    """Folds some whole groups at a time, so that what is made on the way stays in the processor's caches."""
    cuts = np.searchsorted(groups.starts, np.arange(AT_ONCE, len(groups.order), AT_ONCE))
    edges = np.unique(np.append(groups.starts[cuts[cuts < len(groups.starts)]], len(groups.order)))
    parts, begin = [], 0
    for end in edges[edges > 0].tolist():
        rows = groups.order[begin:end]
        some = panes.pick(rows, {*panes.state, "sketch"})
        parts.append(fold(some, keys[rows], need, None if unique is None else unique[rows])[1])
        begin = end
    return parts


def _fold_state(state: Columns, groups: Groups, need: set[str]) -> Columns:
    starts = groups.starts
    if "m2" in need:
        need |= {"sum", "count"}
    if "sketch" in need:
        need |= {"count"}
    ordered = _Ordered(groups.order)
    out: Columns = {}
    if "count" in need:
        count = state["count"]
        out["count"] = groups.lengths if _ones(count) else np.add.reduceat(ordered(count), starts)
    if "sum" in need:
        out["sum"] = np.add.reduceat(ordered(state["sum"]), starts)
    if "m2" in need:
        out["m2"] = _fold_m2(state, groups, ordered, out)
    if "min" in need:
        out["min"] = np.minimum.reduceat(ordered(state["min"]), starts)
    if "max" in need:
        out["max"] = np.maximum.reduceat(ordered(state["max"]), starts)
    if "increase" in need:
        increase = state["increase"]
        nothing = _constant(increase) and not increase[0]
        out["increase"] = np.zeros(len(starts)) if nothing else np.add.reduceat(ordered(increase), starts)
    if not need.isdisjoint((*_FIRST, *_LAST)):
        out |= _edges(state, groups, ordered, need)
    return out


class _Ordered:
    """Columns in key order; those of raw samples share an array, which is gathered once."""

    def __init__(self, order: Ints) -> None:
        self._order = order
        self._done: dict[int, NDArray[Any]] = {}

    def __call__(self, column: NDArray[Any]) -> NDArray[Any]:
        known = self._done.get(id(column))
        if known is None:
            constant = _constant(column)
            known = np.broadcast_to(column[0], len(self._order)) if constant else column[self._order]
            self._done[id(column)] = known
        return known


def _constant(column: NDArray[Any]) -> bool:
    """Whether a column is one value for all rows by its making."""
    return column.strides == (0,) and len(column) > 0


def _ones(count: Ints) -> bool:
    """Whether every row is known to be one sample; a stored block may be constant in any other count."""
    return _constant(count) and bool(count[0] == 1)


def _fold_m2(state: Columns, groups: Groups, ordered: _Ordered, out: Columns) -> Floats:
    """Chan, Golub and LeVeque's parallel variance: inner squares plus those of the means about the common mean."""
    mean = (out["sum"] / out["count"])[groups.of_row]
    sums = ordered(state["sum"])
    if _ones(state["count"]):
        return np.asarray(np.add.reduceat((sums - mean) ** 2, groups.starts))
    counts = ordered(state["count"])
    squares = ordered(state["m2"]) + counts * (sums / counts - mean) ** 2
    return np.asarray(np.add.reduceat(squares, groups.starts))


def _edges(state: Columns, groups: Groups, ordered: _Ordered, need: set[str]) -> Columns:
    """Time, position and value of the first and of the last sample of each group, as far as they are asked for."""
    out: Columns = {}
    in_order: dict[tuple[int, int], bool] = {}
    for names, latest in ((_FIRST, False), (_LAST, True)):
        if need.isdisjoint(names):
            continue
        times, positions = (ordered(state[name]) for name in names[:2])
        pair = id(times), id(positions)
        if pair not in in_order:
            in_order[pair] = _ascending(times, groups) and _ascending(positions, groups)
        if in_order[pair]:
            rows = np.append(groups.starts[1:], len(times)) - 1 if latest else groups.starts
        else:
            rows = _extreme(times, positions, groups, latest)
        out |= {name: ordered(state[name])[rows] for name in names}
    return out


def _ascending(column: Ints, groups: Groups) -> bool:
    """Whether a column never falls within a group."""
    rises = column[1:] >= column[:-1]
    rises[groups.starts[1:] - 1] = True
    return bool(rises.all())


def _extreme(times: Ints, positions: Ints, groups: Groups, latest: bool) -> Ints:
    """Where in the order the extreme (time, position) of each group stands; ties go to the arrival order."""
    best, worst = (np.maximum, np.iinfo(np.int64).min) if latest else (np.minimum, np.iinfo(np.int64).max)
    at_time = times == best.reduceat(times, groups.starts)[groups.of_row]
    ranked = np.where(at_time, positions, worst)
    candidates = np.flatnonzero(at_time & (ranked == best.reduceat(ranked, groups.starts)[groups.of_row]))
    if not latest:
        candidates = candidates[::-1]  # the last write to a place wins
    rows = np.empty(len(groups.starts), np.int64)
    rows[groups.of_row[candidates]] = candidates
    return rows
