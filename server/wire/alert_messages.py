"""The WebSocket messages that an alert has begun to fire, and that it is over; JSON, for everybody who is connected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.rules.model import CAUSES, LEVELS, OK, Episode
from server.wire.messages import encode
from server.wire.times import format_time


def alert_triggered(alert: Mapping[str, Any], metric: str, episode: Episode, incident: str, at: int) -> bytes:
    """`alert_triggered`: a group fires, or is told again, at `at`, ms.

    alert: its document, as it is answered; metric: the name of what is watched; incident: its id.
    """
    told = {"level": LEVELS[episode.level], "peak": episode.peak}
    return _message("alert_triggered", alert, metric, episode, incident, at, episode.value, told)


def alert_resolved(alert: Mapping[str, Any], metric: str, episode: Episode, incident: str) -> bytes:
    """`alert_resolved`: a group fires no more. The arguments are those of `alert_triggered`."""
    at = episode.fired if episode.resolved is None else episode.resolved
    told = {
        "level": LEVELS[OK], "worst": LEVELS[episode.worst], "value_at_fire": episode.value, "peak": episode.peak,
        "why": episode.why or "recovered", "duration": (at - episode.fired) / 1000,
    }  # fmt: skip
    return _message("alert_resolved", alert, metric, episode, incident, at, episode.resolved_value, told)


def _message(
    type: str, alert: Mapping[str, Any], metric: str, episode: Episode, incident: str, at: int, value: float | None,
    told: dict[str, Any],
) -> bytes:  # fmt: skip
    time, group = format_time(at), dict(episode.group)
    return encode(
        {
            "type": type, "alert": alert,
            "metric": {"name": metric, "value": value, "timestamp": time, "tags": group},
            "group": group, "incident_id": incident, "episode_id": episode.id, "cause": CAUSES[episode.cause],
            "since": format_time(episode.since), "fired_at": format_time(episode.fired), **told, "timestamp": time,
        }
    )  # fmt: skip
