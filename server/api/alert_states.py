"""Where the groups of an alert stand, what was, and what would have been."""

from __future__ import annotations

import time
from itertools import islice
from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from engine.query.value import parse_duration
from engine.rules.model import LEVELS
from server.api import alert_views as views
from server.api.alert_models import Asked, EpisodeOf, GroupState, PreviewOf
from server.api.alerting import Alerting
from server.api.http import check_parameters, read_model, route, whole_number
from server.api.saved_alerts import SavedAlerts
from server.api.spec import Parameter, Spec
from server.auth import Gate
from server.errors import ApiError
from server.preview import Preview
from server.wire.times import duration, format_time

MAX_PREVIEW = 400 * 86_400_000
MAX_SHOWN, MAX_FLAPS = 1_000, 100
"""Of a preview."""

_GROUPS_LIMIT = {"type": "integer", "minimum": 1, "maximum": 10_000, "default": 1_000}
_EPISODES_LIMIT = {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}
GROUPS = Spec(
    "The groups of an alert, those that fire first", "alert", answer=list[GroupState],
    parameters=(Parameter("limit", "at most so many", _GROUPS_LIMIT),), errors=("not_found", "bad_request"),
)  # fmt: skip
HISTORY = Spec(
    "When an alert has fired, newest first", "alert", answer=list[EpisodeOf],
    parameters=(Parameter("limit", "at most so many", _EPISODES_LIMIT),), errors=("not_found", "bad_request"),
)  # fmt: skip
PREVIEW = Spec(
    "What an alert would have done", "alert",
    "Replays stored history by the steps that decide and tell. `evaluated` says by which resolution each part was.",
    body=Asked, answer=PreviewOf,
    body_examples={
        "threshold": {
            "alert": {"name": "Busy", "metric_name": "orders", "aggregation": "sum", "threshold": 100},
            "time_range": "1h",
        }
    },
    errors=(
        "bad_query", "bad_time_range", "not_found", "query_too_expensive", "out_of_reach", "store_unavailable",
        "query_timeout",
    ),
)  # fmt: skip


def routes(saved: SavedAlerts, alerting: Alerting, gate: Gate) -> list[Route]:
    """The routes."""

    async def groups(request: Request) -> Any:
        check_parameters(request, {"limit"})
        limit = whole_number(request, "limit", 1_000, 1, 10_000)
        id = saved.find(request.path_params["alert_id"])["id"]
        return list(islice(views.group_rows(alerting.book, alerting.readings(id), id), limit))

    async def history(request: Request) -> Any:
        check_parameters(request, {"limit"})
        limit = whole_number(request, "limit", 50, 1, 200)
        id = saved.find(request.path_params["alert_id"])["id"]
        now = time.time_ns() // 1_000_000
        return [views.episode(each, now) for each in alerting.book.episodes(id)[:limit]]

    async def preview(request: Request) -> Any:
        body = await read_model(request, Asked)
        rule = saved.rule({"id": "preview", **body.alert.members()})
        span = parse_duration(body.time_range)
        if span > MAX_PREVIEW:
            raise ApiError("bad_time_range", "time_range: a preview reaches back at most 400d")
        begun = time.monotonic()
        previewed = await alerting.preview(rule, span)
        return _shown(previewed, time.monotonic() - begun)

    return [
        route("/api/alerts/preview", preview, "POST", gate, "read", spec=PREVIEW),
        route("/api/alerts/{alert_id}/groups", groups, "GET", gate, "read", spec=GROUPS),
        route("/api/alerts/{alert_id}/history", history, "GET", gate, "read", spec=HISTORY),
    ]


def _shown(found: Preview, took: float) -> dict[str, Any]:
    begin, end = (found.evaluated[0][0], found.evaluated[-1][1]) if found.evaluated else (0, 0)
    return {
        "begin": views.moment(begin),
        "episodes": [views.episode(each, end) for each in found.episodes[:MAX_SHOWN]],
        "total_episodes": len(found.episodes),
        "total_pending": len(found.pending),
        "flaps": [{"group": dict(group), "count": count} for group, count in found.flaps.most_common(MAX_FLAPS)],
        "messages": [
            {
                "at": format_time(each.at), "kind": each.kind, "channel": each.channel, "incident": each.incident,
                "level": LEVELS[each.level], "firing": each.firing, "groups": each.groups,
            }
            for each in found.messages[:MAX_SHOWN]
        ],
        "total_messages": len(found.messages),
        "evaluated": [
            {"from": format_time(start), "to": format_time(end), "resolution": duration(resolution)}
            for start, end, resolution in found.evaluated
        ],
        "notes": found.notes,
        "took": round(took, 6),
    }  # fmt: skip
