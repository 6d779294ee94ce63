"""How unusual the watched series are now."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from engine.anomaly import Episode
from server.api import alert_views as views
from server.api.alert_models import AnomalyOf
from server.api.alerting import Alerting, Anomaly
from server.api.http import check_parameters, route, whole_number
from server.api.saved_alerts import SavedAlerts
from server.api.spec import Parameter, Spec
from server.auth import Gate
from server.wire.times import format_time

_LIMIT = {"type": "integer", "minimum": 1, "maximum": 1_000, "default": 100}
LISTING = Spec(
    "The watched series, the most unusual first", "alert",
    "Watched is what alerts of type anomaly name. It is advice: what is unusual need not be wrong. Of series that "
    "other processes watch, the 100 most unusual of each are known, as of a few seconds ago.",
    answer=list[AnomalyOf], parameters=(Parameter("limit", "at most so many", _LIMIT),),
    errors=("bad_request", "log_unavailable"),
)  # fmt: skip


def routes(saved: SavedAlerts, alerting: Alerting, gate: Gate) -> list[Route]:
    """The route."""

    async def listing(request: Request) -> Any:
        check_parameters(request, {"limit"})
        limit = whole_number(request, "limit", 100, 1, 1_000)
        return [_shown(each, saved.name(each.alert)) for each in await alerting.anomalies(limit)]

    return [route("/api/anomalies", listing, "GET", gate, "read", spec=LISTING)]


def _shown(found: Anomaly, name: str) -> dict[str, Any]:
    standing = found.standing
    low, high = standing.likely or (None, None)
    return {
        "alert_id": found.alert, "alert": name, "query_string": ":".join(found.about), "group": dict(found.group),
        "score": standing.score,
        "anomalous": standing.anomalous, "since": views.moment(standing.since), "peak": standing.peak,
        "value": standing.value, "at": views.moment(standing.at), "likely_from": low, "likely_to": high,
        "typical_low": standing.low, "typical": standing.middle, "typical_high": standing.high,
        "episodes": [_stretch(each) for each in found.episodes],
    }  # fmt: skip


def _stretch(episode: Episode) -> dict[str, Any]:
    return {"from": format_time(episode.begin), "to": views.moment(episode.end), "peak": episode.peak}
