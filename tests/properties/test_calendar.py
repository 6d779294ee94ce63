"""Days, weeks and months of any zone: what a query counts in each is what the clocks on the wall there say.

The recount looks at each sample's local date and at each minute around a midnight, with datetime and zoneinfo alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import slots
from engine.engine import Options
from engine.levels import DAY, HOUR, MINUTE, Retention
from engine.query.calendar import DAYS, MONDAY, MONTHS, SUNDAY, WEEKS, Calendar, Period
from engine.query.value import Query
from server.zones import find
from tests.engine_support import AGGREGATIONS, KEYS, NAME, World, entry

LATENESS = 20_000
SHORT = Retention((3 * MINUTE, 2 * HOUR, 3 * DAY, 400 * DAY))


def ms(iso: str) -> int:
    return int(datetime.fromisoformat(iso).timestamp() * 1000)


AROUND = [
    ("Europe/Berlin", "2026-03-29T01:00Z"),  # a day of 23 hours
    ("Europe/Berlin", "2025-10-26T01:00Z"),  # and one of 25
    ("America/New_York", "2024-11-03T06:00Z"),
    ("Asia/Kathmandu", "2025-07-01T00:00Z"),  # 5:45 ahead of UTC
    ("Asia/Kolkata", "2025-12-31T12:00Z"),
    ("Australia/Lord_Howe", "2025-04-05T15:00Z"),  # changes by half an hour
    ("Pacific/Chatham", "2025-09-27T14:00Z"),  # 12:45 and 13:45 ahead
    ("Pacific/Apia", "2011-12-30T10:00Z"),  # had no 30 December
    ("America/Sao_Paulo", "2018-11-04T03:00Z"),  # midnight is skipped
    ("America/Sao_Paulo", "2018-02-18T02:00Z"),  # midnight comes twice
    ("Asia/Beirut", "2022-03-26T22:00Z"),
    ("Asia/Beirut", "2022-10-29T21:00Z"),
    ("America/Havana", "2023-11-05T05:00Z"),
    ("Atlantic/Azores", "2023-10-29T01:00Z"),
    ("Africa/Casablanca", "2024-03-10T02:00Z"),  # summer time is interrupted for Ramadan
    ("UTC", "2024-02-29T00:00Z"),
    ("Europe/London", "2024-03-31T01:00Z"),  # whole UTC days until then
]
places = st.sampled_from(AROUND)
counts = st.sampled_from([1, 1, 1, 2, 3, 10])
calendars = st.tuples(st.sampled_from([DAYS, DAYS, WEEKS, MONTHS]), counts, st.sampled_from([MONDAY, SUNDAY]))
# Samples lie before their stamp, often just beside a midnight in some zone: those are multiples of 15 minutes.
ages = st.one_of(
    st.integers(0, 3 * HOUR),
    st.integers(0, 12 * DAY),
    st.builds(lambda n, off: n * 15 * MINUTE + off, st.integers(0, 800), st.sampled_from([-1, 0, 1])),
    st.integers(0, 150 * DAY),
)
rows = st.lists(
    st.tuples(st.sampled_from(KEYS), ages, st.integers(-5, 20).map(float), st.sampled_from([1, 1, 5])), max_size=12
)
gaps = st.sampled_from([0, 1000, 26_000, 40 * MINUTE, 5 * HOUR, 23 * HOUR, 3 * DAY, 20 * DAY])
scripts = st.lists(st.one_of(st.tuples(gaps, rows), st.tuples(gaps, rows), st.just("flush")), min_size=2, max_size=10)
asked = st.tuples(
    calendars,
    st.sampled_from([name for name in AGGREGATIONS if name != "unique"]),
    st.sampled_from([(), ("host",)]),
    st.sampled_from([HOUR, DAY, 7 * DAY, 30 * DAY, 90 * DAY]),
    st.sampled_from([None, None, -40 * DAY - 7, -3 * DAY, -DAY + 1]),
    st.sampled_from([None, None, -2 * DAY, 5 * DAY]),
)


@pytest.fixture(autouse=True)
def compact_early() -> Iterator[None]:
    """Slots fold their raw samples and their parts much earlier than in earnest."""
    with patch.object(slots, "FOLD_AT", 8), patch.object(slots, "MAX_FOLDED", 2):
        yield


def calendar_of(drawn: tuple[str, int, int], tz: str) -> Calendar:
    unit, count, first = drawn
    return Calendar(unit, count, tz, find(tz), first if unit == WEEKS else MONDAY)


def query_of(drawn: Any, tz: str, middle: int) -> Query:
    """A query whose fixed times lie around the middle of what happens."""
    of, aggregation, group_by, span, start, end = drawn
    calendar = calendar_of(of, tz)
    if start is not None:
        start += middle
        end = None if end is None else middle + end
    return Query(
        "metric", NAME, aggregation=aggregation, group_by=group_by, range=span, start=start,
        end=end if start is not None else None, step=calendar.even, calendar=calendar,
    )  # fmt: skip


def check(world: World, query: Query, at: int) -> bool:
    """Asks and recounts; whether the edges were exact. Nothing is asked of a range that is still to come."""
    if query.start is not None and query.start >= (at + 1 if query.end is None else query.end):
        return True
    bounds = world.verify(query, at).bounds
    ends = [*bounds.times.tolist()[1:], bounds.end]
    assert bounds.over == sum(end <= at for end in ends)
    assert query.calendar is not None
    last = at + 1 if query.end is None else query.end
    if query.start is not None:
        # A `from` at an edge stays at that edge; where only days of UTC are kept, that is where the day begins in UTC.
        is_edge = query.calendar.after(query.start - 1) == query.start
        first = query.start
        if is_edge and bounds.exact_from is not None:
            local = datetime.fromtimestamp(first / 1000, ZoneInfo(query.calendar.tz)).date()
            first = max(first, ms(f"{local}T00:00Z"))
        assert bounds.times[0] <= first and (bounds.steps == 1 or bounds.times[1] > query.start)
    # So does a `to`.
    moved = DAY if query.end is not None and bounds.exact_from is not None else 0
    assert ends[-1] > last - 1 - moved and (bounds.steps == 1 or ends[-2] < last)
    return bounds.exact_from is None


def drive(options: Options, place: tuple[str, str], script: list[Any], drawn: list[Any]) -> list[bool]:
    tz, middle = place[0], ms(place[1])
    queries = [query_of(each, tz, middle) for each in drawn]
    world = World(options)
    stamp = middle - 2 * DAY
    exact = []
    for number, step in enumerate(script):
        if step == "flush":
            world.flush()
            world.expire()
        else:
            stamp += step[0]
            given = [
                (key, stamp - age + again * 7 * MINUTE * (again > 0), value)
                for key, age, value, times in step[1]
                for again in range(times)
            ]
            world.apply(entry(stamp, given))
        for query in queries if number == len(script) - 1 else queries[number % len(queries) :][:1]:
            exact.append(check(world, query, world.engine.stamp))
    return exact


SETTINGS = settings(
    max_examples=80, deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)  # fmt: skip


@SETTINGS
@given(places, scripts, st.lists(asked, min_size=2, max_size=5))
def test_each_step_holds_what_the_clocks_say(place: tuple[str, str], script: list[Any], drawn: list[Any]) -> None:
    drive(Options(lateness=LATENESS), place, script, drawn)


@SETTINGS
@given(places, scripts, st.lists(asked, min_size=2, max_size=5))
def test_where_retention_is_short(place: tuple[str, str], script: list[Any], drawn: list[Any]) -> None:
    drive(Options(lateness=LATENESS, retention=SHORT), place, script, drawn)


@pytest.mark.parametrize("place", AROUND, ids=lambda place: f"{place[0]} {place[1][:10]}")
def test_six_weeks_around_a_change(place: tuple[str, str]) -> None:
    """A sample every 75 minutes, in panes of all levels; the naive count is that of the samples between two edges."""
    middle = ms(place[1])
    world = World(Options(lateness=LATENESS, retention=Retention((DAY, 90 * DAY, 400 * DAY, 3650 * DAY))))
    times = range(middle - 42 * DAY, middle + 6 * DAY, 75 * MINUTE)
    for number, time in enumerate(times):
        world.apply(entry(time + 5000, [(KEYS[2], time, 1.0)]))
        if number % 90 == 0:
            world.flush()
    for unit, aggregation in itertools.product((DAYS, WEEKS, MONTHS), ("sum", "rate")):
        calendar = calendar_of((unit, 1, MONDAY), place[0])
        start = middle - 34 * DAY
        query = Query("metric", NAME, (), None, aggregation, start=start, step=calendar.even, calendar=calendar)
        assert check(world, query, world.engine.stamp), "no edge was rounded"
        answer = world.ask(query)
        edges = [*answer.bounds.times.tolist(), answer.bounds.end]
        for (_, begin), (value, count) in answer.rows.items():
            end = min(edge for edge in edges if edge > begin)
            assert count == sum(begin <= time < end for time in times)
            assert value == (count if aggregation == "sum" else count / ((end - begin) / 1000))
        if unit == DAYS:
            lengths = [end - begin for begin, end in itertools.pairwise(edges)]
            assert len(lengths) >= 39 and lengths.count(DAY) >= 38


@given(places, st.sampled_from([DAYS, WEEKS, MONTHS]), st.booleans(), st.integers(-40 * DAY, 40 * DAY))
def test_periods(place: tuple[str, str], unit: str, last: bool, off: int) -> None:
    """A period is the step of the moment, or the one before it that has any time."""
    calendar = calendar_of((unit, 1, MONDAY), place[0])
    moment = ms(place[1]) + off
    start, end = Period(calendar, last).at(moment)
    assert start in calendar.edges(calendar.number(start) - 1, calendar.number(start) + 1)
    if last:
        assert end is not None and start < end <= moment < calendar.after(end)
        assert calendar.after(start) == end
    else:
        assert end is None and start <= moment < calendar.after(start)
