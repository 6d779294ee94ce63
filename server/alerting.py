"""Alerting put together: who evaluates rules, who tells people, and what the API asks of both.

Every process has one, as every process knows the book; `run` is for those that evaluate: `serve`, and engines.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Protocol

import numpy as np

from engine.engine import Delivery, Engine
from engine.matchers import Matcher
from engine.model import Entry, Mark
from engine.rules import routing
from engine.rules.book import Book
from engine.rules.marks import ALERT, command
from engine.rules.model import CONDITION, FIRING, PENDING, Group, Incident, Readings, Rule, Silence
from engine.rules.routing import Decision
from engine.rules.scores import Scorer
from engine.rules.silence import labels_of, matches, muted
from engine.rules.watched import Watched
from server import zones
from server.answers import Answers
from server.api.alerting import Anomaly
from server.config import Settings
from server.errors import ApiError
from server.hub import Hub
from server.log import LogError
from server.notify.channels import open_channels
from server.notify.compose import Composer, test_message
from server.notify.heartbeat import Heartbeat
from server.notify.outbox import Outbox
from server.pipeline import Pipeline
from server.preview import Preview, Previews
from server.subscribers.alerts import Alerts
from server.subscribers.alerts_anomalies import Anomalies
from server.subscribers.alerts_news import AlertNews, Shown
from server.subscribers.alerts_readings import Readers
from server.subscribers.alerts_terms import Evaluations


class Saved(Protocol):
    """The alerts that people have saved."""

    noticed: Callable[[str], None]
    """Told the id of each that is saved or deleted."""

    def rules(self) -> Mapping[str, Rule]:
        """By id, each the same object until it changes."""

    def find(self, id: str) -> dict[str, Any]:
        """An alert's document."""

    def shown(self, document: dict[str, Any], book: Book, readings: Readings | None) -> dict[str, Any]:
        """A document, and where its alert stands."""


class Silences(Protocol):
    """Those that people have saved."""

    noticed: Callable[[str], None]
    """Told the id of each that is saved or deleted."""

    def silences(self, now: int) -> Iterable[Silence]:
        """Those that have not ended by now, ms."""


class Documents(Protocol):
    """All documents of alerting."""

    @property
    def alerts(self) -> Saved: ...
    @property
    def silences(self) -> Silences: ...


class Alerting:
    """One process's part."""

    def __init__(
        self, pipeline: Pipeline, answers: Answers, documents: Documents, hub: Hub, settings: Settings, name: str = ""
    ) -> None:
        """name: of this process where there are others; "" for one that is alone."""
        self.pipeline, self._documents, self._settings = pipeline, documents, settings
        self._rules = documents.alerts.rules
        documents.alerts.noticed, documents.silences.noticed = self._changed, self._silenced_anew
        self.channels = open_channels(settings)
        self._silenced: tuple[int, list[Silence]] = 0, []
        self._above: tuple[int, dict[tuple[Matcher, ...], dict[str, Mapping[str, str]]]] = -1, {}
        """As of which version of the book, and by matchers, an alert that fires of each rule."""
        self._anomalies = Anomalies(answers, settings.anomaly_series)
        self._readers = Readers(self.engine, answers, self._anomalies)
        self._previews = Previews(answers, documents.silences.silences, Scorer)
        self._composer = Composer(self.engine, answers, self._values, settings.public_url)
        self._news = AlertNews(self.book, hub.tell, lambda: bool(hub.sessions), self._shown)
        self.evaluations = Evaluations(self.engine, name, self._evaluation)
        self._outbox: Outbox | None = None
        self.elsewhere: Callable[[], Awaitable[list[Anomaly]]] = _nothing
        """What other processes tell of the series that they watch."""
        self.is_heard: Callable[[], bool] = lambda: True
        """Whether the others know that this process is there, and do not take over what it holds."""

    @property
    def engine(self) -> Engine:
        return self.pipeline.engine

    @property
    def book(self) -> Book:
        """Where all alerts stand."""
        return self.engine.book

    def applied(self, delivery: Delivery) -> None:
        """Sees every entry."""
        self._news.applied(delivery)
        self.evaluations.applied(delivery)
        if self._outbox is not None and any(mark.kind == ALERT for mark in delivery.marks):
            self._outbox.news.set()

    async def run(self) -> None:
        """Evaluates and tells, of all that this process holds; for ever."""
        await self.pipeline.caught_up()
        outbox = self._outbox = Outbox(
            self.engine, self.pipeline.submit, self._rules, self.channels, self._decide, self._composer.compose,
            self._settings.alert_flood, lambda: self.evaluations.held if self.is_heard() else (), self.pipeline.stamp,
        )  # fmt: skip
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.evaluations.run(), name="evaluate alerts")
                group.create_task(outbox.run(), name="tell of alerts")
                group.create_task(self._anomalies.run(), name="learn what is usual")
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        finally:
            self._outbox = None

    def _evaluation(self, term: int) -> Alerts:
        return Alerts(
            self.engine, self._readers, self.pipeline.submit, self._rules, term, lambda: len(self.evaluations)
        )

    async def drain(self) -> None:
        """Begins no message any more, and waits for those that are under way."""
        if self._outbox is not None:
            await self._outbox.drain()

    async def beat(self, trouble: Callable[[], str]) -> None:
        """The dead man's switch, where there is one: beats while all is well; for ever. trouble: "" for none."""
        url = self._settings.heartbeat_url.get_secret_value()
        if not url:
            await asyncio.Event().wait()
        await Heartbeat(url, self._settings.heartbeat_interval, lambda: trouble() or None).run()

    async def close(self) -> None:
        """Lets go of connections."""
        await self.channels.close()

    def numbers(self) -> Iterator[tuple[str, float]]:
        """Of the evaluation, by name; nothing where another process evaluates."""
        if not self.evaluations:
            return
        count, seconds = self.evaluations.spent
        yield "alert_evaluations_total", count
        yield "alert_evaluation_seconds_total", seconds
        of = self.evaluations.of
        states = [each.status for rule, held in self.book.alerts.items() if of(rule) for each in held.values()]
        yield "alerts_firing", states.count(FIRING)
        yield "alerts_pending", states.count(PENDING)
        mine = (incident for incident in self.book.incidents.values() if of(incident.rule))
        told = (each for incident in mine for each in incident.deliveries.values())
        yield "alert_messages_waiting", sum(not each.ended for each in told)

    # what the API asks

    def readings(self, rule_id: str) -> Readings | None:
        """What the newest evaluation of a rule has seen; None where this process has not evaluated it."""
        watched = self._watched(rule_id)
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

    async def preview(self, rule: Rule, span: int) -> Preview:
        """What a rule would have done over the last `span` ms. Raises EngineError and ApiError as a query does."""
        return await self._previews.preview(rule, span)

    async def anomalies(self, most: int) -> list[Anomaly]:
        """The watched series, the most unusual first; of those that other processes watch what they tell. Raises
        ApiError where they cannot be asked."""
        found = [*self.watched_here(most), *await self.elsewhere()]
        return sorted(found, key=lambda each: (not each.standing.anomalous, -each.standing.score))[:most]

    def watched_here(self, most: int) -> list[Anomaly]:
        """The series that this process watches, the most unusual first."""
        return [
            Anomaly(rule.id, (rule.query.kind, rule.query.name), group, standing, episodes)
            for rule, group, standing, episodes in self._anomalies.ranking(most)
        ]

    def problem(self, channel: str) -> str | None:
        """Why nothing can be sent by a channel; None where it can."""
        return self.channels.problem(channel)

    def target(self, channel: str) -> str:
        """Where its messages go, without secrets; "" where that is not known."""
        return self.channels.listed([channel])[0].target

    async def test(self, channel: str) -> Mapping[str, str]:
        """Sends a test message; what the far side calls it. Raises NotSent, and ApiError for no such channel."""
        found = self.channels.find(channel)
        if found is None:
            raise ApiError("bad_request", self.channels.problem(channel) or f"there is no channel {channel!r}")
        return await found.send(test_message(self.pipeline.stamp(), self._settings.public_url), {})

    async def _say(self, mark: Mark) -> None:
        try:
            await self.pipeline.submit(Entry(self.pipeline.stamp(), marks=[mark]))
        except LogError as error:
            raise ApiError("log_unavailable", str(error), retry_after=1) from None

    # what its parts ask

    def _changed(self, rule_id: str) -> None:
        self._above = -1, {}
        if (evaluation := self.evaluations.of(rule_id)) is not None:
            evaluation.changed(rule_id)
        if self._outbox is not None:
            self._outbox.look_again()

    def _silenced_anew(self, silence_id: str) -> None:
        self._silenced = 0, []
        if self._outbox is not None:
            self._outbox.look_again()

    def _shown(self, rule_id: str) -> Shown:
        rule, alerts = self._rules().get(rule_id), self._documents.alerts
        try:
            document = alerts.shown(alerts.find(rule_id), self.book, self.readings(rule_id))
        except ApiError:  # it has been deleted; that it is over is told all the same
            document = {"id": rule_id}
        return Shown(document, rule.query.name if rule is not None else "")

    def _values(self, rule_id: str) -> Mapping[Group, float]:
        watched = self._watched(rule_id)
        return watched.values if watched is not None else {}

    def _watched(self, rule_id: str) -> Watched | None:
        """A rule as it is evaluated here; None where it is not."""
        evaluation = self.evaluations.of(rule_id)
        return evaluation.watched.get(rule_id) if evaluation is not None else None

    def _decide(self, rule: Rule, incident: Incident, channel: str, now: int) -> Decision:
        if self._silenced[0] != now:
            self._silenced = now, list(self._documents.silences.silences(now))

        def is_muted(moment: int) -> bool:
            return muted(rule.mute, moment, zones.offset)

        others = self._others(rule) if rule.inhibited_by else ()
        return routing.decide(rule, incident, channel, now, self._silenced[1], is_muted, others)

    def _others(self, rule: Rule) -> Iterator[Mapping[str, str]]:
        """The labels of an alert that fires of each other rule that the rule is inhibited by."""
        if self._above[0] != self.book.version:
            self._above = self.book.version, {}
        found = self._above[1].get(rule.inhibited_by)
        if found is None:  # once for all rules that say the same
            found = self._above[1][rule.inhibited_by] = dict(self._firing(rule.inhibited_by))
        return (labels for id, labels in found.items() if id != rule.id)

    def _firing(self, matchers: tuple[Matcher, ...]) -> Iterator[tuple[str, Mapping[str, str]]]:
        rules = self._rules()
        for incident in self.book.open_incidents():
            other = rules.get(incident.rule)
            if other is not None:
                labels = (labels_of(other, each.group) for each in incident.firing)
                yield from ((other.id, each) for each in islice((e for e in labels if matches(matchers, e)), 1))


async def _nothing() -> list[Anomaly]:
    """A process that is alone."""
    return []
