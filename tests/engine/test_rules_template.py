"""Messages filled in: what a template may name, and what hostile ones do not achieve."""

from __future__ import annotations

import math

import pytest

from engine.anomaly import threshold_for
from engine.query.value import Query
from engine.rules.model import ANOMALY, CHANGE, CRITICAL, NO_DATA, WARNING, Episode, Rule
from engine.rules.template import (
    MAX_TEXT,
    MAX_VALUE,
    condition_text,
    duration,
    fields,
    moment,
    number,
    render,
    unknown,
    values_of,
)
from tests.rules_support import T0, rule

GROUP = (("host", "a"), ("zone", "x{value}"))


def filled(template: str, value: float | None = 12.5, **members: object) -> str:
    of = rule(severity="page", labels=(("team", "db"),), warning=80.0, critical=100.0)
    episode = Episode("e", of.id, GROUP, CRITICAL, T0, T0 + 5000, peak=250.0, worst=CRITICAL)
    return render(template, {**values_of(of, episode, value, "ms", 3, 40), **members})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("High error rate detected: {value} errors", "High error rate detected: 12.5 errors"),
        ("{value} {unit} > {threshold} on {group}", "12.5 ms > 100 on host=a, zone=x{value}"),
        ("{labels.host} of {labels.team}, {labels.alert}, {labels.none}!", "a of db, Slow, !"),
        ("{name}/{severity}/{level}/{metric}", "Slow/page/critical/latency"),
        ("{count} of {total}, at most {peak} since {since}", "3 of 40, at most 250 since 2023-11-14 22:13:20 UTC"),
        ("{condition}", "average of latency over 5m > 100 (warning > 80)"),
        ("{valu} {} {{value}} { value } {0}", "{valu} {} {12.5} { value } {0}"),
        ("{value:.2f} {value.real} {value!r}", "{value:.2f} {value.real} {value!r}"),
        ("{labels} {labels.} {__class__} {labels.__class__}", "{labels}  {__class__} "),
        ("100 %s %(value)s ${value} \\1", "100 %s %(value)s $12.5 \\1"),
        ("", ""),
    ],
)  # fmt: skip
def test_a_template_is_filled_in_once_and_nothing_in_it_runs(template: str, text: str) -> None:
    assert filled(template) == text


def test_what_is_not_known_at_saving_is_named() -> None:
    assert fields("{value} {valu} {labels.a-b} {value} {not closed") == ["value", "valu", "labels.a-b"]
    assert unknown("{value} {valu} {labels.x} {threshold!r}") == ["valu", "threshold!r"]


def test_texts_are_bounded() -> None:
    assert len(filled("{group}" * 280, group="x" * 100_000)) == MAX_TEXT
    assert len(filled("{labels.host}", labels={"host": "y" * 10_000})) == MAX_VALUE
    assert filled("{group}", group="z" * 2000).endswith("…")


def test_an_unknown_value_is_no_data() -> None:
    assert filled("{value} {peak}", None, peak=math.nan) == "no data no data"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (-0.0, "0"), (1234567.0, "1234567"), (12345678.9, "12345679"), (0.1 + 0.2, "0.3"),
        (99999.96, "100000"), (1 / 3, "0.333333"), (-273.15, "-273.15"), (1e-9, "1e-09"), (1.5e20, "1.5e+20"),
        (1e20, "1e+20"), (0.00012345678, "0.000123457"), (math.inf, "infinity"), (-math.inf, "-infinity"),
        (None, "no data"), (3, "3"), (100.5, "100.5"),
    ],
)  # fmt: skip
def test_numbers_are_written_for_people(value: float | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("of", "text"),
    [
        (rule(hold=120_000), "average of latency over 5m > 100 for 2m"),
        (rule(each=True, op="==", critical=0.0), "latency == 0"),
        (rule(op="<", warning=10.0), "average of latency over 5m < 10"),
        (rule(kind=NO_DATA, hold=60_000), "no data of latency for 6m"),
        (rule(kind=NO_DATA, silence_after=90_000), "no data of latency for 90s"),
        (
            rule(kind=CHANGE, over=3_600_000, relative=True, critical=50.0),
            "change of average of latency over 5m in percent within 1h > 50",
        ),
        (
            rule(kind=ANOMALY, op=">=", warning=threshold_for(0.1, 288), hold=60_000),
            "anomaly score of average of latency over 5m >= 3.44091 (at most 0.1 false alarms a day) for 1m",
        ),
        (
            rule(query=Query("event", "login", group_by=("plan", "host"), range=60_000)),
            "count of login over 1m > 100 by plan, host",
        ),
    ],
)
def test_conditions_in_words(of: Rule, text: str) -> None:
    assert condition_text(of) == text


def test_an_episode_that_is_over_says_so_at_its_worst_threshold() -> None:
    of = rule(warning=80.0, critical=100.0)
    over = Episode("e", of.id, (), WARNING, T0, T0, worst=CRITICAL, resolved=T0 + 9)
    assert render("{level} {threshold} {group}.", values_of(of, over, 3.0, "", 0, 1)) == "ok 100 ."


def test_durations_and_moments() -> None:
    assert [duration(ms) for ms in (0, 1500, 90_000, 3_600_000, 172_800_000)] == ["0s", "1500ms", "90s", "1h", "2d"]
    assert moment(T0 + 999) == "2023-11-14 22:13:20 UTC"
