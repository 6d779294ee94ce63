"""A preview beside the rule evaluated at the same moments, each as of then, by what evaluates rules live."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from engine.aggregates import Registry
from engine.engine import Options
from engine.errors import BadQuery, OutOfReach, TooExpensive
from engine.levels import HOUR, MINUTE, SECOND, Retention
from engine.matchers import parse
from engine.model import COUNTER, DELTA, GAUGE, Event, pack_series_key
from engine.query.value import Query
from engine.rules.model import ANOMALY, CHANGE, FIRED, NO_DATA, RESOLVED, Edge, Group, Rule, Silence
from engine.rules.past import parts
from engine.rules.watched import Watched
from server.answers import Answers
from server.errors import ApiError
from server.preview import Preview, Previews
from server.subscribers.alerts_readings import Readers
from tests.alerting_support import answers_of, judge
from tests.engine_support import World, entry
from tests.rules_support import rule

BEGIN = 1_700_000_000_000 // HOUR * HOUR
NOW = BEGIN + 40 * MINUTE + 2000
SPAN = 36 * MINUTE
HOSTS = ("a", "b", "c")
GAUGES = [pack_series_key("load", GAUGE, labels=[("host", host)]) for host in HOSTS]
COUNTERS = [pack_series_key("hits", COUNTER, DELTA, labels=[("host", host)]) for host in HOSTS]
SHORT = Retention((10 * MINUTE, 2 * HOUR, 72 * HOUR, 9600 * HOUR))


@pytest.fixture(scope="module")
def world() -> World:
    """Forty minutes: levels that go up and down, a host that is silent for a while and one that comes late."""
    world, chance = World(Options(lateness=20_000, retention=SHORT), recount=False), np.random.default_rng(4)
    for stamp in range(BEGIN, NOW, 5 * SECOND):
        minute = (stamp - BEGIN) / MINUTE
        there = [True, not 12 < minute < 16 and not 35 < minute < 37.5, minute > 7]
        level = 50 + 40 * np.sin(minute * 1.7 + np.arange(3))
        values = [(GAUGES[n], stamp - 700, float(level[n] + chance.normal(0, 8))) for n in range(3) if there[n]]
        values += [(COUNTERS[n], stamp - 300, float(chance.integers(0, level[n]))) for n in range(3) if there[n]]
        events = [Event(stamp, "sale", None, None, b'{"properties": {"n": 2}}', None)] if chance.random() < 0.4 else []
        world.apply(entry(stamp, values, events=events))
        if stamp % MINUTE == 0:
            world.flush()
    world.apply(entry(NOW))
    return world


def asking(aggregation: str, window: int, *group_by: str, name: str = "load") -> Query:
    return Query("metric", name, aggregation=aggregation, range=window, group_by=group_by)


RULES: dict[str, Rule] = {
    "average": rule(query=asking("average", MINUTE, "host"), critical=80.0, hold=20_000, keep=15_000),
    "whole": rule(query=asking("average", 2 * MINUTE), critical=60.0, warning=55.0),
    "sum": rule(query=asking("sum", 2 * MINUTE, "host"), op="<", critical=900.0),
    "whole sum": rule(query=asking("sum", MINUTE, name="hits"), critical=900.0),
    "count": rule(query=asking("count", MINUTE, "host"), op="<=", critical=6.0),
    "min": rule(query=asking("min", MINUTE, "host"), op="<", critical=2.0, critical_recovery=20.0),
    "max": rule(query=asking("max", 3 * MINUTE, "host"), critical=100.0),
    "first": rule(query=asking("first", MINUTE, "host"), critical=85.0),
    "last": rule(query=asking("last", MINUTE, "host"), critical=85.0),
    "stddev": rule(query=asking("stddev", MINUTE, "host"), critical=18.0),
    "rate": rule(query=asking("rate", MINUTE, "host", name="hits"), critical=9.0),
    "increase": rule(query=asking("increase", 2 * MINUTE, name="hits"), critical=1700.0),
    "percentile": rule(query=asking("percentile_95", MINUTE, "host"), critical=90.0),
    "change": rule(kind=CHANGE, over=2 * MINUTE, relative=True, query=asking("average", MINUTE, "host"), critical=60.0),
    "silence": rule(kind=NO_DATA, query=asking("count", MINUTE, "host")),
    "fire": rule(query=asking("average", MINUTE, "host"), critical=1e9, on_no_data="fire", hold=30_000),
    "unheard": rule(query=asking("sum", MINUTE, name="nothing"), op="==", critical=0.0),
    "unheard of hosts": rule(query=asking("sum", MINUTE, "host", name="nothing"), op="==", critical=0.0),
}


def moments(world: World, of: Rule, begin: int) -> list[int]:
    """When a preview evaluates."""
    found = parts(of, begin, NOW, world.engine.horizons, patient=False)
    return [
        min(at, NOW) for start, end, step in found for at in range(start + step, end + step, step) if at - end < step
    ]


async def live(world: World, answers: Answers, of: Rule, begin: int) -> list[Edge]:
    """The edges of what evaluates rules live, asked at the same moments."""
    readers, at = Readers(world.engine, answers, judge), moments(world, of, begin)
    watched, found = Watched(of, {}, at[0]), []
    if of.kind == NO_DATA:
        watched.know([(("host", host),) for host in HOSTS[:2]])
    for moment in at:
        readings = await readers.read(of, moment - 1)
        assert readings is not None
        found += watched.take(replace(readings, at=moment))
    return found


@pytest.mark.parametrize("name", RULES)
async def test_a_preview_is_what_would_have_been(world: World, name: str) -> None:
    answers, of = answers_of(world, Registry(), 3000), RULES[name]
    done = await Previews(answers, lambda at: []).preview(of, SPAN)
    expected = await live(world, answers, of, NOW - SPAN)
    fired = {(e.group, e.at): e.state for e in expected if e.kind == FIRED}
    ended = {(e.group, e.state.fired): e for e in expected if e.kind == RESOLVED}
    found = {(each.group, each.fired): each for each in done.episodes}
    assert list(found) == sorted(fired, key=lambda key: key[1])
    assert len(fired) >= (0 if "unheard" in name else 2), "something happens"
    for key, each in found.items():
        assert each.value == (None if fired[key].value is None else pytest.approx(fired[key].value))
        end = ended.get(key)
        assert each.resolved == (end and end.at)
        if end is not None:
            assert each.peak == (None if end.state.peak is None else pytest.approx(end.state.peak))
    resolutions = [resolution for _, _, resolution in done.evaluated]
    assert resolutions == ([MINUTE, MINUTE] if name == "percentile" else [MINUTE, 5 * SECOND])
    (begin, middle, _), (again, end, _) = done.evaluated
    assert (begin // MINUTE, end) == ((NOW - SPAN) // MINUTE, NOW) and 0 <= again - middle < MINUTE
    assert again == min(moments(world, of, NOW - SPAN)[-1], again)


async def preview(world: World, of: Rule, span: int = SPAN, **more: Any) -> Preview:
    return await Previews(answers_of(world, Registry(), 3000), lambda at: [], **more).preview(of, span)


async def test_of_each_arriving_value_the_worst_in_each_step(world: World) -> None:
    each = rule(query=Query("metric", "load"), each=True, critical=100.0)
    done = await preview(world, each)
    groups: set[Group] = {(("host", host),) for host in HOSTS}
    assert {episode.group for episode in done.episodes} == groups, "each series is an alert of its own"
    answers = answers_of(world, Registry(), 1 << 30)
    table = (await answers.tabled(replace(asking("max", MINUTE, "host"), start=BEGIN, end=NOW, step=MINUTE), NOW)).table
    peaks = {
        episode.group: max(e.peak or 0 for e in done.episodes if e.group == episode.group) for episode in done.episodes
    }
    late = table.values[:, (NOW - SPAN - BEGIN) // MINUTE :]
    assert sorted(peaks.values()) == sorted(np.nanmax(late, axis=1).tolist())
    low = await preview(world, replace(each, op="<", critical=5.0))
    assert low.episodes and all(episode.value is not None and episode.value < 5 for episode in low.episodes)
    assert not (await preview(world, replace(each, query=Query("metric", "nothing")))).episodes


async def test_events_are_counted_like_anything_else(world: World) -> None:
    done = await preview(world, rule(query=Query("event", "sale", aggregation="count", range=MINUTE), critical=5.0))
    assert len(done.episodes) > 2 and all((each.value or 0) > 5 for each in done.episodes)


async def test_messages_and_silences_and_what_is_not_as_it_would_have_been(world: World) -> None:
    of = replace(RULES["average"], channels=("slack",), interval=5000)
    done = await preview(world, of)
    assert done.messages and {each.kind for each in done.messages} <= {"firing", "update", "resolved"}
    assert not done.notes and done.flaps
    silence = Silence("s", parse("{}"), BEGIN, NOW + HOUR)
    silenced = await Previews(answers_of(world, Registry(), 3000), lambda at: [silence]).preview(of, SPAN)
    assert not silenced.messages and len(silenced.episodes) == len(done.episodes)
    odd = await preview(
        world, replace(of, query=asking("percentile_95", MINUTE, "host"), inhibited_by=parse('{a="b"}'))
    )
    assert len(odd.notes) == 2
    short = await preview(world, replace(of, query=asking("sum", 10 * SECOND, "host")))
    assert "10s" in short.notes[0]


async def test_groups_beyond_the_bound_are_left_out(world: World) -> None:
    done = await preview(world, replace(RULES["average"], max_groups=1))
    assert {each.group for each in done.episodes} == {(("host", "a"),)}


async def test_a_short_span_is_seen_by_the_finest_panes_alone(world: World) -> None:
    done = await preview(world, RULES["average"], 5 * MINUTE)
    assert [(end, step) for _, end, step in done.evaluated] == [(NOW, 5 * SECOND)]
    assert done.evaluated[0][0] == NOW - 5 * MINUTE


async def test_what_cannot_be_looked_at_is_refused_with_the_reason(world: World) -> None:
    with pytest.raises(BadQuery, match="anomalies"):
        await preview(world, rule(kind=ANOMALY, query=asking("average", MINUTE)))
    with patch("server.preview.MAX_CELLS", 250):
        assert [step for _, _, step in (await preview(world, RULES["average"])).evaluated] == [MINUTE], "3 x 120 > 250"
    with patch("server.preview.MAX_CELLS", 100), pytest.raises(TooExpensive, match="time_range of"):
        await preview(world, RULES["average"])
    registry = Registry()
    registry.register_aggregation("spread", lambda values, params: max(values) - min(values))
    spread = rule(query=asking("spread", MINUTE))
    with pytest.raises(OutOfReach), patch.object(world.engine.newest, "forgotten", NOW):
        await Previews(answers_of(world, registry, 3000), lambda at: []).preview(spread, SPAN)
    answers = answers_of(world, Registry(), 3000)
    answers.timeout = 0
    with pytest.raises(ApiError, match="shorter time_range"):
        await Previews(answers, lambda at: []).preview(RULES["average"], SPAN)


async def test_anomalies_are_what_the_scores_say(world: World) -> None:
    seen = []

    def scores(of: Rule, values: Any, step: int) -> Any:
        seen.append((values.shape, step))
        return np.where(np.isnan(values), np.nan, np.abs(values - 50) / 10)

    of = rule(kind=ANOMALY, query=asking("average", MINUTE, "host"), critical=3.5)
    done = await preview(world, of, scorer=lambda: scores)
    assert len(done.episodes) > 1 and seen[-1][1] == MINUTE
    assert min(each.fired for each in done.episodes) > NOW - SPAN
