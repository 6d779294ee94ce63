"""The WebSocket messages of alerts."""

from __future__ import annotations

import json

from engine.rules.model import Episode
from server.wire.alert_messages import alert_resolved, alert_triggered

T = 1_767_225_600_000
ALERT = {"id": "alert_1", "name": "Hot", "threshold": 100, "last_triggered": None}


def test_an_alert_that_fires() -> None:  # S4-36, S4-39
    episode = Episode("e1", "alert_1", (("host", "a"),), 2, T - 60_000, T, value=120.5, peak=130.0)
    told = json.loads(alert_triggered(ALERT, "cpu", episode, "incident_1", T + 1))
    assert told == {
        "type": "alert_triggered", "alert": ALERT,
        "metric": {"name": "cpu", "value": 120.5, "timestamp": "2026-01-01T00:00:00.001Z", "tags": {"host": "a"}},
        "group": {"host": "a"}, "incident_id": "incident_1", "episode_id": "e1", "cause": "condition",
        "since": "2025-12-31T23:59:00.000Z", "fired_at": "2026-01-01T00:00:00.000Z", "level": "critical", "peak": 130.0,
        "timestamp": "2026-01-01T00:00:00.001Z",
    }  # fmt: skip


def test_an_alert_that_is_over_says_what_it_was_and_what_it_is() -> None:
    episode = Episode("e1", "alert_1", (), 1, T, T, 1, 2, None, 9.5, T, resolved=T + 2500, resolved_value=float("nan"))
    told = json.loads(alert_resolved(ALERT, "cpu", episode, "incident_1"))
    assert (told["type"], told["level"], told["worst"]) == ("alert_resolved", "ok", "critical")
    assert (told["cause"], told["why"]) == ("no_data", "recovered")
    assert (told["metric"]["value"], told["value_at_fire"], told["peak"], told["duration"]) == (None, None, 9.5, 2.5)
    assert (told["timestamp"], told["group"]) == ("2026-01-01T00:00:02.500Z", {})
