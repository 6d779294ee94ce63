"""The routes of alerting without a server: a real book and real documents, doubles of what evaluates and tells."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from engine.aggregates import Registry
from engine.errors import EngineError
from engine.rules.book import Book
from engine.rules.marks import command, edges
from engine.rules.model import FIRED, FIRING, RESOLVED, Edge, Group, Readings, Rule, State
from server.api import alerts
from server.api.alerting import Anomaly
from server.api.http import as_api_error, error_answer
from server.auth import Gate
from server.config import load_settings
from server.errors import ApiError
from server.notify import NotSent
from server.preview import Preview
from server.questions import SavedQueries
from server.store import Store, open_store

T = 1_700_000_000_000
"""ms, long ago."""


class Double:
    """Stands for what evaluates and for the channels: writes into its book at once, and remembers what it was asked."""

    def __init__(self) -> None:
        self.book = Book()
        self.seen: dict[str, Readings] = {}
        self.previewed = Preview([], Counter(), [], [], [], [])
        self.asked: list[tuple[Rule, int]] = []
        self.unusual: list[Anomaly] = []
        self.problems: dict[str, str] = {}
        self.tested: list[str] = []
        self.fault: NotSent | None = None

    def readings(self, rule_id: str) -> Readings | None:
        return self.seen.get(rule_id)

    async def acknowledge(self, incident_id: str, who: str) -> None:
        self.book.take(command("ack", incident=incident_id, who=who))

    async def snooze(self, incident_id: str, until: int, who: str) -> None:
        self.book.take(command("snooze", incident=incident_id, who=who, until=until))

    async def preview(self, rule: Rule, span: int) -> Preview:
        self.asked.append((rule, span))
        return self.previewed

    async def anomalies(self, most: int) -> list[Anomaly]:
        return self.unusual[:most]

    def problem(self, name: str) -> str | None:
        return self.problems.get(name.partition(":")[0])

    def target(self, name: str) -> str:
        return name.partition(":")[2]

    async def test(self, name: str) -> dict[str, str]:
        self.tested.append(name)
        if self.fault is not None:
            raise self.fault
        return {"ts": "1.5"}

    # what an evaluation would have written

    def see(self, rule: str, at: int, values: dict[Group, float], **more: Any) -> None:
        """An evaluation has seen this."""
        groups = list(values)
        causes = np.where(np.isnan(list(values.values())), 1, 0).astype(np.int8)
        self.seen[rule] = Readings(at, groups, np.array(list(values.values())), causes, **more)

    def fire(self, rule: str, at: int, group: Group = (), value: float = 5.0, level: int = 2) -> None:
        """A group fires."""
        state = State(FIRING, level, since=(at - 1000, at - 1000), fired=at, value=value, peak=value, peak_at=at)
        self.book.take(edges(rule, ["slack"], [Edge(group, FIRED, at, state)]))

    def resolve(self, rule: str, at: int, group: Group = (), value: float = 1.0) -> None:
        """It does so no more."""
        state = State(last=value, peak=9.0, peak_at=at - 500)
        self.book.take(edges(rule, ["slack"], [Edge(group, RESOLVED, at, state)]))


class Api:
    """A client of the routes, and what stands behind them."""

    def __init__(self, client: httpx.AsyncClient, documents: alerts.AlertDocuments, double: Double) -> None:
        self.client, self.documents, self.double = client, documents, double

    async def call(self, method: str, path: str, body: object = None, expect: int = 200, **headers: str) -> Any:
        """The answer, decoded."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await self.client.request(method, path, json=body, headers=named)
        assert answer.status_code == expect, answer.text
        return answer.json()

    async def code(self, method: str, path: str, body: object = None, expect: int = 400) -> tuple[str, str]:
        """(code, message) of a refusal."""
        detail = (await self.call(method, path, body, expect))["detail"]
        return detail["code"], detail["message"]

    async def made(self, **members: Any) -> dict[str, Any]:
        """A new alert."""
        alert = {"name": "a", "metric_name": "m", "threshold": 5} | members
        found: dict[str, Any] = await self.call("POST", "/api/alerts", alert, 201)
        return found


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Api]:
    """The routes on the documents in a folder."""
    store: Store = open_store(f"sqlite:///{folder}/documents.db")
    queries = SavedQueries(store, Registry())
    documents, double = alerts.AlertDocuments(store, Registry(), queries), Double()
    for each in documents.all():
        await each.open()

    async def refuse(request: Request, error: Exception) -> Response:
        return error_answer(as_api_error(error))

    gate = Gate(load_settings(_env_file=None, auth="off"))
    routes = alerts.routes(documents, double, double, gate)
    app = Starlette(routes=routes, exception_handlers=dict.fromkeys((ApiError, EngineError), refuse))
    try:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
            yield Api(client, documents, double)
    finally:
        store.close()


def now() -> int:
    return time.time_ns() // 1_000_000
