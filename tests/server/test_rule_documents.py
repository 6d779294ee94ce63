"""Documents of alerts read into rules: what members mean together, and what is refused because it contradicts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.aggregates import Registry
from engine.anomaly import threshold_for
from engine.errors import BadQuery
from engine.rules.conditions import levels
from engine.rules.model import (
    ANOMALY,
    CHANGE,
    CONDITION,
    CRITICAL,
    FIRE,
    IGNORE,
    KEEP,
    NO_DATA,
    OK,
    THRESHOLD,
    WARNING,
    MuteTime,
    Rule,
)
from server.errors import ApiError
from server.questions import SavedQueries
from server.rule_bodies import AlertMembers, NewAlert
from server.rule_documents import parse_rule

S4 = {
    "name": "High Error Rate Alert", "metric_name": "api_errors_total", "alert_type": "threshold", "threshold": 100,
    "condition": ">", "notification_channels": ["email", "slack"],
}  # fmt: skip
AVERAGE = {"name": "a", "metric_name": "latency", "aggregation": "average", "window": "5m", "threshold": 100}
SAVED = {"id": "query_1", "query_string": "metric:saved", "time_range": "10m", "aggregation": "sum"}
CHANGING = AVERAGE | {"alert_type": "rate_of_change", "change_over": "1h"}


def parse(members: dict[str, Any], **more: Any) -> Rule:
    """The rule of members, a null of `more` taking one away."""
    queries = SavedQueries(None, Registry())  # type: ignore[arg-type]
    queries.load([SAVED, {"id": "query_raw", "query_string": "metric:saved", "time_range": "10m"}])
    queries.load([SAVED | {"id": "query_stepped", "step": "1m"}])
    given = {name: value for name, value in (members | more).items() if value is not None}
    return parse_rule(given, Registry(), queries)


def refusal(members: dict[str, Any], **more: Any) -> str:
    with pytest.raises((ApiError, BadQuery)) as refused:
        parse(members, **more)
    if isinstance(refused.value, ApiError):
        assert refused.value.status in (400, 404)
    return str(refused.value)


def test_the_alert_of_the_documentation_looks_at_each_arriving_value() -> None:  # S4-14, S4-16, S4-17
    rule = parse(S4 | {"id": "alert_1"})
    assert (rule.id, rule.name, rule.kind, rule.op, rule.critical) == ("alert_1", S4["name"], THRESHOLD, ">", 100.0)
    assert rule.each and (rule.query.kind, rule.query.name) == ("metric", "api_errors_total")
    assert rule.channels == ("email", "slack") and rule.enabled and rule.version == 1
    assert (rule.hold, rule.keep, rule.on_no_data, rule.on_error) == (0, 0, IGNORE, KEEP)
    assert {op: parse(S4, condition=op).query.aggregation for op in (">", ">=", "<", "<=", "==", "!=")} == {
        ">": "max", ">=": "max", "<": "min", "<=": "min", "==": "last", "!=": "last",
    }  # fmt: skip


@pytest.mark.parametrize("threshold", [0, -0.5, 0.0])
@pytest.mark.parametrize("op", [">", "<", ">=", "<=", "==", "!="])
def test_every_operator_and_a_threshold_of_nothing_work(op: str, threshold: float) -> None:
    rule = parse(S4, threshold=threshold, condition=op)
    values = np.array([threshold - 1, threshold, threshold + 1])
    up, _ = levels(rule, values, np.full(3, CONDITION, np.int8))
    wanted = [eval(f"{value} {op} {threshold}") for value in values.tolist()]
    assert up.tolist() == [CRITICAL if each else OK for each in wanted]


def test_a_rule_of_everything() -> None:
    rule = parse(
        AVERAGE,
        group_by=["host", "zone"], filters={"env": "live"}, warning=80, recovery=90.5, warning_recovery=70,
        keep_firing_for="10m", no_data="keep", no_data_after="15m", on_error="alert", severity="page",
        labels={"team": "shop"}, message="{value} on {labels.host} of {labels.team}, {severity}",
        notification_channels=["slack:#ops", "email:a@example.com", "webhook:https://x.example/h?a=1", "slack:#ops"],
        repeat_interval="1h", update_interval="1m", max_groups=5, listed=3, inhibited_by='{severity="critical"}',
        mute=[
            {"days": ["sun", "mon"], "from": "22:00", "to": "06:30", "tz": "Europe/Berlin"},
            {"from": "00:00", "to": "00:00"},
        ],
        enabled=False, **{"for": "2m"},
    )  # fmt: skip
    query = rule.query
    assert (query.aggregation, query.range, query.group_by, rule.each) == ("average", 300_000, ("host", "zone"), False)
    assert [(m.label, m.operator, m.value) for m in query.matchers] == [("env", "=", "live")]
    assert (rule.warning, rule.critical, rule.warning_recovery, rule.critical_recovery) == (80, 100, 70, 90.5)
    assert (rule.hold, rule.keep, rule.repeat, rule.interval) == (120_000, 600_000, 3_600_000, 60_000)
    assert (rule.on_no_data, rule.silence_after, rule.on_error) == (KEEP, 900_000, FIRE)
    assert (rule.severity, rule.labels, rule.max_groups, rule.listed) == ("page", (("team", "shop"),), 5, 3)
    assert rule.channels == ("slack:#ops", "email:a@example.com", "webhook:https://x.example/h?a=1")
    assert rule.inhibited_by[0].label == "severity" and not rule.enabled
    assert rule.mute == (MuteTime((0, 6), 1320, 390, "Europe/Berlin"), MuteTime(tuple(range(7)), 0, 0, "UTC"))


def test_what_is_watched() -> None:
    odd = parse(S4, metric_name='odd {name} "x" \\ é\n')
    assert odd.query.name == 'odd {name} "x" \\ é\n' and not odd.query.matchers
    inline = parse(AVERAGE, metric_name=None, window=None, aggregation=None, query={
        "query_string": 'event:buy{plan="pro"}', "aggregation": "sum", "field": "price", "time_range": "1d",
    })  # fmt: skip
    query = inline.query
    assert (query.kind, query.field, query.range, inline.each) == ("event", "price", 86_400_000, False)
    each = parse(S4, metric_name=None, query={"query_string": 'metric:cpu{host=~"web.*"}'})
    assert each.each and each.query.matchers[0].operator == "=~"
    mixed = parse(AVERAGE, metric_name=None, query={"query_string": "metric:cpu"}, group_by=["host"])
    assert (mixed.query.aggregation, mixed.query.range, mixed.query.group_by) == ("average", 300_000, ("host",))
    saved = parse(S4, metric_name=None, query_id="query_1")
    assert (saved.query.name, saved.query.aggregation, saved.query.range) == ("saved", "sum", 600_000)
    assert parse(AVERAGE, window=None).query.range == 300_000
    assert parse(AVERAGE, aggregation="percentile_99.9").query.aggregation == "percentile_99.9"


def test_the_other_kinds() -> None:
    change = parse(CHANGING, relative=True, condition="<", threshold=-50)
    assert (change.kind, change.over, change.relative) == (CHANGE, 3_600_000, True)
    assert (change.op, change.critical) == ("<", -50)
    assert parse(CHANGING, alert_type="rate", aggregation=None, window=None).query.aggregation == "average"
    silent = {"name": "s", "metric_name": "beat", "alert_type": "no_data"}
    for given, window, after in (
        ({}, 300_000, None), ({"window": "1h"}, 3_600_000, None), ({"no_data_after": "25h"}, 90_000_000, 90_000_000)
    ):  # fmt: skip
        rule = parse(silent, **given)
        assert (rule.kind, rule.query.range, rule.silence_after, rule.each) == (NO_DATA, window, after, False)
        assert rule.critical is None and rule.query.aggregation == "count"
    odd = {"name": "o", "metric_name": "orders", "alert_type": "anomaly"}
    usual = threshold_for(0.2, 288)  # a point every five minutes
    assert (parse(odd).kind, parse(odd).critical, parse(odd).op) == (ANOMALY, usual, ">=")
    assert parse(odd, budget=1, window="1m").critical == threshold_for(1, 1440)
    assert parse(odd, threshold=3, condition=">").critical == threshold_for(3, 288)


def test_the_severity_warning_makes_the_threshold_one_of_warning() -> None:
    alone = parse(AVERAGE, severity="warning", recovery=90)
    assert (alone.critical, alone.warning, alone.warning_recovery) == (None, 100, 90)
    both = parse(AVERAGE, severity="warning", warning=50)
    assert (both.critical, both.warning) == (100, 50)
    only = parse(AVERAGE, threshold=None, warning=50)
    assert (only.critical, only.warning) == (None, 50)
    up, _ = levels(only, np.array([60.0]), np.zeros(1, np.int8))
    assert up.tolist() == [WARNING]


@pytest.mark.parametrize(
    ("members", "more", "words"),
    [
        (S4, {"metric_name": None}, "metric_name: an alert needs something to watch"),
        (S4, {"query_id": "query_1"}, "query_id: metric_name says already"),
        (S4, {"metric_name": None, "query_id": "query_none"}, "query_id: there is no query 'query_none'"),
        (S4, {"metric_name": None, "query_id": "query_stepped"}, "query_id.step: an alert takes one value"),
        (S4, {"metric_name": None, "query_id": "query_raw"}, "query_id: there is a range, but no aggregation"),
        (S4, {"metric_name": None, "query_id": "query_1", "window": "5m"}, "window: `query_id` says it already"),
        (S4, {"metric_name": None, "query": {"query_string": "nonsense"}}, "query: 'nonsense' is no query"),
        (S4, {"metric_name": None, "query": {"query_string": "event:a"}}, "query: an event query needs"),
        (S4, {"metric_name": None, "query": {"query_string": "metric:a", "from": 1}}, "query.from: the range"),
        (S4, {"metric_name": None, "query": {"query_string": "metric:a", "at": 1}}, "query.at: an alert is"),
        (S4, {"metric_name": None, "query": {"query_string": "metric:a", "aggregation": "sum", "time_range": "today"}},
         "query: today is a period"),
        (S4, {"window": "5m"}, "window: there is a range, but no aggregation"),
        (S4, {"threshold": None}, "threshold: an alert of type threshold needs"),
        (S4, {"no_data": "alert"}, "no_data: where each arriving value counts"),
        (S4, {"no_data_after": "5m"}, "no_data_after: no data mean nothing here"),
        (S4, {"labels": {"severity": "x"}}, "labels: severity is a label that every alert has"),
        (S4, {"message": "{valeu}"}, "message: {valeu} is none of {value}"),
        (S4, {"message": "x" * 2001}, "message: String should have at most 2000"),
        (S4, {"inhibited_by": "severity"}, "inhibited_by: label matchers stand in braces"),
        (S4, {"inhibited_by": "{}"}, "inhibited_by: at least one matcher"),
        (S4, {"inhibited_by": '{a=~"("}'}, "inhibited_by: the regular expression"),
        (S4, {"notification_channels": ["pigeon"]}, "notification_channels: 'pigeon' is none of slack, email, webhook"),
        (S4, {"notification_channels": ["email:a,b@example.com"]}, "notification_channels: after email: stands one"),
        (S4, {"notification_channels": ["slack:"]}, "notification_channels: after slack: stands a channel"),
        (S4, {"notification_channels": ["webhook:ftp://x"]}, "notification_channels: after webhook: stands an address"),
        (S4, {"for": "5 minutes"}, "for: "), (S4, {"for": "0x"}, "for: "),
        (S4, {"repeat_interval": "0s"}, "repeat_interval: "),
        (S4, {"repeat_interval": "10s"}, "repeat_interval: it is shorter than 1m"),
        (S4, {"budget": 1}, "budget: an alert of type threshold has none"),
        (S4, {"change_over": "1h"}, "change_over: an alert of type threshold has none"),
        (S4, {"threshold": float("inf")}, "threshold: "), (S4, {"threshold": True}, "threshold: "),
        (S4, {"mute": [{"from": "25:00", "to": "06:00"}]}, "mute.0.from: "),
        (S4, {"mute": [{"from": "20:00", "to": "06:00", "tz": "Europe/Berln"}]}, "mute.0.tz: no such time zone"),
        (AVERAGE, {"aggregation": "avrage"}, "there is no aggregation 'avrage'"),
        (AVERAGE, {"window": "32d"}, "window: it is longer than 31d"),
        (AVERAGE, {"group_by": ["a", "a"]}, "group_by: a label is named twice"),
        (AVERAGE, {"group_by": [f"l{n}" for n in range(11)]}, "group_by: "),
        (AVERAGE, {"group_by": ["team"], "labels": {"team": "x"}}, "labels: team is a label of its groups"),
        (AVERAGE, {"group_by": ["host"], "message": "{labels.hots}"}, "message: {labels.hots}: the alert has no such"),
        (AVERAGE, {"max_groups": 10_001}, "max_groups: "), (AVERAGE, {"listed": 0}, "listed: "),
        (AVERAGE, {"recovery": 101}, "recovery: with > it is at most the threshold 100"),
        (AVERAGE, {"recovery": 99, "condition": "<"}, "recovery: with < it is at least the threshold 100"),
        (AVERAGE, {"recovery": 100, "condition": "=="}, "recovery: with == a level is left"),
        (AVERAGE, {"warning_recovery": 50}, "warning_recovery: there is no threshold"),
        (AVERAGE, {"recovery": 5, "threshold": None, "warning": 9}, "recovery: there is no threshold"),
        (AVERAGE, {"warning": 100}, "warning: with > 100 is not reached before the threshold 100"),
        (AVERAGE, {"warning": 120}, "warning: with > 120 is not reached before"),
        (AVERAGE, {"warning": 90, "condition": "<="}, "warning: with <= 90 is not reached before"),
        (AVERAGE, {"warning": 90, "condition": "!="}, "warning: with != there is one threshold only"),
        (CHANGING, {"change_over": None}, "change_over: an alert of type rate_of_change needs it"),
        (AVERAGE, {"alert_type": "no_data"}, "threshold: an alert of type no_data has none"),
        ({"name": "s", "metric_name": "b", "alert_type": "no_data", "window": "1m", "no_data_after": "1h"}, {},
         "no_data_after: the window says already"),
        (S4, {"alert_type": "anomaly"}, "threshold: of an anomaly it is the number of false alarms"),
        (S4, {"alert_type": "anomaly", "threshold": 1, "window": "7s"}, "window: of an anomaly it is a multiple of 5s"),
        (S4, {"alert_type": "anomaly", "threshold": 1, "budget": 1}, "budget: of an anomaly, threshold says it"),
        (S4, {"alert_type": "anomaly", "threshold": 1, "condition": "<"}, "condition: an anomaly is one"),
        (S4, {"alert_type": "guess"}, "alert_type: "), (S4, {"name": ""}, "name: "),
    ],
)  # fmt: skip
def test_contradictions_are_refused_by_name(members: dict[str, Any], more: dict[str, Any], words: str) -> None:
    parse(S4)
    assert refusal(members, **more).startswith(words), refusal(members, **more)


def test_an_error_of_a_query_keeps_its_code() -> None:
    with pytest.raises(ApiError) as refused:
        parse(S4, metric_name=None, query={"query_string": "metric:a", "aggregation": "sum", "time_range": "5x"})
    assert refused.value.code == "bad_time_range" and refused.value.message.startswith("query: ")


def test_nothing_is_a_duration_where_it_means_something() -> None:
    rule = parse(S4, keep_firing_for="0m", **{"for": "0"})
    assert (rule.hold, rule.keep) == (0, 0)


def test_members_are_kept_as_they_were_sent() -> None:
    body = NewAlert.model_validate(S4 | {"query": {"query_string": "metric:a", "group_by": None}, "for": "5m"})
    kept = body.members()
    assert kept == S4 | {"query": {"query_string": "metric:a"}, "for": "5m"}
    assert type(kept["threshold"]) is int
    changed = {"severity": None, "warning": 1.5}
    assert AlertMembers.model_validate(changed).changes() == changed
    known = {field.alias or name for name, field in NewAlert.model_fields.items()}
    assert {"for", "filters", "budget"} <= known and "hold" not in known
