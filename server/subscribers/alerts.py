"""Alerts: the rules, evaluated once a second of the log's time; what changes goes into the log.

    Delivery ──▶ Arrivals (rules about each arriving value)
    each second: rule ──▶ Readers ──▶ Readings ──▶ Watched ──▶ edges ──▶ mark in the log ──▶ every process's book

`serve` does it for all rules, an engine for those of the partitions that it holds for one term (see engine.terms). What
is kept in memory follows from the book and the panes, so whoever takes over goes on: the seconds after the last one of
which the log says that it was looked at are looked at again, which changes nothing where they have been.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from engine.engine import Delivery, Engine
from engine.model import Entry, Mark
from engine.query.value import Name
from engine.rules.marks import about, asks, command, edges
from engine.rules.model import FIRE, NO_DATA, RESOLVED, Edge, Group, Look, Readings, Rule, State
from engine.rules.watched import Watched, ended
from engine.terms import ALONE
from server.effort import Effort
from server.errors import ApiError
from server.log import LogError
from server.marks import RETRY_SECONDS, Submit, write
from server.subscribers.alerts_arrivals import NOTHING, Arrivals, Arrived, arrived_since
from server.subscribers.alerts_readings import Readers

logger = logging.getLogger("streamgauge.alerts")

SECOND = 1000
ONE_FACTOR, ALL_FACTOR = 20, 4
"""One rule may take one part in so many of the time, all together one in so many; beyond that it is seldomer."""
SAY_EVERY = 10_000
"""ms between marks that say up to when all has been looked at, at most. They come along with whatever is decided, and
with what has arrived for rules that look at each value: of that nothing else would tell what has been looked at."""
MAX_BEFORE = 60
"""Seconds that are looked at again after a start, at most: those of the open panes."""
GAP = 10_000
"""ms without an entry in the log after which nobody has listened, so silence says nothing for a while."""
EDGES_PER_MARK = 500
MARGIN = 0.02
"""Seconds after the end of a second at which somebody else may have said that it is over."""
BREATH_SECONDS = 0.005
"""Of work, after which others have a turn."""
GONE = "the alert was deleted or turned off"
CHANGED = "the alert asks something else now"

Rules = Callable[[], Mapping[str, Rule]]


class Alerts:
    """Evaluates. rules: those that there are now, by id, of which it takes those that are held for the term; beside:
    how many evaluations there are in the process."""

    def __init__(
        self, engine: Engine, readers: Readers, submit: Submit, rules: Rules, term: int = ALONE,
        beside: Callable[[], int] = lambda: 1,
    ) -> None:  # fmt: skip
        self._engine, self._readers, self._submit, self._rules, self.term = engine, readers, submit, rules, term
        self._beside = beside
        self.watched: dict[str, Watched] = {}
        self.seconds = 0.0
        """Spent on evaluations."""
        self.evaluations = 0
        self._arrivals = Arrivals(engine)
        self._awake, self._over = asyncio.Event(), asyncio.Event()
        """Something has come, or a second is over; a second is over."""
        self._second = 0
        self._evaluated = 0
        """ms of the newest evaluation."""
        self._next: dict[str, int] = {}
        """Per rule, ms before which it is not evaluated again."""
        self._rest = 0
        """ms before which none is, but those that look at each arriving value."""
        self._owed: set[str] = set()
        """Rules that something has come for since their last evaluation."""
        self._recalled: set[str] = set()
        """Rules about silence that know whom they have heard of before."""
        self._said = 0
        self._listening = 0
        """Since when, ms, nobody has been away; 0 for as long as anybody knows. Silence before says nothing."""
        self._breathed = 0.0

    def applied(self, delivery: Delivery) -> None:
        """Sees every entry."""
        waited = self._arrivals.waiting
        self._arrivals.applied(delivery)
        second = delivery.stamp // SECOND
        if second > self._second:
            self._second = second
            self._over.set()
            self._awake.set()
        elif not waited and self._arrivals.waiting:
            self._awake.set()

    def changed(self, rule_id: str) -> None:
        """A rule is new, or not what it was: what arrives from here on counts, not only from its first second on."""
        rule = self._rules().get(rule_id)
        if rule is not None and rule.enabled and rule.each and self._holds(rule_id):
            self._arrivals.watch_too(rule.query.name)

    def _holds(self, rule_id: str) -> bool:
        return self._engine.terms.of_key(rule_id) == self.term

    async def run(self) -> None:
        """Evaluates each second; for ever."""
        await self.look_back()
        while True:
            if self._second * SECOND > self._evaluated:
                await self.evaluate()
            elif self._arrivals.waiting:
                await self._end_second()
            else:
                self._awake.clear()
                await self._awake.wait()

    async def _end_second(self) -> None:
        """Waits until the running second is over, and sees that the log's time says so, where nothing else comes."""
        self._over.clear()
        left = (self._second + 1) * SECOND - time.time_ns() // 1_000_000
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(left, 0) / 1000 + MARGIN):
                await self._over.wait()
                return
        try:
            await self._submit(Entry(max(time.time_ns() // 1_000_000, self._engine.stamp)))
        except (LogError, ApiError) as error:
            logger.warning("the log takes no tick, so alerts wait for the next entry: %s", error)
            await asyncio.sleep(RETRY_SECONDS)

    async def evaluate(self) -> None:
        """Evaluates all rules as of now; returns when what has changed is in the log and applied."""
        at = max(self._engine.stamp // SECOND * SECOND, self._evaluated)
        if at - self._evaluated > GAP:
            self._listening = at
        self._evaluated = at
        marks = self._follow_rules(at)
        (arrived, news), position = self._arrivals.take(), self._engine.position
        begun = self.seconds
        for watched in list(self.watched.values()):
            marks += await self._attend(watched, at, arrived, news)
            await self._breathe()
        self._rest = at + int((self.seconds - begun) * ALL_FACTOR * self._beside() * SECOND)
        if marks or len(arrived.series) or (self.watched and at - self._said >= SAY_EVERY):
            marks.append(self._looked(at, position))
        await write(self._submit, self._engine, marks)

    async def _attend(self, watched: Watched, at: int, arrived: Arrived, news: set[Name]) -> list[Mark]:
        """Evaluates a rule, unless it, or all of them, have taken more than their part of the time."""
        rule = watched.rule
        if (rule.query.kind, rule.query.name) in news:
            self._owed.add(rule.id)
        if not rule.each and at < max(self._rest, self._next.get(rule.id, 0)):
            return []
        owed = rule.id in self._owed
        self._owed.discard(rule.id)
        return await self._evaluate(watched, at, arrived, owed)

    async def _evaluate(self, watched: Watched, at: int, arrived: Arrived | None, news: bool) -> list[Mark]:
        rule, effort = watched.rule, Effort()
        if (rule.kind == NO_DATA or rule.on_no_data == FIRE) and rule.id not in self._recalled:
            known = await self._readers.known(rule, at)
            watched.know(known or [])
            self._recalled |= {rule.id} if known is not None else set()
        watched.blind = self._listening + watched.span if self._listening else 0
        readings = await self._readers.read(rule, at, arrived, news)
        if readings is None:  # nothing is new, but time goes on
            changes = watched.take(Readings(at, [], np.empty(0), np.empty(0, np.int8), watched.over), partly=True)
        else:
            changes = watched.take(readings, partly=rule.each)
        self._next[rule.id] = at + int(effort.seconds * ONE_FACTOR * SECOND)
        self.seconds += effort.seconds
        self.evaluations += 1
        return self._marks(rule.id, changes, "", rule.channels, about(rule)) if changes else []

    def _marks(
        self, rule: str, changes: Sequence[Edge], why: str, channels: Sequence[str] = (),
        known: Mapping[str, str | int] | None = None,
    ) -> list[Mark]:  # fmt: skip
        # As in the book, so that an incident goes on even where its edges are in several marks.
        ordered = sorted(changes, key=lambda edge: edge.kind == RESOLVED)
        parts = (ordered[at : at + EDGES_PER_MARK] for at in range(0, len(ordered), EDGES_PER_MARK))
        return [edges(rule, channels, part, self.term, why, **(known or {})) for part in parts]

    def _looked(self, at: int, position: int) -> Mark:
        self._said = at
        return command("looked", self.term, at=at, position=position, since=self._listening)

    def _follow_rules(self, at: int) -> list[Mark]:
        """Begins with new rules, and ends the alerts of those that are off or gone, or that ask something else now."""
        rules = {id: rule for id, rule in self._rules().items() if rule.enabled and self._holds(id)}
        known_of = {*self.watched, *filter(self._holds, self._engine.book.alerts)}
        marks: list[Mark] = []
        for id in [id for id in known_of if id not in rules]:
            watched = self.watched.pop(id, None)
            if self._holds(id):
                states = watched.states if watched is not None else self._engine.book.states(id)
                marks += self._end(id, states, at, GONE)
            self._readers.forget(id)
            self._recalled.discard(id)
            self._next.pop(id, None)
            self._owed.discard(id)
        book = self._engine.book
        for id, rule in rules.items():
            known = self.watched.get(id)
            if known is None or known.rule is not rule:
                states = book.states(id) if known is None else known.states
                asked = book.asks.get(id, 0) if known is None else asks(known.rule)
                if states and asked not in (0, asks(rule)):
                    marks, states = marks + self._end(id, states, at, CHANGED), {}
                self.watched[id] = Watched(rule, states, at)
                self._recalled.discard(id)
                self._said = 0  # what was before it does not count for it, after a start either
        names = {(rule.query.kind, rule.query.name) for rule in rules.values()}
        self._arrivals.watch({rule.query.name for rule in rules.values() if rule.each}, names)
        return marks

    def _end(self, rule: str, states: Mapping[Group, State], at: int, why: str) -> list[Mark]:
        return self._marks(rule, ended(states, at), why)

    async def look_back(self) -> None:
        """The seconds to which whoever evaluated before may not have come. What comes of them is written at once: who
        is killed meanwhile has not begun with them."""
        if not self._engine.stamp:  # nothing has ever come
            self._follow_rules(0)
            return
        stamp = self._engine.stamp
        now = self._evaluated = stamp // SECOND * SECOND
        held = self._engine.terms.partitions(self.term)
        look = self._engine.book.looks[held[0]] if held else Look()  # all that a term holds have come as far
        self._second, self._listening = stamp // SECOND, look.since
        begin = max(look.at, now - MAX_BEFORE * SECOND)
        marks = self._follow_rules(begin)
        missed = arrived_since(self._engine, look.position, begin, now) if look.at else None
        if missed is not None:
            self._arrivals.put(missed.rest)
        position = missed.position if missed is not None else self._engine.position
        for at in range(begin, now + 2 * SECOND, SECOND):
            arrived = missed.by_second.get(at, NOTHING) if missed is not None else None
            for watched in list(self.watched.values()):
                # Windows once more at the beginning, to know which groups there were. What has arrived in the second
                # that goes on waits for its end, unless only panes tell of it.
                last = now + SECOND if missed is None and watched.rule.each else now
                if at <= last and (at > begin or not watched.rule.each):
                    marks += await self._evaluate(watched, at, arrived, True)
                await self._breathe()
        if self.watched or marks:
            await write(self._submit, self._engine, [*marks, self._looked(now, position)])

    def close(self) -> None:
        """Whoever reads for the rules need not know them any more."""
        for id in self.watched:
            self._readers.forget(id)

    async def _breathe(self) -> None:
        """Lets others have their turn, every now and then."""
        if self.seconds - self._breathed >= BREATH_SECONDS:
            self._breathed = self.seconds
            await asyncio.sleep(0)
