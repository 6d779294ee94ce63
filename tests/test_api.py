"""What the documentation of S4 promises of metrics, events, queries and statistics, asked of a running server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from tests.support import Streamgauge, position


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Streamgauge]:
    settings = {"PLUGINS": "tests.plugins:register", "MAX_QUERY_EXECUTION_TIME": "1", "MAX_QUERY_POINTS": "5000"}
    server = Streamgauge(tmp_path_factory.mktemp("api"), settings)
    server.start()
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.output.replace("ZeroDivisionError", "").split("the registered aggregation")[0]


def post(server: Streamgauge, name: str, *values: float, type: str = "counter", **more: Any) -> list[Any]:
    """Posts values one by one; the stored metrics."""
    row = {"name": name, "metric_type": type, **more}
    return [server.call("POST", "/api/metrics", row | {"value": value}, expect=201) for value in values]


def value(server: Streamgauge, query: str, aggregation: str, **more: Any) -> Any:
    """The one value of a query without groups."""
    [row] = server.ask(query, aggregation=aggregation, **more)["data"]
    return row["value"]


def code(server: Streamgauge, method: str, path: str, body: object = None, expect: int = 400) -> str:
    """The code of a refusal, whose message says something."""
    detail = server.call(method, path, body, expect)["detail"]
    assert len(detail["message"]) > 10
    return str(detail["code"])


def ago(**delta: float) -> str:
    return (datetime.now(UTC) - timedelta(**delta)).isoformat()


# Metrics


def test_a_metric_is_echoed_with_id_and_time(server: Streamgauge) -> None:  # S4-01
    sent = {
        "name": "echoed", "metric_type": "counter", "value": 1250,
        "tags": {"endpoint": "/api/users", "method": "GET", "status": "200"}, "unit": "requests", "source": "api_1",
    }  # fmt: skip
    stored = server.call("POST", "/api/metrics", sent, expect=201)
    assert stored.pop("id").startswith("metric_")
    at = datetime.fromisoformat(stored.pop("timestamp"))
    assert abs(at - datetime.now(UTC)) < timedelta(seconds=5)
    assert stored == sent


@pytest.mark.parametrize("type", ["counter", "gauge", "histogram", "timer", "average"])
def test_the_five_types(server: Streamgauge, type: str) -> None:  # S4-02
    [stored] = post(server, f"type_{type}", 2, type=type)
    assert stored["metric_type"] == type
    assert value(server, f"metric:type_{type}", "sum") == 2


def test_sum_is_counter_and_other_types_are_refused(server: Streamgauge) -> None:  # S4-02, A-35
    assert post(server, "type_sum", 1, type="sum")[0]["metric_type"] == "counter"
    refused = server.call("POST", "/api/metrics", {"name": "x", "metric_type": "rainfall", "value": 1}, expect=422)
    assert (refused["detail"]["code"], refused["detail"]["reason"]) == ("invalid_rows", "bad_type")


@pytest.mark.parametrize("sent", [1250, 0, -3, 0.1, 1e-300, 1.5e300, 2**53])
def test_values_are_kept_as_sent(server: Streamgauge, sent: float) -> None:  # S4-03
    [stored] = post(server, "kept", sent, type="gauge")
    assert stored["value"] == sent and type(stored["value"]) is type(sent)


@pytest.mark.parametrize("sent", ['"5"', "null", "true", "NaN", "Infinity", "1e999", "[1]", "{}"])
def test_other_values_are_refused(server: Streamgauge, sent: str) -> None:  # S4-03
    body = b'{"name": "refused", "metric_type": "gauge", "value": %b}' % sent.encode()
    status, answer = server.request("POST", "/api/metrics", body)
    assert status in (400, 422), answer
    assert value(server, "metric:refused", "count") == 0


def test_the_list_is_newest_first_and_filters_combine(server: Streamgauge) -> None:  # S4-04, S4-05
    stored = post(server, "listed", *range(150), type="timer", source="lister")
    post(server, "listed", 1, type="gauge", source="lister")
    post(server, "listed", 2, type="timer", source="lister_2")
    assert len(server.call("GET", "/api/metrics")) == 100
    found = server.call("GET", "/api/metrics?limit=200&metric_type=timer&source=lister&time_range=1h")
    assert found == stored[::-1]
    assert server.call("GET", "/api/metrics?limit=3&metric_type=timer&source=lister") == stored[:-4:-1]
    assert server.call("GET", "/api/metrics?source=liste") == []
    assert code(server, "GET", "/api/metrics?metric_type=rainfall", expect=422) == "invalid_rows"


def test_time_ranges(server: Streamgauge) -> None:  # S4-06
    for hours in (0.5, 2, 30):
        post(server, "aged", hours, type="gauge", timestamp=ago(hours=hours))
    for text, values in {"40m": [0.5], "1h": [0.5], "3h": [0.5, 2], "2d": [0.5, 2, 30], "1w": [0.5, 2, 30]}.items():
        found = server.call("GET", f"/api/metrics?name=aged&time_range={text}")
        assert [row["value"] for row in found] == values
    assert [row["value"] for row in server.call("GET", "/api/metrics?name=aged")] == [0.5]
    for nonsense in ("1x", "h", "-1h", "0s", "1.5h", "", "24hours", "999999999w"):
        assert code(server, "GET", f"/api/metrics?time_range={nonsense}") == "bad_time_range"
        assert code(server, "GET", f"/api/events?time_range={nonsense}") == "bad_time_range"


@pytest.mark.parametrize("path", ["/api/metrics?limit=0", "/api/metrics?limit=x", "/api/events?limit=-1", "/api/metrics?nmae=a"])
def test_bad_parameters_of_lists(server: Streamgauge, path: str) -> None:
    assert code(server, "GET", path) == "bad_request"


def test_batches_get_a_receipt(server: Streamgauge) -> None:
    rows = [{"name": "batched", "metric_type": "counter", "value": n} for n in range(10)]
    rows[3]["value"] = "three"
    rows[5]["timestamp"] = ago(minutes=10)
    receipt = server.call("POST", "/api/metrics", rows, expect=202)
    counts = {name: receipt[name] for name in ("accepted", "duplicate", "late", "rejected")}
    assert counts == {"accepted": 9, "duplicate": 0, "late": 1, "rejected": 1}
    [error] = receipt["errors"]
    assert (error["index"], error["reason"]) == (3, "bad_value")
    assert position(server.ask("metric:batched", aggregation="sum")["offset"]) >= position(receipt["offset"])
    assert value(server, "metric:batched", "sum") == 45 - 3


def test_idempotency(server: Streamgauge) -> None:
    row = {"name": "idem", "metric_type": "counter", "value": 1}
    first = server.call("POST", "/api/metrics", row, 201, Idempotency_Key="k1")
    assert server.call("POST", "/api/metrics", row, 201, Idempotency_Key="k1")["id"] == first["id"]
    refused = server.call("POST", "/api/metrics", row | {"value": 2}, 409, Idempotency_Key="k1")
    assert refused["detail"]["code"] == "conflict"
    assert value(server, "metric:idem", "sum") == 1


# Events


def test_events_keep_what_was_sent(server: Streamgauge) -> None:  # S4-07, S4-09, A-36
    sent = {
        "event_type": "kept_event", "user_id": "user_123", "session_id": "session_456",
        "properties": {"login_method": "email", "deep": {"list": [1, 2.5, None, {"x": "é"}]}},
        "metadata": {"ip_address": "192.168.1.100", "timestamp": "2020-01-01T00:00:00Z", "user_agent": "Mozilla/5.0"},
    }  # fmt: skip
    stored = server.call("POST", "/api/events", sent, expect=201)
    assert stored["id"].startswith("event_") and stored["timestamp"] > "2021"
    assert {name: stored[name] for name in sent} == sent
    assert server.call("GET", "/api/events?event_type=kept_event") == [stored]
    bare = server.call("POST", "/api/events", {"event_type": "bare"}, expect=201)
    assert (bare["user_id"], bare["session_id"]) == (None, None)


def test_the_list_of_events(server: Streamgauge) -> None:  # S4-08
    stored = [
        server.call("POST", "/api/events", {"event_type": "listed", "user_id": f"u{n % 2}"}, expect=201) for n in range(6)
    ]
    assert server.call("GET", "/api/events?event_type=listed&time_range=24h") == stored[::-1]
    assert server.call("GET", "/api/events?event_type=listed&user_id=u1&limit=2") == [stored[5], stored[3]]


def test_queries_over_events(server: Streamgauge) -> None:
    rows = [
        {"event_type": "bought", "user_id": f"u{n % 3}", "properties": {"price": n * 10, "plan": "pro" if n % 2 else "free"}}
        for n in range(10)
    ]  # fmt: skip
    assert server.call("POST", "/api/events", rows, expect=202)["accepted"] == 10
    assert value(server, "event:bought", "count") == 10
    assert value(server, "event:bought", "unique") == 3
    assert value(server, "event:bought", "sum", field="price") == 450
    assert value(server, 'event:bought{plan="pro"}', "max", field="price") == 90
    by_plan = server.ask("event:bought", aggregation="average", field="price", group_by=["plan"])["data"]
    assert {row["group"]: row["value"] for row in by_plan} == {"free": 40, "pro": 50}
    assert code(server, "POST", "/api/queries", {"query_string": "event:bought"}) == "bad_query"


# Queries


@pytest.fixture(scope="module")
def requests(server: Streamgauge) -> list[dict[str, Any]]:
    """The samples of metric:requests: two methods, two endpoints, one without a status."""
    rows = [
        {
            "name": "requests", "metric_type": "counter" if n % 10 else "gauge", "value": n + 1,
            "source": "a" if n < 50 else "b",
            "tags": {"method": "GET" if n % 3 else "POST", "endpoint": f"/api/{n % 2}"} | ({"status": "200"} if n else {}),
        }
        for n in range(100)
    ]  # fmt: skip
    server.call("POST", "/api/metrics", rows, expect=202)
    return rows


def test_a_saved_query_is_executed(server: Streamgauge, requests: list[dict[str, Any]]) -> None:  # S4-20..22
    sent = {
        "name": "By endpoint", "query_string": "metric:requests", "time_range": "1h", "aggregation": "sum",
        "group_by": ["method", "endpoint"], "filters": {"status": "200"},
    }  # fmt: skip
    saved = server.call("POST", "/api/queries", sent, expect=201)
    assert saved["id"].startswith("query_") and {name: saved[name] for name in sent} == sent
    assert saved in server.call("GET", "/api/queries")
    assert server.call("GET", f"/api/queries/{saved['id']}") == saved
    result = server.call("POST", f"/api/queries/{saved['id']}/execute")
    assert result["query_id"] == saved["id"]
    assert result["metadata"] == {"total_metrics": 99, "time_range": "1h", "aggregation": "sum"}
    assert 0 <= result["execution_time"] < 5
    expected: dict[str, list[int]] = {}
    for row in requests[1:]:
        expected.setdefault(f"{row['tags']['method']}_{row['tags']['endpoint']}", []).append(row["value"])
    found = {row["group"]: (row["value"], row["count"]) for row in result["data"]}  # S4-23
    assert found == {group: (sum(values), len(values)) for group, values in expected.items()}
    assert {"method": "GET", "endpoint": "/api/0"} in [row["labels"] for row in result["data"]]
    assert server.call("DELETE", f"/api/queries/{saved['id']}")["id"] == saved["id"]
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/execute")):
        assert code(server, method, f"/api/queries/{saved['id']}{path}", expect=404) == "not_found"


def test_the_result_says_what_it_covers(server: Streamgauge, requests: list[dict[str, Any]]) -> None:
    result = server.ask("metric:requests", aggregation="sum", time_range="15m")
    assert set(result) == {
        "query_id", "data", "metadata", "execution_time", "timestamp", "offset", "at", "from", "to", "resolution", "step",
        "error_bound",
    }  # fmt: skip
    start, end, at = (datetime.fromisoformat(result[name]) for name in ("from", "to", "at"))
    assert end - start == timedelta(minutes=15) and end - timedelta(seconds=5) <= at < end
    assert (result["resolution"], result["step"], result["error_bound"]) == ("5s", None, 0)
    assert server.ask("metric:requests", aggregation="sum", time_range="1m")["resolution"] in ("1s", "5s")


def test_missing_tags_and_metrics_apart(server: Streamgauge, requests: list[dict[str, Any]]) -> None:  # S4-21, S4-23
    found = server.ask("metric:requests", aggregation="count", group_by=["status", "nothing"])["data"]
    assert {row["group"]: row["count"] for row in found} == {"200_default": 99, "default_default": 1}
    assert [row["labels"] for row in found if row["count"] == 1] == [{"status": None, "nothing": None}]
    post(server, "requests_2", 1000)
    assert value(server, "metric:requests", "sum") == 5050


def test_without_aggregation_the_raw_rows(server: Streamgauge, requests: list[dict[str, Any]]) -> None:  # S4-24
    rows = server.ask('metric:requests{method="POST"}')["data"]
    assert [row["value"] for row in rows] == [row["value"] for row in requests[::-1] if row["tags"]["method"] == "POST"]
    assert set(rows[0]) == {"name", "value", "timestamp", "tags"}
    grouped = server.ask("metric:requests", group_by=["method"])["data"]
    assert {row["group"]: row["count"] for row in grouped} == {"GET": 66, "POST": 34}
    assert all(len(row["values"]) == row["count"] for row in grouped)
    for more in ({"step": "10s"}, {"format": "columns"}):
        assert code(server, "POST", "/api/query", {"query_string": "metric:requests", **more}) == "bad_query"


@pytest.mark.parametrize(
    ("query", "filters", "chosen"),
    [
        ("metric:requests", {"metric_type": "gauge"}, lambda row: row["metric_type"] == "gauge"),
        ("metric:requests", {"source": "a"}, lambda row: row["source"] == "a"),
        ("metric:requests", {"source": "a", "method": "POST"}, lambda r: r["source"] == "a" and r["tags"]["method"] == "POST"),
        ("metric:requests", {"status": 200}, lambda row: "status" in row["tags"]),
        ("metric:requests", {"endpoint": ["/api/0", "/api/7"]}, lambda row: row["tags"]["endpoint"] == "/api/0"),
        ("metric:requests", {"nothing": "x"}, lambda row: False),
        ('metric:requests{method="GET"}', {}, lambda row: row["tags"]["method"] == "GET"),
        ('metric:requests{method!="GET"}', {}, lambda row: row["tags"]["method"] != "GET"),
        ('metric:requests{method=~"P.*|X"}', {}, lambda row: row["tags"]["method"] == "POST"),
        ('metric:requests{method!~"P.*",source="b"}', {}, lambda r: r["tags"]["method"] == "GET" and r["source"] == "b"),
        ('metric:requests{status=""}', {}, lambda row: "status" not in row["tags"]),
    ],
)  # fmt: skip
def test_filters(server: Streamgauge, requests: list[dict[str, Any]], query: str, filters: Any, chosen: Any) -> None:  # S4-25
    expected = [row["value"] for row in requests if chosen(row)]
    [row] = server.ask(query, aggregation="sum", filters=filters)["data"]
    assert (row["value"], row["count"]) == (sum(expected), len(expected))


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [
        ("sum", 5050), ("average", 50.5), ("min", 1), ("max", 100), ("count", 100), ("median", 50.5), ("first", 1),
        ("last", 100), ("stddev", None), ("percentile_95", None), ("percentile_99", None), ("percentile_12.5", None),
        ("unique", 100), ("value_range", 99),
    ],
)  # fmt: skip
def test_aggregations(server: Streamgauge, aggregation: str, expected: float | None) -> None:  # S4-26, S4-28
    if not value(server, "metric:hundred", "count"):
        post(server, "hundred", *range(1, 101))
    values = np.arange(1.0, 101)
    if aggregation == "stddev":
        expected = float(values.std())
    if aggregation.startswith("percentile"):
        expected = float(np.percentile(values, float(aggregation.partition("_")[2])))
    result = server.ask("metric:hundred", aggregation=aggregation)
    [row] = result["data"]
    bound = 0.04 if aggregation == "unique" else result["error_bound"] + 1e-12
    assert row["count"] == 100
    assert row["value"] == pytest.approx(expected, rel=bound)


def test_rate_and_increase_read_running_totals(server: Streamgauge) -> None:
    for seconds, total in ((40, 100), (30, 130), (20, 10), (10, 25)):
        post(server, "total", total, timestamp=ago(seconds=seconds))
    assert value(server, "metric:total", "increase") == 30 + 10 + 15
    assert value(server, "metric:total", "rate") == pytest.approx(55 / 3600)


def test_an_empty_selection(server: Streamgauge) -> None:  # S4-27
    for aggregation in ("sum", "count"):
        assert server.ask("metric:never", aggregation=aggregation)["data"] == [{"value": 0, "count": 0}]
    for aggregation in ("average", "min", "max", "median", "percentile_95", "first", "stddev"):
        assert server.ask("metric:never", aggregation=aggregation)["data"] == [{"value": None, "count": 0}]
    assert server.ask("metric:never")["data"] == []
    for aggregation in (None, "sum", "median", "value_range"):
        assert server.ask("metric:never", aggregation=aggregation, group_by=["a", "b"])["data"] == []
    assert server.ask("event:never", aggregation="count", group_by=["a"])["data"] == []
    assert server.ask("metric:never", aggregation="sum", group_by=["a"], step="1m")["data"] == []


def test_time_series(server: Streamgauge) -> None:  # S4-50
    now = datetime.now(UTC).replace(microsecond=0)
    begin = now - timedelta(minutes=5, seconds=now.second)
    for minute in range(4):
        for host in ("a", "b"):
            at = (begin + timedelta(minutes=minute, seconds=30)).isoformat()
            post(server, "series", minute + 1, type="gauge", tags={"host": host}, timestamp=at)
    end = begin + timedelta(minutes=4)
    span = {"from_": begin.isoformat(), "to": end.isoformat(), "step": "1m"}
    result = server.ask("metric:series", aggregation="sum", **span)
    assert [row["value"] for row in result["data"]] == [2, 4, 6, 8]
    assert [datetime.fromisoformat(row["time"]) for row in result["data"]] == [begin + timedelta(minutes=n) for n in range(4)]
    assert result["step"] == "1m"
    columns = server.ask("metric:series", aggregation="max", group_by=["host"], format="columns", **span)["columns"]
    assert columns["times"] == [int((begin + timedelta(minutes=n)).timestamp() * 1000) for n in range(4)]
    assert [(one["group"], one["values"], one["counts"]) for one in columns["series"]] == [
        ("a", [1, 2, 3, 4], [1] * 4), ("b", [1, 2, 3, 4], [1] * 4),
    ]  # fmt: skip
    half = server.ask("metric:series", aggregation="sum", from_=begin.isoformat(), to=int(end.timestamp() * 1000) - 120_000)
    assert [row["value"] for row in half["data"]] == [6]
    as_of = server.ask("metric:series", aggregation="sum", time_range="2m", at=(end - timedelta(seconds=1)).isoformat())
    assert [row["value"] for row in as_of["data"]] == [14]
    assert as_of["at"] == (end - timedelta(seconds=1)).isoformat().replace("+00:00", ".000Z")


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"from": "2026-01-02", "to": "2026-01-01"}, "bad_time_range"),
        ({"to": "2026-01-01"}, "bad_time_range"),
        ({"from": "yesterday"}, "bad_time_range"),
        ({"from": True}, "bad_query"),
        ({"from": 0, "to": 1e300}, "bad_time_range"),
        ({"from": -62135596800}, "bad_time_range"),
        ({"at": "9999-12-31T23:59:59Z"}, "bad_time_range"),
        ({"time_range": ""}, "bad_time_range"),
        ({"time_range": "1h", "from": 0}, "bad_time_range"),
        ({"time_range": "nonsense"}, "bad_time_range"),
        ({"step": "0s"}, "bad_time_range"),
        ({"aggregation": "nonsense"}, "bad_query"),
        ({"aggregation": "percentile_101"}, "bad_query"),
        ({"aggregation": 5}, "bad_query"),
        ({"group_by": "method"}, "bad_query"),
        ({"group_by": ["x"] * 11}, "bad_query"),
        ({"filters": {"a": {"b": 1}}}, "bad_query"),
        ({"filters": {"metric_type": "rainfall"}}, "bad_query"),
        ({"query_string": "requests"}, "bad_query"),
        ({"query_string": 'metric:a{b="c"'}, "bad_query"),
        ({"query_string": 'metric:a{b=~"("}'}, "bad_query"),
        ({"query_string": 'metric:a{b=~"(a+)+$"}'}, "bad_query"),
        ({"field": "price"}, "bad_query"),
        ({"misspelt": 1}, "bad_query"),
    ],
)
def test_bad_queries(server: Streamgauge, more: dict[str, Any], expected: str) -> None:
    body = {"query_string": "metric:requests", "aggregation": "sum", **more}
    assert code(server, "POST", "/api/query", body) == expected
    assert code(server, "POST", "/api/queries", body) == expected


def test_queries_that_cost_too_much_say_what_fits(server: Streamgauge, requests: list[dict[str, Any]]) -> None:
    refused = server.call("POST", "/api/query", {
        "query_string": "metric:requests", "aggregation": "sum", "step": "5s", "time_range": "10h", "group_by": ["method"],
    }, expect=422)  # fmt: skip
    assert refused["detail"]["code"] == "query_too_expensive"
    assert "would fit" in refused["detail"]["message"]


def test_registered_aggregations(server: Streamgauge, requests: list[dict[str, Any]]) -> None:  # S4-45, S4-42
    assert "value_range" in server.call("GET", "/api/stats")["supported_aggregations"]
    assert value(server, "metric:requests", "value_range", params={"scale": 2}) == 198
    by_method = server.ask("metric:requests", aggregation="value_range", group_by=["method"])["data"]
    assert {row["group"]: row["value"] for row in by_method} == {"GET": 97, "POST": 99}
    body = {"query_string": "metric:requests", "aggregation": "broken"}
    assert code(server, "POST", "/api/query", body) == "bad_query"
    assert code(server, "POST", "/api/query", body | {"aggregation": "slow"}, expect=504) == "query_timeout"
    assert code(server, "POST", "/api/query", body | {"query_string": "event:x"}) == "bad_query"


def test_statistics(server: Streamgauge) -> None:  # S4-31
    stats = server.call("GET", "/api/stats")
    assert set(stats) >= {
        "total_metrics", "total_events", "total_dashboards", "total_alerts", "total_queries", "active_subscriptions",
        "metric_distribution", "recent_metrics_1h", "recent_events_1h", "supported_metric_types", "supported_aggregations",
    }  # fmt: skip
    assert stats["supported_metric_types"] == ["counter", "gauge", "histogram", "timer", "average"]
    before = stats["total_metrics"], stats["total_events"], stats["total_queries"]
    post(server, "counted", 1, 2)
    server.call("POST", "/api/events", {"event_type": "counted"}, expect=201)
    server.call("POST", "/api/queries", {"query_string": "metric:counted"}, expect=201)
    stats = server.call("GET", "/api/stats")
    assert (stats["total_metrics"], stats["total_events"], stats["total_queries"]) == (before[0] + 2, before[1] + 1, before[2] + 1)
    [listed] = [metric for metric in stats["metrics"] if metric["name"] == "counted"]
    assert (listed["type"], listed["series"], listed["last_value"]) == ("counter", 1, 2)
    assert stats["event_types"]["counted"] == 1
    assert "lost" in stats["modes"]["log"] or "loses" in stats["modes"]["log"]


def test_alerts_are_kept_and_say_that_nothing_evaluates_them(server: Streamgauge) -> None:  # S4-14..16, S4-19
    sent = {
        "name": "High Error Rate Alert", "metric_name": "api_errors_total", "alert_type": "threshold", "threshold": 0,
        "condition": ">", "notification_channels": ["email", "slack"],
    }  # fmt: skip
    alert = server.call("POST", "/api/alerts", sent, expect=201)
    assert alert["id"].startswith("alert_") and {name: alert[name] for name in sent} == sent
    assert (alert["enabled"], alert["last_triggered"], alert["evaluated"]) == (True, None, False)
    assert "not evaluate" in alert["note"]
    off = server.call("POST", "/api/alerts", sent | {"enabled": False, "threshold": 0.5}, expect=201)
    assert server.call("GET", "/api/alerts") == [alert, off]
    assert server.call("GET", "/api/alerts?enabled_only=true") == [alert]
    assert server.call("GET", f"/api/alerts/{off['id']}") == off
    for bad in ({"threshold": "5"}, {"threshold": True}, {"condition": "=>"}, {"alert_type": "guess"}, {"name": ""},
                {"notification_channels": ["pigeon"]}, {"for": "5m"}, {"enabled": 1}):  # fmt: skip
        assert code(server, "POST", "/api/alerts", sent | bad) == "bad_request"
    assert code(server, "GET", "/api/alerts?enabled_only=maybe") == "bad_request"
    server.call("DELETE", f"/api/alerts/{off['id']}")
    assert code(server, "DELETE", f"/api/alerts/{off['id']}", expect=404) == "not_found"


def test_what_is_not_there(server: Streamgauge) -> None:
    assert code(server, "GET", "/api/nothing", expect=404) == "not_found"
    assert code(server, "PUT", "/api/metrics", expect=405) == "method_not_allowed"
    assert server.call("GET", "/", Accept="application/json") == {"name": "Streamgauge", "version": "0.1.0"}
    assert server.call("GET", "/health")["status"] == "ok"
