"""POST and DELETE /api/subscriptions: subscribe a client, known by its id, from outside its connection."""

from __future__ import annotations

import asyncio
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from server.errors import ApiError
from server.hub import Hub, new_subscription_id
from server.wire.times import format_time

MAX_BODY = 16 * 1024
"""Bytes."""
BODY_TIMEOUT = 10.0
"""Seconds a body may take to arrive."""


class Gatekeeper(Protocol):
    """Who may come in; `server.auth.Gate` is one."""

    def require(self, headers: list[tuple[bytes, bytes]], scope: str) -> None:
        """ApiError unauthorized or forbidden without a key of this scope."""


class NewSubscription(BaseModel):
    """Body of POST /api/subscriptions."""

    model_config = ConfigDict(strict=True)

    query_id: str = Field(min_length=1, max_length=200)
    client_id: str = Field(min_length=1, max_length=200)


def routes(hub: Hub, gate: Gatekeeper) -> list[Route]:
    """The two routes. They raise ApiError, which the application turns into answers."""

    async def create(request: Request) -> JSONResponse:
        gate.require(request.headers.raw, "read")
        try:
            body = NewSubscription.model_validate_json(await _read(request))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            code = "bad_json" if first["type"] == "json_invalid" else "bad_request"
            place = ".".join(map(str, first["loc"]))
            raise ApiError(code, f"{place}: {first['msg']}" if place else first["msg"]) from None
        made = hub.outside.create(new_subscription_id(), body.query_id, body.client_id)
        return JSONResponse(
            {
                "id": made.id,
                "query_id": made.query_id,
                "client_id": made.client_id,
                "created_at": format_time(made.created_at),
            },
            status_code=201,
        )

    async def delete(request: Request) -> JSONResponse:
        gate.require(request.headers.raw, "read")
        id = request.path_params["subscription_id"]
        if not hub.outside.delete(id):
            raise ApiError("not_found", f"there is no subscription {id[:100]!r}")
        return JSONResponse({"message": "subscription deleted", "id": id})

    return [
        Route("/api/subscriptions", create, methods=["POST"]),
        Route("/api/subscriptions/{subscription_id}", delete, methods=["DELETE"]),
    ]


async def _read(request: Request) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY:
                    raise ApiError("body_too_large", f"the body may have {MAX_BODY} bytes")
    except TimeoutError:
        raise ApiError("timeout", f"the body did not arrive within {BODY_TIMEOUT:g} s") from None
    return bytes(body)
