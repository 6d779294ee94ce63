"""Messages as people write them: `{name}` stands for a value, and nothing in a template can run.

What a value brings is text and nothing else: braces in it are not looked at again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from engine.anomaly import alarms_per_day
from engine.levels import DAY, HOUR, MINUTE, SECOND
from engine.rules.model import ANOMALY, CHANGE, LEVELS, NO_DATA, Episode, Rule
from engine.rules.silence import labels_of

Value = str | float | int | None | Mapping[str, str]

MAX_TEMPLATE, MAX_VALUE, MAX_TEXT = 2_000, 1_000, 4_000
"""Characters of a template, of a value in it, and of what it is filled in to; more is cut."""
NAMES = (
    *("value", "threshold", "group", "name", "severity", "level", "unit", "since", "peak", "condition", "metric"),
    *("count", "total"),
)
"""What a template may name, beside `labels.<label>`."""
_LABELS = "labels."
_FIELD = re.compile(r"\{([a-zA-Z_][^{}\s]{0,199})\}")
_DIGITS = 6
_WHOLE = 1e15
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def render(template: str, values: Mapping[str, Value]) -> str:
    """The template with the values of `values_of` in it; what it does not know stays as it stands."""

    def filled(match: re.Match[str]) -> str:
        name, labels = match[1], values.get("labels")
        if name.startswith(_LABELS) and isinstance(labels, Mapping):
            return cut(labels.get(name.removeprefix(_LABELS), ""), MAX_VALUE)
        value = values.get(name, match[0])
        if isinstance(value, Mapping):
            return match[0]
        return cut(value, MAX_VALUE) if isinstance(value, str) else number(value)

    return cut(_FIELD.sub(filled, template[:MAX_TEMPLATE]), MAX_TEXT)


def fields(template: str) -> list[str]:
    """The names in a template, each once, in order."""
    return list(dict.fromkeys(match[1] for match in _FIELD.finditer(template)))


def unknown(template: str) -> list[str]:
    """Those among them for which there is no value."""
    return [name for name in fields(template) if name not in NAMES and not name.startswith(_LABELS)]


def values_of(
    rule: Rule, episode: Episode, value: float | None, unit: str, firing: int, total: int
) -> dict[str, Value]:
    """What a template may name, of one episode. value: now, or at its end; firing, total: how many alerts of its
    incident fire, of how many there are."""
    return {
        "value": value, "threshold": threshold(rule, episode.worst if episode.resolved else episode.level),
        "group": group_text(dict(episode.group)), "labels": labels_of(rule, episode.group), "name": rule.name,
        "severity": rule.severity, "level": "ok" if episode.resolved else LEVELS[episode.level], "unit": unit,
        "since": moment(episode.since), "peak": episode.peak, "condition": condition_text(rule),
        "metric": rule.query.name, "count": firing, "total": total,
    }  # fmt: skip


def number(value: float | None) -> str:
    """A number for people: whole ones in full, others with six digits that count, an unknown as `no data`."""
    if value is None or math.isnan(value):
        return "no data"
    if math.isinf(value):
        return "infinity" if value > 0 else "-infinity"
    if value == int(value) and abs(value) < _WHOLE:
        return str(int(value))
    if 1e-4 <= abs(value) < _WHOLE:
        places = max(0, _DIGITS - 1 - math.floor(math.log10(abs(value))))
        text = f"{value:.{places}f}"
        return text.rstrip("0").rstrip(".") if places else text
    return f"{value:.{_DIGITS}g}"


def duration(ms: int) -> str:
    """Milliseconds as people write them: 90s, 5m, 1h, 2d."""
    for unit, width in (("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", SECOND)):
        if ms and ms % width == 0:
            return f"{ms // width}{unit}"
    return f"{ms}ms" if ms else "0s"


def moment(ms: int) -> str:
    """A moment in words: 2026-01-31 12:00:05 UTC."""
    return f"{_EPOCH + timedelta(milliseconds=ms - ms % SECOND):%Y-%m-%d %H:%M:%S} UTC"


def group_text(labels: Mapping[str, str]) -> str:
    """A group in words: host=a, zone=x; "" where there are no labels."""
    return ", ".join(f"{label}={value}" for label, value in labels.items())


def threshold(rule: Rule, level: int) -> float | None:
    """The threshold of a level, or of the only level that has one."""
    wanted, other = (rule.warning, rule.critical) if level == 1 else (rule.critical, rule.warning)
    return other if wanted is None else wanted


def condition_text(rule: Rule) -> str:
    """What a rule looks for: average of latency over 5m > 100 (warning > 80) for 2m."""
    query = rule.query
    what = query.name
    if not rule.each and rule.kind != NO_DATA:
        what = f"{query.aggregation or 'count'} of {what} over {duration(query.range)}"
    if rule.kind == CHANGE:
        what = f"change of {what}{' in percent' if rule.relative else ''} within {duration(rule.over)}"
    if rule.kind == ANOMALY:
        score = threshold(rule, 2) or 0.0
        alarms = number(round(alarms_per_day(score, DAY / query.range), 4))
        text = f"anomaly score of {what} >= {number(score)} (at most {alarms} false alarms a day)"
    elif rule.kind == NO_DATA:
        text = f"no data of {what} for {duration((rule.silence_after or query.range) + rule.hold)}"
    else:
        text = f"{what} {rule.op} {number(threshold(rule, 2))}"
        if rule.critical is not None and rule.warning is not None:
            text += f" (warning {rule.op} {number(rule.warning)})"
    by = f" by {', '.join(query.group_by)}" if query.group_by else ""
    return text + (f" for {duration(rule.hold)}" if rule.hold and rule.kind != NO_DATA else "") + by


def cut(text: str, length: int) -> str:
    """At most so many characters of a text, the last of them … where there were more."""
    return text if len(text) <= length else text[: length - 1] + "…"
