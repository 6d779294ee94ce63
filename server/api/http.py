"""What all cold routes share: who may call, bodies with a bound, JSON answers, errors from the one table."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pydantic
from starlette.requests import Request
from starlette.responses import Response

from engine.errors import EngineError
from server.api.spec import Spec, TableRoute
from server.auth import Gate
from server.errors import CODES, ApiError
from server.store import StoreUnavailable
from server.wire.content import decode_body
from server.wire.messages import decode_json, encode

logger = logging.getLogger("streamgauge.api")

MAX_BODY = 256 * 1024
BODY_TIMEOUT = 10.0
Handler = Callable[[Request], Awaitable[Any]]
Model = TypeVar("Model", bound=pydantic.BaseModel)


def json_answer(value: Any, status: int = 200) -> Response:
    """A JSON answer; NaN and infinities become null."""
    return Response(encode(value), status, media_type="application/json")


def error_answer(error: ApiError) -> Response:
    """The answer of an error."""
    return Response(error.json(), error.status, error.headers(), media_type="application/json")


def route(
    path: str, handler: Handler, method: str, gate: Gate, scope: str | None, status: int = 200,
    *, spec: Spec | None = None,
) -> TableRoute:  # fmt: skip
    """A row of the route table. The handler returns a JSON value or a Response. scope: None for everybody."""

    async def endpoint(request: Request) -> Response:
        if scope is not None:
            gate.require(request.headers.raw, scope)
        result = await handler(request)
        return result if isinstance(result, Response) else json_answer(result, status)

    return TableRoute(path, endpoint, method, scope, status, spec)


async def read_json(request: Request, limit: int = MAX_BODY) -> Any:
    """The body as JSON, of at most `limit` bytes. Raises ApiError for bodies too large, too slow, malformed."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise ApiError("body_too_large", f"the body is over {limit} bytes")
    except TimeoutError:
        raise ApiError("timeout", f"the body did not arrive within {BODY_TIMEOUT:g} s") from None
    return decode_json(decode_body(bytes(body), request.headers.get("content-encoding", ""), limit))


async def read_object(request: Request, limit: int = MAX_BODY) -> dict[str, Any]:
    """The body as a JSON object, of at most `limit` bytes."""
    value = await read_json(request, limit)
    if not isinstance(value, dict):
        raise ApiError("bad_request", "the body must be a JSON object")
    return value


async def read_model(request: Request, model: type[Model]) -> Model:
    """The body as a model. Raises ApiError bad_request that names the member which does not fit."""
    given = await read_object(request)
    try:
        return model.model_validate(given)
    except pydantic.ValidationError as error:
        raise as_api_error(error) from None


def check_parameters(request: Request, known: set[str]) -> None:
    """Refuses query parameters that mean nothing here: a filter that is misspelt must not select everything."""
    unknown = sorted(request.query_params.keys() - known)
    if unknown:
        raise ApiError("bad_request", f"unknown parameter {unknown[0]!r}; known are {', '.join(sorted(known))}")


def whole_number(request: Request, name: str, default: int, low: int, high: int) -> int:
    """A query parameter as an int within bounds."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or not low <= int(text[:12]) <= high:
        raise ApiError("bad_request", f"{name} must be a whole number from {low} to {high}")
    return int(text)


def switch(request: Request, name: str) -> bool | None:
    """A query parameter that is true or false; None where it is not given."""
    text = request.query_params.get(name, "").lower()
    if name in request.query_params and text not in ("true", "false", "1", "0"):
        raise ApiError("bad_request", f"{name} must be true or false")
    return text in ("true", "1") if text else None


def as_api_error(error: Exception) -> ApiError:
    """What a handler's exception means to the caller."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, EngineError):
        return ApiError(error.code if error.code in CODES else "bad_query", str(error))
    if isinstance(error, StoreUnavailable):
        logger.error("the store is not available: %s", error)
        return ApiError("store_unavailable", "the store cannot be used now; the server's log says why", retry_after=5)
    if isinstance(error, pydantic.ValidationError):
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        return ApiError("bad_request", f"{place}: {first['msg']}" if place else first["msg"])
    return ApiError("internal", "something went wrong here; the server's log says what")
