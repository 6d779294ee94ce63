"""Calendar steps: where the days, weeks and months of a time zone begin, in ms UTC.

A step begins at the first moment whose clock shows midnight of its first day, or later: where midnight is skipped, at
the end of the gap; where it comes twice, at the first. So a day may have 23 or 25 hours, or none at all, and every
moment lies in just one step. The zone is handed in: its rules come from files, which are the world's business.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache

import numpy as np

from engine.levels import DAY, SECOND
from engine.model import Ints

DAYS, WEEKS, MONTHS = "d", "w", "mo"
MONDAY, SUNDAY = 0, 6

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_EPOCH_WEEKDAY = 3
_MILLISECOND = timedelta(milliseconds=1)


@lru_cache(maxsize=1 << 14)  # a live query asks for the same days again and again
def begins(day: int, zone: tzinfo) -> int:
    """The first moment, in ms UTC, at which the clocks of a zone show a day or a later one. day: days since 1970."""
    first = date.fromordinal(_EPOCH_DAY + day)
    midnight = datetime(first.year, first.month, first.day, tzinfo=zone)
    before, after = _offset(midnight), _offset(midnight.replace(fold=1))
    if before >= after:
        return day * DAY - before
    # No clock shows this midnight. The change lies after `low` and not after `high`.
    low, high = day * DAY - after, day * DAY - before
    while high - low > SECOND:
        middle = (low + high) // (2 * SECOND) * SECOND
        if _offset((_EPOCH + timedelta(milliseconds=middle)).astimezone(zone)) == after:
            high = middle
        else:
            low = middle
    return high


def _offset(moment: datetime) -> int:
    """How far the clock is ahead of UTC, in ms."""
    return (moment.utcoffset() or timedelta(0)) // _MILLISECOND


@dataclass(frozen=True, slots=True)
class Calendar:
    """Steps of `count` days, weeks or months, counted from the one that holds 1970-01-01, and numbered so.

    tz: the zone's name, which stands for it; first_weekday: 0 for Monday; grain: ms of which every beginning is made
    a multiple, by rounding to the nearest.
    """

    unit: str
    count: int
    tz: str
    zone: tzinfo = field(compare=False, repr=False)
    first_weekday: int = MONDAY
    grain: int = 1

    def __str__(self) -> str:
        return f"{self.count}{self.unit}"

    @property
    def even(self) -> int | None:
        """The length of a step in ms where all have the same and one begins at the epoch, else None."""
        return self.count * DAY if self.unit == DAYS and self.tz == "UTC" else None

    def kept_at(self, width: int) -> Calendar:
        """The nearest to it that panes of a width can tell apart. In panes of a day that is the calendar of UTC."""
        if width % DAY == 0:
            return replace(self, tz="UTC", zone=UTC, grain=1)
        return replace(self, grain=width)

    def start(self, number: int) -> int:
        """When a step begins."""
        exact = begins(self._first_day(number), self.zone)
        return (exact + self.grain // 2) // self.grain * self.grain

    def number(self, moment: int) -> int:
        """The step that a moment lies in."""
        local = (_EPOCH + timedelta(milliseconds=moment)).astimezone(self.zone)
        number = self._of_day(local.toordinal() - _EPOCH_DAY)
        while self.start(number) > moment:
            number -= 1
        while self.start(number + 1) <= moment:
            number += 1
        return number

    def after(self, moment: int) -> int:
        """When the next step after a moment begins."""
        return self.start(self.number(moment) + 1)

    def span(self, start: int | None, last: int, back: int) -> tuple[int, int]:
        """The numbers of the first step and of the one after the last, of those that hold [start, last).

        Without a start they hold `back` ms before the end of the last step, by the clocks on the wall: 7 days are 7
        days of whatever length.
        """
        end = self.number(last - 1) + 1
        if start is not None:
            return self.number(start), end
        return self._of_day((self._first_day(end) * DAY - back) // DAY), end

    def edges(self, first: int, end: int) -> Ints:
        """When the steps from `first` to before `end` begin, and the last one ends; those without any time left out."""
        return np.unique(np.array([self.start(number) for number in range(first, end + 1)], np.int64))

    def _of_day(self, day: int) -> int:
        if self.unit == MONTHS:
            local = date.fromordinal(_EPOCH_DAY + day)
            return ((local.year - 1970) * 12 + local.month - 1) // self.count
        return day // self.count if self.unit == DAYS else (day + self._lead) // (7 * self.count)

    def _first_day(self, number: int) -> int:
        if self.unit == MONTHS:
            years, month = divmod(number * self.count, 12)
            return date(1970 + years, month + 1, 1).toordinal() - _EPOCH_DAY
        return number * self.count if self.unit == DAYS else number * 7 * self.count - self._lead

    @property
    def _lead(self) -> int:
        """Days from the beginning of the epoch's week to the epoch."""
        return (_EPOCH_WEEKDAY - self.first_weekday) % 7


@dataclass(frozen=True, slots=True)
class Period:
    """The step of a calendar that holds the moment of asking, up to that moment, or the whole step before it."""

    calendar: Calendar
    last: bool = False

    def at(self, moment: int) -> tuple[int, int | None]:
        """(start, end) as of a moment; the end is None where it is the moment itself."""
        calendar = self.calendar
        start = calendar.start(calendar.number(moment))
        return (calendar.start(calendar.number(start - 1)), start) if self.last else (start, None)
