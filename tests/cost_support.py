"""What a store in DynamoDB is billed for: the server's own rolling up, driven through days by set stamps.

What is written is what a server writes: checkpoint, manifest, head, catalogue, index and blocks; only the log is none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from engine.engine import Engine, Options
from engine.levels import DAY, SECOND, Retention
from engine.model import GAUGE, HISTOGRAM, Batch, Entry, Event, Floats, pack_series_key
from engine.query import plan
from engine.query.value import Query
from server.backlog import Backlog
from server.store import Aws, BlockKey
from server.store.dynamodb.client import Client, Item, Key, Value
from server.store.dynamodb.reader import TABLES
from server.store.dynamodb.store import DynamoStore
from server.store.dynamodb.values import item_size, key_of, write_units
from server.subscribers.rollups import Rollups
from tests.dynamodb_support import REGION

T0 = 1_800_000_000_000 - 1_800_000_000_000 % (32 * DAY)
"""A midnight to begin at, and where a block of days begins."""
EVERY = 10 * SECOND
"""Between two samples of a series."""
SENDERS = 4
"""Entries in each of these stretches at most: every sender sends its share of the series."""
KEEP = Retention().keep
EVENTS_KEPT = DAY


class Kind(NamedTuple):
    """Series of one kind. values: draws that many values; times: values of a series at each time."""

    name: str
    type: int
    values: Callable[[np.random.Generator, int], Floats]
    times: int = 1


def _decimals(rng: np.random.Generator, count: int) -> Floats:
    return np.asarray(rng.integers(0, 10_000, count) / 100)


def _latencies(rng: np.random.Generator, count: int) -> Floats:
    return np.asarray(rng.lognormal(3, 0.6, count))


GAUGES = Kind("gauge, two decimals", GAUGE, _decimals)
FULL_GAUGES = Kind("gauge, full precision", GAUGE, lambda rng, count: rng.normal(50, 10, count))
HISTOGRAMS = Kind(
    "histogram of 10 values, two decimals", HISTOGRAM, lambda rng, count: np.round(_latencies(rng, count), 2), 10,
)  # fmt: skip
FULL_HISTOGRAMS = Kind("histogram of 10 values, full precision", HISTOGRAM, _latencies, 10)


class NoLog:
    """The part of a log that rollups use."""

    async def sync(self) -> None:
        """Everything is as durable as it will be."""

    async def trim(self, upto: int) -> None:
        """Nothing is held."""

    def size(self) -> int:
        """Nothing is held."""
        return 0


@dataclass
class Written:
    """What was written of one kind of items: what DynamoDB bills for it, and what of it lies there now."""

    items: int = 0
    units: int = 0
    bytes: int = 0


class Tallying(Client):
    """A client that tells what is written apart by what it is: `blocks/4` are packed blocks, and so on.

    Items that are deleted are billed like ones that are written; nothing else knows how large they were.
    """

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.written: dict[str, Written] = {}
        self.sizes: dict[tuple[str, Key], int] = {}

    @classmethod
    def at(cls, aws: Aws, prefix: str) -> Tallying:
        """One for tables of that prefix, which are made."""
        made = cls.open(REGION, prefix, aws, TABLES)
        assert isinstance(made, Tallying)
        return made

    def put(self, table: str, item: Item, expected: Mapping[str, Value | None] | None = None) -> None:
        super().put(table, item, expected)
        self._wrote(table, item)

    def put_many(self, table: str, items: Iterable[Item]) -> None:
        wanted = list(items)
        super().put_many(table, wanted)
        for item in wanted:
            self._wrote(table, item)

    def delete_many(self, table: str, keys: Iterable[Key]) -> None:
        wanted = list(keys)
        super().delete_many(table, wanted)
        for key in wanted:
            kind = self._kind(table, key)
            size = self.sizes.pop((table, key), 0)
            kind.units, kind.bytes = kind.units + write_units(size), kind.bytes - size

    def _wrote(self, table: str, item: Item) -> None:
        key, size = key_of(item), item_size(item)
        kind = self._kind(table, key)
        kind.items, kind.units = kind.items + 1, kind.units + write_units(size)
        kind.bytes += size - self.sizes.get((table, key), 0)
        self.sizes[table, key] = size

    def _kind(self, table: str, key: Key) -> Written:
        parts = key[0].split("|")
        return self.written.setdefault(f"{table}/{parts[1 if table == 'blocks' else 0]}", Written())

    def units(self, *kinds: str) -> int:
        """Write units of the kinds that begin so, so far."""
        return sum(written.units for kind, written in self.written.items() if kind.startswith(kinds))

    def bytes(self, *kinds: str) -> int:
        """What lies there of them."""
        return sum(written.bytes for kind, written in self.written.items() if kind.startswith(kinds))


@dataclass
class River:
    """An engine and the rollups of a server above a store in DynamoDB. Use it as a context."""

    client: Tallying
    names: int
    series_of_name: int
    kind: Kind
    seed: int = 1
    flushes: bool = True
    """Whether it does when a server would."""
    engine: Engine = field(default_factory=lambda: Engine(Options(retention=Retention(KEEP, patient=True))))

    def __post_init__(self) -> None:
        self.store = DynamoStore(self.client, "0", KEEP, EVENTS_KEPT)
        self.runner = asyncio.Runner()
        self.rng = np.random.default_rng(self.seed)
        self.rollups = Rollups(
            self.engine, self.store, NoLog(), Backlog(self.engine, 3600, 1 << 30),  # type: ignore[arg-type]
            interval=10, max_events=10_000, event_retention=EVENTS_KEPT, log_bytes=1 << 32, flushed=lambda blocks: None,
        )  # fmt: skip
        self.keys = [
            pack_series_key(f"metric_{name:04d}", self.kind.type, labels=[("host", f"host-{number}")])
            for name in range(self.names) for number in range(self.series_of_name)
        ]  # fmt: skip
        self.offsets = self.rng.integers(0, EVERY - 2 * SECOND, self.series)
        self.position = self.samples = 0

    @property
    def series(self) -> int:
        """How many there are."""
        return len(self.keys)

    def flow(self, start: int, end: int, events: int = 0) -> None:
        """Samples of [start, end) after T0, each sender's at its own moments; flushed when a server would.

        events: in each stretch of EVERY. The hour before `end` is not over until LATENESS later.
        """
        self.runner.run(self._flow(T0 + start, T0 + end, events))

    async def _flow(self, start: int, end: int, events: int) -> None:
        for begin in range(start, end, EVERY):
            for entry in self._entries(begin, events):
                self.position += int(self.rng.integers(1, 4))
                _, delivery = self.engine.apply(entry, self.position)
                self.rollups.applied(delivery)
            if self.flushes and self.rollups.is_worth_it():
                await self.flush()

    async def flush(self) -> None:
        """One flush, and what retention lets go of."""
        await self.rollups.flush()
        await self.rollups.expire()

    def _entries(self, begin: int, events: int) -> Iterator[Entry]:
        senders = min(SENDERS, -(-self.series // 25))
        for sender in range(senders):
            mine = np.arange(sender, self.series, senders).repeat(self.kind.times)
            moments = self.rng.integers(0, SECOND, (len(mine) // self.kind.times, self.kind.times))
            times = begin + self.offsets[mine] + np.sort(moments, axis=1).reshape(-1)
            values = self.kind.values(self.rng, len(mine))
            self.samples += len(mine)
            batch = Batch(self.keys, mine.astype(np.int32), values, times)
            yield Entry(begin + EVERY + sender, batch=batch)
        if events:
            body = b'{"properties": {"plan": "pro", "amount": %d}}' % self.rng.integers(0, 1000)
            yield Entry(begin + EVERY + SENDERS, events=[Event(begin, "order", "u1", None, body)] * events)

    def read(self, query: Query) -> int:
        """The read units of what a query reads of the store, if none of it is at hand."""
        bounds = plan.bounds(query, self.engine, self.engine.stamp)
        wanted = plan.blocks(query, plan.cover(bounds, self.engine), self.engine)
        before = self.client.usage.total().read_units
        found = self.store.read_blocks([BlockKey(*block) for block in wanted])
        assert found
        return self.client.usage.total().read_units - before

    def __enter__(self) -> River:
        return self

    def __exit__(self, *_: object) -> None:
        self.runner.close()
        self.store.close()
