"""Templates of alerts: their conditions, read strictly, and that those which are ready become rules."""

from __future__ import annotations

from typing import Any

import pytest

from engine.aggregates import Registry
from server.errors import ApiError
from server.questions import SavedQueries
from server.rule_bodies import Template
from server.rule_documents import parse_rule
from server.rule_templates import READY, members_of, parse_condition
from server.selfmetrics import METRICS


@pytest.mark.parametrize(
    ("text", "watched", "operator", "threshold"),
    [
        ("metric:api_errors_total > 100", {"metric_name": "api_errors_total"}, ">", 100),
        ("  metric:memory_usage<10 ", {"metric_name": "memory_usage"}, "<", 10),
        ("metric:a >= -1.5e3", {"metric_name": "a"}, ">=", -1500.0),
        ("metric:a<=0", {"metric_name": "a"}, "<=", 0),
        ("metric:a == 0.5", {"metric_name": "a"}, "==", 0.5),
        ('metric:a{b!="c",d=~">= 5"} != 7', {"query": {"query_string": 'metric:a{b!="c",d=~">= 5"}'}}, "!=", 7),
        ('metric:"odd > {name}" > 1', {"metric_name": "odd > {name}"}, ">", 1),
        ("metric:with blanks in it > 1", {"metric_name": "with blanks in it"}, ">", 1),
    ],
)
def test_a_condition_is_read(text: str, watched: dict[str, Any], operator: str, threshold: float) -> None:  # S4-46
    found = parse_condition(text)
    assert found == (watched, operator, threshold) and type(found[2]) is type(threshold)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not of the kind"),
        ("api_errors_total > 100", "is not of the kind"),
        ("event:login > 5", "is not of the kind"),
        ("metric:a", "is not of the kind"),
        ("metric: > 5", "is no query"),
        ("metric:a => 5", "two operators"),
        ("metric:a > 100%", "stands a number and nothing else; got '100%'"),
        ("metric:a >", "stands a number and nothing else; got ''"),
        ("metric:a > 5 and metric:b > 6", "two operators"),
        ("metric:a > nan", "got 'nan'"),
        ("metric:a > 0x10", "got '0x10'"),
        ("metric:a >> 5", "two operators"),
        ("metric:a < b > 5", "two operators"),
        ("metric:a{b} > 5", "one of = != =~ !~ is missing"),
        ('metric:a{b="c" > 5', "is no query"),
    ],
)
def test_a_condition_that_cannot_be_read_says_why(text: str, words: str) -> None:
    with pytest.raises(ApiError) as refused:
        parse_condition(text)
    assert refused.value.message.startswith("condition: ") and words in refused.value.message


def test_those_that_are_ready_become_rules_on_numbers_that_there_are() -> None:  # S3-19
    queries = SavedQueries(None, Registry())  # type: ignore[arg-type]
    assert list(READY) == ["error_rate", "slow_requests", "database_errors", "rate_limit_hits"]
    for name, template in READY.items():
        rule = parse_rule(members_of(name, template, {}), Registry(), queries)
        assert rule.query.name in METRICS and not rule.each and rule.message
        other = parse_rule(members_of(name, template, {"metric_name": "mine", "group_by": None}), Registry(), queries)
        assert other.query.name == "mine" and not other.query.matchers and not other.query.group_by
    slow = parse_rule(members_of("slow_requests", READY["slow_requests"], {"threshold": 2}), Registry(), queries)
    assert (slow.name, slow.warning, slow.critical) == ("Slow requests", 2, None)
    assert slow.query.aggregation == "percentile_95"


def test_the_template_of_the_documentation() -> None:
    template = Template(condition="metric:memory_usage < 10", severity="critical", message="Low memory: {value}%")  # type: ignore[call-arg]
    made = members_of("low_memory", template, {"notification_channels": ["slack"], "message": None})
    assert made == {
        "name": "Low memory", "metric_name": "memory_usage", "condition": "<", "threshold": 10, "severity": "critical",
        "notification_channels": ["slack"],
    }  # fmt: skip
    rule = parse_rule(made, Registry(), SavedQueries(None, Registry()))  # type: ignore[arg-type]
    assert rule.each and rule.critical == 10
