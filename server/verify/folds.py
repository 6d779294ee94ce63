"""Panes as plain columns: what folding them gives, and where two lists of them differ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from engine.model import Flags, Floats, Ints

COLUMNS = ("count", "sum", "min", "max")
"""The columns of a pane's state that are recounted."""
TOLERANCE = 1e-9
"""Of a sum, relative to the sum of the magnitudes of what was added."""


class Rows(NamedTuple):
    """Panes, in any order."""

    series: Ints
    start: Ints
    counts: Ints
    sums: Floats
    least: Floats
    most: Floats

    def where(self, wanted: Flags | Ints) -> Rows:
        """Some of them, by flags or in the order of row numbers."""
        return Rows(
            self.series[wanted], self.start[wanted], self.counts[wanted], self.sums[wanted], self.least[wanted],
            self.most[wanted],
        )  # fmt: skip

    @property
    def magnitude(self) -> Floats:
        """At least the sum of the values without their signs, of each."""
        return np.asarray(self.counts * np.maximum(np.abs(self.least), np.abs(self.most)))


class Pane(NamedTuple):
    """One of them."""

    rows: int
    total: float
    least: float
    most: float


_NONE, _NO_VALUES = np.empty(0, np.int64), np.empty(0, np.float64)
NOTHING = Rows(_NONE, _NONE, _NONE, _NO_VALUES, _NO_VALUES, _NO_VALUES)


def fold(rows: Rows, width: int) -> Rows:
    """One pane per series and slice of that width, in ms."""
    if not len(rows.series):
        return rows
    begin = rows.start - rows.start % width
    order = np.lexsort((begin, rows.series))
    ordered, begin = rows.where(order), begin[order]
    changes = (ordered.series[1:] != ordered.series[:-1]) | (begin[1:] != begin[:-1])
    first = np.flatnonzero(np.append(True, changes))
    return Rows(
        ordered.series[first],
        begin[first],
        np.add.reduceat(ordered.counts, first),
        np.add.reduceat(ordered.sums, first),
        np.minimum.reduceat(ordered.least, first),
        np.maximum.reduceat(ordered.most, first),
    )


def join(parts: list[Rows]) -> Rows:
    """All of them in one."""
    if not parts:
        return NOTHING
    series, start, counts, sums, least, most = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return Rows(series, start, counts, sums, least, most)


def unequal(one: Rows, other: Rows) -> Iterator[tuple[int, int, Pane | None, Pane | None]]:
    """(series, start, pane of the one, of the other) where they differ; None where it has none there.

    Each may have one pane per series and start. Sums may differ by TOLERANCE, everything else by nothing.
    """
    one, other = _sorted(one), _sorted(other)
    if len(one.series) == len(other.series) and same(one, other).all():
        return
    panes: dict[tuple[int, int], list[Pane | None]] = {}
    for side, rows in enumerate((one, other)):
        columns = (column.tolist() for column in rows)
        for series, start, count, total, least, most in zip(*columns, strict=True):
            panes.setdefault((series, start), [None, None])[side] = Pane(count, total, least, most)
    for (series, start), (mine, theirs) in sorted(panes.items()):
        if mine is None or theirs is None or not _same_pane(mine, theirs):
            yield series, start, mine, theirs


def same(one: Rows, other: Rows) -> Flags:
    """Row by row, whether they agree."""
    exact = [getattr(one, name) == getattr(other, name) for name in ("series", "start", "counts", "least", "most")]
    return np.asarray(np.logical_and.reduce([*exact, sums_agree(one.sums, other.sums, one.magnitude)]))


def sums_agree(one: Floats, other: Floats, magnitude: Floats) -> Flags:
    """Which sums are the same but for rounding. Those that left the range of floats agree with one another."""
    with np.errstate(invalid="ignore", over="ignore"):
        near = np.abs(one - other) <= TOLERANCE * magnitude
    return np.asarray(near | (one == other) | (~np.isfinite(one) & ~np.isfinite(other)))


def _same_pane(one: Pane, other: Pane) -> bool:
    scale = one.rows * max(abs(one.least), abs(one.most))
    near = bool(sums_agree(np.array([one.total]), np.array([other.total]), np.array([scale]))[0])
    return near and (one.rows, one.least, one.most) == (other.rows, other.least, other.most)


def _sorted(rows: Rows) -> Rows:
    order = np.lexsort((rows.start, rows.series))
    return rows.where(order)
