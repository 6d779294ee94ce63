"""The numbers that writers give to series: the log spells a series' key once, and from then on says its number.

A table belongs to one life of a writer and is known by (epoch, id). A number means what the newest entry that defined
it said; a writer uses it only after that entry came back to it. All is a function of the log, and part of checkpoints.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.model import Codes, Flags

MAX_TABLES = 64
"""Tables kept, those used last. A writer whose table is gone begins a new one."""
_UNKNOWN = -1
_FOLDED = -2  # and below: the series is one that takes the samples of others, -2 - its id

TableId = tuple[int, int]
"""(writer epoch, number of the table)."""


class Found(NamedTuple):
    """The series of each row; where that is __other__, and where the number is unknown; None for nowhere."""

    series: Codes
    folded: Flags | None
    unknown: Flags | None


class Tables:
    """Series ids by table and number."""

    def __init__(self) -> None:
        self._tables: dict[TableId, Codes] = {}

    def __contains__(self, table: TableId) -> bool:
        return table in self._tables

    def define(self, table: TableId, numbers: Codes, ids: Codes, folded: Flags | None) -> None:
        """From here on the numbers are these series. The table is the one used last."""
        held = self._tables.pop(table, None)
        if held is None:
            held = np.full(1, _UNKNOWN, np.int32)
        size = int(numbers.max(initial=-1)) + 1
        if size > len(held):
            grown = np.full(max(size, 2 * len(held)), _UNKNOWN, np.int32)
            grown[: len(held)] = held
            held = grown
        held[numbers] = ids if folded is None else np.where(folded, _FOLDED - ids, ids)
        self._tables[table] = held
        while len(self._tables) > MAX_TABLES:
            del self._tables[next(iter(self._tables))]

    def touch(self, table: TableId) -> None:
        """A table that there is becomes the one used last."""
        self._tables[table] = self._tables.pop(table)

    def find(self, table: TableId, numbers: Codes) -> Found:
        """The series of rows, by their numbers."""
        held = self._tables[table]
        beyond = int(numbers.max(initial=-1)) >= len(held)
        series = np.where(numbers < len(held), held.take(numbers, mode="clip"), _UNKNOWN) if beyond else held[numbers]
        if int(series.min(initial=0)) >= 0:
            return Found(series, None, None)
        folded, unknown = series <= _FOLDED, series == _UNKNOWN
        series = np.where(folded, _FOLDED - series, series).astype(np.int32)
        return Found(series, folded if folded.any() else None, unknown if unknown.any() else None)

    def state(self) -> dict[TableId, Codes]:
        """Copies of the tables, the one used last at the end."""
        return {table: held.copy() for table, held in self._tables.items()}

    def restore(self, state: dict[TableId, Codes]) -> None:
        """Takes what `state` gave."""
        self._tables = {table: held.copy() for table, held in state.items()}
