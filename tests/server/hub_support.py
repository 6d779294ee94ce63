"""A small world around the hub: sums by metric and group instead of the engine, and a real server on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import uvicorn
import websockets
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import WebSocketRoute
from websockets.frames import Frame, Opcode

from engine.errors import BadQuery
from engine.model import format_offset
from server.api.subscriptions import routes
from server.errors import ApiError
from server.hub import Arrivals, Hub, Limits, WebSocketEndpoint
from server.protocols import HttpProtocol, WebSocketProtocol
from server.subscribers.live import Live

EPOCH = "e1"


@dataclass(frozen=True)
class Query:
    kind: str
    name: str
    slide: int = 0


@dataclass
class Result:
    position: int
    at: int
    rows: Any
    cost: float = 0.0
    moves: int | None = None


class Sums:
    """Questions whose answer is the sum of a metric by group."""

    def __init__(self) -> None:
        self.queries: dict[str, Query] = {"query_a": Query("metric", "a"), "query_b": Query("metric", "b")}
        self.sums: dict[str, dict[str, float]] = {}
        self.position = 0
        self.now = 1_700_000_000_000
        self.asked = 0
        self.cost = 0.0
        self.delay = 0.0
        self.failure: Exception | None = None
        self.padding = 0
        self.window = False
        """Rows carry the slide they were asked in, as a moving range would."""
        self.edges: list[int] = []
        """Moments at which a calendar changes every answer; rows carry how many have passed."""

    def saved(self, query_id: str) -> Query | None:
        return self.queries.get(query_id)

    def parse(self, body: dict[str, Any]) -> Query:
        kind, _, name = str(body.get("query_string", "")).partition(":")
        if kind not in ("metric", "event") or not name:
            raise BadQuery("query_string must be metric:<name> or event:<type>")
        return Query(kind, name, int(body.get("slide", 0)))

    def names(self, query: Query) -> tuple[str, str]:
        return query.kind, query.name

    def slide(self, query: Query) -> int:
        return query.slide

    async def answer(self, query: Query, at: int | None = None) -> Result:
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        position, now = self.position, self.now
        rows: list[dict[str, Any]] = [
            {"group": group, "value": value, "labels": {"pad": "x" * self.padding}}
            for group, value in sorted(self.sums.get(query.name, {}).items())
        ]
        if self.window:
            rows.append({"group": "slide", "value": now // query.slide})
        if self.edges:
            rows.append({"group": "edges", "value": sum(edge <= now for edge in self.edges)})
        if self.delay:
            await asyncio.sleep(self.delay)
        moves = min((edge for edge in self.edges if edge > now), default=None)
        return Result(position, now, rows, self.cost, moves)

    def stamp(self) -> int:
        return self.now

    def offset(self, position: int) -> str:
        return format_offset(EPOCH, position)


class _Gate:
    def check_origin(self, headers: list[tuple[bytes, bytes]]) -> None:
        if dict(headers).get(b"origin", b"").startswith(b"https://evil"):
            raise ApiError("forbidden_origin", "origin https://evil.example is not allowed")

    def require(self, headers: list[tuple[bytes, bytes]], scope: str) -> None:
        assert scope == "read"
        if dict(headers).get(b"authorization", b"Bearer good") != b"Bearer good":
            raise ApiError("unauthorized", "a key is needed")


class World:
    """Sums, live queries, hub and server."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.sums = Sums()
        self.live = Live(self.sums)
        self.hub = Hub(self.live, limits)
        self.hub.begin(0)
        self.port = 0

        async def api_error(request: Request, error: Exception) -> Response:
            assert isinstance(error, ApiError)
            return Response(error.json(), error.status, error.headers(), "application/json")

        gate = _Gate()
        self.app = Starlette(
            routes=[WebSocketRoute("/ws/{client_id}", WebSocketEndpoint(self.hub, gate)), *routes(self.hub, gate)],
            exception_handlers={ApiError: api_error},
        )

    def add(self, name: str, value: float = 1, group: str = "default", rows: int = 1) -> str:
        """Apply one entry of `rows` samples of a metric; answers its offset."""
        sums = self.sums
        sums.position += 1
        position = sums.position
        of_name = sums.sums.setdefault(name, {})
        of_name[group] = of_name.get(group, 0) + value * rows

        def encode(row: int) -> bytes:
            metric = {"id": f"metric_{EPOCH}-{position}_{row}", "name": name, "value": value}
            return json.dumps({"type": "new_metric", "metric": metric}).encode()

        self.live.applied({("metric", name)}, position, sums.now)
        self.hub.firehose(Arrivals("metric", position, rows, [name] * rows, encode))
        return sums.offset(position)

    def tick(self, ms: int = 1000) -> None:
        """An empty entry, some time later."""
        self.sums.position += 1
        self.sums.now += ms
        self.live.applied(set(), self.sums.position, self.sums.now)

    def connect(self, client_id: str = "c1", query: str = "?firehose=0", **options: Any) -> Any:
        """A client; an async context manager."""
        options.setdefault("compression", None)
        options.setdefault("max_size", None)
        return websockets.connect(f"ws://127.0.0.1:{self.port}/ws/{client_id}{query}", **options)


class Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def running(world: World, **options: Any) -> AsyncIterator[World]:
    """The world's server on a free port, in this event loop."""
    options.setdefault("ws", WebSocketProtocol)
    config = uvicorn.Config(
        world.app,
        port=0,
        http=HttpProtocol,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws_max_size=4 * world.hub.limits.message_bytes,
        timeout_graceful_shutdown=3,
        **options,
    )
    server = Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        assert not task.done()
        await asyncio.sleep(0.005)
    world.port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield world
    finally:
        server.should_exit = True
        await task
        await world.live.close()


async def receive(socket: Any, type: str | None = None, timeout: float = 5) -> Any:
    """The next message, of a type if one is named."""
    async with asyncio.timeout(timeout):
        while True:
            message = json.loads(await socket.recv())
            if type is None or message["type"] == type:
                return message


async def silent(socket: Any, seconds: float = 0.1) -> bool:
    """Does nothing come for so long?"""
    try:
        async with asyncio.timeout(seconds):
            await socket.recv()
    except TimeoutError:
        return True
    return False


async def ask(socket: Any, **message: Any) -> None:
    """Send a message."""
    await socket.send(json.dumps(message))


async def eventually(check: Any, timeout: float = 5) -> None:
    """Wait until check() is true."""
    async with asyncio.timeout(timeout):
        while not check():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


class RawClient:
    """A WebSocket client without a library: it can be slow, rude or wrong."""

    def __init__(self, socket_: socket.socket) -> None:
        self.socket = socket_
        self.loop = asyncio.get_running_loop()
        self.buffer = b""

    @classmethod
    async def connect(cls, world: World, target: str = "/ws/raw?firehose=0", receive_buffer: int = 4096) -> RawClient:
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        raw.setblocking(False)
        client = cls(raw)
        await client.loop.sock_connect(raw, ("127.0.0.1", world.port))
        await client.send(
            f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        while b"\r\n\r\n" not in client.buffer:
            await client.read()
        head, _, client.buffer = client.buffer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101"), head
        return client

    async def send(self, data: bytes) -> None:
        await self.loop.sock_sendall(self.socket, data)

    async def say(self, text: str) -> None:
        await self.send(Frame(Opcode.TEXT, text.encode()).serialize(mask=True))

    async def read(self, timeout: float = 5) -> bytes:
        """More bytes into the buffer; b"" at the end of the stream."""
        async with asyncio.timeout(timeout):
            data = await self.loop.sock_recv(self.socket, 65_536)
        self.buffer += data
        return data

    async def frame(self) -> tuple[int, bytes]:
        """(opcode, payload) of the next frame; EOFError at the end."""
        while True:
            if len(self.buffer) >= 2:
                length, at = self.buffer[1], 2
                if length >= 126:
                    at = 4 if length == 126 else 10
                    length = int.from_bytes(self.buffer[2:at], "big")
                if len(self.buffer) >= at + length:
                    opcode, payload = self.buffer[0] & 0x0F, self.buffer[at : at + length]
                    assert self.buffer[0] & 0xF0 == 0x80, "not one whole frame"
                    self.buffer = self.buffer[at + length :]
                    return opcode, payload
            if not await self.read():
                raise EOFError

    async def message(self, type: str) -> Any:
        while True:
            opcode, payload = await self.frame()
            if opcode == Opcode.TEXT and (message := json.loads(payload))["type"] == type:
                return message

    def close(self) -> None:
        self.socket.close()
