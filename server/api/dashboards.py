"""Dashboards as documents: kept with their widgets as they were sent, listed, replaced without overwriting a colleague.

There are no accounts: `owner_id` is what the sender says. Private means not listed for others, not secret.
"""

from __future__ import annotations

import secrets
import time
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, model_validator
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from server.api.documents import Documents
from server.api.http import check_parameters, json_answer, read_model, route
from server.api.models import Deleted
from server.api.spec import Parameter, Spec
from server.auth import Gate
from server.errors import ApiError
from server.questions import Number
from server.store import Store
from server.wire.times import format_time, parse_time

KIND = "dashboard"
MAX_SAVED = 1_000
MAX_WIDGETS = 100
MAX_BYTES = 64 * 1024
"""Of one dashboard as JSON; with MAX_SAVED it bounds what is held in memory."""
MAX_DEPTH = 16


def _config(value: Any) -> Any:
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for each in level for inner in _inside(each)]
    if level:
        raise ValueError(f"is nested deeper than {MAX_DEPTH} levels")
    return value


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


Name = Annotated[str, Field(min_length=1, max_length=400)]
Seconds = Annotated[Number, Field(ge=0, le=86_400)]


class Widget(BaseModel):
    """One panel of a dashboard. `visualization_config` is kept as it was sent, whatever it holds."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field("", max_length=100, description="unique in its dashboard; made up where absent")
    type: Literal["chart", "metric", "table", "gauge"] = "chart"
    title: str = Field("", max_length=400)
    query: str = Field(min_length=1, max_length=4000, examples=["metric:api_requests_total"])
    visualization_config: Annotated[dict[str, Any], BeforeValidator(_config)] = Field(
        default_factory=dict, examples=[{"chart_type": "line", "time_range": "1h"}]
    )
    refresh_interval: Seconds = Field(0, description="seconds between two looks; 0 = live", examples=[30])


class NewDashboard(BaseModel):
    """Body of POST /api/dashboards. A member that is not known is refused."""

    model_config = ConfigDict(extra="forbid")

    name: Name = Field(examples=["API Performance Dashboard"])
    description: str = Field("", max_length=4000)
    widgets: list[Widget] = Field(default_factory=list, max_length=MAX_WIDGETS)
    owner_id: str = Field("", max_length=400, description="empty: it belongs to everybody")
    is_public: StrictBool = False

    @model_validator(mode="after")
    def _name_widgets(self) -> NewDashboard:
        taken = [widget.id for widget in self.widgets if widget.id]
        if len(set(taken)) != len(taken):
            raise ValueError("two widgets have the same id")
        for widget in self.widgets:
            widget.id = widget.id or f"widget_{secrets.token_hex(4)}"
        return self


class ChangedDashboard(NewDashboard):
    """Body of PUT /api/dashboards/{id}: the whole dashboard, as it was read or without what the server adds."""

    id: str | None = None
    created_at: str | None = None
    updated_at: str | None = Field(None, description="of the dashboard that was read; 409 unless the newest")


class Dashboard(NewDashboard):
    """A kept dashboard."""

    id: str
    created_at: str
    updated_at: str


_EXAMPLE = {
    "name": "Shop", "is_public": True,
    "widgets": [{"type": "chart", "title": "Orders", "query": "metric:orders", "refresh_interval": 30}],
}  # fmt: skip
CREATE = Spec(
    "Keep a dashboard", "keep", body=NewDashboard, body_examples={"one": _EXAMPLE}, answer=Dashboard,
    errors=("conflict", "store_unavailable"),
)  # fmt: skip
LISTING = Spec(
    "List the dashboards, oldest first", "keep", answer=list[Dashboard], errors=("bad_request",),
    parameters=(Parameter("owner_id", "besides the public ones and those of nobody, those of this owner"),),
)  # fmt: skip
ONE = Spec("Read a dashboard", "keep", answer=Dashboard, errors=("not_found",))
REPLACE = Spec(
    "Replace a dashboard", "keep", "Answers 409 where somebody has changed it since it was read.",
    body=ChangedDashboard, body_examples={"one": _EXAMPLE}, answer=Dashboard,
    parameters=(Parameter("If-Match", "the ETag or the `updated_at` that the change rests on", where="header"),),
    errors=("not_found", "conflict", "store_unavailable"),
)  # fmt: skip
DELETE = Spec("Delete a dashboard", "keep", answer=Deleted, errors=("not_found", "store_unavailable"))


class SavedDashboards(Documents):
    """The saved dashboards."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, KIND, MAX_SAVED, MAX_BYTES)

    def listed(self, owner_id: str | None) -> list[dict[str, Any]]:
        """Oldest first: the public ones, those that belong to nobody, and all of this owner's."""
        own = owner_id or ""
        return [d for d in self._documents.values() if d["is_public"] or d["owner_id"] in ("", own)]

    async def save(self, body: NewDashboard) -> dict[str, Any]:
        """Saves a new dashboard for good and returns it with its id. Raises ApiError when there are too many."""
        now = format_time(time.time_ns() // 1_000_000)
        return await self.add({"created_at": now, "updated_at": now, **body.model_dump()})

    async def replace(self, dashboard_id: str, body: ChangedDashboard, known: str | None) -> dict[str, Any]:
        """Replaces a dashboard for good. known: the `updated_at` the change rests on; None = whatever is there.

        Raises ApiError not_found, and conflict when somebody has changed it since.
        """
        if body.id not in (None, dashboard_id):
            raise ApiError("bad_request", "id: it is another than the one in the path")

        def changed(before: dict[str, Any]) -> dict[str, Any]:
            if known is not None and known != before["updated_at"]:
                newest = {"updated_at": before["updated_at"]}
                message = "somebody has changed this dashboard since it was read; read it again before changing it"
                raise ApiError("conflict", message, details=newest)
            # Two changes within one millisecond must not look like one.
            now = max(time.time_ns() // 1_000_000, parse_time(before["updated_at"]) + 1)
            own = {"id": dashboard_id, "created_at": before["created_at"], "updated_at": format_time(now)}
            return {**own, **body.model_dump(exclude={"id", "created_at", "updated_at"})}

        return await self.update(dashboard_id, changed)


def routes(dashboards: SavedDashboards, gate: Gate) -> list[Route]:
    """The routes."""

    async def create(request: Request) -> Any:
        return _tagged(await dashboards.save(await read_model(request, NewDashboard)), 201)

    async def listing(request: Request) -> Any:
        check_parameters(request, {"owner_id"})
        return dashboards.listed(request.query_params.get("owner_id"))

    async def one(request: Request) -> Any:
        return _tagged(dashboards.find(request.path_params["dashboard_id"]))

    async def replace(request: Request) -> Any:
        dashboard_id = request.path_params["dashboard_id"]
        body = await read_model(request, ChangedDashboard)
        return _tagged(await dashboards.replace(dashboard_id, body, _known(request) or body.updated_at))

    async def delete(request: Request) -> Any:
        dashboard_id = request.path_params["dashboard_id"]
        await dashboards.delete(dashboard_id)
        return {"message": "dashboard deleted", "id": dashboard_id}

    return [
        route("/api/dashboards", create, "POST", gate, "read", 201, spec=CREATE),
        route("/api/dashboards", listing, "GET", gate, "read", spec=LISTING),
        route("/api/dashboards/{dashboard_id}", one, "GET", gate, "read", spec=ONE),
        route("/api/dashboards/{dashboard_id}", replace, "PUT", gate, "read", spec=REPLACE),
        route("/api/dashboards/{dashboard_id}", delete, "DELETE", gate, "read", spec=DELETE),
    ]


def _known(request: Request) -> str | None:
    """The `updated_at` that an If-Match header names; `*` is any."""
    text = request.headers.get("if-match", "").strip().removeprefix("W/").strip('"')
    return None if text in ("", "*") else text


def _tagged(document: dict[str, Any], status: int = 200) -> Response:
    answer = json_answer(document, status)
    answer.headers["ETag"] = f'"{document["updated_at"]}"'
    return answer
