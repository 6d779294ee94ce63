"""Arrays that grow at the end."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


class Growing:
    """A column with room to grow: appending is amortised, and a view taken earlier never changes under its reader."""

    __slots__ = ("_data", "_lent", "size")

    def __init__(self, dtype: DTypeLike, capacity: int = 16) -> None:
        self._data: NDArray[Any] = np.empty(capacity, dtype)
        self._lent = False
        self.size = 0

    def __len__(self) -> int:
        return self.size

    def append(self, value: float) -> None:
        self._reserve(1)
        self._data[self.size] = value
        self.size += 1

    def extend(self, values: NDArray[Any]) -> None:
        n = len(values)
        self._reserve(n)
        self._data[self.size : self.size + n] = values
        self.size += n

    def view(self) -> NDArray[Any]:
        """What is there now, without a copy."""
        return self._data[: self.size]

    def lend(self) -> NDArray[Any]:
        """What is there now, without a copy; it stays as it is until it is `returned`, on whatever thread."""
        self._lent = True
        return self.view()

    def returned(self) -> None:
        """What was lent is not looked at any more."""
        self._lent = False

    def own(self) -> None:
        """To be called before rows are changed in place: what is lent is left to the borrower."""
        if self._lent:
            self._data = self._data.copy()
            self._lent = False

    def settle(self) -> None:
        """Gives back the room to grow, where it is a good part of the whole: not much more is expected."""
        if len(self._data) > 64 and self.size * 5 < len(self._data) * 4:
            self._data, self._lent = self._data[: self.size].copy(), False

    def _reserve(self, n: int) -> None:
        if self.size + n > len(self._data):
            grown = np.empty(max(len(self._data) * 2, self.size + n), self._data.dtype)
            grown[: self.size] = self._data[: self.size]
            self._data, self._lent = grown, False
