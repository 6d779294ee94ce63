"""What the documentation of S4 promises of metrics, events, alerts and statistics, asked of a running server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.api_support import ago, code, post, value
from tests.support import Streamgauge, position


@pytest.fixture(scope="module")
def server(api_server: Streamgauge) -> Streamgauge:
    return api_server


# Metrics


def test_a_metric_is_echoed_with_id_and_time(server: Streamgauge) -> None:  # S4-01
    sent = {
        "name": "echoed",
        "metric_type": "counter",
        "value": 1250,
        "tags": {"endpoint": "/api/users", "method": "GET", "status": "200"},
        "unit": "requests",
        "source": "api_1",
    }
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


@pytest.mark.parametrize(
    "path", ["/api/metrics?limit=0", "/api/metrics?limit=x", "/api/events?limit=-1", "/api/metrics?nmae=a"]
)
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
        "event_type": "kept_event",
        "user_id": "user_123",
        "session_id": "session_456",
        "properties": {"login_method": "email", "deep": {"list": [1, 2.5, None, {"x": "é"}]}},
        "metadata": {"ip_address": "192.168.1.100", "timestamp": "2020-01-01T00:00:00Z", "user_agent": "Mozilla/5.0"},
    }
    stored = server.call("POST", "/api/events", sent, expect=201)
    assert stored["id"].startswith("event_") and stored["timestamp"] > "2021"
    assert {name: stored[name] for name in sent} == sent
    assert server.call("GET", "/api/events?event_type=kept_event") == [stored]
    bare = server.call("POST", "/api/events", {"event_type": "bare"}, expect=201)
    assert (bare["user_id"], bare["session_id"]) == (None, None)


def test_the_list_of_events(server: Streamgauge) -> None:  # S4-08
    stored = [
        server.call("POST", "/api/events", {"event_type": "listed", "user_id": f"u{n % 2}"}, expect=201)
        for n in range(6)
    ]
    assert server.call("GET", "/api/events?event_type=listed&time_range=24h") == stored[::-1]
    assert server.call("GET", "/api/events?event_type=listed&user_id=u1&limit=2") == [stored[5], stored[3]]


def test_queries_over_events(server: Streamgauge) -> None:
    rows = [
        {
            "event_type": "bought",
            "user_id": f"u{n % 3}",
            "properties": {"price": n * 10, "plan": "pro" if n % 2 else "free"},
        }
        for n in range(10)
    ]
    assert server.call("POST", "/api/events", rows, expect=202)["accepted"] == 10
    assert value(server, "event:bought", "count") == 10
    assert value(server, "event:bought", "unique") == 3
    assert value(server, "event:bought", "sum", field="price") == 450
    assert value(server, 'event:bought{plan="pro"}', "max", field="price") == 90
    by_plan = server.ask("event:bought", aggregation="average", field="price", group_by=["plan"])["data"]
    assert {row["group"]: row["value"] for row in by_plan} == {"free": 40, "pro": 50}
    assert code(server, "POST", "/api/queries", {"query_string": "event:bought"}) == "bad_query"


# The rest


def test_statistics(server: Streamgauge) -> None:  # S4-31
    stats = server.call("GET", "/api/stats")
    assert set(stats) >= {
        "total_metrics",
        "total_events",
        "total_dashboards",
        "total_alerts",
        "total_queries",
        "active_subscriptions",
        "metric_distribution",
        "recent_metrics_1h",
        "recent_events_1h",
        "supported_metric_types",
        "supported_aggregations",
    }
    assert stats["supported_metric_types"] == ["counter", "gauge", "histogram", "timer", "average"]
    before = stats["total_metrics"], stats["total_events"], stats["total_queries"]
    post(server, "counted", 1, 2)
    server.call("POST", "/api/events", {"event_type": "counted"}, expect=201)
    server.call("POST", "/api/queries", {"query_string": "metric:counted"}, expect=201)
    stats = server.call("GET", "/api/stats")
    assert (stats["total_metrics"], stats["total_events"], stats["total_queries"]) == (
        before[0] + 2,
        before[1] + 1,
        before[2] + 1,
    )
    [listed] = [metric for metric in stats["metrics"] if metric["name"] == "counted"]
    assert (listed["type"], listed["series"], listed["last_value"]) == ("counter", 1, 2)
    assert stats["event_types"]["counted"] == 1
    assert "lost" in stats["modes"]["log"] or "loses" in stats["modes"]["log"]


def test_what_is_not_there(server: Streamgauge) -> None:
    assert code(server, "GET", "/api/nothing", expect=404) == "not_found"
    assert code(server, "PUT", "/api/metrics", expect=405) == "method_not_allowed"
    assert server.call("GET", "/", Accept="application/json") == {"name": "Streamgauge", "version": "0.1.0"}
    assert server.call("GET", "/health")["status"] == "ok"
