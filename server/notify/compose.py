"""From an incident to the message that tells of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from urllib.parse import urlencode

import numpy as np

from engine.engine import Engine
from engine.errors import EngineError
from engine.matchers import make
from engine.query.value import Query
from engine.rules import template
from engine.rules.model import CAUSES, CHANGED, FIRED, LEVELS, NO_DATA, RESOLVED, Episode, Group, Incident, Rule
from engine.rules.step import worse
from server.answers import Answers
from server.errors import ApiError
from server.notify import RESOLVED as ENDED
from server.notify import TEST, GroupLine, Message
from server.wire.times import format_time

logger = logging.getLogger("streamgauge.notify")

POINTS = 60
"""Of a chart."""
HOUR = 3_600_000
MAX_CHANGES = 20
"""Lines of changes in a message."""

Values = Callable[[str], Mapping[Group, float]]
"""The newest values of a rule's groups, by its id."""


class Composer:
    """Writes messages. url: where people reach the page, "" where that is not known."""

    def __init__(self, engine: Engine, answers: Answers, values: Values, url: str) -> None:
        self._engine, self._answers, self._values, self._url = engine, answers, values, url.rstrip("/")

    async def compose(self, rule: Rule, incident: Incident, kind: str, id: str, now: int, channel: str) -> Message:
        """The message of an incident as it stands. kind, id: see Message; channel: as rules name it."""
        values = self._values(rule.id)
        episodes = sorted(incident.episodes.values(), key=lambda each: _severity(rule, each, values), reverse=True)
        first, firing = episodes[0], len(incident.firing)
        name = self._engine.catalogue.names.get(rule.query.name)
        unit = name.unit if name is not None else ""
        total = max(len(values), len(episodes))
        value = first.resolved_value if first.resolved is not None else values.get(first.group, first.value)
        filled = template.values_of(rule, first, value, unit, firing, total)
        told = incident.deliveries[channel].told if channel in incident.deliveries else 0
        level = "ok" if kind == ENDED else LEVELS[incident.level or incident.worst]
        labels = {**dict(rule.labels), **dict(first.group)}
        return Message(
            id=id, kind=kind, incident=incident.id, rule_id=rule.id, rule=rule.name,
            severity=rule.severity or LEVELS[incident.worst], level=level,
            title=_title(rule, first, kind, value, firing, total), text=template.render(rule.message, filled),
            condition=template.condition_text(rule) if rule.version else "the alert is gone",
            threshold=template.threshold(rule, incident.worst), unit=unit, value=value,
            fired_value=first.value, peak=_worst(rule, first, value), opened=incident.opened, at=now,
            closed=incident.closed if kind == ENDED else None, labels=labels,
            lines=tuple(_line(rule, each, values) for each in episodes[: rule.listed]), firing=firing, groups=total,
            changes=tuple(_changes(incident, told)), points=await self._points(rule, first, now),
            link=self._link(rule, incident, now), acknowledged=incident.acknowledged,
        )  # fmt: skip

    async def _points(self, rule: Rule, worst: Episode, now: int) -> tuple[tuple[int, float | None], ...]:
        """The values of the worst group lately, for a small chart; none where they cannot be had."""
        if rule.query.kind != "metric":
            return ()
        query = chart_query(rule, worst)
        try:
            table = (await self._answers.tabled(query, now)).table
        except (EngineError, ApiError) as error:
            logger.info("a message of %s goes without a chart: %s", rule.id, error)
            return ()
        if not len(table.values):
            return ()
        known = np.isfinite(table.values[0]) & ((table.counts[0] > 0) | (rule.query.aggregation in ("sum", "count")))
        pairs = zip(table.times.tolist(), table.values[0].tolist(), known.tolist(), strict=True)
        return tuple((time, value if there else None) for time, value, there in pairs)

    def _link(self, rule: Rule, incident: Incident, now: int) -> str:
        if not self._url:
            return ""
        panel = f"{rule.query.kind}:{rule.query.name}"
        begin = incident.opened - max(HOUR, 2 * rule.query.range)
        end = min(now, incident.closed + HOUR) if incident.closed is not None else now
        asked = [("open", panel), ("from", format_time(begin)), ("to", format_time(end))]
        asked += [("by", f"{rule.query.group_by[0]}@{panel}")] if rule.query.group_by else []
        return f"{self._url}/?{urlencode(asked)}"


def test_message(now: int, url: str) -> Message:
    """What a channel is tried with."""
    text = "If you can read this, alerts of this server reach you here."
    return Message(
        id=f"test.{now}@streamgauge", kind=TEST, incident=f"test_{now}", rule_id="", rule="Test", severity="info",
        level="ok", title="Test message of Streamgauge", text=text, condition="a test asked for by hand",
        threshold=None, unit="", value=None, fired_value=None, peak=None, opened=now, at=now, link=url,
    )  # fmt: skip


def chart_query(rule: Rule, worst: Episode) -> Query:
    """The query of a chart of the group that an episode is about."""
    query = rule.query
    span = max(HOUR, 6 * query.range)
    matchers = (*query.matchers, *(make(label, "=", value) for label, value in worst.group))
    aggregation = query.aggregation
    if rule.each:
        aggregation = "min" if rule.op in ("<", "<=") else "max"
    elif rule.kind == NO_DATA:
        aggregation = "count"
    step = max(span // POINTS, 1000)
    return replace(query, aggregation=aggregation, matchers=matchers, group_by=(), range=span, step=step - step % 1000)


def _severity(rule: Rule, episode: Episode, values: Mapping[Group, float]) -> tuple[bool, int, float]:
    """What makes one episode worse than another: it goes on, its level, how far its value has gone."""
    value = values.get(episode.group, episode.value) if episode.resolved is None else episode.peak
    known = 0.0 if value is None or not np.isfinite(value) else float(value)
    return episode.resolved is None, episode.level, -known if rule.op in ("<", "<=") else known


def _title(rule: Rule, first: Episode, kind: str, value: float | None, firing: int, total: int) -> str:
    name = rule.name or rule.query.name
    if kind == ENDED:
        return name
    who = template.group_text(dict(first.group))
    many = f"{firing} of {total}" if firing > 1 else who
    number = template.number(value)
    return f"{name}: {many} ({number})" if many else f"{name}: {number}"


def _line(rule: Rule, episode: Episode, values: Mapping[Group, float]) -> GroupLine:
    over = episode.resolved is not None
    value = episode.resolved_value if over else values.get(episode.group, episode.value)
    return GroupLine(
        dict(episode.group), "ok" if over else LEVELS[episode.level], CAUSES[episode.cause], value,
        _worst(rule, episode, value), episode.since, episode.resolved,
    )  # fmt: skip


def _changes(incident: Incident, told: int) -> list[str]:
    """What has happened since the revision that was told last, the newest MAX_CHANGES of it."""
    fresh = [change for change in incident.changes if change[0] > told] if told else []
    told_of = [(template.group_text(dict(group)) or "the alert", group, kind) for _, _, group, kind in fresh]
    lines = [f"{who} {_happened(incident, group, kind)}" for who, group, kind in told_of]
    left = len(lines) - MAX_CHANGES
    return lines if left <= 0 else [f"… {left} more changes", *lines[-MAX_CHANGES:]]


def _happened(incident: Incident, group: Group, kind: str) -> str:
    if kind == CHANGED and group in incident.episodes:
        return f"is {LEVELS[incident.episodes[group].level]} now"
    return {FIRED: "fires", CHANGED: "has another level", RESOLVED: "is over"}[kind]


def _worst(rule: Rule, episode: Episode, value: float | None) -> float | None:
    """The worst value so far; the book has it only as often as it is noted."""
    if episode.resolved is not None or value is None or episode.peak is None:
        return episode.peak
    return value if worse(rule, value, episode.peak) else episode.peak
