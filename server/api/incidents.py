"""Incidents: the overlapping episodes of an alert, whom they were told to, and that somebody looks after them."""

from __future__ import annotations

import time
from itertools import islice
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.routing import Route

from engine.query.value import parse_duration
from engine.rules.model import Incident
from server.api import alert_views as views
from server.api.alert_models import IncidentOf
from server.api.alerting import Alerting
from server.api.http import check_parameters, read_model, route, switch, whole_number
from server.api.saved_alerts import SavedAlerts
from server.api.spec import Parameter, Spec
from server.auth import Gate
from server.errors import ApiError
from server.rule_bodies import Duration

SOMEBODY = "somebody"
"""Who acknowledges without a name."""
MAX_SNOOZE = 31 * 86_400_000


class By(BaseModel):
    """Body of the changes of an incident."""

    model_config = ConfigDict(extra="forbid")

    author: str | None = Field(None, min_length=1, max_length=200, examples=["ada"])


class Snooze(By):
    """Body of POST /api/incidents/{id}/snooze."""

    span: Duration = Field(alias="for", description="at most 31d", examples=["1h"])


_LIMIT = {"type": "integer", "minimum": 1, "maximum": 1_000, "default": 100}
_CHANGING = ("not_found", "conflict", "log_full", "log_unavailable")
LISTING = Spec(
    "List the incidents, newest first", "alert", answer=list[IncidentOf], errors=("bad_request",),
    parameters=(
        Parameter("open", "true: those that go on; false: those that are over", {"type": "boolean"}, True),
        Parameter("alert_id", "of this alert"),
        Parameter("limit", "at most so many", _LIMIT),
    ),
)  # fmt: skip
ACKNOWLEDGE = Spec(
    "Say that somebody looks after an incident", "alert", "It is not repeated any more; changes and its end are told.",
    body=By, body_examples={"ada": {"author": "ada"}}, answer=IncidentOf, errors=_CHANGING,
)  # fmt: skip
SNOOZE = Spec(
    "Tell nobody of an incident for a while", "alert",
    body=Snooze, body_examples={"hour": {"for": "1h", "author": "ada"}}, answer=IncidentOf, errors=_CHANGING,
)  # fmt: skip
UNSNOOZE = Spec(
    "Tell of an incident again", "alert", body=By, body_examples={"ada": {"author": "ada"}}, answer=IncidentOf,
    errors=_CHANGING,
)  # fmt: skip


def routes(saved: SavedAlerts, alerting: Alerting, gate: Gate) -> list[Route]:
    """The routes."""

    def shown(incident: Incident) -> dict[str, Any]:
        return views.incident(incident, saved.name(incident.rule))

    def going_on(request: Request) -> Incident:
        incident_id = request.path_params["incident_id"]
        incident = alerting.book.find(incident_id)
        if incident is None:
            raise ApiError("not_found", f"there is no incident {incident_id[:100]!r}")
        if incident.closed is not None:
            raise ApiError("conflict", "the incident is over")
        return incident

    async def listing(request: Request) -> Any:
        check_parameters(request, {"open", "alert_id", "limit"})
        is_open, alert_id = switch(request, "open"), request.query_params.get("alert_id")
        limit = whole_number(request, "limit", 100, 1, 1_000)
        book = alerting.book
        found = sorted((*book.incidents.values(), *book.closed), key=lambda each: each.opened, reverse=True)
        wanted = (each for each in found if is_open in (None, each.closed is None) and alert_id in (None, each.rule))
        return [shown(each) for each in islice(wanted, limit)]

    async def acknowledge(request: Request) -> Any:
        body = await read_model(request, By)
        incident = going_on(request)
        await alerting.acknowledge(incident.id, body.author or SOMEBODY)
        return shown(incident)

    async def snooze(request: Request) -> Any:
        body = await read_model(request, Snooze)
        incident = going_on(request)
        span = parse_duration(body.span)
        if span > MAX_SNOOZE:
            raise ApiError("bad_request", "for: it is longer than 31d")
        await alerting.snooze(incident.id, time.time_ns() // 1_000_000 + span, body.author or SOMEBODY)
        return shown(incident)

    async def unsnooze(request: Request) -> Any:
        body = await read_model(request, By)
        incident = going_on(request)
        await alerting.snooze(incident.id, 0, body.author or SOMEBODY)
        return shown(incident)

    path = "/api/incidents/{incident_id}"
    return [
        route("/api/incidents", listing, "GET", gate, "read", spec=LISTING),
        route(path + "/acknowledge", acknowledge, "POST", gate, "read", spec=ACKNOWLEDGE),
        route(path + "/snooze", snooze, "POST", gate, "read", spec=SNOOZE),
        route(path + "/unsnooze", unsnooze, "POST", gate, "read", spec=UNSNOOZE),
    ]
