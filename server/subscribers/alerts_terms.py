"""Which evaluations of alerts go on in this process: one for each term for which it holds partitions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterator

from engine.engine import Delivery, Engine
from engine.terms import ALONE, ASSIGN
from server.errors import ApiError
from server.log import LogError
from server.store import StoreError
from server.subscribers.alerts import Alerts
from server.tasks import end

logger = logging.getLogger("streamgauge.alerts")

PAUSE = 1.0
"""Seconds before an evaluation that has failed begins again."""


class Evaluations:
    """Begins and ends them as the log says. name: of this process as an engine, "" for one that is alone; make: the
    evaluation for a term."""

    def __init__(self, engine: Engine, name: str, make: Callable[[int], Alerts]) -> None:
        self._engine, self._name, self._make = engine, name, make
        self.running: dict[int, Alerts] = {}
        """By term."""
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._ended = 0, 0.0
        """(evaluations, seconds spent on them) of those that are over."""

    def __len__(self) -> int:
        return len(self.running)

    def __iter__(self) -> Iterator[Alerts]:
        return iter(self.running.values())

    @property
    def held(self) -> Collection[int]:
        """The terms for which this process holds partitions."""
        return self._engine.terms.of_engine(self._name) if self._name else [ALONE]

    @property
    def spent(self) -> tuple[int, float]:
        """(evaluations, seconds spent on them) so far."""
        count, seconds = self._ended
        return count + sum(each.evaluations for each in self), seconds + sum(each.seconds for each in self)

    def applied(self, delivery: Delivery) -> None:
        """Sees every entry."""
        for each in self:
            each.applied(delivery)
        if any(mark.kind == ASSIGN for mark in delivery.marks):
            self._changed.set()

    def of(self, rule_id: str) -> Alerts | None:
        """The evaluation that looks at a rule; None where another process does."""
        return self.running.get(self._engine.terms.of_key(rule_id))

    async def run(self) -> None:
        """Keeps those going that are to go on; for ever."""
        try:
            while True:
                self._changed.clear()
                held = set(self.held)
                for term in [term for term in self._tasks if term not in held]:
                    await self._end(term)
                for term in held - self._tasks.keys():
                    self._begin(term)
                await self._changed.wait()
                for task in self._tasks.values():
                    if task.done():
                        task.result()
        finally:
            for term in list(self._tasks):
                await self._end(term)

    def _begin(self, term: int) -> None:
        self.running[term] = self._make(term)
        task = self._tasks[term] = asyncio.create_task(self._evaluate(term), name=f"evaluate alerts, term {term}")
        task.add_done_callback(lambda task: self._changed.set())
        if term != ALONE:
            count = len(self._engine.terms.partitions(term))
            logger.info("this process holds %d partitions from here on, for term %d", count, term)

    async def _evaluate(self, term: int) -> None:
        while True:
            try:
                await self.running[term].run()
            except (StoreError, LogError, ApiError) as error:
                logger.error("alerts cannot be evaluated now, trying again: %s", error)
                await asyncio.sleep(PAUSE)
                self._let_go(term)
                self.running[term] = self._make(term)

    async def _end(self, term: int) -> None:
        await end(self._tasks.pop(term))
        self._let_go(term)

    def _let_go(self, term: int) -> None:
        over = self.running.pop(term)
        over.close()
        self._ended = self._ended[0] + over.evaluations, self._ended[1] + over.seconds
