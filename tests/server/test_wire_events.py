"""Events in JSON: kept as they were sent, refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.errors import ApiError
from server.wire import rows
from server.wire.json_events import EventParser
from server.wire.rows import REASONS, Refused
from server.wire.times import format_time

NOW = 1_700_000_000_000
PARSER = EventParser()
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 60), 1 << 60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
OBJECT = st.none() | st.dictionaries(TEXT, JSON, max_size=4)
ROW = st.fixed_dictionaries(
    {"event_type": st.sampled_from(["page_view", "signup", "é"])},
    optional={
        "user_id": st.none() | st.text("ab", min_size=1) | st.integers(0, 99),
        "session_id": st.none() | st.text("ab", min_size=1),
        "properties": OBJECT,
        "metadata": OBJECT,
        "timestamp": st.integers(NOW - 86_400_000, NOW + 600_000).map(format_time) | st.none(),
        "id": st.none() | st.text("ab", min_size=1),
    },
)


@given(st.lists(ROW, max_size=5), st.booleans())
@settings(max_examples=200, deadline=None)
def test_events_are_kept_as_they_were_sent(sent: list[dict[str, Any]], lines: bool) -> None:
    body = "\n".join(map(json.dumps, sent)) if lines else json.dumps(sent, ensure_ascii=False)
    parsed = PARSER.many(body.encode(), NOW, lines)
    assert not parsed.errors and parsed.received == len(parsed.events) == len(sent)
    for event, row in zip(parsed.events, sent, strict=True):
        assert json.loads(event.body) == {"properties": row.get("properties"), "metadata": row.get("metadata")}
        assert event.type == row["event_type"]
        assert event.user_id == (None if row.get("user_id") is None else str(row["user_id"]))
        assert event.session_id == row.get("session_id")
        assert format_time(event.time) == (row.get("timestamp") or format_time(NOW))
        assert (event.id is None) == (row.get("id") is None)


def nested(levels: int) -> Any:
    value: Any = 1
    for level in range(levels):
        value = {"a": value} if level % 2 else [value]
    return {"a": value} if isinstance(value, list) else value


BAD: dict[str, tuple[Any, str]] = {
    "no object": ("x", "bad_row"),
    "no type": ({"event_type": ...}, "missing_field"),
    "type is a number": ({"event_type": 1}, "bad_name"),
    "type is empty": ({"event_type": ""}, "bad_name"),
    "type is long": ({"event_type": "x" * 201}, "too_long"),
    "user is an object": ({"user_id": {}}, "bad_id"),
    "user is empty": ({"user_id": ""}, "bad_id"),
    "user is long": ({"user_id": "x" * 1025}, "bad_id"),
    "session is a boolean": ({"session_id": True}, "bad_id"),
    "properties are text": ({"properties": "x"}, "bad_properties"),
    "metadata is an array": ({"metadata": []}, "bad_properties"),
    "properties are deep": ({"properties": nested(17)}, "too_deep"),
    "properties are large": ({"properties": {"a": "x" * (256 << 10)}}, "too_long"),
    "time is old": ({"timestamp": NOW - 86_400_001}, "too_old"),
    "time is ahead": ({"timestamp": NOW + 600_001}, "future"),
    "time is nonsense": ({"timestamp": "now"}, "bad_timestamp"),
}
GOOD = {"event_type": "a", "properties": {"b": [1, {"c": None}]}}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_row_is_named_and_the_others_are_kept(what: str) -> None:
    change, reason = BAD[what]
    assert reason in REASONS
    bad = {n: v for n, v in (GOOD | change).items() if v is not ...} if isinstance(change, dict) else change
    for lines in (False, True):
        body = "\n".join(map(json.dumps, [GOOD, bad, GOOD])) if lines else json.dumps([GOOD, bad, GOOD])
        parsed = PARSER.many(body.encode(), NOW, lines)
        assert [(e.at, e.reason) for e in parsed.errors] == [(1, reason)]
        assert len(parsed.events) == 2 and parsed.received == 3
    with pytest.raises(Refused) as caught:
        PARSER.single(json.dumps(bad).encode(), NOW)
    assert caught.value.reason == reason


def test_many_shallow_brackets_are_not_deep() -> None:
    assert PARSER.single(json.dumps({"event_type": "a", "properties": {"x": [[]] * 50}}).encode(), NOW)
    assert PARSER.single(json.dumps({"event_type": "a", "properties": nested(16)}).encode(), NOW)


@pytest.mark.parametrize("raw", [b'{"a":"\xff"}', b'{"a":"\\ud800"}', b'{"a":1e999}', b"[" * 5000 + b"]" * 5000])
def test_what_could_not_be_read_back_is_refused(raw: bytes) -> None:
    with pytest.raises((ApiError, Refused)):
        PARSER.single(b'{"event_type":"a","properties":' + raw + b"}", NOW)


@given(st.binary(max_size=60), st.booleans())
@settings(deadline=None)
def test_hostile_bytes(body: bytes, lines: bool) -> None:
    for text in (body, b'[{"event_type":"a","properties":' + body + b"}]"):
        try:
            parsed = PARSER.many(text, NOW, lines)
        except ApiError as error:
            assert error.status == 400
        else:
            assert len(parsed.events) + len(parsed.errors) == parsed.received
            assert all(json.loads(event.body) for event in parsed.events)


def test_a_flood_of_bad_rows_is_counted_but_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_ERRORS_READ", 10)
    parsed = PARSER.many(json.dumps([0] * 50 + [GOOD]).encode(), NOW)
    assert (len(parsed.errors), parsed.received, len(parsed.events)) == (10, 51, 0)
