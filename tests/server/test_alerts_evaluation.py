"""Rules evaluated in simulated time: what fires when, over windows, on each arriving value, and on silence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.aggregates import Registry
from engine.model import COUNTER, DELTA, Event, pack_series_key
from engine.query.value import Query
from engine.rules.model import CHANGE, NO_DATA, Group, Rule
from server.answers import Answers
from server.errors import ApiError
from server.subscribers import alerts
from tests.alerting_support import SECOND, Evaluator, gauge, window
from tests.engine_support import T0
from tests.rules_support import rule

A, B, C = (gauge(host=name) for name in "abc")
OF_A: Group = (("host", "a"),)


async def started(*rules: Rule, **more: object) -> Evaluator:
    evaluator = Evaluator(rules, **more)  # type: ignore[arg-type]
    await evaluator.start()
    return evaluator


# windows


@pytest.mark.parametrize("seconds", [1, 3, 30])
async def test_a_window_sees_each_second_as_soon_as_it_is_over(seconds: int) -> None:
    found = await started(rule(query=window("max", seconds)))
    for second in range(100):
        begin = T0 + second * SECOND
        await found.post(begin + 40)  # the entry with which the second begins
        value = 150.0 if second == 40 else 1.0
        await found.post(begin + 700, [(A, begin + 700, value)])
    assert found.kinds() == [(41, "firing"), (41 + seconds, "resolved")]


async def test_the_groups_of_a_rule_are_alerts_of_their_own() -> None:
    found = await started(rule(query=window("average", 10, "host")))
    await found.run(T0, T0 + 10 * SECOND, [(A, 1.0), (B, 150.0), (C, 1.0)])
    await found.run(T0 + 10 * SECOND, T0 + 25 * SECOND, [(A, 300.0), (B, 1.0), (C, 1.0)])
    assert found.kinds(group=OF_A) == [(14, "firing")], "after four seconds of 300 the average of ten is above 100"
    assert found.kinds(group=(("host", "b"),)) == [(1, "firing"), (14, "resolved")]
    assert found.kinds(group=(("host", "c"),)) == []
    [incident] = found.book.open_incidents()
    assert incident.fired == 2 and [each.group for each in incident.firing] == [OF_A]


async def test_groups_beyond_the_bound_are_counted_and_it_goes_on_being_said() -> None:
    found = await started(rule(query=window("average", 90, "host"), max_groups=2))
    await found.run(T0, T0 + 7 * SECOND, [(gauge(host=name), 150.0) for name in "dcba"])
    watched = found.alerts.watched["alert_1"]
    assert sorted(watched.states) == [OF_A, (("host", "b"),)] and watched.over == 2
    await found.run(T0 + 7 * SECOND, T0 + 12 * SECOND)  # seconds in which nothing is new
    assert watched.over == 2


async def test_a_late_value_counts_where_it_belongs() -> None:
    found = await started(rule(query=window("sum", 20), critical=500.0))
    await found.run(T0, T0 + 30 * SECOND, [(A, 20.0)])
    assert found.kinds() == []
    await found.post(T0 + 30_500, [(B, T0 + 25 * SECOND, 400.0)])
    await found.run(T0 + 31 * SECOND, T0 + 50 * SECOND, [(A, 20.0)])
    assert found.kinds() == [(30, "firing"), (46, "resolved")]


async def test_a_late_value_corrects_panes_that_are_closed_and_stored() -> None:
    found = await started(rule(query=window("sum", 600), critical=7000.0))
    await found.run(T0, T0 + 300 * SECOND, [(A, 20.0)])
    found.world.flush()
    assert found.kinds() == []
    await found.post(T0 + 300_500, [(B, T0 + 100 * SECOND, 2000.0)])
    assert found.kinds() == [(300, "firing")]


async def test_a_sum_of_nothing_is_0_but_what_has_never_been_heard_of_is_unknown() -> None:
    of_sum = rule(query=window("sum", 10), op="<", critical=5.0)
    unheard = rule(id="alert_2", query=window("sum", 10, name="nothing"), op="<", critical=5.0)
    grouped = rule(id="alert_3", query=window("count", 10, "host"), op="<", critical=5.0)
    found = await started(of_sum, unheard, grouped)
    await found.run(T0, T0 + 5 * SECOND)
    assert found.kinds() == []
    await found.run(T0 + 5 * SECOND, T0 + 20 * SECOND, [(A, 1.0)])
    await found.run(T0 + 20 * SECOND, T0 + 40 * SECOND)
    assert found.kinds("alert_1") == [(5, "firing"), (10, "resolved"), (26, "firing")]
    assert found.kinds("alert_2") == []
    # A group without samples is not there, so that it is silent rather than 0.
    assert found.kinds("alert_3") == [(6, "firing"), (10, "resolved"), (26, "firing"), (30, "resolved")]


# each arriving value


@pytest.mark.parametrize(
    ("op", "values", "fires"),
    [
        (">", [1, 150, 1], True), (">", [100, 1], False), (">=", [1, 100, 1], True), ("<", [150, 99, 150], True),
        ("<", [100, 150], False), ("<=", [150, 100, 150], True), ("==", [100, 1, 1], True), ("==", [1, 1, 100], True),
        ("==", [1, 100, 1], False), ("!=", [100, 1], True), ("!=", [1, 100], True), ("!=", [100, 100], False),
        ("!=", [100, 1, 100], False), (">", [-1, 0], False),
    ],
)  # fmt: skip
async def test_of_the_values_that_arrive_together_the_deciding_one_counts(
    op: str, values: list[float], fires: bool
) -> None:
    found = await started(rule(query=window("last", 60), each=True, op=op))
    await found.post(T0 + 10)
    for at, value in enumerate(values):
        await found.post(T0 + 100 + at, [(A, T0 + 100, value)])
    await found.post(T0 + SECOND)
    assert [kind for _, kind in found.kinds()] == (["firing"] if fires else [])


async def test_threshold_0_and_values_that_are_equal_to_it() -> None:
    each = rule(query=window("last", 60), each=True, critical=0.0)
    found = await started(each, rule(id="alert_2", query=window("last", 30), critical=0.0))
    await found.run(T0, T0 + 3 * SECOND, [(A, 0.0)])
    assert found.kinds() == []
    await found.run(T0 + 3 * SECOND, T0 + 5 * SECOND, [(A, 1e-300)])
    assert found.kinds("alert_1") == [(3, "firing")] and found.kinds("alert_2") == [(4, "firing")]


async def test_what_does_not_arrive_changes_nothing() -> None:
    found = await started(rule(query=window("last", 60), each=True, hold=5000))
    await found.run(T0, T0 + 2 * SECOND, [(A, 150.0)])
    await found.run(T0 + 2 * SECOND, T0 + 300 * SECOND)
    assert found.kinds(group=OF_A) == [(0, "pending"), (5, "firing")]
    await found.run(T0 + 300 * SECOND, T0 + 301 * SECOND, [(A, 1.0)])
    assert found.kinds(group=OF_A)[2:] == [(300, "resolved")]


async def test_series_are_alerts_of_their_own_unless_labels_are_named() -> None:
    rows = [(gauge(host="a", zone="x"), 150.0), (gauge(host="a", zone="y"), 1.0), (gauge(host="b"), 120.0)]
    each = rule(query=window("last", 60), each=True)
    by_host = rule(id="alert_2", query=window("last", 60, "host"), each=True)
    found = await started(each, by_host)
    await found.run(T0, T0 + 2 * SECOND, rows)
    assert [edge.group for edge in found.edges("alert_1")] == [(("host", "a"), ("zone", "x")), (("host", "b"),)]
    assert [(edge.group, edge.state.value) for edge in found.edges("alert_2")] == [(OF_A, 150), ((("host", "b"),), 120)]


async def test_series_beyond_the_bound_are_one_group_and_none_gets_lost() -> None:
    found = await started(rule(query=window("last", 60), each=True, max_groups=2))
    for number, name in enumerate("abcd"):
        await found.run(T0 + number * SECOND, T0 + number * SECOND + SECOND, [(gauge(host=name), 1.0)])
    await found.run(T0 + 4 * SECOND, T0 + 6 * SECOND, [(gauge(host=name), 150.0) for name in "abcd"])
    groups = [edge.group for edge in found.edges()]
    assert groups == [OF_A, (("host", "b"),), (("__other__", "true"),)]
    assert found.alerts.watched["alert_1"].over == 2


async def test_values_are_judged_when_they_arrive_whatever_their_time() -> None:
    found = await started(rule(query=window("last", 60), each=True))
    await found.run(T0, T0 + 3 * SECOND, [(A, 1.0)])
    await found.post(T0 + 3 * SECOND, [(A, T0 - 5_000_000, 150.0)])
    await found.post(T0 + 4 * SECOND, [(B, T0 + 300 * SECOND, 150.0)])
    assert found.kinds() == [(3, "firing"), (4, "firing")]


# changes


async def test_a_change_is_from_what_it_was_and_may_be_in_percent() -> None:
    absolute = rule(kind=CHANGE, query=window("last", 5), over=10 * SECOND, critical=50.0)
    relative = replace(absolute, id="alert_2", relative=True, op="<", critical=-40.0)
    found = await started(absolute, relative)
    await found.run(T0, T0 + 20 * SECOND, [(A, 100.0)])
    await found.run(T0 + 20 * SECOND, T0 + 40 * SECOND, [(A, 160.0)])
    await found.run(T0 + 40 * SECOND, T0 + 60 * SECOND, [(A, 80.0)])
    assert found.kinds("alert_1") == [(21, "firing"), (31, "resolved")]
    assert found.kinds("alert_2") == [(41, "firing"), (51, "resolved")]
    assert found.book.episodes("alert_2")[0].value == -50.0


async def test_a_change_from_nothing_or_from_0_is_unknown() -> None:
    of = rule(kind=CHANGE, query=window("last", 5), over=10 * SECOND, relative=True, critical=1.0, on_no_data="fire")
    found = await started(of)
    await found.run(T0, T0 + 10 * SECOND, [(A, 0.0)])
    await found.run(T0 + 10 * SECOND, T0 + 60 * SECOND, [(A, 5.0)])
    assert found.kinds() == [(5, "firing"), (21, "resolved")], "what it is compared with was 0 until then"


# what a rule may ask


async def test_events_and_what_is_asked_of_them() -> None:
    found = await started(rule(query=Query("event", "login", aggregation="count", range=10 * SECOND), critical=2.0))
    for second in range(40):
        stamp = T0 + second * SECOND
        await found.post(stamp, events=[Event(stamp, "login", "u", None, b"{}")] if second in (10, 12, 14) else [])
    assert found.kinds() == [(15, "firing"), (21, "resolved")]


async def test_counters_of_the_server_itself() -> None:
    own = pack_series_key("streamgauge_rejected", COUNTER, DELTA)
    found = await started(
        rule(query=window("sum", 5, name="streamgauge_rejected"), critical=10.0),
        rule(id="alert_2", query=window("last", 5, name="streamgauge_rejected"), each=True, critical=10.0),
    )
    await found.run(T0, T0 + 3 * SECOND, [(own, 1.0)])
    await found.run(T0 + 3 * SECOND, T0 + 4 * SECOND, [(own, 20.0)])
    await found.run(T0 + 4 * SECOND, T0 + 12 * SECOND, [(own, 1.0)])
    assert found.kinds("alert_1") == [(4, "firing"), (9, "resolved")]
    assert found.kinds("alert_2") == [(3, "firing"), (4, "resolved")]


async def test_two_rules_on_one_metric_do_not_disturb_each_other() -> None:
    high, low = rule(query=window("max", 5)), rule(id="alert_2", query=window("max", 5), op="<", critical=50.0)
    found = await started(high, low, rule(id="alert_3", query=window("max", 5), each=True, critical=1000.0))
    await found.run(T0, T0 + 10 * SECOND, [(A, 150.0)])
    await found.run(T0 + 10 * SECOND, T0 + 20 * SECOND, [(A, 10.0)])
    assert found.kinds("alert_1") == [(1, "firing"), (15, "resolved")] and found.kinds("alert_2") == [(15, "firing")]
    assert found.kinds("alert_3") == []


async def test_a_query_that_fails_is_an_error_of_its_rule_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry()

    def broken(values: list[float], params: object) -> float:
        return max(values) if len(values) <= 5 else values[0] / 0

    registry.register_aggregation("broken", broken)
    failing = rule(query=window("broken", 30), on_error="fire")
    found = await started(failing, rule(id="alert_2", query=window("max", 5)), registry=registry)
    await found.run(T0, T0 + 10 * SECOND, [(A, 1.0)])
    assert found.kinds() == [(6, "firing")] and "ZeroDivisionError" in found.alerts.watched["alert_1"].error
    await found.run(T0 + 10 * SECOND, T0 + 50 * SECOND)
    assert found.kinds() == [(6, "firing"), (35, "resolved")] and found.alerts.watched["alert_1"].error == ""

    async def away(*unused: object, **more: object) -> None:
        raise ApiError("store_unavailable", "the store cannot be read now")

    with monkeypatch.context() as patched:
        patched.setattr(Answers, "tabled", away)
        found.save(rule(id="alert_4", kind=NO_DATA, query=window("count", 20)))
        await found.run(T0 + 50 * SECOND, T0 + 55 * SECOND, [(A, 150.0)])
    assert found.kinds("alert_2") == found.kinds("alert_4") == []
    await found.run(T0 + 55 * SECOND, T0 + 57 * SECOND, [(A, 1.0)])
    assert found.kinds("alert_2") == [(55, "firing")], "and is asked again"


# rules that change


async def test_what_a_rule_that_is_changed_leaves_behind() -> None:
    first = rule(query=window("max", 5, "host"), on_no_data="keep")
    each = rule(id="alert_2", query=window("last", 5), each=True)
    found = await started(first, each)
    await found.run(T0, T0 + 5 * SECOND, [(A, 150.0)])
    found.save(replace(first, critical=120.0))
    await found.run(T0 + 5 * SECOND, T0 + 10 * SECOND, [(A, 150.0)])
    assert found.kinds("alert_1") == [(1, "firing")], "another threshold, the same alert"
    found.save(replace(first, query=window("max", 5, "zone")))
    found.save(replace(each, query=window("last", 5, name="other")))
    await found.run(T0 + 10 * SECOND, T0 + 20 * SECOND)
    assert found.kinds("alert_1") == [(1, "firing"), (10, "resolved"), (10, "firing")], "of no zone at all"
    assert found.kinds("alert_2") == [(0, "firing"), (10, "resolved")]
    assert found.book.episodes("alert_2")[0].why == alerts.CHANGED


async def test_a_rule_that_asks_something_else_after_a_kill() -> None:
    """It was changed, and the process died before it had looked at that."""
    each, other = rule(query=window("last", 5), each=True), rule(id="alert_2", query=window("max", 60))
    found = await started(each, other)
    await found.run(T0, T0 + 5 * SECOND, [(A, 150.0)])
    found.rules = {"alert_1": replace(each, query=window("last", 5, name="other")), "alert_2": replace(other, hold=1)}
    found = await found.restarted()
    await found.run(T0 + 5 * SECOND, T0 + 8 * SECOND)
    assert [kind for _, kind in found.kinds("alert_1")] == ["firing", "resolved"]
    assert found.book.episodes("alert_1")[0].why == alerts.CHANGED
    assert [kind for _, kind in found.kinds("alert_2")] == ["firing"], "what it asks is the same"


@pytest.mark.parametrize("how", ["deleted", "disabled"])
async def test_the_alerts_of_a_rule_that_is_gone_are_over(how: str) -> None:
    of = rule(query=window("last", 5), each=True, hold=2000)
    found = await started(of)
    await found.run(T0, T0 + 5 * SECOND, [(A, 150.0)])
    await found.run(T0 + 5 * SECOND, T0 + 6 * SECOND, [(B, 150.0)])
    if how == "deleted":
        found.delete(of.id)
    else:
        found.save(replace(of, enabled=False))
    await found.run(T0 + 6 * SECOND, T0 + 8 * SECOND, [(A, 150.0)])
    kinds = [(0, "pending"), (2, "firing"), (5, "pending"), (6, "cancelled"), (6, "resolved")]
    assert sorted(found.kinds()) == kinds and not found.book.alerts
    assert found.book.episodes(of.id)[0].why == alerts.GONE
    found.save(of)
    await found.run(T0 + 8 * SECOND, T0 + 12 * SECOND, [(A, 150.0)])
    assert found.kinds()[5:] == [(8, "pending"), (10, "firing")]


async def test_many_rules() -> None:
    rules = [rule(id=f"alert_{n}", query=window("max", 5), critical=float(n)) for n in range(300)]
    found = await started(*rules)
    await found.run(T0, T0 + 2 * SECOND, [(A, 149.5)])
    assert len(found.edges()) == 150
    await found.run(T0 + 7 * SECOND, T0 + 9 * SECOND, [(A, -1.0)])
    assert len(found.edges()) == 300 and not found.book.alerts


async def test_a_gap_of_many_edges_is_one_incident() -> None:
    """More edges at one moment than a mark holds: one group ends as others begin, the incident goes on."""
    hosts = [gauge(host=f"h{number:04}") for number in range(1200)]
    found = await started(rule(query=window("last", 2, "host"), max_groups=2000))
    high, low = [150.0] * 600, [1.0] * 600
    await found.run(T0, T0 + 5 * SECOND, list(zip(hosts, high + low, strict=True)))
    await found.run(T0 + 5 * SECOND, T0 + 9 * SECOND, list(zip(hosts, low + high, strict=True)))
    assert len(found.edges()) == 1800
    [incident] = found.book.incidents.values()
    assert incident.closed is None and len(incident.firing) == 600 and incident.fired == 1200
