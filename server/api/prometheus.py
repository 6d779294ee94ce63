"""GET /api/metrics/prometheus: all metrics for a Prometheus to scrape, the server's own among them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from engine.engine import Engine
from server.api.http import route
from server.api.spec import TEXT as PLAIN
from server.api.spec import Spec
from server.auth import Gate
from server.wire.exposition import OPENMETRICS, TEXT, Exposition, wants_openmetrics

SCRAPE = Spec(
    "All metrics for a Prometheus to scrape", "ask", "Counters never go down. The server's own metrics are among them.",
    answer={"type": "string"}, media=PLAIN, or_media="application/openmetrics-text",
)  # fmt: skip


def routes(engine: Engine, gate: Gate, help: Mapping[str, str]) -> list[Route]:
    """The route. help: texts for some metrics, by name; the others say their name."""
    exposition = Exposition(engine, help)

    async def scrape(request: Request) -> Any:
        openmetrics = wants_openmetrics(", ".join(request.headers.getlist("accept")))
        pieces = _pieces(exposition, openmetrics)
        return StreamingResponse(pieces, media_type=OPENMETRICS if openmetrics else TEXT)

    return [route("/api/metrics/prometheus", scrape, "GET", gate, "read", spec=SCRAPE)]


async def _pieces(exposition: Exposition, openmetrics: bool) -> AsyncIterator[bytes]:
    for piece in exposition.chunks(openmetrics):
        if piece:
            yield piece.encode()
        await asyncio.sleep(0)  # a scrape of many series must not hold up ingest
