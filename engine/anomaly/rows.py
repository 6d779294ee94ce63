"""Tables with a row for each series, of which more may come."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Rows:
    """Arrays as attributes, those named in `columns`: a row of each belongs to a series. A new row is zeros."""

    __slots__ = ()
    columns: tuple[str, ...] = ()

    def grow(self, rows: int) -> None:
        """Makes room for so many rows in all; those that are there stay as they are."""
        for name in self.columns:
            setattr(self, name, longer(getattr(self, name), rows))

    def clear(self, row: int) -> None:
        """The row as it was when it was new."""
        for name in self.columns:
            getattr(self, name)[row] = 0


def longer(array: NDArray[Any], rows: int) -> NDArray[Any]:
    """The array with zeros behind, so that it has so many rows. What is not touched takes no memory."""
    grown = np.zeros((rows, *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown
