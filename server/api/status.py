"""How the server is: /health, /ready, /api/stats, /api/ledger, and what `/` says to programs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.routing import Route

from engine.engine import Engine
from engine.model import CUMULATIVE, OWN_PREFIX, TYPES
from engine.series import Name
from server.answers import Answers
from server.api.http import route
from server.api.models import Health, Ledger, Ready, Stats
from server.api.spec import Spec
from server.auth import Gate
from server.errors import ApiError
from server.store import Store
from server.wire.answers import number
from server.wire.times import format_time

VERSION = "0.1.0"
NAME = "Streamgauge"
MAX_LISTED = 1000
HEALTH = Spec("Whether the process is alive", "status", answer=Health)
READY = Spec("Whether the replay has ended", "status", answer=Ready, errors=("starting",))
STATS = Spec("Counts of everything, and what is in force", "status", answer=Stats, errors=("store_unavailable",))
LEDGER = Spec("What became of every row", "status", answer=Ledger)


def routes(
    answers: Answers, store: Store, gate: Gate, ready: Callable[[], bool], more: Callable[[], dict[str, int]],
    modes: dict[str, Any], trouble: Callable[[], str],
) -> list[Route]:  # fmt: skip
    """The routes. ready: whether the replay has ended; more: counts from other rooms; modes: what is in force;
    trouble: a sentence about what does not work at the moment, empty where all does."""
    engine = answers.engine

    async def health(request: Request) -> Any:
        return {"status": "ok", "name": NAME, "version": VERSION}

    async def is_ready(request: Request) -> Any:
        if not ready():
            raise ApiError("starting", "the log is being replayed", retry_after=1)
        return {"status": "ready", "offset": answers.offset(engine.position)}

    async def ledger(request: Request) -> Any:
        held = {"open": engine.open_samples, "pending": engine.pending_samples, "stored": engine.stored}
        place = {"offset": answers.offset(engine.position)}
        return {**place, **engine.ledger.as_dict(), "in_panes": held, "balanced": engine.balanced}

    async def stats(request: Request) -> Any:
        # Between this count and the flushed position a flush may end: it is a moment's difference, no loss.
        stored = await asyncio.to_thread(store.event_types)
        counts = {**_counts(answers, stored), **more(), "modes": modes}
        counts["warnings"] = [*filter(None, [trouble()]), *counts["warnings"]]
        return counts

    return [
        route("/health", health, "GET", gate, None, spec=HEALTH),
        route("/ready", is_ready, "GET", gate, None, spec=READY),
        route("/api/stats", stats, "GET", gate, "read", spec=STATS),
        route("/api/ledger", ledger, "GET", gate, "read", spec=LEDGER),
    ]


def _counts(answers: Answers, event_types: dict[str, int]) -> dict[str, Any]:
    engine = answers.engine
    types = dict(event_types)
    fresh = [event for _, _, event in (*engine.frozen_events, *engine.events)]
    for event in fresh:
        types[event.type] = types.get(event.type, 0) + 1
    held = engine.newest.view()
    recent = engine.stamp - 3_600_000
    series_types = engine.catalogue.types
    distribution = np.bincount(series_types, minlength=len(TYPES)).tolist() if len(series_types) else [0] * len(TYPES)
    return {
        "offset": answers.offset(engine.position),
        "time": format_time(engine.stamp) if engine.stamp else None,
        "total_metrics": engine.ledger.accepted,
        "own_metrics": engine.lifetime.own_samples(),
        "total_events": engine.ledger.events,
        "total_series": len(engine.catalogue),
        "total_names": len(engine.catalogue.names),
        "total_queries": len(answers.queries),
        "metric_distribution": dict(zip(TYPES, distribution, strict=True)),
        "recent_metrics_1h": int((held.times >= recent).sum()),
        "recent_events_1h": sum(event.time >= recent for event in fresh),
        "supported_metric_types": list(TYPES),
        "supported_aggregations": answers.registry.names(),
        "metrics": metric_list(engine),
        "event_types": types,
        "ledger": engine.ledger.as_dict(),
        "warnings": warnings(engine),
        "deduplication": {
            "keys": len(engine.seen), "max_keys": engine.seen.bound.keys, "max_hours": engine.seen.bound.age / 3.6e6,
        },
        "memory": {"open_panes": engine.open_bytes, "pending_panes": engine.pending_bytes},
    }  # fmt: skip


def metric_list(engine: Engine) -> list[dict[str, Any]]:
    """The metric names, the newest first, with type, unit, number of series and newest raw value kept.

    The server's own come last.
    """
    rings = {own: ring.view() for own, ring in ((False, engine.newest), (True, engine.newest_own))}
    numbers = {own: engine.catalogue.name_numbers[held.series].tolist() for own, held in rings.items()}
    newest = {own: {number: row for row, number in enumerate(found)} for own, found in numbers.items()}
    own_names = {name.number for name in engine.catalogue.by_number if name.name.startswith(OWN_PREFIX)}

    def order(name: Name) -> tuple[bool, int]:
        own = name.number in own_names
        return not own, newest[own].get(name.number, -1)

    listed = []
    for name in sorted(engine.catalogue.by_number, key=order, reverse=True):
        own = name.number in own_names
        held, row = rings[own], newest[own].get(name.number)
        types = sorted(name.types)
        listed.append(
            {
                "name": name.name, "type": TYPES[types[0]], "types": [TYPES[type] for type in types],
                "unit": name.unit or None, "series": len(name.series),
                "labels": sorted(name.labels)[:50],
                "cumulative": bool((engine.catalogue.temporalities[name.series.view()] == CUMULATIVE).any()),
                "last_time": format_time(int(held.times[row])) if row is not None else None,
                "last_value": number(float(held.values[row])) if row is not None else None,
                **({"own": True} if own else {}),
            }
        )  # fmt: skip
        if len(listed) == MAX_LISTED:
            break
    return listed


def warnings(engine: Engine) -> list[str]:
    """What the owner of the data should know."""
    found = []
    for name in engine.catalogue.by_number:
        if len(name.types) > 1:
            types = ", ".join(TYPES[type] for type in sorted(name.types))
            found.append(f"{name.name} is sent with several types: {types}")
        if name.folded:
            found.append(
                f"{name.name} has more series than its budget: {name.folded} samples went to __other__; "
                f"the label with the most values is {name.widest_label()!r}"
            )
    return found[:MAX_LISTED]
