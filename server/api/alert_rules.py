"""Alerts as documents: kept, listed, changed, switched on and off; each answer says where the alert stands too."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from server.api.alert_models import Alert, ChangedAlert, PatchedAlert
from server.api.alerting import Alerting, Channels
from server.api.http import check_parameters, json_answer, read_model, route, switch
from server.api.models import Deleted
from server.api.saved_alerts import SavedAlerts
from server.api.spec import Parameter, Spec
from server.auth import Gate
from server.errors import ApiError
from server.rule_bodies import AlertMembers, NewAlert

STATES = ("inactive", "pending", "firing", "disabled")

REFUSED = ("bad_query", "bad_time_range", "not_found", "conflict", "store_unavailable")
EXAMPLES = {
    "threshold": {
        "name": "High Error Rate Alert", "metric_name": "api_errors_total", "alert_type": "threshold",
        "threshold": 100, "condition": ">", "notification_channels": ["email", "slack"],
    },
    "by_group": {
        "name": "Slow", "metric_name": "latency", "aggregation": "percentile_95", "window": "5m",
        "group_by": ["route"], "threshold": 500, "warning": 300, "recovery": 400, "for": "1m", "no_data": "keep",
        "message": "{labels.route} takes {value} {unit}", "notification_channels": ["slack:#ops"],
    },
    "change": {
        "name": "Orders break in", "query": {"query_string": "event:order", "aggregation": "count"},
        "alert_type": "rate_of_change", "change_over": "1d", "relative": True, "window": "15m", "condition": "<",
        "threshold": -50, "mute": [{"days": ["sat", "sun"], "from": "22:00", "to": "06:00", "tz": "Europe/Berlin"}],
    },
    "heartbeat": {"name": "No backup", "metric_name": "backup_done", "alert_type": "no_data", "no_data_after": "25h"},
}  # fmt: skip
_VERSION = Parameter("If-Match", "the ETag or the `version` that the change rests on", where="header")
CREATE = Spec(
    "Keep an alert", "alert",
    "It is evaluated from now on. Without `aggregation` and `window` each arriving value counts by itself.",
    body=NewAlert, body_examples=EXAMPLES, answer=Alert, errors=REFUSED,
)  # fmt: skip
LISTING = Spec(
    "List the alerts, oldest first", "alert", answer=list[Alert], errors=("bad_request",),
    parameters=(
        Parameter("enabled_only", "true: without those that are off", {"type": "boolean"}, True),
        Parameter("state", "only those that stand so", {"type": "string", "enum": list(STATES)}),
    ),
)  # fmt: skip
ONE = Spec("Read an alert", "alert", answer=Alert, errors=("not_found",))
REPLACE = Spec(
    "Replace an alert", "alert",
    "Answers 409 where somebody has changed it since it was read. What the server adds may be sent along.",
    body=ChangedAlert, body_examples=EXAMPLES, answer=Alert, parameters=(_VERSION,), errors=REFUSED,
)  # fmt: skip
PATCH = Spec(
    "Change members of an alert", "alert", "Those that are not named stay as they are; null takes one away.",
    body=PatchedAlert, body_examples={"severity": {"severity": "page"}}, answer=Alert,
    parameters=(_VERSION,), errors=REFUSED,
)  # fmt: skip
ENABLE = Spec("Switch an alert on", "alert", answer=Alert, errors=("not_found", "store_unavailable"))
DISABLE = Spec("Switch an alert off; what fires is resolved", "alert", answer=Alert, errors=ENABLE.errors)
DELETE = Spec("Delete an alert", "alert", answer=Deleted, errors=("not_found", "store_unavailable"))


ONLY_READ = frozenset(ChangedAlert.model_fields) - frozenset(AlertMembers.model_fields)
"""What the server adds to an alert."""


class AlertAnswers:
    """Alerts as they are answered."""

    def __init__(self, saved: SavedAlerts, alerting: Alerting, channels: Channels) -> None:
        self.saved, self.alerting, self.channels = saved, alerting, channels

    def shown(self, document: dict[str, Any]) -> dict[str, Any]:
        """A document, and where the alert stands."""
        shown = self.saved.shown(document, self.alerting.book, self.alerting.readings(document["id"]))
        problems = dict.fromkeys(map(self.channels.problem, shown["notification_channels"]))
        return {**shown, "warnings": [problem for problem in problems if problem is not None]}


def routes(answers: AlertAnswers, gate: Gate) -> list[Route]:
    """The routes."""
    saved, shown = answers.saved, answers.shown

    async def create(request: Request) -> Any:
        body = await read_model(request, NewAlert)
        return _tagged(shown(await saved.save(body.members())), 201)

    async def listing(request: Request) -> Any:
        check_parameters(request, {"enabled_only", "state"})
        enabled_only, state = switch(request, "enabled_only"), request.query_params.get("state")
        if state not in (None, *STATES):
            raise ApiError("bad_request", f"state must be one of {', '.join(STATES)}")
        found = [shown(each) for each in saved.all() if each.get("enabled", True) or not enabled_only]
        return [each for each in found if state in (None, each["state"])]

    async def one(request: Request) -> Any:
        return _tagged(shown(saved.find(request.path_params["alert_id"])))

    async def replace(request: Request) -> Any:
        body = await read_model(request, ChangedAlert)
        if body.id not in (None, request.path_params["alert_id"]):
            raise ApiError("bad_request", "id: it is another than the one in the path")
        members = {name: value for name, value in body.members().items() if name not in ONLY_READ}
        return await change(request, members, body.version, whole=True)

    async def patch(request: Request) -> Any:
        body = await read_model(request, PatchedAlert)
        members = {name: value for name, value in body.changes().items() if name not in ONLY_READ}
        return await change(request, members, body.version, whole=False)

    async def change(request: Request, members: dict[str, Any], version: int | None, whole: bool) -> Response:
        known = _known(request) if version is None else version
        return _tagged(shown(await saved.change(request.path_params["alert_id"], members, known, whole)))

    async def enable(request: Request) -> Any:
        return await switched(request, True)

    async def disable(request: Request) -> Any:
        return await switched(request, False)

    async def switched(request: Request, on: bool) -> Response:
        return _tagged(shown(await saved.change(request.path_params["alert_id"], {"enabled": on}, None, whole=False)))

    async def delete(request: Request) -> Any:
        alert_id = request.path_params["alert_id"]
        await saved.delete(alert_id)
        return {"message": "alert deleted", "id": alert_id}

    one_path = "/api/alerts/{alert_id}"
    return [
        route("/api/alerts", create, "POST", gate, "read", 201, spec=CREATE),
        route("/api/alerts", listing, "GET", gate, "read", spec=LISTING),
        route(one_path, one, "GET", gate, "read", spec=ONE),
        route(one_path, replace, "PUT", gate, "read", spec=REPLACE),
        route(one_path, patch, "PATCH", gate, "read", spec=PATCH),
        route(one_path, delete, "DELETE", gate, "read", spec=DELETE),
        route(one_path + "/enable", enable, "POST", gate, "read", spec=ENABLE),
        route(one_path + "/disable", disable, "POST", gate, "read", spec=DISABLE),
    ]


def _known(request: Request) -> int | None:
    """The version that an If-Match header names; `*` is any."""
    text = request.headers.get("if-match", "").strip().removeprefix("W/").strip('"')
    if text in ("", "*"):
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise ApiError("bad_request", "If-Match: it must be a version, such as 3")
    return int(text)


def _tagged(document: dict[str, Any], status: int = 200) -> Response:
    answer = json_answer(document, status)
    answer.headers["ETag"] = f'"{document["version"]}"'
    return answer
