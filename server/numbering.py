"""The writer's side of engine.tables: which series this process may name by their number.

A key is spelt in every entry until one that spelt it has come back through the log, so that an entry never rests on one
that failed.
"""

from __future__ import annotations

import numpy as np

from engine.model import Batch, Flags, Table


class Numbering:
    """One table at a time, over the keys a parser knows; a number is a key's place among them."""

    def __init__(self) -> None:
        self.table = 0
        """Its id, 0 before the first."""
        self.confirmed = False
        """Whether any number of it is in use."""
        self._keys: list[bytes] = []
        self._defined: Flags = np.zeros(0, np.bool_)

    def shorten(self, batch: Batch) -> Batch:
        """A whole batch as it goes into the log. Linear in its rows."""
        if batch.keys is not self._keys:
            self.table, self._keys, self._defined = self.table + 1, batch.keys, np.zeros(0, np.bool_)
            self.confirmed = False
        if len(self._defined) < len(batch.keys):
            grown = np.zeros(2 * len(batch.keys), np.bool_)
            grown[: len(self._defined)] = self._defined
            self._defined = grown
        numbers = np.unique(batch.codes[~self._defined[batch.codes]])
        keys = [batch.keys[number] for number in numbers.tolist()]
        return Batch(keys, batch.codes, batch.values, batch.times, batch.ids, Table(self.table, numbers))

    def confirm(self, table: Table) -> None:
        """An entry of ours that defined these numbers has been applied."""
        if table.id == self.table:
            self._defined[table.numbers] = True
            self.confirmed = True

    def forget(self) -> None:
        """The engine has let go of the table: begin a new one."""
        self._keys = []
