"""Metrics in JSON: the columns equal what a plain reading of the rows gives, and bad rows are named one by one."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.model import parse_series_key
from server.errors import ApiError
from server.limits import RowLimits
from server.wire import key_cache, rows
from server.wire.json_metrics import MetricParser, Rows
from server.wire.rows import REASONS, Refused
from server.wire.times import format_time, parse_time

NOW = 1_700_000_000_000
TYPES = {"counter": 0, "gauge": 1, "histogram": 2, "timer": 3, "average": 4, "sum": 0}
TEMPORALITIES = {"unspecified": 0, "delta": 1, "cumulative": 2}
PARSER = MetricParser()  # one for all examples, so that they meet what earlier ones left in its cache

NAME = st.text("abcé.ö💧", min_size=1, max_size=5)
VALUE = st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False)
TAG = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.integers() | st.booleans() | st.none()
TIME = st.integers(NOW - 86_400_000, NOW + 600_000)
PLAIN = {
    "name": NAME,
    "metric_type": st.sampled_from(list(TYPES)),
    "value": VALUE,
    "tags": st.dictionaries(NAME, TAG, max_size=3),
}
OPTIONAL = {
    "unit": st.none() | NAME,
    "source": st.none() | NAME | st.just(""),
    "temporality": st.sampled_from([None, *TEMPORALITIES]),
    "id": st.none() | NAME | st.integers(0, 99),
    "extra": st.none() | st.lists(st.integers(), max_size=2),
}
WHEN = TIME | TIME.map(lambda ms: ms // 1000) | TIME.map(format_time) | st.none()
PLAIN_ROW = st.fixed_dictionaries(PLAIN, optional={"timestamp": TIME})
ANY_ROW = st.fixed_dictionaries(PLAIN, optional=OPTIONAL | {"timestamp": WHEN})


def expected(row: dict[str, Any]) -> tuple[Any, ...]:
    """(name, type, temporality, unit, labels, value, time) by a plain reading of the row."""
    labels = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in row.get("tags", {}).items()
        if value is not None
    }
    if row.get("source"):
        labels["source"] = row["source"]
    time = row.get("timestamp")
    return (
        row["name"],
        TYPES[row["metric_type"]],
        TEMPORALITIES[row.get("temporality") or "unspecified"],
        row.get("unit") or "",
        tuple(sorted(labels.items())),
        float(row["value"]),
        NOW if time is None else parse_time(time),
    )


def found(parsed: Rows) -> list[tuple[Any, ...]]:
    batch = parsed.batch
    assert len(set(batch.keys)) == len(batch.keys)
    return [
        (*parse_series_key(batch.keys[code]), value, time)
        for code, value, time in zip(batch.codes.tolist(), batch.values.tolist(), batch.times.tolist(), strict=True)
    ]


@given(st.lists(PLAIN_ROW, max_size=8) | st.lists(ANY_ROW, max_size=8), st.booleans())
@settings(max_examples=300, deadline=None)
def test_the_columns_are_what_was_sent(sent: list[dict[str, Any]], lines: bool) -> None:
    body = "\n".join(map(json.dumps, sent)) if lines else json.dumps(sent, ensure_ascii=False)
    parsed = PARSER.many(body.encode(), NOW, lines)
    assert not parsed.errors and parsed.received == len(sent)
    assert found(parsed) == [expected(row) for row in sent]
    assert set(parsed.batch.ids) == {i for i, row in enumerate(sent) if row.get("id") is not None}


@given(ANY_ROW)
@settings(deadline=None)
def test_one_object_is_an_array_of_one(row: dict[str, Any]) -> None:
    body = json.dumps(row).encode()
    sample = PARSER.single(body, NOW)
    assert found(PARSER.many(b"[" + body + b"]", NOW)) == [expected(row)]
    assert (*parse_series_key(sample.known.key), float(sample.value), sample.time) == expected(row)
    assert sample.value == row["value"] and type(sample.value) is type(row["value"])


BAD: dict[str, tuple[Any, str]] = {
    "no object": (3, "bad_row"),
    "an array": ([], "bad_row"),
    "no name": ({"name": ...}, "missing_field"),
    "no value": ({"value": ...}, "missing_field"),
    "no type": ({"metric_type": ...}, "missing_field"),
    "name is a number": ({"name": 3}, "bad_name"),
    "name is empty": ({"name": ""}, "bad_name"),
    "name has a control character": ({"name": "a\nb"}, "bad_name"),
    "name is too long": ({"name": "x" * 201}, "too_long"),
    "unknown type": ({"metric_type": "guage"}, "bad_type"),
    "type is null": ({"metric_type": None}, "bad_type"),
    "value is text": ({"value": "1"}, "bad_value"),
    "value is a boolean": ({"value": True}, "bad_value"),
    "value is null": ({"value": None}, "bad_value"),
    "value is too large": ({"value": 10**400}, "bad_value"),
    "unit is a number": ({"unit": 3}, "bad_name"),
    "tags are text": ({"tags": "a"}, "bad_labels"),
    "tags are an array": ({"tags": ["a"]}, "bad_labels"),
    "a tag is nested": ({"tags": {"a": {"b": "c"}}}, "bad_labels"),
    "a tag is an array": ({"tags": {"a": []}}, "bad_labels"),
    "a tag has no name": ({"tags": {"": "a"}}, "bad_labels"),
    "a tag has a reserved name": ({"tags": {"__other__": "a"}}, "bad_labels"),
    "a tag name is too long": ({"tags": {"x" * 201: "a"}}, "too_long"),
    "a tag value is too long": ({"tags": {"a": "é" * 513}}, "too_long"),
    "too many tags": ({"tags": {f"t{i}": "a" for i in range(33)}}, "bad_labels"),
    "source is a number": ({"source": 3}, "bad_labels"),
    "temporality": ({"temporality": "monthly"}, "bad_temporality"),
    "an empty id": ({"id": ""}, "bad_id"),
    "id is an object": ({"id": {}}, "bad_id"),
    "time is text": ({"timestamp": "tomorrow"}, "bad_timestamp"),
    "time is a boolean": ({"timestamp": True}, "bad_timestamp"),
    "time is an object": ({"timestamp": {}}, "bad_timestamp"),
    "time is beyond int64": ({"timestamp": 10**30}, "bad_timestamp"),
    "time is ahead": ({"timestamp": NOW + 600_001}, "future"),
    "time is ahead, ISO": ({"timestamp": format_time(NOW + 700_000)}, "future"),
    "time is old": ({"timestamp": NOW - 3650 * 86_400_000 - 1}, "too_old"),
    "time is old, in seconds": ({"timestamp": -5}, "too_old"),
}
GOOD = {"name": "a", "metric_type": "gauge", "value": 1, "tags": {"b": "c"}}


def bad_row(what: str) -> Any:
    change = BAD[what][0]
    if not isinstance(change, dict):
        return change
    return {name: value for name, value in (GOOD | change).items() if value is not ...}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_row_is_named_and_the_others_are_kept(what: str) -> None:
    reason = BAD[what][1]
    assert reason in REASONS
    sent = [GOOD, bad_row(what), GOOD]
    for lines in (False, True):
        body = "\n".join(map(json.dumps, sent)) if lines else json.dumps(sent)
        parsed = PARSER.many(body.encode(), NOW, lines)
        assert [(e.at, e.reason) for e in parsed.errors] == [(1, reason)], what
        assert parsed.errors[0].message
        assert found(parsed) == [expected(GOOD)] * 2
    with pytest.raises(Refused) as caught:
        PARSER.single(json.dumps(bad_row(what)).encode(), NOW)
    assert caught.value.reason == reason


def test_nan_and_infinity_are_no_json() -> None:
    for value in ("NaN", "Infinity", "-Infinity"):
        text = json.dumps(GOOD | {"value": 0}).replace('"value": 0', f'"value": {value}')
        with pytest.raises(ApiError, match="byte"):
            PARSER.single(text.encode(), NOW)
    parsed = PARSER.many(json.dumps([GOOD]).replace("1", "1e999").encode(), NOW)
    assert [e.reason for e in parsed.errors] == ["bad_value"]


@pytest.mark.parametrize(
    "body", [b'[{"name":"a",]', b'[{"name":1},', b"[", b"[1,2", b'["\xff"]x', b"[" * 100_000, b"{}x"]
)
def test_malformed_json_names_its_place(body: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        PARSER.many(body, NOW)
    assert caught.value.code == "bad_json"
    assert body == b"[" * 100_000 or 0 <= caught.value.details["position"] <= len(body)


def test_the_place_counts_lines() -> None:
    with pytest.raises(ApiError) as caught:
        PARSER.many(b'[\n{"name":"a"},\n{"name" "b"}]', NOW)
    assert caught.value.details == {"position": 24, "line": 3}


def test_a_malformed_line_leaves_the_others() -> None:
    good = json.dumps(GOOD).encode()
    parsed = PARSER.many(b"\n" + good + b"\r\n{oops\n\n" + good + b"\n\xff\n" + good, NOW, lines=True)
    assert len(parsed.batch) == 3 and parsed.received == 5
    assert [(e.at, e.reason) for e in parsed.errors] == [(2, "bad_json"), (5, "bad_json")]
    assert parsed.errors[0].message.startswith("line 3:")


def test_text_that_is_not_utf8_is_refused_wherever_it_is() -> None:
    for text in (
        b'{"name":"\xff","metric_type":"gauge","value":1}',
        b'{"name":"a","metric_type":"gauge","value":1,"tags":{"a":"\xff"}}',
    ):
        parsed = PARSER.many(b"[" + text + b"]", NOW)
        assert [e.reason for e in parsed.errors] == ["bad_json"]
    lone = b'[{"name":"a","metric_type":"gauge","value":1,"tags":{"a":"\\ud800"}}]'
    try:
        assert PARSER.many(lone, NOW).errors
    except ApiError as error:
        assert error.code == "bad_json"


@given(st.binary(max_size=60), st.booleans())
@settings(max_examples=300, deadline=None)
def test_hostile_bytes(body: bytes, lines: bool) -> None:
    for text in (body, b'[{"name":"a","metric_type":"gauge","value":1,"tags":' + body + b"}]"):
        try:
            parsed = PARSER.many(text, NOW, lines)
        except ApiError as error:
            assert error.status == 400
        else:
            assert len(parsed.batch) + len(parsed.errors) == parsed.received
        try:
            PARSER.single(text, NOW)
        except (ApiError, Refused) as error:
            assert str(error)


def test_labels_in_another_order_are_the_same_series() -> None:
    parsed = PARSER.many(
        b'[{"name":"a","metric_type":"sum","value":1,"tags":{"x":"1","y":"2"}},'
        b'{"name":"a","metric_type":"counter","value":2,"tags":{"y":"2", "x":"1"}}]',
        NOW,
    )
    assert len(set(parsed.batch.codes.tolist())) == 1


def test_a_series_beyond_the_cache_is_read_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    parser = MetricParser()
    parser._cache = key_cache.KeyCache(entries=8)
    for turn in range(30):
        sent = [GOOD | {"tags": {"n": str((turn * 7 + i) % 40)}} for i in range(20)] * 2
        assert found(parser.many(json.dumps(sent).encode(), NOW)) == [expected(row) for row in sent]
        one = sent[turn % 20]
        batch = parser.many(json.dumps([one]).encode(), NOW).batch
        assert parser.single(json.dumps(one).encode(), NOW).known.key == batch.keys[batch.codes[0]]
    assert len(parser._cache.known) <= 8 and len(parser._cache._keys) <= 9


def test_series_that_the_cache_holds_are_named_by_their_place_whatever_passes_by() -> None:
    """A body of series that find no room must not make those before and after it spell theirs again."""
    parser = MetricParser()
    parser._cache = key_cache.KeyCache(entries=3)
    held = json.dumps([GOOD | {"tags": {"n": str(i)}} for i in range(3)]).encode()
    assert parser.many(held, NOW).batch.whole
    for turn in range(2):
        passing = parser.many(json.dumps([GOOD | {"tags": {"other": str(turn)}}]).encode(), NOW).batch
        assert not passing.whole and len(passing.keys) == 1
        again = parser.many(held, NOW).batch
        assert again.whole and again.codes.tolist() == [0, 1, 2]


def test_a_flood_of_bad_rows_is_counted_but_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_ERRORS_READ", 10)
    parsed = PARSER.many(json.dumps([0] * 50 + [GOOD]).encode(), NOW)
    assert (len(parsed.errors), parsed.received, parsed.unread) == (10, 51, 41)
    monkeypatch.setattr(rows, "MAX_COMMAS", 30)
    with pytest.raises(ApiError) as caught:
        PARSER.many(json.dumps([0] * 50).encode(), NOW)
    assert caught.value.code == "body_too_large"


def test_the_limits_are_those_of_the_settings() -> None:
    parser = MetricParser(RowLimits(labels=1, name=3, label_bytes=2))
    for change in ({"name": "abcd"}, {"tags": {"a": "abc"}}, {"tags": {"a": "", "b": ""}}, {"source": "x"}):
        with pytest.raises(Refused):
            parser.single(json.dumps(GOOD | change).encode(), NOW)
    assert math.isclose(parser.single(json.dumps(GOOD).encode(), NOW).value, 1)
