"""Random rows, bodies, queries and messages: the answer is always a documented one, and the counts add up."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.bad_input_support import check_survives_a_kill
from tests.support import Listener, Streamgauge

pytestmark = pytest.mark.usefixtures("lives_on")

DOCUMENTED = {200, 201, 202, 400, 404, 405, 408, 409, 413, 415, 422, 429, 504}


class Wire:
    """One connection that is used again and again."""

    def __init__(self, tough_server: Streamgauge) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", tough_server.port, timeout=20)

    def post(self, path: str, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """(status, decoded answer), which must be documented and JSON."""
        self.connection.request("POST", path, body, {"Content-Type": "application/json", **(headers or {})})
        answer = self.connection.getresponse()
        decoded = json.loads(answer.read())
        assert answer.status in DOCUMENTED, (answer.status, body[:500], decoded)
        assert answer.status < 400 or {"code", "message"} <= set(decoded["detail"])
        return answer.status, decoded


@pytest.fixture(scope="module")
def wire(tough_server: Streamgauge) -> Iterator[Wire]:
    wire = Wire(tough_server)
    yield wire
    wire.connection.close()


FUZZ = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
numbers = st.one_of(st.integers(-(2**70), 2**70), st.floats(), st.sampled_from([1e11, 99999999999, 253402300800, -0.0]))
texts = st.one_of(
    st.text(max_size=30),
    st.sampled_from(["gauge", "counter", "2024-01-01T00:00:00Z", "1h", "sum", "__name__", "\ud800"]),
)
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=12,
)


def mostly(usual: Any) -> Any:
    """The usual value, or anything."""
    return st.one_of(st.just(usual), st.just(usual), anything)


METRICS = st.fixed_dictionaries(
    {"name": mostly("fuzz"), "metric_type": mostly("gauge"), "value": st.one_of(numbers, anything)},
    optional={
        "tags": st.one_of(st.dictionaries(texts, scalars, max_size=5), anything),
        "unit": mostly("m"),
        "source": mostly("s"),
        "timestamp": anything,
        "id": anything,
        "temporality": mostly("delta"),
        "extra": anything,
    },
)
EVENTS = st.fixed_dictionaries(
    {"event_type": mostly("fuzz")},
    optional={
        "user_id": anything,
        "session_id": anything,
        "properties": anything,
        "metadata": anything,
        "timestamp": anything,
        "id": anything,
    },
)
QUERIES = st.fixed_dictionaries(
    {
        "query_string": st.one_of(
            st.sampled_from(["metric:fuzz", "event:fuzz", 'metric:good{a=~"b.*"}', "metric:wide"]), anything
        )
    },
    optional={
        "aggregation": st.one_of(st.sampled_from(["sum", "unique", "rate", "p99", "median", "last"]), anything),
        "time_range": st.one_of(st.sampled_from(["1h", "90d", "this_month", "yesterday"]), anything),
        "from": st.one_of(numbers, anything),
        "to": st.one_of(numbers, anything),
        "at": numbers,
        "step": st.one_of(st.sampled_from(["1s", "5s", "7m", "1d", "3650d", "1w", "1mo", "120mo"]), anything),
        "tz": st.one_of(st.sampled_from(["Pacific/Apia", "Asia/Kathmandu", "Africa/Monrovia", "UTC"]), anything),
        "week_start": mostly("sunday"),
        "group_by": mostly(["a", "k"]),
        "filters": anything,
        "format": mostly("columns"),
        "field": mostly("x"),
    },
)


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


@FUZZ
@given(rows=st.lists(METRICS, min_size=1, max_size=5), how=st.sampled_from(["one", "array", "lines"]))
def test_any_metrics(wire: Wire, rows: list[Any], how: str) -> None:
    answer_rows(wire, "/api/metrics", rows, how)


@FUZZ
@given(rows=st.lists(EVENTS, min_size=1, max_size=5), how=st.sampled_from(["one", "array", "lines"]))
def test_any_events(wire: Wire, rows: list[Any], how: str) -> None:
    answer_rows(wire, "/api/events", rows, how)


def answer_rows(wire: Wire, path: str, rows: list[Any], how: str) -> None:
    if how == "one":
        status, answer = wire.post(path, encoded(rows[0]))
        assert status in (201, 400, 422)
        return
    lines = how == "lines"
    body = b"\n".join(map(encoded, rows)) if lines else encoded(rows)
    status, answer = wire.post(path, body, {"Content-Type": "application/x-ndjson"} if lines else None)
    if status in (202, 422):
        assert answer["accepted"] + answer["duplicate"] + answer["rejected"] == len(rows), (answer, body)
        assert len(answer["errors"]) == answer["rejected"]
    else:
        assert status == 400 and not lines, (status, body)


@FUZZ
@given(
    body=st.one_of(st.binary(max_size=200), st.text(alphabet='[]{}",:0159eE+-.ntf\\u "a', max_size=60).map(str.encode)),
    path=st.sampled_from(
        [
            f"/api/{name}"
            for name in (
                *("metrics", "events", "query", "queries", "alerts", "dashboards", "subscriptions", "silences"),
                *("alerts/preview", "alerts/templates/load", "alerts/templates/error_rate"),
            )
        ]
    ),
    encoding=st.sampled_from([None, None, "gzip", "deflate", "zstd"]),
)
def test_any_bytes(wire: Wire, body: bytes, path: str, encoding: str | None) -> None:
    wire.post(path, body, {"Content-Encoding": encoding} if encoding else None)


@FUZZ
@given(query=QUERIES)
def test_any_query(wire: Wire, query: Any) -> None:
    status, answer = wire.post("/api/query", encoded(query))
    if status == 200:
        assert "data" in answer or "columns" in answer


@settings(FUZZ, max_examples=60)
@given(
    message=st.one_of(
        anything,
        st.fixed_dictionaries(
            {"type": st.sampled_from(["subscribe", "unsubscribe", "configure", "ping"])},
            optional={
                "query": st.one_of(QUERIES, anything),
                "query_id": anything,
                "since": anything,
                "delta": anything,
                "subscription_id": anything,
                "firehose": anything,
                "max_rate": st.one_of(numbers, anything),
            },
        ),
    )
)
def test_any_message(tough_server: Streamgauge, talker: list[Listener], message: Any) -> None:
    if not talker:
        talker.append(tough_server.listen("talker", "?firehose=0"))
    talker[0].socket.send(encoded(message).decode("utf-8", "replace"))
    kind = talker[0].read()["type"]
    assert kind in {
        "error",
        "pong",
        "configured",
        "subscription_created",
        "subscription_deleted",
        "realtime_update",
        "new_metric",
        "new_event",
        "dropped",
        "gap",
    }
    time.sleep(0.021)  # MAX_MESSAGE_RATE


@pytest.fixture(scope="module")
def talker() -> list[Listener]:
    """The one connection that all random messages go over."""
    return []


def test_after_any_message_the_connection_is_served(talker: list[Listener]) -> None:
    [listener] = talker
    listener.send(type="ping")
    listener.until("pong")
    listener.socket.close(timeout=1)


def test_all_of_it_is_in_the_ledger_and_survives_a_kill(tough_server: Streamgauge) -> None:
    assert check_survives_a_kill(tough_server)
