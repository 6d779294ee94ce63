"""What became of each row of the log after the checkpoint: a plain recount, entry by entry.

Rows with an id and requests with a key are looked at one by one, all others as columns.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine.growing import Growing
from engine.model import Batch, Entry, Flags, KeyedRequest, Reject
from server.verify.names import UNKNOWN, Names, Tables
from server.verify.window import EVENT, METRIC, REQUEST, Window
from server.verify.writers import Writers

Refused = tuple[int, int, int, Reject]
"""A refused row that is kept: its entry's position, its number among those of the entry, its stamp, and itself."""


@dataclass(slots=True)
class Counts:
    """Rows by what became of them, as in the ledger."""

    received: int = 0
    accepted: int = 0
    events: int = 0
    duplicate: int = 0
    late: int = 0
    late_total: int = 0
    folded: int = 0
    repeated: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        """The counts by name, as the ledger has them."""
        counts = {name: getattr(self, name) for name in self.__slots__ if name != "rejected"}
        return {**counts, "rejected": dict(sorted(self.rejected.items()))}


@dataclass(slots=True)
class Recount:
    """Counts, and count and sum of the values of each series; lateness in ms."""

    names: Names
    tables: Tables
    window: Window
    writers: Writers
    lateness: int
    stamp: int = 0
    entries: int = 0
    total: Counts = field(default_factory=Counts)
    count: Growing = field(default_factory=lambda: Growing(np.int64))
    sum: Growing = field(default_factory=lambda: Growing(np.float64))
    magnitude: Growing = field(default_factory=lambda: Growing(np.float64))
    """Per series the sum of the values without their signs: what an error of a sum is measured against."""
    refused: deque[Refused] = field(default_factory=deque)
    """The newest refused rows that the log has kept, as many as may be kept at most; the newest last."""

    def take(self, entry: Entry, position: int, payload: bytes) -> None:
        """Counts an entry, in log order; payload: its bytes."""
        self.entries += 1
        if self.writers.repeats(entry, position, payload):
            self.total.repeated += 1
            return
        self.stamp = max(self.stamp, entry.stamp)
        self.window.forget(self.stamp)
        self.total.received += entry.rows
        self.total.rejected.update(entry.rejected)
        self.refused.extend((position, number, self.stamp, row) for number, row in enumerate(entry.rejects))
        size = 0 if entry.batch is None else len(entry.batch)
        again, events_again = np.zeros(size, np.bool_), np.zeros(len(entry.events), np.bool_)
        for request in entry.requests:
            self._look_at_request(request, again, events_again)
        self._look_at_ids(entry, again, events_again)
        self.total.duplicate += int(again.sum()) + int(events_again.sum())
        self.total.events += len(entry.events) - int(events_again.sum())
        if entry.batch is not None:
            self._count(entry.batch, entry.epoch, again)

    def _look_at_request(self, request: KeyedRequest, again: Flags, events_again: Flags) -> None:
        before = self.window.body_of(REQUEST, request.key)
        if before is None:
            self.window.add(REQUEST, request.key, self.stamp, request.body)
            return
        again[slice(*request.metrics)] = True
        events_again[slice(*request.events)] = True
        if before != request.body:
            rows = request.metrics[1] - request.metrics[0] + request.events[1] - request.events[0]
            self.total.rejected["conflict"] += rows
            self.total.duplicate -= rows

    def _look_at_ids(self, entry: Entry, again: Flags, events_again: Flags) -> None:
        metrics = entry.batch.ids.items() if entry.batch is not None else ()
        events = [(row, event.id) for row, event in enumerate(entry.events) if event.id is not None]
        for kind, ids, flags in ((METRIC, metrics, again), (EVENT, events, events_again)):
            for row, key in ids:
                if flags[row]:
                    continue
                if self.window.body_of(kind, key) is None:
                    self.window.add(kind, key, self.stamp)
                else:
                    flags[row] = True

    def _count(self, batch: Batch, epoch: int, again: Flags) -> None:
        owners = self.tables.owners(epoch, batch, self.names)
        lost = (owners.series == UNKNOWN) & ~again
        kept = ~(again | lost)
        if lost.any():
            self.total.rejected["lost_series"] += int(lost.sum())
        self.total.accepted += int(kept.sum())
        late = batch.times[kept] < self.stamp - self.lateness
        self.total.late += int(late.sum())
        self.total.late_total += int(self.names.totals(owners.series[kept][late]).sum())
        self.total.folded += int(owners.folded[kept].sum())
        missing = len(self.names.keys) - len(self.count)
        if missing > 0:
            for column in (self.count, self.sum, self.magnitude):
                column.extend(np.zeros(missing))
        series, values = owners.series[kept], batch.values[kept]
        np.add.at(self.count.view(), series, 1)
        np.add.at(self.sum.view(), series, values)
        np.add.at(self.magnitude.view(), series, np.abs(values))
