"""What messages say in every channel: text made harmless, numbers, times, lines, and a chart of characters. Pure."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from engine.rules.template import cut, moment, number
from server.notify import REPEAT, RESOLVED, TEST, GroupLine, Message

BARS = "▁▂▃▄▅▆▇█"
GAP = "·"
SIGNS = {"critical": "🔴", "warning": "🟠", "ok": "✅"}
TEST_SIGN = "🔔"

_JOINERS = "\u200c\u200d"
"""They hold letters and emoji together and hide nothing."""
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Controls, marks that turn the direction of what follows or cannot be seen, halves of characters, ends of lines."""
UNKNOWN = {"no_data": "no data", "error": "the query failed"}
"""What is said in place of a value, by cause."""
_LABEL_NAME, _LABEL_VALUE, _GROUP = 60, 120, 300


def plain(text: str, limit: int) -> str:
    """`text` in one line of at most `limit` characters: nothing hidden in it, blanks joined, cut with an ellipsis."""
    begun = text[: 4 * limit + 40]  # what lies further on is cut, whatever is left out before it
    shown = "".join(c if c in _JOINERS or unicodedata.category(c) not in _HIDDEN else " " for c in begun)
    return cut(" ".join(shown.split()), limit)


def prose(text: str, limit: int) -> str:
    """`text` as `plain`, but in its lines."""
    return cut("\n".join(plain(line, limit) for line in text[: 4 * limit + 40].splitlines()).strip(), limit)


def amount(value: float | None, unit: str = "") -> str:
    """A value with its unit; `no data` for None."""
    shown = number(value)
    return shown if not unit or value is None or math.isnan(value) else f"{shown} {plain(unit, 20)}".rstrip()


def span(ms: int) -> str:
    """`45 s`, `12 min`, `3 h 20 min`, `2 d 4 h`."""
    seconds = max(0, ms) // 1000
    if seconds < 60:
        return f"{seconds} s"
    minutes = seconds // 60
    if minutes < 60:
        return f"{minutes} min"
    hours = minutes // 60
    if hours < 24:
        return f"{hours} h {minutes % 60} min" if minutes % 60 else f"{hours} h"
    return f"{hours // 24} d {hours % 24} h" if hours % 24 else f"{hours // 24} d"


def sign(message: Message) -> str:
    """The emoji of how it stands."""
    return TEST_SIGN if message.kind == TEST else SIGNS["ok" if message.kind == RESOLVED else message.level]


def standing(message: Message) -> str:
    """How it stands, in a word or two: Critical, Still critical, Resolved, Test."""
    if message.kind in (RESOLVED, TEST):
        return message.kind.capitalize()
    return f"Still {message.level}" if message.kind == REPEAT else message.level.capitalize()


def heading(message: Message, limit: int = 140) -> str:
    """How it stands and the title, in a line."""
    begun = f"{standing(message)}: "
    return cut(begun + plain(message.title or message.rule, limit).removeprefix(begun), limit)


def facts(message: Message) -> list[tuple[str, str]]:
    """(name, text) of what every message says: value against threshold, since when, how many of how many."""
    if message.kind == TEST:
        return []
    unit, found = message.unit, [("Value", _values(message))]
    if message.threshold is not None:
        found.append(("Threshold", amount(message.threshold, unit)))
    if message.condition:
        found.append(("Condition", plain(message.condition, 300)))
    if message.closed is not None:
        lasted = f"{moment(message.opened)} to {moment(message.closed)} ({span(message.closed - message.opened)})"
        found.append(("Lasted", lasted))
    else:
        found.append(("Since", f"{moment(message.opened)} ({span(message.at - message.opened)})"))
    if message.groups > 1:
        found.append(("Firing", f"{message.firing} of {message.groups}"))
    if message.severity and message.severity != message.level:
        found.append(("Severity", plain(message.severity, 60)))
    return found


def _values(message: Message) -> str:
    cause = message.lines[0].cause if message.value is None and message.lines else ""
    value = UNKNOWN.get(cause) or amount(message.value, message.unit)
    parts = [value + (" at the end" if message.kind == RESOLVED else "")]
    if message.kind == RESOLVED and message.fired_value is not None:
        parts.append(f"{amount(message.fired_value, message.unit)} when it fired")
    if message.peak is not None and (message.kind == RESOLVED or message.peak != message.value):
        parts.append(f"{amount(message.peak, message.unit)} at its worst")
    return ", ".join(parts)


class Line(NamedTuple):
    """A group in a message: sign, labels, and what is said of it."""

    sign: str
    name: str
    said: str


def lines(message: Message) -> Iterator[Line]:
    """The groups shown, the worst first; none of a rule without groups, of which the facts say all."""
    for line in message.lines:
        if line.labels or len(message.lines) > 1:
            yield Line(SIGNS.get(line.level, "•"), group(line.labels), _said(line, message))


def folded(message: Message, shown: int) -> str:
    """`and 27 more that fire` of those beyond the `shown` ones, "" of none."""
    more = max(message.firing, len(message.lines)) - shown
    if more <= 0:
        return ""
    return f"and {more} more" + (" that fire" if message.kind != RESOLVED else "")


def is_link(link: str) -> bool:
    """Whether a link may be shown as one."""
    return link.startswith(("https://", "http://")) and link.isprintable() and " " not in link


def group(labels: Mapping[str, str]) -> str:
    """`host=web-1, region=eu`."""
    pairs = (f"{plain(name, _LABEL_NAME)}={plain(value, _LABEL_VALUE)}" for name, value in labels.items())
    return cut(", ".join(pairs), _GROUP) or "all together"


def _said(line: GroupLine, message: Message) -> str:
    value = amount(line.value, message.unit)
    parts = [value if line.until is not None else UNKNOWN.get(line.cause, value)]
    if line.peak is not None and line.peak != line.value:
        parts.append(f"{amount(line.peak, message.unit)} at its worst")
    if line.until is not None:
        parts.append(f"resolved after {span(line.until - line.since)}")
    else:
        parts.append(f"for {span(message.at - line.since)}")
    return ", ".join(parts)


def sparkline(message: Message, width: int = 40) -> str:
    """The points as bars of characters, at most `width`; "" where there are none. A gap is `·`.

    Of points that share a bar the one farthest from the mean is drawn, so that neither peaks nor dips are lost.
    """
    values = [value if value is not None and math.isfinite(value) else None for _, value in message.points]
    known = [value for value in values if value is not None]
    if not known:
        return ""
    mean = sum(value / len(known) for value in known)
    bars = [_farthest(part, mean) for part in _parts(values, width)]
    low, high = min(known), max(known)
    return "".join(GAP if bar is None else _bar(bar, low, high) for bar in bars)


def reach(message: Message) -> str:
    """What the sparkline goes over: `0.5 to 180 ms, from 12:00 to 12:30 UTC`; "" where there is none."""
    known = [value for _, value in message.points if value is not None and math.isfinite(value)]
    if not known:
        return ""
    begin, end = (datetime.fromtimestamp(message.points[i][0] // 1000, UTC) for i in (0, -1))
    shape = "%H:%M" if (end - begin).days == 0 else "%Y-%m-%d %H:%M"
    values = f"{amount(min(known))} to {amount(max(known), message.unit)}"
    return f"{values}, from {begin.strftime(shape)} to {end.strftime(shape)} UTC"


def _parts(values: list[float | None], width: int) -> Iterator[list[float | None]]:
    count = min(width, len(values))
    for i in range(count):
        yield values[i * len(values) // count : (i + 1) * len(values) // count]


def _farthest(part: list[float | None], mean: float) -> float | None:
    return max((value for value in part if value is not None), key=lambda value: abs(value - mean), default=None)


def _bar(value: float, low: float, high: float) -> str:
    height = high / 2 - low / 2  # halved: the difference of two floats may be infinite
    if height == 0:
        return BARS[3]
    return BARS[min(len(BARS) - 1, int((value / 2 - low / 2) / height * len(BARS)))]
