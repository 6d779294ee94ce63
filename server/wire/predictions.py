"""What the state of panes should be, as far as their sketches still hold the values themselves.

A pane of at most EXACT_VALUES values says its sum, extremes and so on twice: as numbers, and by its values. A tight
block stores only by how much the numbers differ from what is worked out here, mostly by nothing or by a last bit, for
they were added up in another order. Each step is an IEEE operation on its own and in a fixed order, so every machine
works out the same bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.sketches.columns import EXACT_VALUES

Column = NDArray[Any]
PREDICTED = ("count", "sum", "m2", "min", "max", "first", "last")


def divide(value_ptr: NDArray[np.int64], values: NDArray[np.float64]) -> bool:
    """Whether the pointers divide the values into panes that may hold them as they are."""
    counts = np.diff(value_ptr)
    whole = len(value_ptr) > 0 and value_ptr[0] == 0 and value_ptr[-1] == len(values)
    return bool(whole and ((counts >= 0) & (counts <= EXACT_VALUES)).all())


class Predictions:
    """The columns named in PREDICTED for rows that own values[value_ptr[i]:value_ptr[i + 1]]; 0 where that is none.

    ValueError where the pointers are none.
    """

    def __init__(self, value_ptr: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        if not divide(value_ptr, values):
            raise ValueError(f"pointers that do not divide the values into panes of at most {EXACT_VALUES}")
        self._counts, self._values = np.diff(value_ptr), values
        self._begin, self._end = value_ptr[:-1], value_ptr[1:]
        self._known: dict[str, Column] = {}

    def __getitem__(self, name: str) -> Column:
        if name not in self._known:
            with np.errstate(all="ignore"):
                self._work_out(name)
        return self._known[name]

    def _work_out(self, name: str) -> None:
        some = np.flatnonzero(self._counts)
        if name == "count":
            self._known[name] = self._counts
        elif name in ("first", "last"):
            found = np.zeros(len(self._counts))
            found[some] = self._values[self._begin[some] if name == "first" else self._end[some] - 1]
            self._known[name] = found
        elif name == "m2":
            self._known[name] = self._squares(some)
        elif name in PREDICTED:
            self._add_up(some)
        else:
            raise ValueError(f"{name} is not predicted")

    def _add_up(self, some: NDArray[np.int64]) -> None:
        total, low, high = (self["first"].copy() for _ in range(3))
        for step in range(1, self._most):
            some = some[self._counts[some] > step]
            each = self._values[self._begin[some] + step]
            total[some] += each
            # Not np.minimum, which may take either of 0 and -0.
            low[some] = np.where(each < low[some], each, low[some])
            high[some] = np.where(each > high[some], each, high[some])
        self._known |= {"sum": total, "min": low, "max": high}

    def _squares(self, some: NDArray[np.int64]) -> Column:
        found = np.zeros(len(self._counts))
        mean = self["sum"] / self._counts
        for step in range(self._most):
            some = some[self._counts[some] > step]
            apart = self._values[self._begin[some] + step] - mean[some]
            found[some] += apart * apart
        return found

    @property
    def _most(self) -> int:
        return int(self._counts.max()) if len(self._counts) else 0
