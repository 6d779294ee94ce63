"""What the documentation of S4 promises of queries, asked of a running server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from tests.api_support import ago, code, post, value
from tests.support import Streamgauge


@pytest.fixture(scope="module")
def server(api_server: Streamgauge) -> Streamgauge:
    return api_server


@pytest.fixture(scope="module")
def requests(server: Streamgauge) -> list[dict[str, Any]]:
    """The samples of metric:requests: two methods, two endpoints, one without a status."""
    rows = [
        {
            "name": "requests",
            "metric_type": "counter" if n % 10 else "gauge",
            "value": n + 1,
            "source": "a" if n < 50 else "b",
            "tags": {"method": "GET" if n % 3 else "POST", "endpoint": f"/api/{n % 2}"}
            | ({"status": "200"} if n else {}),
        }
        for n in range(100)
    ]
    server.call("POST", "/api/metrics", rows, expect=202)
    return rows


def test_a_saved_query_is_executed(server: Streamgauge, requests: list[dict[str, Any]]) -> None:  # S4-20..22
    sent = {
        "name": "By endpoint",
        "query_string": "metric:requests",
        "time_range": "1h",
        "aggregation": "sum",
        "group_by": ["method", "endpoint"],
        "filters": {"status": "200"},
    }
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
        "query_id",
        "data",
        "metadata",
        "execution_time",
        "timestamp",
        "offset",
        "at",
        "from",
        "to",
        "resolution",
        "step",
        "error_bound",
    }
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
        (
            "metric:requests",
            {"source": "a", "method": "POST"},
            lambda r: r["source"] == "a" and r["tags"]["method"] == "POST",
        ),
        ("metric:requests", {"status": 200}, lambda row: "status" in row["tags"]),
        ("metric:requests", {"endpoint": ["/api/0", "/api/7"]}, lambda row: row["tags"]["endpoint"] == "/api/0"),
        ("metric:requests", {"nothing": "x"}, lambda row: False),
        ('metric:requests{method="GET"}', {}, lambda row: row["tags"]["method"] == "GET"),
        ('metric:requests{method!="GET"}', {}, lambda row: row["tags"]["method"] != "GET"),
        ('metric:requests{method=~"P.*|X"}', {}, lambda row: row["tags"]["method"] == "POST"),
        (
            'metric:requests{method!~"P.*",source="b"}',
            {},
            lambda r: r["tags"]["method"] == "GET" and r["source"] == "b",
        ),
        ('metric:requests{status=""}', {}, lambda row: "status" not in row["tags"]),
    ],
)
def test_filters(
    server: Streamgauge, requests: list[dict[str, Any]], query: str, filters: Any, chosen: Any
) -> None:  # S4-25
    expected = [row["value"] for row in requests if chosen(row)]
    [row] = server.ask(query, aggregation="sum", filters=filters)["data"]
    assert (row["value"], row["count"]) == (sum(expected), len(expected))


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [
        ("sum", 5050),
        ("average", 50.5),
        ("min", 1),
        ("max", 100),
        ("count", 100),
        ("median", 50.5),
        ("first", 1),
        ("last", 100),
        ("stddev", None),
        ("percentile_95", None),
        ("percentile_99", None),
        ("percentile_12.5", None),
        ("unique", 100),
        ("value_range", 99),
    ],
)
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
    assert [datetime.fromisoformat(row["time"]) for row in result["data"]] == [
        begin + timedelta(minutes=n) for n in range(4)
    ]
    assert result["step"] == "1m"
    columns = server.ask("metric:series", aggregation="max", group_by=["host"], format="columns", **span)["columns"]
    assert columns["times"] == [int((begin + timedelta(minutes=n)).timestamp() * 1000) for n in range(4)]
    assert [(one["group"], one["values"], one["counts"]) for one in columns["series"]] == [
        ("a", [1, 2, 3, 4], [1] * 4),
        ("b", [1, 2, 3, 4], [1] * 4),
    ]
    half = server.ask(
        "metric:series", aggregation="sum", from_=begin.isoformat(), to=int(end.timestamp() * 1000) - 120_000
    )
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
        ({"query_string": 'metric:a{b=~"(a"}'}, "bad_query"),
        ({"field": "price"}, "bad_query"),
        ({"misspelt": 1}, "bad_query"),
    ],
)
def test_bad_queries(server: Streamgauge, more: dict[str, Any], expected: str) -> None:
    body = {"query_string": "metric:requests", "aggregation": "sum", **more}
    assert code(server, "POST", "/api/query", body) == expected
    assert code(server, "POST", "/api/queries", body) == expected


def test_queries_that_cost_too_much_say_what_fits(server: Streamgauge, requests: list[dict[str, Any]]) -> None:
    refused = server.call(
        "POST",
        "/api/query",
        {
            "query_string": "metric:requests",
            "aggregation": "sum",
            "step": "5s",
            "time_range": "10h",
            "group_by": ["method"],
        },
        expect=422,
    )
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
