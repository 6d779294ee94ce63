"""An engine in memory, put where the newest checkpoint was taken, and what it held there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from engine.engine import Engine, Options
from engine.model import Codes, Entry, Flags, Floats, Ints, Reject
from engine.panes import Panes
from server.store import Snapshot, Store
from server.subscribers.rollups import restore

_FOLDED = -2  # and below, in the engine's tables: a series that takes the samples of others
_LET_GO_AT = 1 << 20
"""Rows in pending panes that are let go of after being counted: nothing flushes them here."""


@dataclass(slots=True)
class Held:
    """What the checkpoint holds, before anything is replayed. By series: rows and sums, of the open panes and of the
    account of all that ever came."""

    position: int
    stamp: int
    generation: int
    ledger: dict[str, Any]
    stored: int
    rolled: tuple[int, ...]
    keys: list[bytes]
    writers: dict[int, int]
    tables: dict[tuple[int, int], tuple[Codes, Flags]]
    open_count: Ints
    open_sum: Floats
    open_magnitude: Floats
    ever_count: Ints
    ever_sum: Floats
    refused: list[tuple[int, int, int, Reject]]
    """The kept rows that were refused, the newest last; see server.verify.recount."""


class Scratch:
    """Replays entries, and forgets the panes that a server would have written to its store."""

    def __init__(self, options: Options, store: Snapshot | None) -> None:
        self.engine = Engine(options)
        if store is not None:
            restore(self.engine, cast(Store, store))
        self.held = self._hold()
        self._let_go = 0
        self._unseen = 0

    def apply(self, entry: Entry, position: int) -> None:
        """Takes an entry."""
        self.engine.apply(entry, position)
        self.engine.events.clear()
        self._unseen += entry.rows
        if self._unseen >= _LET_GO_AT:
            self._unseen = 0
            self._let_go += self.engine.pending_samples
            self.engine.pending.clear()

    @property
    def in_panes(self) -> int:
        """Rows of open panes, and of those that were closed since the checkpoint."""
        return self.engine.open_samples + self.engine.pending_samples + self._let_go

    def refused(self) -> list[tuple[int, int, int, Reject]]:
        """The refused rows that the engine keeps now, the newest last."""
        return [(*kept[:3], kept.reject) for kept in self.engine.rejects.newest_first()][::-1]

    def _hold(self) -> Held:
        engine = self.engine
        size = len(engine.catalogue)
        count, total, magnitude = np.zeros(size, np.int64), np.zeros(size), np.zeros(size)
        for slot in engine.open.values():
            series, _, _, values = slot.raw.view()
            np.add.at(count, series, 1)
            np.add.at(total, series, values)
            np.add.at(magnitude, series, np.abs(values))
            for part in slot.folded:
                _add(part, count, total, magnitude)
        tables = {
            table: (np.where(known <= _FOLDED, _FOLDED - known, known).astype(np.int32), known <= _FOLDED)
            for table, known in engine.tables.state().items()
        }
        return Held(
            engine.position, engine.stamp, engine.generation, engine.ledger.as_dict(), engine.stored, engine.rolled,
            list(engine.catalogue.keys), engine.writers.state(), tables, count, total, magnitude,
            engine.lifetime.counts().copy(), engine.lifetime.sums().copy(), self.refused(),
        )  # fmt: skip


def _add(part: Panes, count: Ints, total: Floats, magnitude: Floats) -> None:
    counts, sums = part.state["count"], part.state["sum"]
    np.add.at(count, part.series, counts)
    np.add.at(total, part.series, sums)
    np.add.at(magnitude, part.series, counts * np.maximum(np.abs(part.state["min"]), np.abs(part.state["max"])))
