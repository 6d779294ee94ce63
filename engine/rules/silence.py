"""What keeps alerts from being told: silences, by matching their labels, and the hours at which a rule is mute."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from engine.levels import DAY, MINUTE
from engine.matchers import Matcher
from engine.rules.model import Group, MuteTime, Rule, Silence

_EPOCH_WEEKDAY = 3
Offset = Callable[[str, int], int]
"""(zone, moment in ms) -> ms that the clocks of the zone are ahead of UTC then. The zones' rules are the world's."""


def labels_of(rule: Rule, group: Group) -> dict[str, str]:
    """An alert's labels: those of its group, of its rule, and what names the rule; a later one wins."""
    named = {"alert": rule.name, "alert_id": rule.id, "severity": rule.severity}
    return {**dict(group), **dict(rule.labels), **{label: value for label, value in named.items() if value}}


def matches(matchers: Iterable[Matcher], labels: Mapping[str, str]) -> bool:
    """Whether the labels fulfil all of the matchers; a label that is absent counts as ""."""
    return all(matcher.accepts(labels.get(matcher.label, "")) for matcher in matchers)


def silence_of(silences: Iterable[Silence], labels: Mapping[str, str], now: int) -> Silence | None:
    """The silence that covers an alert now; of several, the one that ends last."""
    covering = [each for each in silences if each.start <= now < each.end and matches(each.matchers, labels)]
    return max(covering, key=lambda each: each.end, default=None)


def muted(times: Iterable[MuteTime], now: int, offset: Offset) -> bool:
    """Whether one of the times goes on now, by the clocks on the wall of its zone: where the clocks are put back, what
    they show twice is mute twice."""
    return any(_goes_on(each, now + offset(each.tz, now)) for each in times)


def _goes_on(time: MuteTime, wall: int) -> bool:
    day, minute = wall // DAY, wall % DAY // MINUTE
    weekday = (day + _EPOCH_WEEKDAY) % 7
    if time.begin < time.end:
        return weekday in time.days and time.begin <= minute < time.end
    return (weekday in time.days and minute >= time.begin) or ((weekday - 1) % 7 in time.days and minute < time.end)
