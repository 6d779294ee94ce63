"""A rule over many groups beside one naive alert for each: what comes as columns, and what does not come at all."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.rules.model import CONDITION, ERROR, NO_DATA, SILENT, Edge, Group, Readings, Rule
from engine.rules.watched import Watched, ended
from tests.rules_support import T0, VALUES, Naive, Seen, rule, rules, told

GROUPS: list[Group] = [(("host", name),) for name in "abcd"]
seconds = st.lists(st.dictionaries(st.sampled_from(GROUPS), VALUES, max_size=4), min_size=1, max_size=25)


def readings(at: int, values: dict[Group, float]) -> Readings:
    causes = np.full(len(values), CONDITION, np.int8)
    return Readings(at, list(values), np.array([*values.values()], np.float64), causes)


def edges_of(found: list[Edge], group: Group) -> list[Seen]:
    return told([(edge.at, edge.kind, edge.state) for edge in found if edge.group == group])


def naive(rule: Rule, stream: list[dict[Group, float]], known: list[Group]) -> dict[Group, list[Seen]]:
    """One naive alert for each group, which begins when the group is heard of."""
    alerts = {group: Naive(rule) for group in known}
    for number, values in enumerate(stream):
        for group in values:
            alerts.setdefault(group, Naive(rule))
        for group, alert in alerts.items():
            value = values.get(group, math.nan)
            alert.see(T0 + number * 1000, value, SILENT if math.isnan(value) else CONDITION)
    return {group: alert.edges for group, alert in alerts.items()}


@settings(max_examples=100, deadline=None)
@given(rules(), seconds)
def test_each_group_is_an_alert_of_its_own(rule: Rule, stream: list[dict[Group, float]]) -> None:
    watched = Watched(rule, {}, T0 - 1000)
    found = [edge for n, values in enumerate(stream) for edge in watched.take(readings(T0 + n * 1000, values))]
    for group, edges in naive(rule, stream, []).items():
        assert edges_of(found, group) == edges


@settings(max_examples=100, deadline=None)
@given(rules(), seconds, st.integers(0, 24))
def test_who_takes_over_from_the_states_goes_on(rule: Rule, stream: list[dict[Group, float]], cut: int) -> None:
    everywhere = [{group: values.get(group, math.nan) for group in GROUPS} for values in stream]
    watched, found = Watched(rule, {}, T0 - 1000), []
    states = {}  # as the book has them
    for number, values in enumerate(everywhere):
        if number == cut:
            watched = Watched(rule, states, T0 + number * 1000 - 1000)
        edges = watched.take(readings(T0 + number * 1000, values))
        found += edges
        for edge in edges:
            states[edge.group] = edge.state
            if edge.state.status == "inactive":
                del states[edge.group]
    for group, edges in naive(rule, everywhere, GROUPS).items():
        # The worst value is in the book only as often as it is noted.
        seen = [each._replace(peak=None) for each in edges_of(found, group)]
        assert seen == [each._replace(peak=None) for each in edges]


@settings(max_examples=80, deadline=None)
@given(rules(), seconds)
def test_groups_that_were_not_looked_at_stay_as_they_are(rule: Rule, stream: list[dict[Group, float]]) -> None:
    watched = Watched(rule, {}, T0 - 1000)
    found = [edge for n, values in enumerate(stream) for edge in watched.take(readings(T0 + n * 1000, values), True)]
    for group in GROUPS:
        alert = Naive(rule)
        last = None
        for number, values in enumerate(stream):
            last = values.get(group, last)
            if last is not None:
                alert.see(T0 + number * 1000, last, SILENT if math.isnan(last) else CONDITION)
        seen = [each._replace(cause=0, value=None, peak=None) for each in edges_of(found, group)]
        assert seen == [each._replace(cause=0, value=None, peak=None) for each in alert.edges]


def test_silence_counts_only_after_its_time_and_not_while_nobody_listened() -> None:
    watched = Watched(rule(silence_after=303_000, on_no_data="fire"), {}, T0)  # the window is 300 s
    a, b = GROUPS[:2]
    kinds = []
    for second, values in enumerate([{a: 1.0, b: 1.0}, {b: 1.0}, {b: 1.0}, {b: 1.0}, {a: 1.0, b: 1.0}], 1):
        kinds += [(second, edge.group, edge.kind) for edge in watched.take(readings(T0 + second * 1000, values))]
    assert kinds == [(4, a, "firing"), (5, a, "resolved")]
    watched.blind = T0 + 20_000
    for second in range(6, 20):
        assert not watched.take(readings(T0 + second * 1000, {}))
    assert len(watched.take(readings(T0 + 20_000, {}))) == 2


def test_the_silence_of_a_window_is_as_long_as_the_window() -> None:
    heartbeat = rule(kind=NO_DATA, query=replace(rule().query, range=3000), silence_after=3000)
    watched = Watched(heartbeat, {}, T0)
    watched.take(readings(T0 + 1000, {GROUPS[0]: 1.0}))
    (fired,) = watched.take(readings(T0 + 2000, {}))
    assert (fired.group, fired.kind) == (GROUPS[0], "firing")
    watched = Watched(heartbeat, {}, T0)
    watched.know([GROUPS[0]])
    found = [second for second in range(1, 9) if watched.take(readings(T0 + second * 1000, {}))]
    assert found == [1], "a window that is empty has been silent for its length already"
    watched.blind = T0 + 12_000
    assert not any(watched.take(readings(T0 + second * 1000, {})) for second in range(9, 12))


def test_where_each_value_counts_silence_is_from_the_last_one_on() -> None:
    watched = Watched(rule(each=True, on_no_data="fire", silence_after=3000), {}, T0)
    watched.take(readings(T0 + 1000, {GROUPS[0]: 1.0}), partly=True)
    kinds = [[edge.kind for edge in watched.take(readings(T0 + n * 1000, {}), partly=True)] for n in range(2, 6)]
    assert kinds == [[], [], ["firing"], []]
    (over,) = watched.take(readings(T0 + 6000, {GROUPS[0]: 1.0}), partly=True)
    assert over.kind == "resolved"
    never = Watched(rule(each=True, on_no_data="fire"), {}, T0)
    never.take(readings(T0 + 1000, {GROUPS[0]: 1.0}), partly=True)
    assert not never.take(readings(T0 + 1_000_000, {}), partly=True)


def failed(second: int) -> Readings:
    return Readings(T0 + second * 1000, [], np.empty(0), np.empty(0, np.int8), error="no store")


def test_an_error_is_of_all_groups_that_are_known() -> None:
    watched = Watched(rule(on_error="fire", on_no_data="keep"), {}, T0)
    watched.take(readings(T0 + 1000, {GROUPS[0]: 200.0, GROUPS[1]: 1.0}))
    (noted, fired) = watched.take(failed(2))
    assert (noted.group, noted.kind, noted.state.cause) == (GROUPS[0], "noted", ERROR), "the same alert goes on"
    assert (fired.group, fired.kind, watched.error) == (GROUPS[1], "firing", "no store")
    (_, over) = watched.take(readings(T0 + 3000, {GROUPS[0]: 200.0, GROUPS[1]: 1.0}))
    assert (over.group, over.kind, watched.error) == (GROUPS[1], "resolved", "")


def test_an_error_before_any_group_is_known_is_of_the_rule_itself() -> None:
    watched = Watched(rule(on_error="fire", on_no_data="keep"), {}, T0)
    (fired,) = watched.take(failed(1))
    assert (fired.group, fired.kind) == ((), "firing")
    (over,) = watched.take(readings(T0 + 2000, {GROUPS[0]: 1.0}))
    assert (over.group, over.kind) == ((), "resolved")


def test_a_group_without_labels_is_a_group_like_any_other() -> None:
    watched = Watched(rule(each=True, on_error="fire"), {}, T0)
    (fired,) = watched.take(readings(T0 + 1000, {(): 200.0}), partly=True)
    assert (fired.group, fired.kind) == ((), "firing")
    assert not watched.take(readings(T0 + 2000, {}), partly=True), "nothing has come, so nothing has changed"
    (over,) = watched.take(readings(T0 + 3000, {(): 1.0}), partly=True)
    assert over.kind == "resolved"


def test_groups_of_the_past_are_forgotten() -> None:
    watched = Watched(rule(), {}, T0)
    for second in range(50):
        watched.take(readings(T0 + second * 1000, {(("pod", f"{second}-{n}"),): 150.0 for n in range(100)}))
    assert len(watched._groups) < 1500 and len(watched.states) == 100 and watched.groups == 100
    assert len(ended(watched.states, T0 + 60_000)) == 100
