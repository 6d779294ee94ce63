"""Alerting put together: who evaluates rules, who tells people, and what the API asks of both.

Every process has one, as every process knows the book; `run` is for the one that evaluates.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from engine.engine import Delivery, Engine
from engine.model import Entry, Mark
from engine.rules import routing
from engine.rules.book import Book, command
from engine.rules.model import CONDITION, Group, Incident, Readings, Rule, Silence
from engine.rules.routing import Decision
from engine.rules.silence import labels_of, muted
from server import zones
from server.answers import Answers
from server.errors import ApiError
from server.log import LogError
from server.notify.compose import Composer
from server.notify.outbox import Channels, Outbox
from server.pipeline import Pipeline
from server.subscribers.alerts import Alerts
from server.subscribers.alerts_readings import Judge, Readers

Rules = Callable[[], Mapping[str, Rule]]
Silences = Callable[[int], Iterable[Silence]]


class Alerting:
    """One process's part. rules: those there are now, by id, each the same object until it changes; silences: those
    that have not ended at a moment in ms; url: of the page, for people; flood: messages per channel and minute."""

    def __init__(
        self, pipeline: Pipeline, answers: Answers, rules: Rules, silences: Silences, channels: Channels, judge: Judge,
        url: str, flood: int,
    ) -> None:  # fmt: skip
        self.pipeline, self._rules, self._silences, self._flood = pipeline, rules, silences, flood
        self._channels = channels
        self._silenced: tuple[int, list[Silence]] = 0, []
        self._readers = Readers(self.engine, answers, judge)
        self._composer = Composer(self.engine, answers, self._values, url)
        self.alerts: Alerts | None = None
        """Where this process evaluates."""

    @property
    def engine(self) -> Engine:
        return self.pipeline.engine

    @property
    def book(self) -> Book:
        """Where all alerts stand."""
        return self.engine.book

    def applied(self, delivery: Delivery) -> None:
        """Sees every entry."""
        if self.alerts is not None:
            self.alerts.applied(delivery)

    async def run(self, fence: int = 0) -> None:
        """Evaluates and tells, as the owner of the log or as one that is alone; for ever."""
        await self.pipeline.caught_up()
        submit = self.pipeline.submit
        self.alerts = Alerts(self.engine, self._readers, submit, self._rules, fence)
        outbox = Outbox(
            self.engine, submit, self._rules, self._channels, self._decide, self._composer.compose, self._flood, fence
        )
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.alerts.run(), name="evaluate alerts")
                group.create_task(outbox.run(), name="tell of alerts")
        except ExceptionGroup as errors:  # whoever runs this tells apart what it can go on after
            raise errors.exceptions[0] from errors
        finally:
            self.alerts = None

    # what the API asks

    def readings(self, rule_id: str) -> Readings | None:
        """What the newest evaluation of a rule has seen; None where this process has not evaluated it."""
        watched = self.alerts.watched.get(rule_id) if self.alerts is not None else None
        if watched is None:
            return None
        values = watched.values
        held = np.fromiter(values.values(), np.float64, len(values))
        causes = np.full(len(values), CONDITION, np.int8)
        return Readings(watched.evaluated, list(values), held, causes, watched.over, watched.error)

    async def acknowledge(self, incident_id: str, who: str) -> None:
        """An open incident is not repeated any more, and who has seen it is known."""
        await self._say(command("ack", incident=incident_id, who=who))

    async def snooze(self, incident_id: str, until: int, who: str) -> None:
        """Nothing is told of an incident until then, ms; 0 ends that."""
        await self._say(command("snooze", incident=incident_id, who=who, until=until))

    async def _say(self, mark: Mark) -> None:
        try:
            await self.pipeline.submit(Entry(self.pipeline.stamp(), marks=[mark]))
        except LogError as error:
            raise ApiError("log_unavailable", str(error), retry_after=1) from None

    # what the outbox asks

    def _values(self, rule_id: str) -> Mapping[Group, float]:
        watched = self.alerts.watched.get(rule_id) if self.alerts is not None else None
        return watched.values if watched is not None else {}

    def _decide(self, rule: Rule, incident: Incident, channel: str, now: int) -> Decision:
        if self._silenced[0] != now:
            self._silenced = now, list(self._silences(now))

        def is_muted(moment: int) -> bool:
            return muted(rule.mute, moment, zones.offset)

        others = self._others(rule) if rule.inhibited_by else ()
        return routing.decide(rule, incident, channel, now, self._silenced[1], is_muted, others)

    def _others(self, rule: Rule) -> Iterator[dict[str, str]]:
        """The labels of the alerts of other rules that fire."""
        rules = self._rules()
        for incident in self.book.open_incidents():
            other = rules.get(incident.rule)
            if other is not None and other.id != rule.id:
                yield from (labels_of(other, episode.group) for episode in incident.firing)
