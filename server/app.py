"""The composition root: opens everything, sinks first, wires it, and closes it, sources first.

    IngestApp ─▶ Collector ─▶ Pipeline ─▶ Engine ─┬─▶ Rollups ─▶ Store
        │                                         └─▶ Broadcast ─▶ Live, Hub
        └─▶ CorsApp ─▶ Starlette (server.api, WebSocket)
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route, WebSocketRoute

from engine.aggregates import Registry
from engine.errors import EngineError
from engine.model import Entry
from engine.query.plan import Limits as QueryLimits
from engine.query.value import Query
from server import damage, zones
from server.alerting import Alerting
from server.answers import Answers
from server.api import alerts, dashboards, data, openapi, page, prometheus, queries, rejects, status, subscriptions
from server.api.http import as_api_error, error_answer
from server.auth import App as Asgi
from server.auth import CorsApp, Gate, Message, Receive, Send
from server.backlog import Backlog
from server.config import Settings
from server.counts import CountedApp, Counts
from server.errors import ApiError
from server.half_restored import refuse_half_restored
from server.hub import Hub, WebSocketEndpoint
from server.ingest.collector import Collector
from server.ingest.over_http import IngestApp
from server.log import (
    Lease,
    Log,
    LogDamaged,
    LogError,
    LogFull,
    LogMissed,
    LogUnavailable,
    open_lease,
    open_log,
)
from server.options import hub_limits, load_plugins
from server.origin import Origin, write_origin
from server.pipeline import Pipeline
from server.questions import KIND, SavedQueries
from server.restoring import joined, restored_engine
from server.roles import ENGINE, GATEWAY, SERVE, Role, process_name
from server.selfmetrics import HELP, NO_FLUSHES, Flushes, SelfMetrics, Sources
from server.shared import Saved
from server.store import Keeping, SharedStore, Store, StoreError, StoreUnavailable, open_store
from server.subscribers.live import Live
from server.subscribers.live_broadcast import Broadcast
from server.subscribers.rollups import Rollups
from server.subscribers.rollups_owner import OwnersRollups
from server.tasks import end
from server.together import Together, Whose
from server.wire.messages import decode_json

logger = logging.getLogger("streamgauge")

OPEN_BEFORE_READY = ("/health", "/ready")


class App:
    """A whole server without its sockets: an ASGI app, to be opened before and closed after it serves.

    failed: told when a part that must live has died; the process should end then, in order. role: see server.roles.
    """

    def __init__(
        self, settings: Settings, failed: Callable[[BaseException], None] | None = None, role: Role = SERVE
    ) -> None:
        self.settings, self.role = settings, role
        self.name = process_name(role)
        self.lease: Lease | None = None
        self.rollups: Rollups | None = None
        self._failed = failed or (lambda error: None)
        self._tasks: list[asyncio.Task[None]] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._asgi: Asgi = self._starting
        self._closing = False
        self.counts = Counts()
        self.together: Together | None = None
        self.is_ready = False

    async def open(self) -> None:
        """Opens store and log, restores the newest checkpoint and begins the replay; `ready` waits for its end."""
        begun, settings = time.monotonic(), self._kept()
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        refuse_half_restored(settings.data_dir)
        self.registry = Registry()
        load_plugins(settings.plugins, self.registry)
        await asyncio.to_thread(zones.names)  # looked up in many folders: not when the first query asks for it
        self.store: Store = await asyncio.to_thread(
            open_store, settings.database, durable=settings.log_fsync == "always",
            aws=settings.aws, keeping=Keeping(settings.retentions, settings.event_retention),
        )  # fmt: skip
        async with contextlib.AsyncExitStack() as opened:
            opened.push_async_callback(asyncio.to_thread, self.store.close)
            self.engine = await asyncio.to_thread(restored_engine, settings, self.store, self.role)
            restored = time.monotonic()
            if self.role == ENGINE:
                self.lease = await open_lease(settings.log, self.name)
                opened.push_async_callback(self.lease.close)
            self.log: Log = await open_log(
                settings.log, fsync=settings.log_fsync, max_bytes=settings.log_max_bytes, lease=self.lease,
                shared=self.role != SERVE,
            )  # fmt: skip
            opened.push_async_callback(self.log.close)
            self.engine = await joined(self.log, self.engine, settings, self.store, self.role)
            opened.pop_all()
        await self._wire(settings)
        now = time.monotonic()
        opened_in = f"{restored - begun:.1f} s to read the checkpoint, {now - restored:.1f} s to open the log"
        for name, task in (
            ("pipeline", self.pipeline.run()),
            ("ticks", self.pipeline.tick()),
            *([("rollups", self.rollups.run())] if self.rollups is not None else []),
            *(self.together.tasks() if self.together is not None else []),
            *([("alerts", self.alerting.run())] if self.role != GATEWAY else []),
            *([("heartbeat", self.alerting.beat(self._trouble))] if self.role != GATEWAY else []),
            ("ready", self._become_ready(opened_in)),
            ("numbers", self._count(settings)),
        ):
            self._start(name, task)

    async def ready(self) -> None:
        """Returns when the replay has ended."""
        while not self.is_ready:
            await asyncio.sleep(0.01)
            if all(task.done() for task in self._tasks):
                raise RuntimeError("the server died while it was starting; the log says why")

    async def close(self) -> None:
        """Drains connections, finishes what was accepted, writes a last checkpoint and closes everything."""
        self._closing = True
        await asyncio.gather(self.drain(), self.alerting.drain())
        await self.collector.drain()
        await self.live.close()
        caught_up = self.is_ready and not any(task.done() and task.get_name() == "pipeline" for task in self._tasks)
        if self.together is not None:
            await self.together.give_up()
        await end(*self._tasks)
        await self.alerting.close()
        if self.together is not None:
            await self.together.close()
        if self.rollups is not None:
            await self._end(self.rollups, caught_up)
        await self.log.close()
        await asyncio.to_thread(self.store.close)
        if self._folder is not None:
            self._folder.cleanup()

    async def _end(self, rollups: Rollups, caught_up: bool) -> None:
        """The last checkpoint of a server that is alone."""
        try:
            if caught_up:
                await rollups.flush()
                await asyncio.to_thread(write_origin, self.store, Origin(self.log.epoch, self.engine.position))
            else:
                await rollups.settle()
        except (StoreError, LogError) as error:
            logger.error("the last checkpoint could not be written; the log has what it would hold: %s", error)

    def explain(self, error: BaseException) -> str:
        """What a damaged log or store has lost, and the way out. Blocks: it reads the log."""
        if not isinstance(error, LogDamaged) or isinstance(error, LogMissed):
            return str(error)
        return damage.explain(error, self.settings.log, self.engine.position)

    async def drain(self) -> None:
        """Sends WebSocket connections away, spread over DRAIN_SECONDS. Safe to repeat."""
        await self.hub.drain(self.settings.drain_seconds)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """ASGI."""
        await self._asgi(scope, receive, send)

    def _kept(self) -> Settings:
        """The settings with a folder of their own where nothing is to be kept."""
        if self.settings.enable_persistence:
            return self.settings
        self._folder = tempfile.TemporaryDirectory(prefix="streamgauge-")
        own = {"data_dir": Path(self._folder.name), "database_url": "", "redis_url": ""}
        return self.settings.model_copy(update=own)

    async def _wire(self, settings: Settings) -> None:
        gate = Gate(settings)
        is_alone = self.role == SERVE
        self.backlog = Backlog(self.engine, settings.store_stall, settings.store_backlog, others=not is_alone)
        self.pipeline = Pipeline(self.log, self.engine, self.backlog)
        saved = SavedQueries(self.store, self.registry)
        documents = await asyncio.to_thread(self.store.list_documents, KIND)
        for fault in saved.load([decode_json(body) for _, body in documents]):
            logger.warning("saved query %s", fault)
        limits = QueryLimits(settings.max_query_series, settings.max_query_points)
        self.answers = Answers(
            self.engine, self.store, self.registry, saved, self.pipeline.offset, limits,
            settings.max_query_execution_time, self._asked,
        )  # fmt: skip
        self.dashboards = dashboards.SavedDashboards(self.store)
        self.alerts = alerts.AlertDocuments(self.store, self.registry, saved)
        self.documents = [self.dashboards, *self.alerts.all()]
        for kept in self.documents:
            await kept.open()
        self.live = Live(self.answers, failed=self._die)
        self.hub = Hub(self.live, hub_limits(settings))
        broadcast = Broadcast(self.engine, self.hub, self.live)
        name = "" if is_alone else self.name
        self.alerting = Alerting(self.pipeline, self.answers, self.alerts, self.hub, settings, name)
        parts = self.engine, self.store, self.log, self.backlog
        bounds: dict[str, Any] = {
            "interval": settings.checkpoint_interval, "max_events": settings.event_buffer_size,
            "event_retention": settings.event_retention, "log_bytes": settings.log_max_bytes // 2,
            "flushed": self.answers.cache.drop,
        }  # fmt: skip
        if is_alone:
            self.rollups = Rollups(*parts, **bounds)
            self.pipeline.subscribers = [self.rollups.applied]
        else:
            self._share(lambda fence: OwnersRollups(fence, self.pipeline.submit, *parts, **bounds), saved)
        self.pipeline.subscribers += [broadcast.applied, self.alerting.applied]
        self.collector = Collector(self.pipeline)
        routes = self._routes(gate, settings)
        handlers: dict[Any, Any] = {Exception: self._answer_error, HTTPException: self._answer_http}
        handlers |= dict.fromkeys((ApiError, EngineError, StoreUnavailable), self._answer_error)
        cold = Starlette(routes=routes, exception_handlers=handlers)
        counted = CountedApp(CorsApp(cold, gate), self.counts, routes)
        self.ingest = IngestApp(counted, self.collector, gate, settings, self.counts)
        self.ingest.is_ready = False
        # Nothing is sent to a process that only owns.
        self._inner: Asgi = counted if self.role == ENGINE else self.ingest

    def _share(self, make: Callable[[int], OwnersRollups], saved: SavedQueries) -> None:
        """The parts of a process that is not alone on its log."""
        kept: dict[str, Saved] = {KIND: saved, **{each.kind: each for each in self.documents}}
        self.together = Together(
            Whose(self.role, self.name, self.lease, self.settings), self.pipeline, cast(SharedStore, self.store),
            self.alerting, self.hub, make, kept, self.answers.cache.clear,
        )  # fmt: skip
        saved.deleted = self.live.deleted

    def _routes(self, gate: Gate, settings: Settings) -> list[BaseRoute]:
        keys = "keys" if settings.api_keys.get_secret_value() else "loopback"
        modes = {
            "log": self.log.mode,
            "persistence": settings.enable_persistence,
            "auth": "off" if settings.auth == "off" else keys,
        }
        table: list[BaseRoute] = [
            *status.routes(
                self.answers, self.store, gate, lambda: self.is_ready, self._more_stats, modes,
                lambda: self.backlog.trouble,
            ),
            *queries.routes(self.answers, gate, self.live.deleted),
            *alerts.routes(self.alerts, self.alerting, self.alerting, gate),
            *dashboards.routes(self.dashboards, gate),
            *data.routes(self.answers, self.store, gate),
            *rejects.routes(self.answers, gate, lambda kind, lines: self.ingest.send_again(kind, lines)),
            *prometheus.routes(self.engine, gate, HELP),
            *subscriptions.routes(self.hub, gate, None if self.together is None else self.together.shared),
            WebSocketRoute("/ws/{client_id}", WebSocketEndpoint(self.hub, gate)),
        ]
        table += [*openapi.routes(lambda: table), *page.routes()]
        return table

    def _trouble(self) -> str:
        """Which part is not well, of those that can fall behind without an end of the process; "" for none."""
        return self.backlog.trouble if self.is_ready else "the log is being replayed"

    def _more_stats(self) -> dict[str, int]:
        stats = self.hub.stats()
        subscriptions = stats.get("subscriptions", 0)
        kept = {"total_alerts": len(self.alerts.alerts), "total_dashboards": len(self.dashboards)}
        return {**kept, "active_subscriptions": subscriptions, **stats}

    async def _asked(self, query: Query) -> None:
        """A metric whose distinct values are asked for keeps what that needs from now on; the log carries the wish."""
        known = self.engine.catalogue.sketched
        if query.kind == "metric" and query.aggregation == "unique" and query.name not in known:
            try:
                await self.pipeline.submit(Entry(self.pipeline.stamp(), sketched=[query.name]))
            except LogFull as error:
                raise ApiError("log_full", str(error), retry_after=5) from None
            except LogUnavailable as error:
                raise ApiError("log_unavailable", str(error), retry_after=1) from None

    async def _become_ready(self, opened_in: str) -> None:
        begun = time.monotonic()
        await self.pipeline.caught_up()
        took = time.monotonic() - begun
        logger.info("ready: %s, %.1f s to replay its %d entries", opened_in, took, self.pipeline.replayed)
        self.hub.begin(self.engine.position)
        self._asgi = self._inner
        self.is_ready = self.ingest.is_ready = True
        await asyncio.Event().wait()

    async def _count(self, settings: Settings) -> None:
        """The server's own numbers, once the replay has ended; for ever."""
        await self.pipeline.caught_up()
        interval = settings.self_metrics_interval if settings.self_metrics else 0
        flushes: Flushes = self.rollups or (self.together and self.together.ownership) or NO_FLUSHES
        sources = Sources(self.pipeline, self.counts, flushes, self.hub, self.live, self.alerting.numbers)
        instance = "" if self.role == SERVE else self.name
        await SelfMetrics(sources, interval, settings.metrics_log_interval, instance).run()

    def _start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self._closing or task.cancelled():
            return
        error = task.exception() or RuntimeError(f"{task.get_name()} ended")
        known = isinstance(error, LogDamaged | StoreError)  # the sentence says it all
        if not isinstance(error, LogMissed):  # which is for whoever called us to say, who may begin anew
            logger.critical("%s died, the server ends: %s", task.get_name(), error, exc_info=None if known else error)
        self._die(error)

    async def _answer_error(self, request: Request, error: Exception) -> Response:
        return self._error_answer(as_api_error(error))

    async def _answer_http(self, request: Request, error: Exception) -> Response:
        meaning, headers = _http_error(request, error)
        answer = self._error_answer(meaning)
        answer.headers.update(headers)
        return answer

    def _error_answer(self, error: ApiError) -> Response:
        self.counts.errors[error.code, error.status] += 1
        return error_answer(error)

    def _die(self, error: BaseException) -> None:
        self._failed(error)

    async def _starting(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] in OPEN_BEFORE_READY:
            await self._inner(scope, receive, send)
            return
        error = ApiError("starting", "the log is being replayed; try again in a moment", retry_after=1)
        if scope["type"] == "http":
            await self._error_answer(error)(scope, receive, send)
            return
        await receive()
        with contextlib.suppress(OSError):
            await send({"type": "websocket.close", "code": error.meaning.websocket, "reason": error.message})


def _http_error(request: Request, error: Exception) -> tuple[ApiError, dict[str, str]]:
    """(what the router's refusal means, headers of the answer)."""
    # What no route takes ends at the files of the page, which know nothing of the methods of a path.
    routes = [route for route in request.scope["router"].routes if isinstance(route, Route)]
    partly = [route for route in routes if route.matches(request.scope)[0] is Match.PARTIAL]
    allowed = {method for route in partly for method in route.methods or ()}
    if allowed:
        if request.url.path in IngestApp.paths:
            allowed.add("POST")
        message = f"{request.method} is not allowed here"
        return ApiError("method_not_allowed", message), {"Allow": ", ".join(sorted(allowed))}
    return ApiError("not_found", f"there is nothing at {request.url.path[:200]!r}"), {}
