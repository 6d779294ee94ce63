"""A query: what is asked, as a frozen value, and the reading of its text."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from engine import matchers
from engine.errors import BadQuery
from engine.matchers import Matcher
from engine.query.calendar import DAYS, MONTHS, WEEKS, Calendar, Period

UNITS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}
MAX_GROUP_LABELS = 10
_DURATION = re.compile(r"(\d{1,9})\s*([smhdw])")
_CALENDAR_STEP = re.compile(r"([0-9]{1,9})\s*(d|w|mo|months?)")
_LONGEST = {DAYS: 3660, WEEKS: 522, MONTHS: 120}
_QUERY = re.compile(r"""\s*(metric|event):\s*("(?:[^"\\]|\\.)*"|[^{}"\s][^{}]*?)\s*(\{.*\})?\s*""", re.DOTALL)

Params = tuple[tuple[str, Any], ...]
Name = tuple[str, str]
"""What a query is about: ("metric" or "event", its name)."""


@dataclass(frozen=True, slots=True)
class Query:
    """A question about one metric or event type.

    range: ms back from `at`, used unless start and end (ms UTC, [start, end)) or a period are given; step: ms, for a
    time series; calendar: its steps where they are days, weeks or months (`step` is None then, unless they are all of
    one length); at: ms, None for now; type: metric type to keep, None for all; field: of an event, the property to
    aggregate; params: handed to a registered aggregation; columns: whether the answer is wanted as columns.
    """

    kind: str
    name: str
    matchers: tuple[Matcher, ...] = ()
    type: int | None = None
    aggregation: str | None = None
    group_by: tuple[str, ...] = ()
    range: int = UNITS["h"]
    start: int | None = None
    end: int | None = None
    step: int | None = None
    at: int | None = None
    field: str | None = None
    params: Params = ()
    columns: bool = False
    calendar: Calendar | None = None
    period: Period | None = None

    @property
    def stepped(self) -> bool:
        """Whether a time series is asked for."""
        return self.step is not None or self.calendar is not None


def parse_target(text: str) -> tuple[str, str, tuple[Matcher, ...]]:
    """(kind, name, matchers) of `metric:name{label="value"}` or `event:type`. Raises BadQuery.

    A name with braces, quotes or blanks at its ends is written as a JSON string: `metric:"odd {name}"`.
    """
    match = _QUERY.fullmatch(text)
    if match is None:
        raise BadQuery(
            f"{text!r} is no query; write metric:<name> or event:<type>, with labels as in "
            'metric:api_requests_total{endpoint="/api/users"}'
        )
    name = match[2]
    if name.startswith('"'):
        try:
            name = json.loads(name)
        except ValueError as error:
            raise BadQuery(f"the quoted name in {text!r} is no JSON string: {error}") from None
    return match[1], name, matchers.parse(match[3]) if match[3] else ()


def parse_duration(text: str, what: str = "time_range") -> int:
    """Milliseconds of a duration such as 30s, 5m, 24h, 7d or 2w. Raises BadQuery."""
    match = _DURATION.fullmatch(text.strip())
    if match is None or int(match[1]) == 0:
        raise BadQuery(f"{what} {text!r} is no duration; write a number and s, m, h, d or w, such as 15m or 24h")
    duration = int(match[1]) * UNITS[match[2]]
    if duration > 3660 * UNITS["d"]:
        raise BadQuery(f"{what} {text!r} is longer than ten years")
    return duration


def parse_calendar_step(text: str) -> tuple[int, str] | None:
    """(count, unit) of a step of days, weeks or months, such as 1d or 3mo; None for anything else. Raises BadQuery."""
    match = _CALENDAR_STEP.fullmatch(text.strip())
    if match is None:
        return None
    count, unit = int(match[1]), MONTHS if match[2].startswith("mo") else match[2]
    if count == 0:
        raise BadQuery(f"step {text!r} holds nothing; write a number from 1 on, such as 1{unit}")
    if count > _LONGEST[unit]:
        raise BadQuery(f"step {text!r} is longer than ten years")
    return count, unit


def filters_as_matchers(filters: dict[str, Any]) -> tuple[Matcher, ...]:
    """Equality matchers of S4 filters; a list stands for any of its values."""
    found = []
    for label, value in filters.items():
        if isinstance(value, list):
            if not value:
                raise BadQuery(f"the filter on {label!r} is an empty list, which nothing fulfils")
            values = frozenset(_text(label, item) for item in value)
            found.append(Matcher(label, matchers.ANY_OF, "", values))
        else:
            found.append(matchers.make(label, "=", _text(label, value)))
    return tuple(found)


def _text(label: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise BadQuery(f"the filter on {label!r} is neither text nor a number nor a list of those")
