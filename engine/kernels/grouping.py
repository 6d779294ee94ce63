"""Sorting rows into groups: the one loop everything else rests on.

The key and the row number share one int64, so that numpy's vectorised value sort orders both at once and equal keys
keep their arrival order; an argsort would cost about four times as much.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from engine.model import Ints

_ROW_BITS = 24
_ROW_MASK = (1 << _ROW_BITS) - 1
_KEY_LIMIT = 1 << (63 - _ROW_BITS)


@dataclass(frozen=True)
class Groups:
    """Rows in key order. order: row numbers; starts: where each group begins in that order; keys: one per group."""

    order: Ints
    starts: Ints
    keys: Ints

    @cached_property
    def lengths(self) -> Ints:
        """Rows per group."""
        return np.diff(self.starts, append=len(self.order))

    @cached_property
    def of_row(self) -> Ints:
        """The group number of each row, in key order."""
        return np.repeat(np.arange(len(self.starts)), self.lengths)


def group(keys: Ints) -> Groups:
    """Groups of equal keys, ascending; rows of one group stay in their order. keys: int64[n], not negative."""
    n = len(keys)
    if n == 0:
        empty = np.empty(0, np.int64)
        return Groups(empty, empty, empty)
    if n <= _ROW_MASK and int(keys.max()) < _KEY_LIMIT:
        packed = (keys << _ROW_BITS) | np.arange(n, dtype=np.int64)
        packed.sort()
        order = packed & _ROW_MASK
        ordered = packed >> _ROW_BITS
    else:
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
    first = np.empty(n, np.bool_)
    first[0] = True
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    starts = np.flatnonzero(first)
    return Groups(order, starts, ordered[starts])


def gather_ragged(ptr: Ints, rows: Ints) -> tuple[Ints, Ints]:
    """Where the elements of some rows lie: (element positions, elements per row). ptr: int[n + 1]."""
    begin = ptr[rows]
    lengths = ptr[rows + 1] - begin
    total = int(lengths.sum())
    if total == 0:
        return np.empty(0, np.int64), lengths
    ends = np.cumsum(lengths)
    return np.repeat(begin - ends + lengths, lengths) + np.arange(total), lengths


def pointers(lengths: Ints) -> Ints:
    """The n + 1 pointers of rows with these many elements."""
    ptr = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=ptr[1:])
    return ptr
