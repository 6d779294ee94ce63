"""The commands `serve`, `gateway` and `engine`: the server in this process, and the order in which it dies."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import socket
import sys
import time
from collections.abc import Iterator

import uvicorn

from server import logs
from server.app import App
from server.auth import check_bind
from server.cli import descriptors, heap
from server.config import ConfigError, Settings, load_settings
from server.ingest.hot_protocol import hot_protocol
from server.log import LogDamaged, LogError, LogMissed
from server.protocols import HttpProtocol, WebSocketProtocol
from server.roles import ENGINE, SERVE, Role, check_role
from server.store import StoreError, is_patient

logger = logging.getLogger("streamgauge")

PAUSE = 1.0
"""Seconds before a process that has missed a part of a shared log begins anew."""


class Server(uvicorn.Server):
    """uvicorn, with the order of dying that keeps every promise: connections first, then the river, then the store."""

    def __init__(self, config: uvicorn.Config, app: App) -> None:
        super().__init__(config)
        self._app = app
        self.listening = asyncio.Event()
        self.was_told_to_stop = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Binds the sockets."""
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn does it, but it raises the signal again at the end, which would kill the process before the store
        is closed."""
        with super().capture_signals():
            try:
                yield
            finally:
                self.was_told_to_stop = bool(self._captured_signals)
                self._captured_signals.clear()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Sends WebSocket clients away before their connections are cut."""
        for server in self.servers:
            server.close()
        await self._app.drain()
        await super().shutdown(sockets)


async def serve(settings: Settings, role: Role = SERVE) -> int:
    """Serves until a signal comes or a part dies; 0, or 1 in the second case. Raises LogMissed where it can go on, but
    only from a newer checkpoint."""
    failures: list[BaseException] = []
    server: Server | None = None

    def failed(error: BaseException) -> None:
        failures.append(error)
        if server is not None:
            server.should_exit = True

    app = App(settings, failed, role)
    try:
        await app.open()
    except LogMissed:
        raise
    except LogDamaged as error:
        raise LogDamaged(await asyncio.to_thread(app.explain, error)) from None
    config = uvicorn.Config(
        app, settings.host, settings.port, loop="none",
        http=HttpProtocol if role == ENGINE else hot_protocol(HttpProtocol, app.ingest), ws=WebSocketProtocol,
        lifespan="off", access_log=False, log_config=None, server_header=False, date_header=False, proxy_headers=False,
        ws_ping_interval=None, ws_per_message_deflate=False, ws_max_size=max(1 << 20, 4 * settings.max_message_bytes),
        timeout_graceful_shutdown=5, backlog=2048,
    )  # fmt: skip
    HttpProtocol.max_connections = descriptors.room_for_connections()
    server = Server(config, app)
    announcer = asyncio.create_task(_announce(server, app, settings))
    trimmer = asyncio.create_task(heap.trim_when_idle(lambda: app.pipeline.appended_bytes))
    try:
        server.should_exit = bool(failures)
        await server.serve()
    finally:
        announcer.cancel()
        trimmer.cancel()
        await app.close()
    for failure in failures[:1]:
        if isinstance(failure, LogMissed) and not server.was_told_to_stop:
            raise failure
        if isinstance(failure, LogDamaged | StoreError):
            print(f"streamgauge: {await asyncio.to_thread(app.explain, failure)}", file=sys.stderr)
    return 1 if failures else 0


async def _announce(server: Server, app: App, settings: Settings) -> None:
    await app.ready()
    await server.listening.wait()
    heap.collect_as_usual()
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    if app.role == ENGINE:
        print(f"Streamgauge, {app.name}: health and numbers on http://{shown}:{port}", flush=True)
        print(f"Log: {app.log.mode}", flush=True)
        return
    kept = "until it ends (ENABLE_PERSISTENCE=false)"
    if settings.enable_persistence:
        kept = f"in {_place(settings)}"
    print(
        f"Streamgauge serves on http://{shown}:{port} and keeps its data {kept}.\n"
        f"Log: {app.log.mode}\n"
        f"Send a first metric:\n"
        f"  curl -X POST http://{shown}:{port}/api/metrics -H 'Content-Type: application/json' \\\n"
        f'    -d \'{{"name": "hello", "metric_type": "counter", "value": 1}}\'\n'
        f"or see what it does with those of a made-up shop:\n"
        f"  streamgauge demo --url http://{shown}:{port}",
        flush=True,
    )


def _place(settings: Settings) -> str:
    """Where the data lie, for people."""
    if not is_patient(settings.database):
        return str(settings.data_dir.resolve())
    log = "Redis" if settings.redis_url else str(settings.data_dir.resolve())
    return f"{settings.database}, the newest of them in the log ({log})"


def run(given: argparse.Namespace) -> int:
    """Serves with the settings of the environment; the exit code."""
    try:
        settings = load_settings()
        check_role(given.command, settings)
        refusal = check_bind(settings)
        if refusal is not None:
            raise ConfigError(refusal)
        logs.configure(settings)
        return _run(settings, given.command)
    except (ConfigError, LogError, StoreError, OSError) as error:
        print(f"streamgauge: {error}", file=sys.stderr)
        return 2


def _run(settings: Settings, role: Role) -> int:
    heap.tame()
    heap.collect_seldom()
    # A thread that computes must not keep the event loop waiting for the default 5 ms.
    sys.setswitchinterval(0.0005)
    while True:
        try:
            return _serve_once(settings, role)
        except LogMissed as error:  # only of a shared log
            logger.warning("begins anew, from the newest checkpoint: %s", error)
            time.sleep(PAUSE)


def _serve_once(settings: Settings, role: Role) -> int:
    try:
        import uvloop
    except ImportError:
        return asyncio.run(serve(settings, role))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve(settings, role))
