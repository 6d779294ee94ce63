"""Rules that go from engine to engine, at any moment, fire as if one process had evaluated them all the time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.aggregates import Registry
from engine.engine import Options
from engine.flushes import OWNER
from engine.model import Applied, Entry, Mark
from engine.rules.model import Rule
from engine.terms import partition_of
from server.subscribers import alerts
from server.subscribers.alerts import Alerts
from server.subscribers.alerts_readings import Readers
from tests.alerting_support import SECOND, answers_of, judge
from tests.engine_support import T0, World, entry
from tests.properties.test_alerts import JUDGING, KEYS, MORE, Entries, each_rules, entries, window_rules

FENCE = 9


class Turn(NamedTuple):
    """The partitions are dealt out to those of the engines that run. after: entries after the turn before; stopped:
    engines that are stopped before it, and go on after `entries` more: with what they do not know to be over."""

    after: int
    engines: frozenset[str]
    stopped: frozenset[str]
    entries: int


some = st.frozensets(st.sampled_from("abc"))
turns = st.lists(
    st.builds(Turn, st.integers(0, 12), some.filter(bool), some, st.integers(1, 25)), max_size=6
)  # fmt: skip


class Process:
    """An engine that follows the log, and evaluates what it holds as far as it knows."""

    def __init__(self, name: str, log: World, rules: dict[str, Rule]) -> None:
        self.name, self.log, self.rules = name, log, rules
        self.world = World(log.options, recount=False)
        self.running: dict[int, Alerts] = {}
        self.stopped = 0
        """Entries for which it does nothing."""
        self._seen = self._second = 0

    async def follow(self) -> None:
        """Takes what is new in the log, entry by entry."""
        while self._seen < len(self.log.log) and not self.stopped:
            self._take()
            await self._follow_terms()
            if self.world.engine.stamp // SECOND > self._second:
                self._second = self.world.engine.stamp // SECOND
                for each in list(self.running.values()):
                    with patch.multiple(alerts, ONE_FACTOR=0, ALL_FACTOR=0):
                        await each.evaluate()

    def _take(self) -> Applied:
        applied, delivery = self.world.apply(self.log.log[self._seen][1])
        self._seen += 1
        for each in self.running.values():
            each.applied(delivery)
        return applied

    async def _follow_terms(self) -> None:
        held = self.world.engine.terms.of_engine(self.name)
        for term in [term for term in self.running if term not in held]:
            del self.running[term]
        for term in held:
            if term not in self.running:
                readers = Readers(self.world.engine, answers_of(self.world, Registry()), judge)
                fresh = self.running[term] = Alerts(self.world.engine, readers, self._submit, lambda: self.rules, term)
                with patch.multiple(alerts, ONE_FACTOR=0, ALL_FACTOR=0):
                    await fresh.look_back()

    async def _submit(self, given: Entry) -> Applied:
        self.log.apply(given)
        while True:  # until it comes back through the log
            applied = self._take()
            if self._seen == len(self.log.log):
                return applied


class Engines:
    """Several of them."""

    def __init__(self, rules: list[Rule]) -> None:
        self.log = World(Options(lateness=60_000, shared=True), recount=False)
        known = {each.id: each for each in rules}
        self.processes = {name: Process(name, self.log, known) for name in "abc"}
        self.log.mark(Mark(OWNER, 0, FENCE, (0, 0, 0, 0)))

    async def deal(self, turn: Turn) -> None:
        """Another dealing out. Who is stopped holds nothing after it, as the log's owner hears nothing of it."""
        for name in turn.stopped:
            self.processes[name].stopped = max(self.processes[name].stopped, turn.entries)
        running = {name for name, process in self.processes.items() if not process.stopped}
        if not running:  # somebody has to
            self.processes["a"].stopped, running = 0, {"a"}
        engine = self.log.engine
        mark = engine.terms.deal(turn.engines & running or running, engine.book.looks, FENCE)
        if mark is not None:
            self.log.mark(mark)
            await self._go()

    async def post(self, stamp: int, rows: list[Any]) -> None:
        """An entry."""
        self.log.apply(entry(stamp, rows))
        await self._go()

    async def _go(self, stopped: int = 1) -> None:
        for process in self.processes.values():
            process.stopped = max(0, process.stopped - stopped)
        newest = 0
        while newest < len(self.log.log):  # what one writes all see
            newest = len(self.log.log)
            for process in self.processes.values():
                await process.follow()

    async def end(self) -> None:
        """All go on."""
        await self._go(stopped=1000)


async def played(rules: list[Rule], stream: Entries, dealt: list[Turn]) -> Engines:
    """The rules over the stream, by engines that come and go."""
    found, waiting, since = Engines(rules), list(dealt), 0
    begin = T0 - 35 * SECOND
    await found.post(begin - SECOND, [(KEYS[0], begin - SECOND, 100.0)])
    await found.deal(Turn(0, frozenset("a"), frozenset(), 0))
    after = stream[-1][0] // SECOND * SECOND + SECOND
    for stamp, samples in [*((at, []) for at in range(begin, T0, SECOND)), *stream, (after, [])]:
        if waiting and since >= waiting[0].after and stamp >= T0:
            await found.deal(waiting.pop(0))
            since = 0
        await found.post(stamp, [(KEYS[each.key], stamp - each.age, each.value) for each in samples])
        since += 1
    await found.end()
    await found.post(after + SECOND, [])
    return found


def episodes(found: Engines, rule: Rule) -> list[tuple[Any, ...]]:
    """All that has fired: (group, worst level, from, to)."""
    told = [(each.group, each.worst, each.fired, each.resolved) for each in found.log.engine.book.episodes(rule.id)]
    return sorted(told, key=repr)


several_windows = st.lists(window_rules(), min_size=1, max_size=4)
several_each = st.lists(each_rules(JUDGING), min_size=1, max_size=4)


def named(rules: list[Rule]) -> list[Rule]:
    """With ids in different partitions."""
    found = [replace(each, id=f"alert_{number}") for number, each in enumerate(rules)]
    assert len({partition_of(each.id) for each in found}) == len(found)
    return found


@settings(max_examples=20 * MORE, deadline=None)
@given(several_windows, entries(), turns)
async def test_windows_fire_the_same_whoever_holds_them(rules: list[Rule], stream: Entries, dealt: list[Turn]) -> None:
    rules = named(rules)
    found, alone = await played(rules, stream, dealt), await played(rules, stream, [])
    for each in rules:
        assert episodes(found, each) == episodes(alone, each)


@settings(max_examples=20 * MORE, deadline=None)
@given(several_each, entries(often=False), turns)
async def test_arriving_values_fire_the_same_whoever_holds_them(
    rules: list[Rule], stream: Entries, dealt: list[Turn]
) -> None:
    rules = named(rules)
    found, alone = await played(rules, stream, dealt), await played(rules, stream, [])
    for each in rules:
        assert episodes(found, each) == episodes(alone, each)
