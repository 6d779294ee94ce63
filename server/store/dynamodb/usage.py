"""What has been sent to DynamoDB and what it costs, counted here from the sizes of the items."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace


@dataclass(frozen=True, slots=True)
class Counts:
    """Counters of one table since the start.

    write_units, read_units: as DynamoDB bills them on demand (1 KB written, 4 KB read consistently, each item rounded
    up). What an overwritten or deleted item weighed is not known here, so a delete counts as 1. requests: attempts
    sent, those that failed included. items, bytes: read and written, sizes as DynamoDB counts them. retries: attempts
    after the first of a request. throttled: attempts refused for being too fast, wholly or in part.
    """

    write_units: int = 0
    read_units: int = 0
    requests: int = 0
    items: int = 0
    bytes: int = 0
    retries: int = 0
    throttled: int = 0


NAMES = tuple(field.name for field in fields(Counts))


class Usage:
    """The counters of all tables, by the tables' short names. Thread-safe."""

    def __init__(self, tables: Iterable[str]) -> None:
        self._lock = threading.Lock()
        self._counts = {table: Counts() for table in tables}

    def add(self, table: str, **more: int) -> None:
        """Count more of the names of `Counts`."""
        with self._lock:
            now = self._counts[table]
            self._counts[table] = replace(now, **{name: getattr(now, name) + count for name, count in more.items()})

    def snapshot(self) -> dict[str, Counts]:
        """table -> its counters, all of one moment."""
        with self._lock:
            return dict(self._counts)

    def total(self) -> Counts:
        """The counters of all tables together."""
        tables = self.snapshot().values()
        return Counts(**{name: sum(getattr(counts, name) for counts in tables) for name in NAMES})
