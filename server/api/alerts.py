"""Alerts as documents: kept, listed and checked for sense. Nothing evaluates them yet, and each answer says so."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool
from starlette.requests import Request
from starlette.routing import Route

from server.api.documents import Documents
from server.api.http import check_parameters, read_model, route
from server.api.models import Deleted, Number
from server.api.spec import Parameter, Spec
from server.auth import Gate
from server.errors import ApiError
from server.store import Store

KIND = "alert"
MAX_SAVED = 10_000
NOTE = "The alert is kept. This version does not evaluate alerts: it will not fire and notifies nobody."


Text = Annotated[str, Field(min_length=1, max_length=400)]


class NewAlert(BaseModel):
    """Body of POST /api/alerts. A member that is not known is refused: what it asks for would not happen."""

    model_config = ConfigDict(extra="forbid")

    name: Text
    metric_name: Text
    alert_type: Literal["threshold", "anomaly"] = "threshold"
    threshold: Number
    condition: Literal[">", "<", "==", "!=", ">=", "<="] = ">"
    notification_channels: list[Literal["email", "slack", "webhook"]] = Field([], max_length=10)
    enabled: StrictBool = True


class Alert(NewAlert):
    """A kept alert."""

    id: str
    created_at: str
    last_triggered: str | None
    evaluated: bool
    note: str


CREATE = Spec(
    "Keep an alert", "keep", NOTE,
    body=NewAlert, answer=Alert, errors=("conflict", "store_unavailable"),
    body_examples={
        "threshold": {"name": "Slow", "metric_name": "latency", "threshold": 500, "notification_channels": ["slack"]}
    },
)  # fmt: skip
LISTING = Spec(
    "List the alerts, oldest first", "keep", answer=list[Alert], errors=("bad_request",),
    parameters=(Parameter("enabled_only", "true: without those that are off", {"type": "boolean"}, True),),
)  # fmt: skip
ONE = Spec("Read an alert", "keep", answer=Alert, errors=("not_found",))
DELETE = Spec("Delete an alert", "keep", answer=Deleted, errors=("not_found", "store_unavailable"))


class SavedAlerts(Documents):
    """The saved alerts."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, KIND, MAX_SAVED)

    def listed(self, enabled_only: bool) -> list[dict[str, Any]]:
        """The saved alerts, oldest first."""
        return [document for document in self._documents.values() if document["enabled"] or not enabled_only]

    async def save(self, body: NewAlert) -> dict[str, Any]:
        """Saves an alert for good and returns it with its id. Raises ApiError when there are too many."""
        return await self.add({**body.model_dump(), "last_triggered": None})


def routes(alerts: SavedAlerts, gate: Gate) -> list[Route]:
    """The routes."""

    async def create(request: Request) -> Any:
        return _shown(await alerts.save(await read_model(request, NewAlert)))

    async def listing(request: Request) -> Any:
        check_parameters(request, {"enabled_only"})
        text = request.query_params.get("enabled_only", "false").lower()
        if text not in ("true", "false", "1", "0"):
            raise ApiError("bad_request", "enabled_only must be true or false")
        return [_shown(document) for document in alerts.listed(text in ("true", "1"))]

    async def one(request: Request) -> Any:
        return _shown(alerts.find(request.path_params["alert_id"]))

    async def delete(request: Request) -> Any:
        alert_id = request.path_params["alert_id"]
        await alerts.delete(alert_id)
        return {"message": "alert deleted", "id": alert_id}

    return [
        route("/api/alerts", create, "POST", gate, "read", 201, spec=CREATE),
        route("/api/alerts", listing, "GET", gate, "read", spec=LISTING),
        route("/api/alerts/{alert_id}", one, "GET", gate, "read", spec=ONE),
        route("/api/alerts/{alert_id}", delete, "DELETE", gate, "read", spec=DELETE),
    ]


def _shown(document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "evaluated": False, "note": NOTE}
