"""Queries: saved ones and such as are asked once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.query.bounds import Bounds
from engine.query.value import Query
from server.answers import Answer, Answers
from server.api.http import read_object, route
from server.api.models import Deleted, QueryResult, SavedQuery
from server.api.spec import Spec
from server.auth import Gate
from server.errors import ApiError
from server.questions import QueryBody, parse_body, parse_query
from server.wire.messages import encode
from server.wire.times import duration, format_time

logger = logging.getLogger("streamgauge.queries")

Watch = Callable[[str], None]

_REFUSED = ("bad_query", "bad_time_range", "query_too_expensive")
_LATER = ("store_unavailable", "log_full", "log_unavailable")
_ANSWERED = (*_REFUSED, *_LATER, "out_of_reach", "query_timeout")
_EXAMPLES = {
    "value": {"query_string": "metric:orders", "aggregation": "sum", "time_range": "1h"},
    "series": {
        "query_string": 'metric:latency{route=~"/.*"}', "aggregation": "percentile_99",
        "time_range": "1h", "step": "1m", "group_by": ["route"],
    },
    "calendar": {
        "query_string": "metric:orders", "aggregation": "sum", "time_range": "this_year", "step": "1mo",
        "tz": "Europe/Berlin",
    },
    "events": {"query_string": "event:purchase", "aggregation": "sum", "field": "amount", "time_range": "24h"},
}  # fmt: skip
_RESULT = {
    "query_id": None, "data": [{"value": 41, "count": 41}],
    "metadata": {"total_metrics": 41, "time_range": "1h", "aggregation": "sum"},
    "execution_time": 0.000212, "timestamp": "2026-01-31T12:00:00.000Z", "offset": "k3v9x2-41",
    "at": "2026-01-31T12:00:00.000Z", "from": "2026-01-31T11:00:00.000Z", "to": "2026-01-31T12:00:00.000Z",
    "resolution": "5s", "step": None, "error_bound": 0.0,
}  # fmt: skip
CREATE = Spec(
    "Save a query", "ask", body=QueryBody, body_examples=_EXAMPLES, answer=SavedQuery,
    errors=(*_REFUSED, *_LATER, "conflict"),
)  # fmt: skip
LISTING = Spec("List the saved queries, oldest first", "ask", answer=list[SavedQuery])
ONE = Spec("Read a saved query", "ask", answer=SavedQuery, errors=("not_found",))
DELETE = Spec("Delete a saved query", "ask", answer=Deleted, errors=("not_found", "store_unavailable"))
EXECUTE = Spec(
    "Ask a saved query", "ask", answer=QueryResult, answer_examples={200: _RESULT}, errors=(*_ANSWERED, "not_found")
)
ASK = Spec(
    "Ask a query once", "ask", body=QueryBody, body_examples=_EXAMPLES, answer=QueryResult,
    answer_examples={200: _RESULT}, errors=_ANSWERED,
)  # fmt: skip


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
        return as_result(answers, query, document, await _answer(answers, query, document))

    async def ask(request: Request) -> Response | dict[str, Any]:
        body = parse_body(await read_object(request))
        query = parse_query(body, answers.registry)
        document = body.model_dump(by_alias=True, exclude_none=True)
        return as_result(answers, query, document, await _answer(answers, query, document))

    return [
        route("/api/queries", create, "POST", gate, "read", 201, spec=CREATE),
        route("/api/queries", listing, "GET", gate, "read", spec=LISTING),
        route("/api/queries/{query_id}", one, "GET", gate, "read", spec=ONE),
        route("/api/queries/{query_id}", delete, "DELETE", gate, "read", spec=DELETE),
        route("/api/queries/{query_id}/execute", execute, "POST", gate, "read", spec=EXECUTE),
        route("/api/query", ask, "POST", gate, "read", spec=ASK),
    ]


async def _answer(answers: Answers, query: Query, document: dict[str, Any]) -> Answer:
    """The answer; a line in the log says what was asked and what it cost."""
    answer = await answers.answer(query)
    if logger.isEnabledFor(logging.INFO):
        rows = len(answer.rows["series"]) * len(answer.rows["times"]) if query.columns else len(answer.rows)
        data = {
            "query_id": document.get("id"), "query": document["query_string"], "aggregation": query.aggregation,
            "group_by": list(query.group_by), "cost_ms": round(answer.took * 1000, 3), "rows": rows,
            "samples": answer.total,
        }  # fmt: skip
        logger.info(
            "%r, %s by %s: %.1f ms, %d rows from %d samples", data["query"], query.aggregation or "raw",
            ", ".join(query.group_by) or "nothing", answer.took * 1000, rows, answer.total, extra={"data": data},
        )  # fmt: skip
    return answer


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
    calendar = {} if bounds.calendar is None else {"tz": bounds.calendar.tz}
    return {
        "query_id": document.get("id"),
        "columns" if query.columns else "data": answer.rows,
        "metadata": metadata,
        "execution_time": round(answer.took, 6),
        "timestamp": format_time(time.time_ns() // 1_000_000),
        "offset": answers.offset(answer.position),
        "at": format_time(answer.at),
        "from": format_time(bounds.start),
        "to": format_time(bounds.end),
        "resolution": duration(bounds.resolution),
        "step": step_name(bounds),
        **calendar,
        "error_bound": answer.error,
    }


def step_name(bounds: Bounds) -> str | None:
    """The step in force as people write it, None in a range without steps."""
    if bounds.calendar is not None:
        return str(bounds.calendar)
    return None if bounds.step is None else duration(bounds.step)


def _found(document: dict[str, Any] | None, request: Request) -> dict[str, Any]:
    if document is None:
        raise _missing(request)
    return document


def _missing(request: Request) -> ApiError:
    return ApiError("not_found", f"there is no query {request.path_params['query_id'][:100]!r}")
