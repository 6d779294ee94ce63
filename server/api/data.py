"""Raw rows: GET /api/metrics and GET /api/events, newest first."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.routing import Route

from engine.engine import Engine
from engine.errors import BadQuery
from engine.model import TYPES, Event
from engine.query.value import parse_duration
from server.answers import Answers
from server.api import models
from server.api.http import check_parameters, route, whole_number
from server.api.models import Metric
from server.api.spec import Parameter, Spec
from server.auth import Gate
from server.errors import ApiError
from server.store import Store, StoredEvent
from server.wire.answers import as_raw, metric_row
from server.wire.receipts import event_json

MAX_LIMIT = 10_000
_LIMIT = Parameter("limit", "rows at most", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": 100}, 5)
_RANGE = Parameter("time_range", "back from now; a number and s, m, h, d or w", {"type": "string", "default": "1h"})
METRICS = Spec(
    "The newest raw samples", "ask",
    "As far back as METRIC_BUFFER_SIZE reaches; the server's own, `streamgauge_…`, where they are asked for by name.",
    answer=list[Metric], errors=("bad_request", "bad_time_range", "invalid_rows"),
    parameters=(
        _LIMIT, _RANGE, Parameter("name", "of the metric"), Parameter("source", "the label `source`"),
        Parameter("metric_type", "of the metric", {"type": "string", "enum": [*TYPES, "sum"]}),
    ),
)  # fmt: skip
EVENTS = Spec(
    "The newest events", "ask",
    answer=list[models.Event], errors=("bad_request", "bad_time_range", "store_unavailable"),
    parameters=(_LIMIT, _RANGE, Parameter("event_type", "of the event"), Parameter("user_id", "whose events")),
)  # fmt: skip


def routes(answers: Answers, store: Store, gate: Gate) -> list[Route]:
    """The routes."""
    engine = answers.engine

    async def metrics(request: Request) -> Any:
        check_parameters(request, {"limit", "metric_type", "source", "time_range", "name"})
        limit = whole_number(request, "limit", 100, 1, MAX_LIMIT)
        return _newest_metrics(engine, answers, request, limit)

    async def events(request: Request) -> Any:
        check_parameters(request, {"limit", "event_type", "user_id", "time_range"})
        limit = whole_number(request, "limit", 100, 1, MAX_LIMIT)
        found = await _newest_events(engine, store, request, limit)
        return [event_row(answers, event) for event in found]

    return [
        route("/api/metrics", metrics, "GET", gate, "read", spec=METRICS),
        route("/api/events", events, "GET", gate, "read", spec=EVENTS),
    ]


def event_row(answers: Answers, stored: StoredEvent) -> Any:
    """A stored event as S4 shows it."""
    event = Event(stored.time, stored.type, stored.user_id, stored.session_id, stored.body)
    return as_raw(event_json(event, answers.offset(stored.position), stored.row))


def _newest_metrics(engine: Engine, answers: Answers, request: Request, limit: int) -> list[dict[str, Any]]:
    start = engine.stamp - _range(request)
    held = engine.newest_of(request.query_params.get("name")).view()
    chosen = held.times >= start
    type_name = request.query_params.get("metric_type")
    if type_name is not None:
        if type_name not in (*TYPES, "sum"):
            raise ApiError("invalid_rows", f"metric_type must be one of {', '.join(TYPES)}")
        chosen &= engine.catalogue.types[held.series] == TYPES.index("counter" if type_name == "sum" else type_name)
    name = request.query_params.get("name")
    if name is not None:
        known = engine.catalogue.names.get(name)
        chosen &= engine.catalogue.name_numbers[held.series] == (known.number if known else -1)
    at = np.flatnonzero(chosen)
    at = at[np.lexsort((held.rows[at], held.positions[at], held.times[at]))][::-1]
    source = request.query_params.get("source")
    found: list[dict[str, Any]] = []
    for row in at.tolist():
        if len(found) == limit:
            break
        series = int(held.series[row])
        if source is None or dict(engine.catalogue.labels(series)).get("source") == source:
            id = f"metric_{answers.offset(int(held.positions[row]))}_{int(held.rows[row])}"
            found.append(metric_row(engine.catalogue, series, int(held.times[row]), float(held.values[row]), id))
    return found


async def _newest_events(engine: Engine, store: Store, request: Request, limit: int) -> list[StoredEvent]:
    start, end = engine.stamp - _range(request), 1 << 60
    type_name, user = request.query_params.get("event_type"), request.query_params.get("user_id")
    upto = (engine.flushed_position, 1 << 30)
    fresh = [
        StoredEvent(position, row, e.time, e.type, e.user_id, e.session_id, e.body)
        for position, row, e in (*engine.frozen_events, *engine.events)
        if e.time >= start and type_name in (None, e.type) and user in (None, e.user_id)
    ]

    def read() -> list[StoredEvent]:
        return store.events(type_name, start, end, user_id=user, limit=limit, newest_first=True, upto=upto)

    found = [*fresh, *await asyncio.to_thread(read)]
    found.sort(key=lambda event: (event.time, event.position, event.row), reverse=True)
    return found[:limit]


def _range(request: Request) -> int:
    try:
        return parse_duration(request.query_params.get("time_range", "1h"))
    except BadQuery as error:
        raise ApiError("bad_time_range", str(error)) from None
