"""Silence that says something: of a source, of a group, of what has never been heard of; and silence that says nothing,
as nobody was there to listen."""

from __future__ import annotations

from typing import Any

import pytest

from engine.aggregates import Registry
from engine.rules.model import Group, Rule
from server.questions import SavedQueries
from server.rule_documents import parse_rule
from tests.alerting_support import SECOND, Evaluator, gauge, window
from tests.engine_support import T0
from tests.rules_support import rule

A, B = gauge(host="a"), gauge(host="b")
OF_A: Group = (("host", "a"),)
OF_B: Group = (("host", "b"),)
MINUTE = 60 * SECOND


def written(**members: Any) -> Rule:
    """A rule as people write it."""
    members = {"id": "alert_1", "name": "quiet", "metric_name": "load", **members}
    return parse_rule(members, Registry(), SavedQueries(None, Registry()))  # type: ignore[arg-type]


async def started(*rules: Rule) -> Evaluator:
    evaluator = Evaluator(rules)
    await evaluator.start()
    return evaluator


QUIET_20: list[dict[str, Any]] = [
    {"alert_type": "no_data", "no_data_after": "20s"},
    {"alert_type": "no_data", "window": "20s"},
    {"aggregation": "max", "threshold": 100, "window": "5s", "no_data": "alert", "no_data_after": "20s"},
    {"aggregation": "max", "threshold": 100, "window": "20s", "no_data": "alert"},
    {"threshold": 100, "no_data": "alert", "no_data_after": "20s", "group_by": ["zone"]},
]


@pytest.mark.parametrize("members", QUIET_20)
async def test_silence_of_20_seconds_fires_after_20_seconds(members: dict[str, Any]) -> None:
    found = await started(written(**members))
    await found.run(T0, T0 + 30 * SECOND, [(A, 1.0)])  # the last value at 29
    await found.run(T0 + 30 * SECOND, T0 + 80 * SECOND)
    (after, kind), *more = found.kinds()
    assert kind == "firing" and not more
    assert after in (49, 50), "20 seconds after the last value, or after the second in which it came"
    await found.run(T0 + 80 * SECOND, T0 + 83 * SECOND, [(A, 1.0)])
    assert [kind for _, kind in found.kinds()] == ["firing", "resolved"]


async def test_each_group_is_missed_by_its_own_name() -> None:
    found = await started(written(alert_type="no_data", no_data_after="20s", group_by=["host"]))
    await found.run(T0, T0 + 60 * SECOND, [(A, 1.0), (B, 1.0)])
    await found.run(T0 + 60 * SECOND, T0 + 100 * SECOND, [(B, 1.0)])
    await found.run(T0 + 100 * SECOND, T0 + 130 * SECOND, [(A, 1.0)])
    assert found.kinds(group=OF_A) == [(80, "firing"), (101, "resolved")]
    assert found.kinds(group=OF_B) == [(120, "firing")]


async def test_series_that_are_judged_value_by_value_are_missed_one_by_one() -> None:
    found = await started(written(threshold=100, no_data="alert", no_data_after="20s"))
    await found.run(T0, T0 + 30 * SECOND, [(A, 1.0), (B, 150.0)])
    await found.run(T0 + 30 * SECOND, T0 + 60 * SECOND, [(B, 150.0)])
    assert found.kinds(group=OF_A) == [(49, "firing")] and found.kinds(group=OF_B) == [(0, "firing")]
    assert found.book.states("alert_1")[OF_A].cause == 1


async def test_what_has_never_been_heard_of_is_missed_once_somebody_has_listened_for_as_long() -> None:
    found = await started(written(alert_type="no_data", no_data_after="20s"))
    await found.run(T0, T0 + 60 * SECOND)
    assert found.kinds() == [(20, "firing")]
    found.save(written(id="alert_2", alert_type="no_data", no_data_after="30s", metric_name="another"))
    found.save(written(id="alert_3", alert_type="no_data", no_data_after="30s", group_by=["host"]))
    await found.run(T0 + 60 * SECOND, T0 + 63 * SECOND)
    assert found.kinds("alert_2") == [(60, "firing")] and not found.kinds("alert_3"), "of no group is anything known"


@pytest.mark.parametrize("from_checkpoint", [False, True])
async def test_who_was_heard_of_before_a_start_is_missed_after_it(from_checkpoint: bool) -> None:
    quiet = written(alert_type="no_data", no_data_after="20s", group_by=["host"])
    slow = written(id="alert_2", aggregation="max", threshold=100, window="30s", no_data="alert", group_by=["host"])
    found = await started(quiet, slow)
    await found.run(T0, T0 + 60 * SECOND, [(A, 1.0), (B, 1.0)])
    await found.run(T0 + 60 * SECOND, T0 + 70 * SECOND, [(B, 1.0)])
    found.world.flush()
    found = await found.restarted(from_checkpoint)
    await found.run(T0 + 70 * SECOND, T0 + 100 * SECOND, [(B, 1.0)])
    for each, seconds in (("alert_1", 80), ("alert_2", 90)):
        assert found.kinds(each, OF_A) == [(seconds, "firing")] and found.kinds(each, OF_B) == []


async def test_silence_while_nobody_listened_says_nothing_until_a_window_is_full() -> None:
    quiet = written(alert_type="no_data", no_data_after="20s", group_by=["host"])
    found = await started(quiet)
    await found.run(T0, T0 + 60 * SECOND, [(A, 1.0), (B, 1.0)])
    found = await found.restarted()
    again = T0 + 10 * MINUTE  # when the server is there again
    await found.run(again, again + 5 * SECOND, [(B, 1.0)])
    found = await found.restarted()  # and dies at once, which must not make it forget
    found.save(written(id="alert_2", alert_type="no_data", no_data_after="20s", metric_name="another"))
    await found.run(again + 5 * SECOND, again + 40 * SECOND, [(B, 1.0)])
    assert found.kinds("alert_1", OF_A) == [(620, "firing")] and found.kinds("alert_1", OF_B) == []
    assert found.kinds("alert_2") == [(620, "firing")]


async def test_what_fires_stays_as_it_is_while_nobody_can_know() -> None:
    found = await started(rule(query=window("max", 20)))
    await found.run(T0, T0 + 30 * SECOND, [(A, 150.0)])
    again = T0 + 10 * MINUTE
    await found.run(again, again + 30 * SECOND)
    assert found.kinds() == [(1, "firing"), (620, "resolved")]


async def test_no_data_may_mean_that_nothing_has_changed() -> None:
    keeps = rule(query=window("max", 5), on_no_data="keep", hold=10 * SECOND)
    found = await started(keeps, rule(id="alert_2", query=window("max", 5), hold=10 * SECOND))
    await found.run(T0, T0 + 4 * SECOND, [(A, 150.0)])
    await found.run(T0 + 4 * SECOND, T0 + 60 * SECOND)
    assert found.kinds("alert_1") == [(1, "pending"), (11, "firing")]
    assert found.kinds("alert_2") == [(1, "pending"), (9, "cancelled")]


async def test_silence_lasts_through_restarts() -> None:
    each = {"threshold": 100, "no_data": "alert", "no_data_after": "20s"}
    found = await started(written(alert_type="no_data", no_data_after="40s", group_by=["host"]))
    found.save(written(id="alert_2", aggregation="max", window="10s", group_by=["host"], **each))
    await found.run(T0, T0 + 30 * SECOND, [(A, 1.0), (B, 1.0)])
    for begin in range(T0 + 30 * SECOND, T0 + 100 * SECOND, 7 * SECOND):
        await found.run(begin, begin + 7 * SECOND, [(B, 1.0)])
        found = await found.restarted()
    assert found.kinds("alert_1", OF_A) == [(70, "firing")] and found.kinds("alert_1", OF_B) == []
