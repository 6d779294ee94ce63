"""POST and DELETE /api/subscriptions: subscribe a client, known by its id, from outside its connection."""

from __future__ import annotations

import time
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.routing import Route

from server.api.http import as_api_error, read_object, route
from server.api.models import Deleted, Subscription
from server.api.spec import Spec
from server.auth import Gate
from server.errors import ApiError
from server.hub import Hub, new_subscription_id
from server.wire.times import format_time

MAX_BODY = 16 * 1024
"""Bytes."""


class NewSubscription(BaseModel):
    """Body of POST /api/subscriptions."""

    model_config = ConfigDict(strict=True)

    query_id: str = Field(min_length=1, max_length=200)
    client_id: str = Field(min_length=1, max_length=200)


CREATE = Spec(
    "Subscribe a client from outside its connection", "watch",
    "The client is one that is connected to `/ws/{client_id}`; it is told with `subscription_created`.",
    body=NewSubscription, body_examples={"one": {"query_id": "query_1f0c6d1e2a3b4c5d", "client_id": "me"}},
    answer=Subscription, errors=("not_found", "bad_query", "too_many_subscriptions", "shutting_down"),
)  # fmt: skip
DELETE = Spec("End a subscription", "watch", answer=Deleted, errors=("not_found",))


class Elsewhere(Protocol):
    """Other processes to which the client may be connected."""

    async def subscribe(self, id: str, query_id: str, client_id: str) -> None:
        """Subscribes a client wherever it is connected, here too."""

    async def unsubscribe(self, id: str) -> None:
        """Ends a subscription wherever it is, here too."""


def routes(hub: Hub, gate: Gate, elsewhere: Elsewhere | None = None) -> list[Route]:
    """The two routes. They raise ApiError, which the application turns into answers."""

    async def create(request: Request) -> Any:
        given = await read_object(request, MAX_BODY)
        try:
            body = NewSubscription.model_validate(given)
        except ValidationError as error:
            raise as_api_error(error) from None
        id, now = new_subscription_id(), time.time_ns() // 1_000_000
        if elsewhere is None:
            hub.outside.create(id, body.query_id, body.client_id)
        else:
            hub.outside.check(body.query_id)
            await elsewhere.subscribe(id, body.query_id, body.client_id)
        return {"id": id, **body.model_dump(), "created_at": format_time(now)}

    async def delete(request: Request) -> Any:
        id = request.path_params["subscription_id"]
        if elsewhere is not None and hub.outside.knows(id):
            await elsewhere.unsubscribe(id)
        elif not hub.outside.delete(id):
            raise ApiError("not_found", f"there is no subscription {id[:100]!r}")
        return {"message": "subscription deleted", "id": id}

    return [
        route("/api/subscriptions", create, "POST", gate, "read", 201, spec=CREATE),
        route("/api/subscriptions/{subscription_id}", delete, "DELETE", gate, "read", spec=DELETE),
    ]
