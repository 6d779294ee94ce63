"""The hot routes of a real connection answer as the plain ASGI app does, whatever way the bytes arrive."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st

from server.ingest.hot_protocol import HotRoutesMixin, hot_protocol
from server.protocols import HttpProtocol
from tests.server.ingest_support import FakeRiver, make_app

METRIC = json.dumps({"name": "a", "metric_type": "gauge", "value": 1, "tags": {"b": "c"}}).encode()
EVENT = json.dumps({"event_type": "a"}).encode()


class Served:
    """A server, and what it is made of."""

    def __init__(self, **options: Any) -> None:
        self.river = FakeRiver()
        app = make_app(self.river, **options.pop("settings", {}))
        self.protocol = hot_protocol(HttpProtocol, app)
        options = {"access_log": False, "lifespan": "off", "log_level": "error", "port": 0} | options
        self.server = uvicorn.Server(uvicorn.Config(app, http=self.protocol, ws="none", **options))
        self.hot = 0
        post = app.post

        def counted(path: str, body: bytes, head: Any, answer: Any) -> None:
            self.hot += getattr(answer, "__func__", None) is HotRoutesMixin._answer
            post(path, body, head, answer)

        app.post = counted  # type: ignore[method-assign]

    async def connect(self) -> Client:
        port = self.server.servers[0].sockets[0].getsockname()[1]
        return Client(*await asyncio.open_connection("127.0.0.1", port))


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            if len(parts) > 1:
                await asyncio.sleep(0.002)

    async def answer(self) -> tuple[int, Any, set[str]]:
        async with asyncio.timeout(5):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
            fields = dict(line.split(": ", 1) for line in head[1:] if line)
            body = await self.reader.readexactly(int(fields["content-length"]))
        return int(head[0].split()[1]), json.loads(body), set(fields)

    def close(self) -> None:
        self.writer.close()


@contextlib.asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[Served]:
    served = Served(**options)
    task = asyncio.create_task(served.server.serve())
    while not served.server.started and not task.done():  # noqa: ASYNC110 (uvicorn offers no event)
        await asyncio.sleep(0.005)
    try:
        yield served
    finally:
        served.server.should_exit = True
        await task


def request(body: bytes, path: str = "/api/metrics", *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


async def test_the_second_request_is_hot_and_answers_alike() -> None:
    async with serving() as served:
        client = await served.connect()
        bodies = [
            METRIC,
            METRIC.replace(b"1", b"true"),
            METRIC.replace(b"{", b"[", 1),
            b"[%b]" % METRIC,
            b"[]",
            b"[{}]",
        ]
        for path, found in (("/api/metrics", bodies), ("/api/events", [EVENT, EVENT.replace(b'"a"', b"3  ")])):
            for body in found:
                answers = []
                for _ in range(3):
                    await client.send(request(body, path, "Content-Type: application/json"))
                    status, value, fields = await client.answer()
                    answers.append((status, str(value).replace(f"e-{len(served.river.entries)}", ""), fields))
                assert answers[0] == answers[1] == answers[2]
        assert served.hot >= 2 * 6
        client.close()


async def test_bytes_may_come_in_any_pieces() -> None:
    async with serving() as served:
        client = await served.connect()
        whole = request(METRIC)
        await client.send(whole)
        assert (await client.answer())[0] == 201
        sent = 1
        for cut in (1, 5, 20, len(whole) - len(METRIC) - 1, len(whole) - len(METRIC), len(whole) - 1):
            await client.send(whole[:cut], whole[cut:])
            assert (await client.answer())[0] == 201
            sent += 1
        for together in (2, 3, 7):  # pipelined
            await client.send(whole * together)
            answers = [await client.answer() for _ in range(together)]
            assert [status for status, _, _ in answers] == [201] * together
            sent += together
        await client.send(whole + whole[:30], whole[30:] + whole)
        assert [(await client.answer())[0] for _ in range(3)] == [201] * 3
        assert served.river.rows == sent + 3
        client.close()


async def test_what_comes_while_an_answer_is_due_waits() -> None:
    async with serving() as served:
        client = await served.connect()
        whole = request(METRIC)
        await client.send(whole)
        await client.answer()
        served.river.hold = asyncio.Event()
        await client.send(whole, whole[:40], whole[40:] + whole)
        served.river.hold.set()
        ids = [(await client.answer())[1]["id"] for _ in range(3)]
        assert len(set(ids)) == 3 and served.hot >= 1
        client.close()


async def test_heads_that_change_how_a_request_is_read_are_never_hot() -> None:
    async with serving(settings={"api_keys": "ingest:12345678"}) as served:
        client = await served.connect()
        key = "X-API-Key: 12345678"
        for headers, body in (
            ((key, "Idempotency-Key: a"), METRIC),
            ((key, "Expect: nothing"), METRIC),
            ((key, "Connection: keep-alive"), METRIC),
            ((), METRIC),
            (("X-API-Key: 87654321",), METRIC),
        ):
            statuses = []
            for _ in range(3):
                await client.send(request(body, "/api/metrics", *headers))
                statuses.append((await client.answer())[0])
            assert statuses == [201 if key in headers else 401] * 3
        await client.send(request(METRIC, "/api/metrics?x=1", key) * 3)
        assert [(await client.answer())[0] for _ in range(3)] == [201] * 3
        assert served.hot == 0
        await client.send(request(METRIC, "/api/metrics", key))
        await client.answer()
        await client.send(request(METRIC, "/api/metrics", key))
        assert (await client.answer())[0] == 201 and served.hot == 1
        # The same head, chunked: not the bytes that are known.
        chunked = b"POST /api/metrics HTTP/1.1\r\nHost: localhost\r\nX-API-Key: 12345678\r\n"
        chunked += b"Transfer-Encoding: chunked\r\n\r\n"
        await client.send(chunked + b"%x\r\n%b\r\n0\r\n\r\n" % (len(METRIC), METRIC))
        assert (await client.answer())[0] == 201
        client.close()


async def test_a_client_that_leaves_is_nobodys_problem() -> None:
    async with serving() as served:
        whole = request(METRIC)
        first = await served.connect()
        await first.send(whole)
        await first.answer()
        served.river.hold = asyncio.Event()
        await first.send(whole)
        await asyncio.sleep(0.02)
        first.writer.transport.abort()
        await asyncio.sleep(0.02)
        served.river.hold.set()
        second = await served.connect()
        await second.send(whole)
        assert (await second.answer())[0] == 201
        second.close()


async def test_shutting_down_waits_for_the_answer() -> None:
    async with serving() as served:
        client = await served.connect()
        await client.send(request(METRIC))
        await client.answer()
        served.river.hold = asyncio.Event()
        await client.send(request(METRIC))
        await asyncio.sleep(0.02)
        served.server.should_exit = True
        await asyncio.sleep(0.2)
        served.river.hold.set()
        status, _, fields = await client.answer()
        assert status == 201 and "connection" in fields and served.hot == 1
        assert await client.reader.read() == b""
        client.close()


async def test_an_idle_connection_is_closed() -> None:
    async with serving(timeout_keep_alive=1) as served:
        client = await served.connect()
        for _ in range(7):
            await client.send(request(METRIC))
            assert (await client.answer())[0] == 201
            await asyncio.sleep(0.2)
        async with asyncio.timeout(3):
            assert await client.reader.read() == b""
        client.close()


async def test_the_access_log_turns_hot_routes_off() -> None:
    async with serving(access_log=True, log_level="info", log_config=None) as served:
        client = await served.connect()
        for _ in range(3):
            await client.send(request(METRIC))
            assert (await client.answer())[0] == 201
        if any(c.access_log for c in served.server.server_state.connections):
            assert served.hot == 0
        client.close()


@given(
    st.lists(st.tuples(st.sampled_from([METRIC, EVENT, b"[1]", b"{", b""]), st.integers(1, 60)), max_size=6), st.data()
)
@settings(max_examples=25, deadline=None)
def test_any_stream_of_requests_gets_its_answers_in_order(sent: list[tuple[bytes, int]], data: st.DataObject) -> None:
    async def run() -> None:
        async with serving() as served:
            client = await served.connect()
            stream = b"".join(request(body) for body, _ in sent)
            for _, size in sent:
                await client.send(stream[:size])
                stream = stream[size:]
            await client.send(stream)
            for body, _ in sent:
                status, value, _ = await client.answer()
                assert status == {METRIC: 201, EVENT: 422, b"[1]": 422}.get(body, 400), value
            client.close()

    asyncio.run(run())


@pytest.mark.parametrize("junk", [b"POST \r\n\r\n", b"POST /api/metrics\r\n\r\n", b"POST x y z\r\n\r\n", b"\x00" * 50])
async def test_junk_ends_the_connection_only(junk: bytes) -> None:
    async with serving() as served:
        client = await served.connect()
        await client.send(request(METRIC))
        await client.answer()
        await client.send(junk)
        async with asyncio.timeout(5):
            await client.reader.read()
        other = await served.connect()
        await other.send(request(METRIC))
        assert (await other.answer())[0] == 201
        client.close()
        other.close()
