"""Dashboards as documents: kept with their widgets as they were sent, listed, replaced without overwriting a colleague.

There are no accounts: `owner_id` is what the sender says. Private means not listed for others, not secret.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, ValidationError, model_validator
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from server.api.http import as_api_error, check_parameters, json_answer, read_object, route
from server.api.models import Deleted
from server.api.spec import Parameter, Spec
from server.auth import Gate
from server.errors import ApiError
from server.store import Store
from server.wire.messages import encode
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


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number")
    return value


Name = Annotated[str, Field(min_length=1, max_length=400)]
Seconds = Annotated[int | float, BeforeValidator(_number), Field(ge=0, le=86_400)]


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

Body = TypeVar("Body", bound=NewDashboard)


class SavedDashboards:
    """The saved dashboards: in memory for reading, in the store for good."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._documents: dict[str, dict[str, Any]] = {}
        # Between the look at `updated_at` and the write nobody else may write.
        self._writing = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._documents)

    def load(self, decoded: list[dict[str, Any]]) -> None:
        """Takes the stored documents."""
        self._documents = {document["id"]: document for document in decoded}

    def find(self, dashboard_id: str) -> dict[str, Any]:
        """A saved dashboard. Raises ApiError not_found."""
        document = self._documents.get(dashboard_id)
        if document is None:
            raise ApiError("not_found", f"there is no dashboard {dashboard_id[:100]!r}")
        return document

    def listed(self, owner_id: str | None) -> list[dict[str, Any]]:
        """Oldest first: the public ones, those that belong to nobody, and all of this owner's."""
        own = owner_id or ""
        return [d for d in self._documents.values() if d["is_public"] or d["owner_id"] in ("", own)]

    async def save(self, body: NewDashboard) -> dict[str, Any]:
        """Saves a new dashboard for good and returns it with its id. Raises ApiError when there are too many."""
        async with self._writing:
            if len(self._documents) >= MAX_SAVED:
                raise ApiError("conflict", f"{MAX_SAVED} dashboards are saved already; delete some first")
            now = format_time(time.time_ns() // 1_000_000)
            own = {"id": f"dashboard_{secrets.token_hex(8)}", "created_at": now, "updated_at": now}
            return await self._write({**own, **body.model_dump()})

    async def replace(self, dashboard_id: str, body: ChangedDashboard, known: str | None) -> dict[str, Any]:
        """Replaces a dashboard for good. known: the `updated_at` the change rests on; None = whatever is there.

        Raises ApiError not_found, and conflict when somebody has changed it since.
        """
        if body.id not in (None, dashboard_id):
            raise ApiError("bad_request", "id: it is another than the one in the path")
        async with self._writing:
            before = self.find(dashboard_id)
            if known is not None and known != before["updated_at"]:
                newest = {"updated_at": before["updated_at"]}
                message = "somebody has changed this dashboard since it was read; read it again before changing it"
                raise ApiError("conflict", message, details=newest)
            # Two changes within one millisecond must not look like one.
            now = max(time.time_ns() // 1_000_000, parse_time(before["updated_at"]) + 1)
            own = {"id": dashboard_id, "created_at": before["created_at"], "updated_at": format_time(now)}
            return await self._write({**own, **body.model_dump(exclude={"id", "created_at", "updated_at"})})

    async def delete(self, dashboard_id: str) -> None:
        """Deletes a dashboard for good. Raises ApiError not_found."""
        async with self._writing:
            self.find(dashboard_id)
            await asyncio.to_thread(self._store.delete_document, KIND, dashboard_id)
            self._documents.pop(dashboard_id, None)

    async def _write(self, document: dict[str, Any]) -> dict[str, Any]:
        encoded = encode(document)
        if len(encoded) > MAX_BYTES:
            raise ApiError("body_too_large", f"a dashboard may have {MAX_BYTES} bytes; this one has {len(encoded)}")
        await asyncio.to_thread(self._store.put_document, KIND, document["id"], encoded)
        self._documents[document["id"]] = document
        return document


def routes(dashboards: SavedDashboards, gate: Gate) -> list[Route]:
    """The routes."""

    async def create(request: Request) -> Any:
        return _tagged(await dashboards.save(await _body(request, NewDashboard)), 201)

    async def listing(request: Request) -> Any:
        check_parameters(request, {"owner_id"})
        return dashboards.listed(request.query_params.get("owner_id"))

    async def one(request: Request) -> Any:
        return _tagged(dashboards.find(request.path_params["dashboard_id"]))

    async def replace(request: Request) -> Any:
        dashboard_id = request.path_params["dashboard_id"]
        body = await _body(request, ChangedDashboard)
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


async def _body(request: Request, model: type[Body]) -> Body:
    given = await read_object(request)
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise as_api_error(error) from None


def _known(request: Request) -> str | None:
    """The `updated_at` that an If-Match header names; `*` is any."""
    text = request.headers.get("if-match", "").strip().removeprefix("W/").strip('"')
    return None if text in ("", "*") else text


def _tagged(document: dict[str, Any], status: int = 200) -> Response:
    answer = json_answer(document, status)
    answer.headers["ETag"] = f'"{document["updated_at"]}"'
    return answer
