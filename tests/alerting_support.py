"""Rules evaluated in simulated time: an engine with a store of plain dicts, what evaluates, and restarts of both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from unittest.mock import patch

from engine.aggregates import Registry
from engine.engine import Options
from engine.joining import apply_all
from engine.model import GAUGE, Applied, Entry, Event, pack_series_key
from engine.query.plan import Limits
from engine.query.value import Query
from engine.rules.book import Book
from engine.rules.marks import edges_of
from engine.rules.model import NOTED, Edge, Group, Readings, Rule
from server.answers import Answers
from server.questions import SavedQueries
from server.store import BlockKey
from server.subscribers import alerts
from server.subscribers.alerts import Alerts
from server.subscribers.alerts_readings import Readers
from tests.engine_support import Row, World, entry

SECOND = 1000


class Memory:
    """A store of what a world has flushed, and of its events."""

    def __init__(self, world: World) -> None:
        self.world = world

    def read_blocks(self, keys: list[BlockKey]) -> dict[BlockKey, tuple[int, bytes]]:
        blocks = {tuple(block): stored for block, stored in self.world.blocks.items()}
        return {key: blocks[tuple(key)] for key in keys if tuple(key) in blocks}

    def events_scan(
        self, type: str, start: int, end: int, fields: Sequence[str], upto: tuple[int, int]
    ) -> list[list[tuple[int, None, None]]]:
        events = [event for position, given in self.world.log if position <= upto[0] for event in given.events]
        return [[(event.time, None, None) for event in events if event.type == type and start <= event.time < end]]


async def asked(query: Query) -> None: ...


class NoJudge:
    """Knows nothing of anomalies."""

    async def read(self, rule: Rule, at: int) -> Readings | None:
        return None

    def forget(self, rule: str) -> None: ...


judge = NoJudge()


def answers_of(world: World, registry: Registry, points: int = 200_000) -> Answers:
    """What answers queries about a world."""
    store: Any = Memory(world)
    return Answers(world.engine, store, registry, SavedQueries(store, registry), str, Limits(points=points), 30, asked)


class Killed(Exception):
    """The process has died."""


class Evaluator:
    """One process that evaluates rules, by `post` and `restarted`. dies: of the entries that it submits, the one
    (counted from 1) before which it is killed, or, where `after`, right after which."""

    def __init__(self, rules: Iterable[Rule], world: World | None = None, registry: Registry | None = None) -> None:
        self.rules = {each.id: each for each in rules}
        self.world = world or World(Options(lateness=60_000), recount=False)
        self.registry = registry or Registry()
        self.readers = Readers(self.world.engine, answers_of(self.world, self.registry), judge)
        self.alerts = Alerts(self.world.engine, self.readers, self._submit, lambda: self.rules)
        self.dies: int | None = None
        self.after = False
        self.moments: list[int] = []
        """Of each evaluation, ms."""
        self._second = 0

    @property
    def book(self) -> Book:
        return self.world.engine.book

    def save(self, *rules: Rule) -> None:
        """Rules are saved, new or in place of those of the same id."""
        for rule in rules:
            self.rules[rule.id] = rule
            self.alerts.changed(rule.id)

    def delete(self, id: str) -> None:
        """A rule is deleted."""
        del self.rules[id]
        self.alerts.changed(id)

    async def start(self) -> None:
        """What a process does before it evaluates what comes."""
        with patch.multiple(alerts, ONE_FACTOR=0, ALL_FACTOR=0):
            await self.alerts.look_back()
        self._second = self.world.engine.stamp // SECOND

    async def post(self, stamp: int, rows: Sequence[Row] = (), events: Iterable[Event] = ()) -> None:
        """Applies an entry, and evaluates where a second has begun with it."""
        self.alerts.applied(self.world.apply(entry(stamp, rows, events=events))[1])
        if stamp // SECOND > self._second:
            self._second = stamp // SECOND
            await self.evaluate()

    async def evaluate(self) -> None:
        """Evaluates all rules, however long the last evaluation took."""
        self.moments.append(self.world.engine.stamp // SECOND * SECOND)
        with patch.multiple(alerts, ONE_FACTOR=0, ALL_FACTOR=0):
            await self.alerts.evaluate()

    async def run(self, begin: int, end: int, rows: Sequence[tuple[bytes, float]] = ()) -> None:
        """An entry each second of [begin, end), ms, with these rows, of its own time."""
        for stamp in range(begin, end, SECOND):
            await self.post(stamp, [(key, stamp, value) for key, value in rows])

    async def restarted(self, from_checkpoint: bool = True) -> Evaluator:
        """The process that comes after this one: the newest checkpoint, what the log has after it, and a look back."""
        world = self.world
        has_one = from_checkpoint and world.saved is not None
        fresh = world.restored() if has_one else World(world.options, recount=False)
        fresh.log = list(world.log)
        for _ in apply_all(fresh.engine, [(at, given) for at, given in world.log if at > fresh.position]):
            pass
        fresh.position = world.position
        other = Evaluator(self.rules.values(), fresh, self.registry)
        await other.start()
        return other

    def edges(self, rule: str = "", group: Group | None = None) -> list[Edge]:
        """Those in the log."""
        found = [pair for _, given in self.world.log for mark in given.marks for pair in edges_of(mark)]
        return [edge for id, edge in found if rule in ("", id) and group in (None, edge.group)]

    def kinds(self, rule: str = "", group: Group | None = None) -> list[tuple[float, str]]:
        """(seconds since the first entry's second, kind) of each edge that people see."""
        begin = next(given.stamp for _, given in self.world.log if given.stamp) // SECOND * SECOND
        seen = (edge for edge in self.edges(rule, group) if edge.kind != NOTED)
        return [((edge.at - begin) / SECOND, edge.kind) for edge in seen]

    async def _submit(self, given: Entry) -> Applied:
        if self.dies is not None:
            self.dies -= 1
            if self.dies == 0 and not self.after:
                raise Killed
        applied, delivery = self.world.apply(given)
        self.alerts.applied(delivery)
        if self.dies == 0:
            raise Killed
        return applied


def gauge(name: str = "load", **labels: str) -> bytes:
    """The packed key of a series."""
    return pack_series_key(name, GAUGE, labels=sorted(labels.items()))


def window(aggregation: str, seconds: int, *group_by: str, name: str = "load") -> Query:
    """A query over a window."""
    return Query("metric", name, aggregation=aggregation, range=seconds * SECOND, group_by=group_by)
