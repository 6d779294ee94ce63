"""Alerts over HTTP, of a whole server: the shapes of S4, silences, templates, and what is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.api_support import code, post
from tests.support import Streamgauge

SENT: dict[str, Any] = {
    "name": "High Error Rate Alert",
    "metric_name": "api_errors_total",
    "alert_type": "threshold",
    "threshold": 0,
    "condition": ">",
    "notification_channels": ["email", "slack"],
}


@pytest.fixture(scope="module")
def server(api_server: Streamgauge) -> Streamgauge:
    return api_server


def test_alerts_have_the_shapes_of_the_documentation(server: Streamgauge) -> None:  # S4-14..16, S4-19
    before = server.call("GET", "/api/stats")["total_alerts"]
    alert = server.call("POST", "/api/alerts", SENT, expect=201)
    assert alert["id"].startswith("alert_") and {name: alert[name] for name in SENT} == SENT
    assert (alert["enabled"], alert["last_triggered"], alert["state"]) == (True, None, "inactive")
    assert len(alert["warnings"]) == 2, "neither e-mail nor Slack is configured"
    off = server.call("POST", "/api/alerts", SENT | {"enabled": False, "threshold": 0.5}, expect=201)
    assert [each["id"] for each in server.call("GET", "/api/alerts")][-2:] == [alert["id"], off["id"]]
    listed = server.call("GET", "/api/alerts?enabled_only=true")
    assert alert["id"] in [each["id"] for each in listed] and off["id"] not in [each["id"] for each in listed]
    assert server.call("GET", "/api/stats")["total_alerts"] == before + 2
    for bad in (
        {"threshold": "5"},
        {"threshold": True},
        {"condition": "=>"},
        {"alert_type": "guess"},
        {"name": ""},
        {"notification_channels": ["pigeon"]},
        {"for": "never"},
        {"enabled": 1},
        {"threshold": None},
        {"surprise": 1},
    ):
        assert code(server, "POST", "/api/alerts", SENT | bad) == "bad_request"
    assert code(server, "POST", "/api/alerts", b'{"threshold": 1e999}') in ("bad_request", "bad_json")
    assert code(server, "GET", "/api/alerts?enabled_only=maybe") == "bad_request"
    server.call("DELETE", f"/api/alerts/{off['id']}")
    assert code(server, "DELETE", f"/api/alerts/{off['id']}", expect=404) == "not_found"


def test_an_alert_on_a_saved_query(server: Streamgauge) -> None:
    query = {"query_string": 'metric:latency{route=~"/.*"}', "aggregation": "percentile_95", "time_range": "5m"}
    saved = server.call("POST", "/api/queries", query, expect=201)
    body = {"name": "Slow", "query_id": saved["id"], "threshold": 500, "recovery": 400, "group_by": ["route"]}
    made = server.call("POST", "/api/alerts", body, expect=201)
    assert made["error"] is None
    server.call("DELETE", f"/api/queries/{saved['id']}")
    assert saved["id"] in server.call("GET", f"/api/alerts/{made['id']}")["error"]
    assert code(server, "POST", "/api/alerts", body, expect=404) == "not_found"


def test_a_value_after_the_answer_fires_and_another_resolves(server: Streamgauge) -> None:  # S4-17, S4-36
    with server.listen() as client:
        alert = server.call("POST", "/api/alerts", SENT | {"metric_name": "checked", "threshold": 10}, expect=201)
        begun = post(server, "checked", 11, type="gauge", tags={"host": "a"})[0]["timestamp"]
        told = client.until("alert_triggered")
        assert told["alert"] | {"last_triggered": 0} == told["alert"] | SENT | {
            "id": alert["id"], "enabled": True, "last_triggered": 0, "metric_name": "checked", "threshold": 10,
            "state": "firing", "firing": 1,
        }  # fmt: skip
        assert (told["metric"]["name"], told["metric"]["value"], told["group"]) == ("checked", 11, {"host": "a"})
        assert told["level"] == "critical" and told["timestamp"] >= begun[:19]
        found = server.call("GET", f"/api/alerts/{alert['id']}")
        assert (found["state"], found["value"]) == ("firing", 11) and found["last_triggered"] == told["fired_at"]
        [incident] = server.call("GET", f"/api/incidents?open=true&alert_id={alert['id']}")
        assert incident["id"] == told["incident_id"]
        acknowledged = server.call("POST", f"/api/incidents/{incident['id']}/acknowledge", {"author": "ada"})
        assert acknowledged["acknowledged_by"] == "ada"
        post(server, "checked", 9, type="gauge", tags={"host": "a"})
        over = client.until("alert_resolved")
        assert (over["incident_id"], over["metric"]["value"], over["value_at_fire"]) == (incident["id"], 9, 11)
    [episode] = server.call("GET", f"/api/alerts/{alert['id']}/history")
    assert (episode["value_at_fire"], episode["peak"], episode["value_at_resolve"]) == (11, 11, 9)
    [row] = server.call("GET", f"/api/alerts/{alert['id']}/groups")
    assert (row["group"], row["status"], row["value"]) == ({"host": "a"}, "inactive", 9)
    assert server.call("POST", f"/api/incidents/{incident['id']}/acknowledge", {}, 409)["detail"]["code"] == "conflict"
    asked = {"alert": SENT | {"metric_name": "checked", "threshold": 10}, "time_range": "10m"}
    previewed = server.call("POST", "/api/alerts/preview", asked)
    assert previewed["total_episodes"] == len(previewed["episodes"]) == 1 and previewed["evaluated"]
    assert (previewed["episodes"][0]["value_at_fire"], previewed["episodes"][0]["group"]) == (11, {"host": "a"})


def test_documents_survive_a_kill(serve: Callable[..., Streamgauge]) -> None:  # S4-43
    server = serve()
    alert = server.call("POST", "/api/alerts", SENT | {"labels": {"team": "shop"}}, expect=201)
    path = f"/api/alerts/{alert['id']}"
    changed = server.call("PUT", path, SENT | {"threshold": 3, "for": "1m"})
    silence = {"matchers": '{team="shop"}', "for": "1h", "reason": "moving", "author": "ada"}
    silence = server.call("POST", "/api/silences", silence, expect=201)
    ended = server.call("POST", "/api/silences", {"matchers": '{a="b"}', "for": "1h", "reason": "short"}, expect=201)
    server.call("DELETE", f"/api/silences/{ended['id']}")
    template = {"low": {"condition": "metric:memory < 10", "severity": "warning", "message": "{value} left"}}
    server.call("POST", "/api/alerts/templates/load", {"alert_templates": template}, expect=201)
    server.kill()
    server.start()
    found = server.call("GET", path)
    assert (found["version"], found["threshold"], found["for"]) == (changed["version"], 3, "1m")
    assert "labels" not in found
    assert code(server, "PUT", path, alert, expect=409) == "conflict"
    assert [each["state"] for each in server.call("GET", "/api/silences")] == ["active", "expired"]
    assert server.call("GET", "/api/silences?state=active") == [silence]
    assert server.call("GET", "/api/alerts/templates")["alert_templates"]["low"] == template["low"]
    made = server.call("POST", "/api/alerts/templates/low", {"name": "Low"}, expect=201)
    assert (made["name"], made["metric_name"], made["threshold"]) == ("Low", "memory", 10)
    server.call("DELETE", "/api/alerts/templates/low")
    assert code(server, "DELETE", "/api/alerts/templates/low", expect=404) == "not_found"


def test_what_is_asked_of_nothing(server: Streamgauge) -> None:
    for method, path in (
        ("GET", "/api/alerts/alert_none"), ("GET", "/api/alerts/alert_none/groups"),
        ("PATCH", "/api/alerts/alert_none"), ("GET", "/api/alerts/alert_none/history"),
        ("POST", "/api/alerts/alert_none/enable"),
        ("POST", "/api/alerts/templates/none"), ("POST", "/api/incidents/none/acknowledge"),
        ("GET", "/api/silences/none"), ("POST", "/api/channels/none/test"),
    ):  # fmt: skip
        body = None if method == "GET" or "enable" in path or "channels" in path else {}
        assert code(server, method, path, body, expect=404) == "not_found", path
    assert server.call("GET", "/api/incidents?open=true&alert_id=alert_none") == []
    assert server.call("GET", "/api/notifications?alert_id=alert_none") == []
    assert [each["name"] for each in server.call("GET", "/api/channels")][:3] == ["slack", "email", "webhook"]
    assert code(server, "POST", "/api/channels/slack/test") == "bad_request"
