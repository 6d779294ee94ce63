"""Sliding windows folded from steps: what a query over a window would have given at the end of each step.

A window of k steps is put together of windows of 1, 2, 4, 8 … steps, each of which is two of the ones before: some ten
operations on whole columns, whatever k is. Only what lies inside a window takes part in it, so that nothing is left of
what has gone, as there is where a running total lets go of old values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from engine.model import Floats, Ints
from engine.rules.conditions import compare, reference
from engine.rules.model import Rule

_PARTS = {
    "sum": ("sum",), "count": ("count",), "average": ("sum",), "min": ("min",), "max": ("max",), "first": ("first",),
    "last": ("last",), "increase": ("increase",), "rate": ("increase",), "stddev": ("stddev", "sum"),
}  # fmt: skip
_GROWING = ("sum", "count", "increase")
"""What grows with the length of a window."""


def parts(aggregation: str) -> tuple[str, ...]:
    """The aggregations whose values in each step, with counts, tell one over a window; none for those that cannot be
    told so: percentiles, unique, registered ones."""
    return _PARTS.get(aggregation, ())


def fold(aggregation: str, steps: Mapping[str, Floats], counts: Ints, step: int, window: int) -> tuple[Floats, Ints]:
    """(values, counts) over the window that ends with each step, from the first whole window on: [groups, windows].

    steps: [groups, steps] of each of the parts, nan for unknown; counts: samples in each; step, window: ms. A window
    that is no whole number of steps is taken as the nearest one, and what grows with its length is scaled.
    """
    size = length(step, window)
    held = slide(np.add, counts, size)
    of = {name: steps[name] for name in parts(aggregation)}
    if aggregation == "average":
        with np.errstate(invalid="ignore", divide="ignore"):
            return slide(np.add, _or_0(of["sum"]), size) / held, held
    if aggregation in ("min", "max"):
        return slide(np.fmin if aggregation == "min" else np.fmax, of[aggregation], size), held
    if aggregation in ("first", "last"):
        return _at_an_end(of[aggregation], size, aggregation == "last"), held
    if aggregation == "stddev":
        return _stddev(of["stddev"], of["sum"], counts, size, held), held
    added = of["increase" if aggregation == "rate" else aggregation]
    total = slide(np.add, _or_0(added), size)
    total[~slide(np.logical_or, ~np.isnan(added), size)] = np.nan
    taken = size * step
    return (total * (window / taken) if aggregation in _GROWING else total / (taken / 1000)), held


def length(step: int, window: int) -> int:
    """How many steps a window is taken for."""
    return max(1, round(window / step))


def slide(operation: np.ufunc, values: Any, size: int) -> Any:
    """An associative operation over each `size` neighbours in a row: [groups, steps] to [groups, steps - size + 1]."""
    found = np.empty((len(values), max(0, values.shape[1] - size + 1)), values.dtype)
    for row, out in zip(values, found, strict=True):  # a row fits into the cache of a processor, a table does not
        out[:] = _slide(operation, row, size, len(out))
    return found


def _slide(operation: np.ufunc, row: Any, size: int, windows: int) -> Any:
    found, taken, width = None, 0, 1
    while taken < size:
        if size & width:
            part = row[taken : taken + windows]
            found = part if found is None else operation(found, part)
            taken += width
        row = operation(row[:-width], row[width:]) if 2 * width <= size else row
        width *= 2
    return found


def change(values: Floats, before: Floats, relative: bool) -> Floats:
    """How far values are from those before, in percent of these where `relative`; nan where that is unknown, as the
    percentage of 0 is."""
    if not relative:
        return values - before
    with np.errstate(divide="ignore", invalid="ignore"):
        percent = (values - before) / np.abs(before) * 100
    return np.where(np.isfinite(percent), percent, np.nan)


def deciding(rule: Rule) -> tuple[str, ...]:
    """Of a rule about each arriving value, the aggregations that tell the one that decides; see `worst`."""
    if rule.op in ("==", "!="):
        return "first", "last"
    return ("max",) if rule.op in (">", ">=") else ("min",)


def worst(rule: Rule, columns: Mapping[str, Floats]) -> Floats:
    """The value that decides, of those that have arrived: the greatest, the least, or the first or last that is equal,
    or is not. columns: of the aggregations that `deciding` names."""
    names = deciding(rule)
    if len(names) == 1:
        return columns[names[0]]
    return np.where(compare(rule.op, columns["first"], reference(rule)), columns["first"], columns["last"])


def _or_0(values: Floats) -> Floats:
    return np.where(np.isnan(values), 0.0, values)


def _at_an_end(values: Floats, size: int, last: bool) -> Floats:
    """The first known value of each window, or the last."""
    places = np.where(np.isnan(values), -1 if last else values.shape[1], np.arange(values.shape[1]))
    found = slide(np.maximum if last else np.minimum, places, size)
    known = (found >= 0) & (found < values.shape[1])
    return np.where(known, np.take_along_axis(values, np.where(known, found, 0), axis=1), np.nan)


def _stddev(stddev: Floats, sums: Floats, counts: Ints, size: int, held: Ints) -> Floats:
    """From the mean and the deviation of each step; about a mean of all, so that digits last."""
    with np.errstate(invalid="ignore", divide="ignore"):
        middle = _or_0(sums).sum(axis=1, keepdims=True) / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        away = np.where(counts > 0, sums / counts - middle, 0.0)
        squares = slide(np.add, np.where(counts > 0, counts * (stddev**2 + away**2), 0.0), size) / held
        mean = slide(np.add, counts * away, size) / held
    return np.asarray(np.sqrt(np.maximum(squares - mean**2, 0)))
