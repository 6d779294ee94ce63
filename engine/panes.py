"""Panes: the mergeable state of one slice of one series, kept as columns with a row per pane.

A raw sample is a pane too: count 1, and its value is sum, min, max, first and last at once. Such columns share one
array, so that sparse series cost no more than their samples.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
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

    def __len__(self) -> int:
        return len(self.series)

    @property
    def nbytes(self) -> int:
        """Memory of all distinct arrays, in bytes."""
        arrays = {id(a): a.nbytes for a in (self.series, self.start, *self.state.values()) if a.strides != (0,)}
        return sum(arrays.values()) + (self.sketches.nbytes if self.sketches else 0)

    def take(self, rows: Ints) -> Panes:
        """Some rows, in the order given."""
        return self.pick(rows, ALL)

    def pick(self, rows: Ints, need: Collection[str]) -> Panes:
        """Some rows, in the order given, with the columns in `need`."""
        state = {name: column[rows] for name, column in self.state.items() if name in need}
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
    state = {name: np.concatenate([p.state[name] for p in parts]) for name in STATE if name in need}
    sketches = None
    if "sketch" in need:
        sketches = sketch_columns.concat([p.sketches for p in parts if p.sketches is not None])
    return Panes(np.concatenate([p.series for p in parts]), np.concatenate([p.start for p in parts]), state, sketches)


def fold(panes: Panes, keys: Ints, need: Collection[str] = ALL, unique: Flags | None = None) -> tuple[Ints, Panes]:
    """Merges the rows with equal keys; rows of equal (time, position) must be in arrival order.

    keys: int64[n], not negative. unique: bool[n], rows whose distinct values are asked for. Returns the distinct keys,
    ascending, and a row for each, with series and start of the first row merged into it.
    """
    groups = group(keys)
    order, starts = groups.order, groups.starts
    if not len(order):
        return groups.keys, panes
    lead = order[starts]
    if len(starts) == len(order) and unique is None:
        return groups.keys, panes.take(lead)
    state = _fold_state(panes.state, groups, set(need))
    sketches = None
    if "sketch" in need and panes.sketches is not None:
        wanted = None if unique is None else unique[lead]
        sketches = sketch_columns.merge(panes.sketches, groups, state["count"], wanted)
    return groups.keys, Panes(panes.series[lead], panes.start[lead], state, sketches)


def _fold_state(state: Columns, groups: Groups, need: set[str]) -> Columns:
    order, starts = groups.order, groups.starts
    if "m2" in need:
        need |= {"sum", "count"}
    if "sketch" in need:
        need |= {"count"}
    out: Columns = {}
    if "count" in need:
        count = state["count"]
        out["count"] = groups.lengths() if count.strides == (0,) else np.add.reduceat(count[order], starts)
    ordered_sum = state["sum"][order] if "sum" in need else None
    if ordered_sum is not None:
        out["sum"] = np.add.reduceat(ordered_sum, starts)
    if "m2" in need and ordered_sum is not None:
        out["m2"] = _fold_m2(state, groups, ordered_sum, out)
    if "min" in need:
        out["min"] = np.minimum.reduceat(state["min"][order], starts)
    if "max" in need:
        out["max"] = np.maximum.reduceat(state["max"][order], starts)
    if "increase" in need:
        out["increase"] = np.add.reduceat(state["increase"][order], starts)
    if not need.isdisjoint(_FIRST):
        out.update(zip(_FIRST, _edge(state, groups, _FIRST, latest=False), strict=True))
    if not need.isdisjoint(_LAST):
        out.update(zip(_LAST, _edge(state, groups, _LAST, latest=True), strict=True))
    return out


def _fold_m2(state: Columns, groups: Groups, ordered_sum: Floats, out: Columns) -> Floats:
    """Chan, Golub and LeVeque's parallel variance: inner squares plus those of the means about the common mean."""
    count = state["count"]
    mean = np.repeat(out["sum"] / out["count"], groups.lengths())
    if count.strides == (0,):
        return np.asarray(np.add.reduceat((ordered_sum - mean) ** 2, groups.starts))
    ordered = count[groups.order]
    squares = state["m2"][groups.order] + ordered * (ordered_sum / ordered - mean) ** 2
    return np.asarray(np.add.reduceat(squares, groups.starts))


def _edge(state: Columns, groups: Groups, names: tuple[str, str, str], latest: bool) -> list[NDArray[Any]]:
    """Time, position and value of the first or last sample of each group."""
    order, starts = groups.order, groups.starts
    times = state[names[0]][order]
    in_order = times[1:] >= times[:-1]
    in_order[starts[1:] - 1] = True
    positions = state[names[1]][order]
    ranked = positions[1:] >= positions[:-1]
    ranked[starts[1:] - 1] = True
    if in_order.all() and ranked.all():
        rows = order[np.append(starts[1:], len(order)) - 1 if latest else starts]
    else:
        rows = order[_extreme(times, positions, groups, latest)]
    return [state[name][rows] for name in names]


def _extreme(times: Ints, positions: Ints, groups: Groups, latest: bool) -> Ints:
    """Where in the order the extreme (time, position) of each group stands; ties go to the arrival order."""
    of_row = groups.of_row()
    best, worst = (np.maximum, np.iinfo(np.int64).min) if latest else (np.minimum, np.iinfo(np.int64).max)
    at_time = times == best.reduceat(times, groups.starts)[of_row]
    ranked = np.where(at_time, positions, worst)
    candidates = np.flatnonzero(at_time & (ranked == best.reduceat(ranked, groups.starts)[of_row]))
    if not latest:
        candidates = candidates[::-1]  # the last write to a place wins
    rows = np.empty(len(groups.starts), np.int64)
    rows[of_row[candidates]] = candidates
    return rows
