"""Deltas of live results: what a client makes of them is the result itself, to the last bit and byte."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from server.subscribers.live_delta import comparable, difference
from server.wire.answers import number, numbers
from server.wire.messages import encode
from tests.api_support import followed

STEP = 5000
VALUES = st.sampled_from([None, 0, 1, 2, 0.5, -1.25, 1e300])


@st.composite
def columns(draw: st.DrawFn) -> dict[str, Any]:
    """A result in columns; two of them often have the same groups, and steps and values in common."""
    start, steps = draw(st.integers(0, 4)), draw(st.integers(0, 8))
    groups = draw(st.sampled_from([["a", "b"], ["a", "b"], ["a"], ["b", "a"], []]))
    changed = {draw(st.integers(0, 12)): draw(VALUES) for _ in range(draw(st.integers(0, 3)))}
    times = range(start, start + steps)
    values = [changed.get(time, 7) for time in times]
    counts = [0 if value is None else 1 for value in values]
    series = [{"group": group, "labels": {"g": group}, "values": values, "counts": counts} for group in groups]
    return {"times": [STEP * time for time in times], "series": series}


@settings(max_examples=1000, deadline=None)
@given(columns(), columns())
def test_columns_and_their_delta_are_the_next_columns(before: dict[str, Any], after: dict[str, Any]) -> None:
    old, new = comparable(before), comparable(after)
    assert old is not None and new is not None
    delta = difference(old, new)
    if delta is not None:
        message = json.loads(encode({"data": delta.data, **delta.members}))
        assert encode(followed(before, message)) == encode(after)
        assert 2 * len(message["data"]["times"]) <= len(after["times"])
    elif before["series"] == after["series"] and before["times"] == after["times"]:
        assert after["times"] == [], "what is the same needs no whole"


def test_the_last_step_alone_is_sent_and_what_slid_out_is_named() -> None:
    def result(first: int, last: float) -> Any:
        times = [STEP * (first + i) for i in range(10)]
        values = [*range(first, first + 9), last]
        return comparable(
            {"times": times, "series": [{"group": "", "labels": {}, "values": values, "counts": [1] * 10}]}
        )

    grown = difference(result(0, 9), result(0, 9.5))
    assert grown is not None
    assert (grown.data, grown.members) == (
        {"times": [9 * STEP], "series": [{"values": [9.5], "counts": [1]}]},
        {"first": 0},
    )
    slid = difference(result(0, 9), result(1, 10))
    assert slid is not None
    assert (slid.data["times"], slid.members) == ([10 * STEP], {"first": STEP})
    assert difference(result(0, 9), result(6, 15)) is None, "more is new than is known"
    assert difference(result(0, 9), result(20, 29)) is None


def test_rows_and_columns_have_no_delta_between_them() -> None:
    rows = comparable([{"group": "a", "value": 1}])
    assert rows is not None
    table = comparable({"times": [], "series": []})
    assert table is not None
    assert difference(rows, table) is None and difference(table, rows) is None
    assert comparable([{"group": "a"}, {"group": "a"}]) is None


@given(st.lists(st.lists(st.floats() | st.integers(-5, 5).map(float), min_size=3, max_size=3), max_size=4))
def test_numbers_are_each_as_a_number_alone(values: list[list[float]]) -> None:
    array = np.array(values, np.float64).reshape(len(values), 3)
    assert repr(numbers(array)) == repr([[number(value) for value in row] for row in values])
