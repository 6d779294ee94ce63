"""Alerts as documents: kept, listed, changed, switched on and off; each answer says where the alert stands too."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.aggregates import Registry
from engine.errors import EngineError
from engine.rules.model import CHANGE, THRESHOLD, Rule
from server.api import alert_views as views
from server.api.alert_models import Alert, ChangedAlert, PatchedAlert
from server.api.alerting import Alerting, Channels
from server.api.documents import Documents
from server.api.http import as_api_error, check_parameters, json_answer, read_model, route, switch
from server.api.models import Deleted
from server.api.spec import Parameter, Spec
from server.auth import Gate
from server.errors import ApiError
from server.questions import SavedQueries
from server.rule_bodies import AlertMembers, NewAlert
from server.rule_documents import parse_rule
from server.store import Store
from server.wire.times import format_time

KIND = "alert"
MAX_SAVED = 10_000
MAX_BYTES = 32 * 1024
"""Of one alert as JSON; with MAX_SAVED it bounds what is held in memory."""
STATES = ("inactive", "pending", "firing", "disabled")
_OWN = ("id", "created_at", "updated_at", "version")

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
    "heartbeat": {"name": "Backup is late", "metric_name": "backup_done", "alert_type": "no_data", "no_data_after": "25h"},
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


class SavedAlerts(Documents):
    """The saved alerts. registry, queries: what their queries rest on."""

    def __init__(self, store: Store, registry: Registry, queries: SavedQueries) -> None:
        super().__init__(store, KIND, MAX_SAVED, MAX_BYTES)
        self._registry, self._queries = registry, queries

    def rule(self, document: Mapping[str, Any]) -> Rule:
        """The rule of a document or of a body. Raises ApiError and BadQuery."""
        return parse_rule(document, self._registry, self._queries)

    def name(self, alert_id: str) -> str:
        """What an alert is called; "" where there is none."""
        return str(self._documents.get(alert_id, {}).get("name", ""))

    async def save(self, members: dict[str, Any]) -> dict[str, Any]:
        """Saves an alert for good and returns it. Raises ApiError, and BadQuery, for one that cannot be."""
        self.rule(members)
        now = _now()
        return await self.add({"created_at": now, "updated_at": now, "version": 1, **_complete(members)})

    async def change(self, alert_id: str, members: dict[str, Any], known: int | None, whole: bool) -> dict[str, Any]:
        """Replaces an alert (whole), or some of its members, for good. known: the version that it rests on.

        Raises ApiError and BadQuery for an alert that cannot be, not_found, and conflict when it has been changed.
        """

        def changed(before: dict[str, Any]) -> dict[str, Any]:
            version = before.get("version", 1)
            if known not in (None, version):
                message = "somebody has changed this alert since it was read; read it again before changing it"
                raise ApiError("conflict", message, details={"version": version})
            kept = {} if whole else _given(before)
            after = {name: value for name, value in {**kept, **members}.items() if value is not None}
            if members.keys() != {"enabled"}:  # what can no longer be read can still be switched off
                self.rule(after)
            after = _complete(after)
            if after == _given(before):
                return before
            own = {"id": alert_id, "created_at": before["created_at"], "updated_at": _now(), "version": version + 1}
            return {**own, **after}

        return await self.update(alert_id, changed)


def _now() -> str:
    return format_time(time.time_ns() // 1_000_000)


def _given(document: dict[str, Any]) -> dict[str, Any]:
    """What people have said of an alert."""
    return {name: value for name, value in document.items() if name not in (*_OWN, "last_triggered")}


def _complete(members: dict[str, Any]) -> dict[str, Any]:
    """With what S4's clients expect to read, given or not."""
    kind = members.get("alert_type", THRESHOLD)
    compared = {"condition": ">"} if kind in (THRESHOLD, CHANGE) else {}
    return {"enabled": True, "alert_type": kind, **compared, "notification_channels": [], **members}


class AlertAnswers:
    """Alerts as they are answered."""

    def __init__(self, saved: SavedAlerts, alerting: Alerting, channels: Channels) -> None:
        self.saved, self.alerting, self.channels = saved, alerting, channels

    def shown(self, document: dict[str, Any]) -> dict[str, Any]:
        """A document, and where the alert stands."""
        id = document["id"]
        now = views.standing(self.alerting.book, self.alerting.readings(id), document)
        unread = self._fault(document) if now["evaluated_at"] is None and "query_id" in document else None
        problems = [self.channels.problem(name) for name in document["notification_channels"]]
        older = {"updated_at": document["created_at"], "version": 1}
        return {
            **older, **document, **now, "error": now["error"] or unread,
            "warnings": [problem for problem in problems if problem is not None],
        }  # fmt: skip

    def _fault(self, document: dict[str, Any]) -> str | None:
        """Why an alert is no rule any more, as where its saved query is gone."""
        try:
            self.saved.rule(document)
        except (ApiError, EngineError) as error:
            return as_api_error(error).message
        return None


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
        found = [shown(each) for each in saved.all() if each["enabled"] or not enabled_only]
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
        return await change(request, {"enabled": True}, None, whole=False)

    async def disable(request: Request) -> Any:
        return await change(request, {"enabled": False}, None, whole=False)

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


ONLY_READ = frozenset(ChangedAlert.model_fields) - frozenset(AlertMembers.model_fields)


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
