"""Alerts: the rules, evaluated once a second of the log's time; what changes goes into the log.

    Delivery ──▶ Arrivals (rules about each arriving value)
    each second: rule ──▶ Readers ──▶ Readings ──▶ Watched ──▶ edges ──▶ mark in the log ──▶ every process's book

One process does it: `serve`, or the engine that owns the log. What it keeps in memory follows from the book and the
panes, so whoever takes over goes on: the seconds after the last one of which the log says that it was looked at are
looked at again, which changes nothing where they have been.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

import numpy as np

from engine.engine import Delivery, Engine
from engine.model import Applied, Entry, Mark
from engine.rules.book import command, edges
from engine.rules.model import NO_DATA, Edge, Readings, Rule
from engine.rules.watched import Watched, ended
from server.effort import Effort
from server.errors import ApiError
from server.log import LogError
from server.subscribers.alerts_arrivals import Arrivals, Arrived
from server.subscribers.alerts_readings import Readers

logger = logging.getLogger("streamgauge.alerts")

SECOND = 1000
COST_FACTOR = 20
"""A rule may take one part in so many of the time; one that costs more is evaluated less often."""
SAY_EVERY = 10_000
"""ms between marks that say up to when all has been looked at."""
MAX_BEFORE = 60
"""Seconds that are looked at again after a start, at most: those of the open panes."""
GAP = 10_000
"""ms without an entry in the log after which nobody has listened, so silence says nothing for a while."""
EDGES_PER_MARK = 500
RETRY_SECONDS = 1.0
GONE = "the alert was deleted or turned off"

Submit = Callable[[Entry], Awaitable[Applied]]
Rules = Callable[[], Mapping[str, Rule]]


class Alerts:
    """Evaluates. rules: those that there are now, by id; fence: of the log's owner, 0 for one that is alone."""

    def __init__(self, engine: Engine, readers: Readers, submit: Submit, rules: Rules, fence: int = 0) -> None:
        self._engine, self._readers, self._submit, self._rules, self._fence = engine, readers, submit, rules, fence
        self.watched: dict[str, Watched] = {}
        self.seconds = 0.0
        """Spent on evaluations."""
        self.evaluations = 0
        self._arrivals = Arrivals(engine)
        self._awake = asyncio.Event()
        self._second = 0
        self._evaluated = engine.stamp
        """ms of the newest evaluation."""
        self._next: dict[str, int] = {}
        """Per rule, ms before which it is not evaluated again."""
        self._recalled: set[str] = set()
        """Rules about silence that know whom they have heard of before."""
        self._said = 0

    def applied(self, delivery: Delivery) -> None:
        """Sees every entry."""
        self._arrivals.applied(delivery)
        second = delivery.stamp // SECOND
        if second > self._second:
            self._second = second
            self._awake.set()

    async def run(self) -> None:
        """Evaluates each second; for ever."""
        await self._look_back()
        while True:
            await self._awake.wait()
            self._awake.clear()
            await self.evaluate()

    async def evaluate(self) -> None:
        """Evaluates all rules as of now; returns when what has changed is in the log and applied."""
        at = self._engine.stamp // SECOND * SECOND
        marks = self._follow_rules(at)
        arrived = self._arrivals.take()
        if at - self._evaluated > GAP:
            self._be_blind(at)
        self._evaluated = at
        for watched in list(self.watched.values()):
            if self._next.get(watched.rule.id, 0) <= at:
                marks += await self._evaluate(watched, at, arrived)
        if self.watched and at - self._said >= SAY_EVERY:
            self._said = at
            marks.append(command("looked", self._fence, at=at))
        await self._write(marks)

    async def _evaluate(self, watched: Watched, at: int, arrived: Arrived | None) -> list[Mark]:
        rule, effort = watched.rule, Effort()
        if rule.kind == NO_DATA and rule.id not in self._recalled:
            self._recalled.add(rule.id)
            watched.know(await self._readers.known(rule, at))
        readings = await self._readers.read(rule, at, arrived)
        if readings is None:  # nothing has come, but time goes on
            readings = Readings(at, [], np.empty(0), np.empty(0, np.int8))
        changes = watched.take(readings, partly=rule.each)
        self._next[rule.id] = at + int(effort.seconds * COST_FACTOR * SECOND)
        self.seconds += effort.seconds
        self.evaluations += 1
        return self._marks(rule, changes)

    def _marks(self, rule: Rule, changes: Sequence[Edge], why: str = "") -> list[Mark]:
        parts = (changes[at : at + EDGES_PER_MARK] for at in range(0, len(changes), EDGES_PER_MARK))
        return [edges(rule.id, rule.channels, part, self._fence, why) for part in parts]

    def _follow_rules(self, at: int) -> list[Mark]:
        """Begins with new rules, and ends the alerts of those that are off or gone."""
        rules = {id: rule for id, rule in self._rules().items() if rule.enabled}
        marks: list[Mark] = []
        for id in [id for id in {*self.watched, *self._engine.book.alerts} if id not in rules]:
            watched = self.watched.pop(id, None)
            states = watched.states if watched is not None else self._engine.book.states(id)
            marks += [edges(id, (), ended(states, at), self._fence, GONE)] if states else []
            self._readers.forget(id)
            self._recalled.discard(id)
            self._next.pop(id, None)
        for id, rule in rules.items():
            known = self.watched.get(id)
            if known is None or known.rule is not rule:
                states = self._engine.book.states(id) if known is None else known.states
                self.watched[id] = Watched(rule, states, at)
                self._recalled.discard(id)
        self._arrivals.watch({each.query.name for each in rules.values() if each.each})
        return marks

    def _be_blind(self, at: int) -> None:
        """Nobody has listened: silence says nothing until a window is full again."""
        for watched in self.watched.values():
            watched.blind = at + max(watched.rule.query.range, watched.rule.silence_after or 0)

    async def _look_back(self) -> None:
        """The seconds to which whoever evaluated before may not have come."""
        now, looked = self._engine.stamp // SECOND * SECOND, self._engine.book.looked
        begin = max(looked, now - MAX_BEFORE * SECOND) if looked else now
        await self._write(self._follow_rules(begin))
        for at in range(begin + SECOND, now + SECOND, SECOND):
            marks = []
            for watched in list(self.watched.values()):
                marks += await self._evaluate(watched, at, None)
            await self._write(marks)
        self._evaluated = now

    async def _write(self, marks: list[Mark]) -> None:
        """Again and again until the log takes them: the book ignores what it has already."""
        while marks:
            try:
                await self._submit(Entry(self._engine.stamp, marks=marks))
                return
            except (LogError, ApiError) as error:
                logger.error("what alerts have come to is not in the log yet, trying again: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
