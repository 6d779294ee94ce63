"""Calendar steps: where they begin, which panes answer for them, and what becomes of edges between two panes."""

from __future__ import annotations

import itertools
import math
from datetime import UTC, date, datetime

import pytest

from engine.engine import Options
from engine.errors import BadQuery, TooExpensive
from engine.levels import DAY, HOUR, MINUTE, SECOND, WIDTHS, Retention
from engine.query import events, plan
from engine.query.calendar import DAYS, MONTHS, SUNDAY, WEEKS, Calendar, Period, begins
from engine.query.plan import OPEN, Limits
from engine.query.value import Query, parse_calendar_step
from server.zones import find
from tests.engine_support import KEYS, NAME, World, entry


def ms(iso: str) -> int:
    """Of a time in UTC."""
    return int(datetime.fromisoformat(iso).replace(tzinfo=UTC).timestamp() * 1000)


def iso(moment: int) -> str:
    return datetime.fromtimestamp(moment / 1000, UTC).isoformat()[:16]


def calendar(unit: str, tz: str = "UTC", count: int = 1, first_weekday: int = 0) -> Calendar:
    return Calendar(unit, count, tz, find(tz), first_weekday)


@pytest.mark.parametrize(
    ("tz", "day", "begin"),
    [
        ("UTC", "2026-01-01", "2026-01-01T00:00"),
        ("Europe/Berlin", "2026-03-29", "2026-03-28T23:00"),
        ("Europe/Berlin", "2026-03-30", "2026-03-29T22:00"),
        ("Asia/Kathmandu", "2026-01-01", "2025-12-31T18:15"),
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00"),  # the clock went from 23:59 to 1:00
        ("Asia/Beirut", "2022-03-27", "2022-03-26T22:00"),
        ("America/Havana", "2023-11-05", "2023-11-05T04:00"),  # the first of two midnights
        ("America/St_Johns", "2006-10-29", "2006-10-29T02:30"),  # at 0:01 the clock went back to the day before
        ("Pacific/Apia", "2011-12-29", "2011-12-29T10:00"),
        ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00"),  # was left out
        ("Pacific/Apia", "2011-12-31", "2011-12-30T10:00"),
        ("America/Toronto", "1919-03-31", "1919-03-31T04:30"),  # from 23:30 to 0:30
    ],
)
def test_a_day_begins_at_the_first_moment_that_shows_it(tz: str, day: str, begin: str) -> None:
    number = date.fromisoformat(day).toordinal() - date(1970, 1, 1).toordinal()
    assert iso(begins(number, find(tz))) == begin


@pytest.mark.parametrize(
    ("of", "moment", "begin", "following"),
    [
        (calendar(DAYS), "2026-05-06T07:00", "2026-05-06T00:00", "2026-05-07T00:00"),
        (calendar(DAYS, "Europe/Berlin"), "2026-10-25T22:59", "2026-10-24T22:00", "2026-10-25T23:00"),
        (calendar(DAYS, "Pacific/Apia"), "2011-12-30T09:59", "2011-12-29T10:00", "2011-12-30T10:00"),
        (calendar(DAYS, "Pacific/Apia"), "2011-12-30T10:00", "2011-12-30T10:00", "2011-12-31T10:00"),
        (calendar(WEEKS), "2026-11-29T12:00", "2026-11-23T00:00", "2026-11-30T00:00"),
        (calendar(WEEKS, first_weekday=SUNDAY), "2026-11-29T12:00", "2026-11-29T00:00", "2026-12-06T00:00"),
        (calendar(WEEKS, "Europe/Berlin"), "2026-03-29T12:00", "2026-03-22T23:00", "2026-03-29T22:00"),
        (calendar(WEEKS, count=2), "1970-01-01T00:00", "1969-12-29T00:00", "1970-01-12T00:00"),
        (calendar(MONTHS), "2024-02-29T23:59", "2024-02-01T00:00", "2024-03-01T00:00"),
        (calendar(MONTHS, "Europe/Berlin"), "2026-03-31T22:00", "2026-03-31T22:00", "2026-04-30T22:00"),
        (calendar(MONTHS, count=3), "2026-05-15T00:00", "2026-04-01T00:00", "2026-07-01T00:00"),
        (calendar(MONTHS, count=12), "2026-05-15T00:00", "2026-01-01T00:00", "2027-01-01T00:00"),
        (calendar(MONTHS), "1969-12-31T12:00", "1969-12-01T00:00", "1970-01-01T00:00"),
    ],
)
def test_the_step_of_a_moment(of: Calendar, moment: str, begin: str, following: str) -> None:
    number = of.number(ms(moment))
    assert (iso(of.start(number)), iso(of.after(ms(moment)))) == (begin, following)


def test_a_range_counts_days_by_the_clock_on_the_wall() -> None:
    berlin = calendar(DAYS, "Europe/Berlin")
    for last in ("2026-03-30T12:00", "2026-10-26T12:00", "2026-07-01T00:00", "2026-06-30T21:59:59"):
        edges = berlin.edges(*berlin.span(None, ms(last), 7 * DAY))
        assert len(edges) == 8 and edges[-2] < ms(last) <= edges[-1]
    months = calendar(MONTHS, "Europe/Berlin")
    assert len(months.edges(*months.span(None, ms("2026-11-29T12:00"), 365 * DAY))) == 13
    apia = calendar(DAYS, "Pacific/Apia")
    assert len(apia.edges(*apia.span(None, ms("2011-12-31T12:00"), 3 * DAY))) == 3, "one of the days was left out"


def test_periods() -> None:
    berlin = calendar(DAYS, "Europe/Berlin")
    assert Period(berlin).at(ms("2026-03-29T23:00")) == (ms("2026-03-29T22:00"), None)
    assert Period(berlin, True).at(ms("2026-03-29T23:00")) == (ms("2026-03-28T23:00"), ms("2026-03-29T22:00"))
    apia = calendar(DAYS, "Pacific/Apia")
    before = Period(apia, True).at(ms("2011-12-30T12:00"))
    assert before == (ms("2011-12-29T10:00"), ms("2011-12-30T10:00")), "the last day that there was"
    world = World()
    world.apply(entry(ms("2026-03-29T23:00"), [(KEYS[3], ms("2026-03-29T22:30"), 1.0)]))
    world.apply(entry(ms("2026-03-29T23:01"), [(KEYS[3], ms("2026-03-29T21:30"), 2.0)]))
    for last, value in ((False, 1.0), (True, 2.0)):
        query = Query("metric", NAME, aggregation="sum", period=Period(berlin, last), range=0)
        assert world.verify(query).rows[(), 0][0] == value
        steps = world.verify(Query("metric", NAME, aggregation="sum", period=Period(berlin, last), calendar=berlin))
        assert [value for value, _ in steps.rows.values()] == [value] and steps.bounds.over == int(last)


NOW = ms("2026-11-25T10:00")


@pytest.fixture(scope="module")
def world() -> World:
    """One sample an hour over two years, rolled up."""
    world = World(Options(lateness=20_000), recount=False)
    for number in range(2 * 365):
        stamp = NOW - (2 * 365 - number) * DAY
        world.apply(entry(stamp, [(KEYS[2], stamp - hour * HOUR, 1.0) for hour in range(24)]))
        if number % 90 == 0:
            world.flush()
    world.apply(entry(NOW))
    world.flush()
    return world


def stretches(world: World, of: Calendar, span: int) -> tuple[plan.Bounds, list[plan.Stretch]]:
    query = Query("metric", NAME, aggregation="sum", range=span, step=of.even, calendar=of)
    bounds = plan.bounds(query, world.engine, world.engine.stamp)
    found = sorted(plan.cover(bounds, world.engine), key=lambda stretch: stretch.start)
    assert found[0].start == bounds.start and found[-1].end == bounds.end
    assert all(one.end == following.start for one, following in itertools.pairwise(found))
    assert all(one.level == OPEN or one.start % WIDTHS[one.level] == one.end % WIDTHS[one.level] == 0 for one in found)
    for edge in bounds.times.tolist():
        within = [each for each in found if each.start <= edge < each.end and each.level != OPEN]
        assert all(edge % WIDTHS[each.level] == 0 for each in within), "no pane holds time of two steps"
    return bounds, found


@pytest.mark.parametrize(
    ("of", "span", "coarsest"),
    [
        (calendar(DAYS), 300 * DAY, 3),
        (calendar(MONTHS), 300 * DAY, 3),
        (calendar(WEEKS), 300 * DAY, 3),
        (calendar(DAYS, "Europe/Berlin"), 300 * DAY, 2),
        (calendar(MONTHS, "Europe/Berlin"), 300 * DAY, 3),
        (calendar(DAYS, "Asia/Kathmandu"), 25 * DAY, 1),
        (calendar(DAYS, "Asia/Kolkata"), 25 * DAY, 1),
    ],
)
def test_the_coarsest_panes_that_answer_exactly(world: World, of: Calendar, span: int, coarsest: int) -> None:
    bounds, found = stretches(world, of, span)
    assert bounds.exact_from is None and bounds.calendar == of
    most = max((each.end - each.start, each.level) for each in found)[1]
    by_level = {level: sum(e.end - e.start for e in found if e.level == level) for level in (OPEN, 0, 1, 2, 3)}
    if of.unit == DAYS and of.tz == "Asia/Kathmandu":
        # An hour that a quarter of an hour cuts is read in minutes, the 23 others of the day are not.
        assert by_level[2] > 20 * by_level[1] > 0 and not by_level[3]
    elif coarsest == 1:
        assert by_level[2] > by_level[1] > 0 and not by_level[3]
    else:
        assert most == coarsest and by_level[coarsest] > 0.9 * (bounds.end - bounds.start) - 2 * DAY
    assert len(plan.blocks(Query("metric", NAME), found, world.engine)) < 500


@pytest.mark.parametrize(
    ("of", "span", "resolution", "in_force", "kept"),
    [
        (calendar(DAYS, "Asia/Kathmandu"), 90 * DAY, HOUR, "Asia/Kathmandu", 1),
        (calendar(DAYS, "Asia/Kolkata"), 90 * DAY, HOUR, "Asia/Kolkata", 1),
        (calendar(DAYS, "Europe/Berlin"), 600 * DAY, DAY, "UTC", 2),
        (calendar(MONTHS, "Pacific/Auckland"), 600 * DAY, DAY, "UTC", 2),
    ],
)
def test_edges_within_panes_are_rounded_and_it_is_said(
    world: World, of: Calendar, span: int, resolution: int, in_force: str, kept: int
) -> None:
    bounds, _ = stretches(world, of, span)
    assert bounds.resolution == resolution and bounds.calendar is not None and bounds.calendar.tz == in_force
    assert bounds.exact_from == world.engine.horizons[kept]
    if in_force == of.tz:
        for edge in bounds.times.tolist():
            assert abs(edge - of.start(of.number(edge + HOUR))) <= HOUR // 2
    else:
        assert all(edge % DAY == 0 for edge in bounds.times.tolist())
    assert bounds.end > world.engine.stamp >= bounds.times[-1], "the last step holds the present"
    fitting = Query("metric", NAME, aggregation="sum", start=bounds.exact_from + 40 * DAY, calendar=of)
    if kept == 2:
        assert plan.bounds(fitting, world.engine, NOW).exact_from is None
    answer = world.ask(Query("metric", NAME, aggregation="count", range=span, calendar=of))
    inside = sum(count for _, count in answer.rows.values())
    assert inside == (min(NOW - DAY, bounds.end - 1) - bounds.start) // HOUR + 1


@pytest.mark.parametrize(
    ("tz", "unit", "back", "resolution"),
    [
        ("Asia/Kathmandu", DAYS, 3, HOUR),  # edges go down to the hour
        ("Asia/Kolkata", DAYS, 3, HOUR),  # and up
        ("Europe/Berlin", MONTHS, 18, DAY),
        ("America/New_York", MONTHS, 18, DAY),
        ("Pacific/Auckland", DAYS, 18, DAY),
    ],
)
def test_rounded_steps_are_as_many_as_in_the_calendar(
    world: World, tz: str, unit: str, back: int, resolution: int
) -> None:
    """A range from midnight to midnight has no step too many or too few where the midnights are moved."""
    of, months = calendar(unit, tz), calendar(MONTHS, tz)
    month = months.number(NOW) - back
    start, end = months.start(month), months.start(month + 1)
    steps = of.number(end) - of.number(start)
    for query in (
        Query("metric", NAME, aggregation="count", start=start, end=end, calendar=of),
        Query("metric", NAME, aggregation="count", period=Period(months, True), calendar=of),
    ):
        at = NOW if query.period is None else end + 12 * DAY
        bounds = plan.bounds(query, world.engine, at)
        assert (bounds.steps, bounds.over, bounds.resolution) == (steps, steps, resolution)
        assert bounds.exact_from is not None
        assert abs(bounds.start - start) <= (HOUR // 2 if resolution == HOUR else 14 * HOUR)


@pytest.mark.parametrize("off", range(-90, 91, 15))
@pytest.mark.parametrize("tz", ["Asia/Kathmandu", "Asia/Kolkata", "Australia/Adelaide"])
def test_the_present_lies_in_rounded_steps_too(world: World, tz: str, off: int) -> None:
    of = calendar(DAYS, tz)
    at = of.start(of.number(NOW)) + off * MINUTE
    for query in (
        Query("metric", NAME, aggregation="count", range=90 * DAY, calendar=of),
        Query("metric", NAME, aggregation="count", period=Period(calendar(MONTHS, tz, 12)), calendar=of),
    ):
        bounds = plan.bounds(query, world.engine, at)
        assert bounds.exact_from is not None and bounds.start <= at < bounds.end
        assert bounds.over == bounds.steps - 1


def test_a_rate_is_over_the_true_seconds(world: World) -> None:
    for of in (calendar(MONTHS), calendar(DAYS, "Europe/Berlin")):
        query = Query("metric", NAME, aggregation="rate", range=300 * DAY, calendar=of)
        answer = world.ask(query)
        for (_, begin), (value, count) in list(answer.rows.items())[:-2]:
            seconds = (of.after(begin) - begin) / 1000
            assert math.isclose(value, count / seconds, rel_tol=1e-12)
            assert count == seconds / 3600


def test_too_many_steps_are_refused_with_what_would_fit(world: World) -> None:
    for of in (calendar(DAYS, "Europe/Berlin"), calendar(WEEKS), calendar(DAYS)):
        query = Query("metric", NAME, range=350 * DAY, step=of.even, calendar=of)
        bounds = plan.bounds(query, world.engine, NOW)
        with pytest.raises(TooExpensive, match="would fit") as refused:
            plan.check_points(query, bounds, 1, Limits(points=20))
        said = str(refused.value)
        found = parse_calendar_step(said.split("a step of ")[1].split(" ")[0])
        assert found is not None and found[1] == of.unit
        wider = Calendar(of.unit, found[0], of.tz, of.zone)
        seconds = int(said.split("a range of ")[1].split("s")[0])
        for fitting in (
            Query("metric", NAME, range=350 * DAY, step=wider.even, calendar=wider),
            Query("metric", NAME, range=seconds * SECOND, step=of.even, calendar=of),
        ):
            plan.check_points(fitting, plan.bounds(fitting, world.engine, NOW), 1, Limits(points=20))


def test_a_live_query_over_midnight_equals_a_fresh_one() -> None:
    """The World compares the two at each asking; slots stay open across the edge, and panes close behind it."""
    kathmandu = calendar(DAYS, "Asia/Kathmandu")
    midnight = ms("2026-05-05T18:15")
    world = World(Options(lateness=20_000, retention=Retention((HOUR, 3 * DAY, 400 * DAY, 3650 * DAY))))
    seen = set()
    queries = [
        Query("metric", NAME, aggregation=aggregation, group_by=("host",), range=2 * DAY, calendar=kathmandu)
        for aggregation in ("sum", "last", "increase", "median", "stddev")
    ]
    for number in range(-40, 40):
        stamp = midnight + number * 1700
        world.apply(entry(stamp, [(key, stamp - off, number + 1.5) for key in KEYS[:4] for off in (0, 900, 9000)]))
        if number % 15 == 0:
            world.flush()
        for query in queries:
            bounds = world.verify(query).bounds
            seen.add((bounds.over, bounds.end))
    assert seen == {(1, midnight), (1, midnight + DAY)}


def test_event_queries_have_the_same_steps() -> None:
    of = calendar(MONTHS, "Europe/Berlin")
    query = Query("event", "order", aggregation="count", range=60 * DAY, calendar=of)
    bounds = events.bounds(query, NOW)
    assert [iso(each) for each in bounds.times.tolist()] == ["2026-09-30T22:00", "2026-10-31T23:00"]
    assert bounds.over == 1 and iso(bounds.end) == "2026-11-30T23:00"
    moments = [ms("2026-10-31T22:59"), ms("2026-10-31T23:00"), ms("2026-10-01T00:00")]
    table = events.execute(query, bounds, [(moment, None, None) for moment in moments], Limits())
    assert table.counts.tolist() == [[2, 1]] and table.times.tolist() == bounds.times.tolist()


def test_steps_as_they_are_written() -> None:
    assert parse_calendar_step("1d") == (1, DAYS) and parse_calendar_step(" 2 w ") == (2, WEEKS)
    for text in ("3mo", "3month", "3 months"):
        assert parse_calendar_step(text) == (3, MONTHS)
    for text in ("1m", "1M", "1h", "mo", "1.5d", "-1d", "1monthly", "١d"):
        assert parse_calendar_step(text) is None
    for text in ("0d", "121mo", "523w", "3661d"):
        with pytest.raises(BadQuery):
            parse_calendar_step(text)


def test_days_in_utc_are_read_as_before() -> None:
    """They are of one length, so nothing has to be looked up between edges; only the last is marked."""
    of = calendar(DAYS, count=2)
    assert of.even == 2 * DAY and calendar(WEEKS).even is None and calendar(DAYS, "Europe/Berlin").even is None
    world = World()
    world.apply(entry(NOW, [(KEYS[3], NOW - MINUTE, 1.0)]))
    plain = plan.bounds(Query("metric", NAME, range=10 * DAY, step=2 * DAY), world.engine, NOW)
    marked = plan.bounds(Query("metric", NAME, range=10 * DAY, step=2 * DAY, calendar=of), world.engine, NOW)
    assert (plain.start, plain.end, plain.step, plain.over) == (marked.start, marked.end, marked.step, None)
    assert marked.edges is None and marked.over == 4
    assert marked.next_edge(NOW) == marked.end and plain.next_edge(NOW) is None
