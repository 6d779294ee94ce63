"""Queries: saved ones and such as are asked once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.query.value import Query
from server.answers import Answer, Answers
from server.api.http import read_object, route
from server.auth import Gate
from server.errors import ApiError
from server.questions import parse_body, parse_query
from server.wire.messages import encode
from server.wire.times import format_time

Watch = Callable[[str], None]


def routes(answers: Answers, gate: Gate, deleted: Watch) -> list[Route]:
    """The routes. deleted: told the id of a query that is gone."""
    saved = answers.queries

    async def create(request: Request) -> Any:
        body = parse_body(await read_object(request))
        await answers.asked(parse_query(body, answers.registry))
        return await saved.save(body, encode)

    async def listing(request: Request) -> Any:
        return saved.documents()

    async def one(request: Request) -> Any:
        return _found(saved.document(request.path_params["query_id"]), request)

    async def delete(request: Request) -> Any:
        query_id = request.path_params["query_id"]
        if not await saved.delete(query_id):
            raise _missing(request)
        deleted(query_id)
        return {"message": "query deleted", "id": query_id}

    async def execute(request: Request) -> Any:
        document = _found(saved.document(request.path_params["query_id"]), request)
        query = saved.find(document["id"])
        assert query is not None
        return as_result(answers, query, document, await answers.answer(query))

    async def ask(request: Request) -> Response | dict[str, Any]:
        body = parse_body(await read_object(request))
        query = parse_query(body, answers.registry)
        document = body.model_dump(by_alias=True, exclude_none=True)
        return as_result(answers, query, document, await answers.answer(query))

    return [
        route("/api/queries", create, "POST", gate, "read", 201),
        route("/api/queries", listing, "GET", gate, "read"),
        route("/api/queries/{query_id}", one, "GET", gate, "read"),
        route("/api/queries/{query_id}", delete, "DELETE", gate, "read"),
        route("/api/queries/{query_id}/execute", execute, "POST", gate, "read"),
        route("/api/query", ask, "POST", gate, "read"),
    ]


def as_result(answers: Answers, query: Query, document: dict[str, Any], answer: Answer) -> dict[str, Any]:
    """S4's result, with where in the log and in time it stands, its resolution and its error bound."""
    bounds = answer.bounds
    metadata: dict[str, Any] = {
        "total_metrics": answer.total,
        "time_range": document.get("time_range") or ("1h" if query.start is None else None),
        "aggregation": query.aggregation,
    }
    if answer.notes:
        metadata["notes"] = answer.notes
    if "complete_from" in answer.extra:
        metadata["complete_from"] = format_time(answer.extra["complete_from"])
    return {
        "query_id": document.get("id"),
        "columns" if query.columns else "data": answer.rows,
        "metadata": metadata,
        "execution_time": round(answer.cost, 6),
        "timestamp": format_time(time.time_ns() // 1_000_000),
        "offset": answers.offset(answer.position),
        "at": format_time(answer.at),
        "from": format_time(bounds.start),
        "to": format_time(bounds.end),
        "resolution": duration(bounds.resolution),
        "step": duration(bounds.step) if bounds.step is not None else None,
        "error_bound": answer.error,
    }


def duration(ms: int) -> str:
    """Milliseconds as people write them: 5s, 1m, 1h, 1d."""
    for unit, width in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if ms % width == 0:
            return f"{ms // width}{unit}"
    return f"{ms}ms"


def _found(document: dict[str, Any] | None, request: Request) -> dict[str, Any]:
    if document is None:
        raise _missing(request)
    return document


def _missing(request: Request) -> ApiError:
    return ApiError("not_found", f"there is no query {request.path_params['query_id'][:100]!r}")
