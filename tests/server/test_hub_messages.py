"""The hub over real sockets: hello, subscribe, updates, unsubscribe, bad messages, limits, admission."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest
import uvloop
import websockets

from server.hub import Limits
from tests.server.hub_support import World, ask, eventually, receive, running, silent


@pytest.fixture(scope="module")
def event_loop_policy() -> uvloop.EventLoopPolicy:
    return uvloop.EventLoopPolicy()


@pytest.fixture(params=["transport", "asgi"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """With the prebuilt-frame channel, and over plain ASGI as any other server would run it."""
    options = {} if request.param == "transport" else {"ws": "websockets-sansio"}
    async with running(World(Limits(subscriptions=5, message_bytes=2048)), **options) as world:
        yield world


async def test_hello_then_subscribe_then_updates(world: World) -> None:
    assert type(asyncio.get_running_loop()).__module__.startswith("uvloop")
    world.add("a", 2)
    async with world.connect("c1", "") as socket:
        hello = await receive(socket)
        assert hello == {
            "type": "hello",
            "client_id": "c1",
            "offset": "e1-1",
            "at": "2023-11-14T22:13:20.000Z",
            "heartbeat": 30.0,
            "firehose": True,
            "max_rate": 20,
        }
        await ask(socket, type="subscribe", query_id="query_a")
        created = await receive(socket)
        assert created["type"] == "subscription_created"
        assert created["query_id"] == "query_a"
        assert len(created["subscription_id"]) == 20
        first = await receive(socket)
        assert first == {
            "type": "realtime_update",
            "subscription_id": created["subscription_id"],
            "query_id": "query_a",
            "offset": "e1-1",
            "at": "2023-11-14T22:13:20.000Z",
            "timestamp": "2023-11-14T22:13:20.000Z",
            "data": [{"group": "default", "value": 2, "labels": {"pad": ""}}],
        }
        offset = world.add("a", 3)
        assert (await receive(socket, "new_metric"))["metric"]["value"] == 3
        update = await receive(socket, "realtime_update")
        assert update["offset"] == offset
        assert update["data"][0]["value"] == 5


async def test_inline_query_and_unsubscribe_by_either_id(world: World) -> None:
    async with world.connect() as socket:
        await receive(socket, "hello")
        await ask(socket, type="subscribe", query={"query_string": "metric:a"})
        created = await receive(socket, "subscription_created")
        assert created["query_id"] is None
        await receive(socket, "realtime_update")
        await ask(socket, type="unsubscribe", subscription_id=created["subscription_id"])
        assert (await receive(socket))["type"] == "subscription_deleted"
        world.add("a")
        assert await silent(socket)
        await ask(socket, type="subscribe", query_id="query_a")
        await ask(socket, type="subscribe", query_id="query_a")
        ids = {(await receive(socket, "subscription_created"))["subscription_id"] for _ in range(2)}
        await ask(socket, type="unsubscribe", subscription_id="query_a")
        assert {(await receive(socket, "subscription_deleted"))["subscription_id"] for _ in range(2)} == ids
        await ask(socket, type="unsubscribe", subscription_id="query_a")
        assert (await receive(socket, "error"))["code"] == "not_found"
    await eventually(lambda: world.hub.stats()["connections"] == 0)


BAD_MESSAGES: list[tuple[str | bytes, str]] = [
    ("{", "bad_json"),
    ("", "bad_json"),
    ('{"query": {"a": ' + "[" * 1900, "bad_json"),
    ("[1, 2]", "bad_request"),
    ("null", "bad_request"),
    ('{"type": "dance"}', "bad_request"),
    ("{}", "bad_request"),
    ('{"type": 5}', "bad_request"),
    ('{"type": "subscribe"}', "bad_request"),
    ('{"type": "subscribe", "query_id": "query_a", "query": {}}', "bad_request"),
    ('{"type": "subscribe", "query_id": "nope"}', "not_found"),
    ('{"type": "subscribe", "query": {"query_string": "nonsense"}}', "bad_query"),
    ('{"type": "subscribe", "query_id": "query_a", "since": "not an offset"}', "bad_request"),
    ('{"type": "unsubscribe"}', "bad_request"),
    ('{"type": "configure", "max_rate": -1}', "bad_request"),
    ('{"type": "ping", "pad": "' + "x" * 2048 + '"}', "message_too_large"),
    (b"\x00\xff", "bad_request"),
]


async def test_a_bad_message_gets_an_error_and_the_connection_stays(world: World) -> None:
    async with world.connect() as socket:
        await receive(socket, "hello")
        for message, code in BAD_MESSAGES:
            await socket.send(message)
            error = await receive(socket)
            assert (error["type"], error["code"]) == ("error", code), message
            assert error["message"]
            await ask(socket, type="ping")
            assert await receive(socket) == {"type": "pong"}
        assert world.hub.stats()["active_subscriptions"] == 0


async def test_subscription_limit_and_fragmented_messages(world: World) -> None:
    async with world.connect() as socket:
        await receive(socket, "hello")
        await socket.send(['{"type": "sub', 'scribe", "query_id"', ': "query_a"}'])
        await receive(socket, "subscription_created")
        for _ in range(4):
            await ask(socket, type="subscribe", query_id="query_b")
            await receive(socket, "subscription_created")
        await ask(socket, type="subscribe", query_id="query_b")
        assert (await receive(socket, "error"))["code"] == "too_many_subscriptions"


async def test_message_rate(world: World) -> None:
    async with world.connect() as socket:
        await receive(socket, "hello")
        for _ in range(140):
            await ask(socket, type="ping")
        answers = [await receive(socket) for _ in range(140)]
        refused = [answer for answer in answers if answer["type"] == "error"]
        assert {answer["code"] for answer in refused} == {"too_many_requests"}
        assert 1 <= len(refused) <= 40
        await asyncio.sleep(0.1)
        await ask(socket, type="ping")
        assert (await receive(socket))["type"] == "pong"


async def test_connection_limit_is_a_503_before_the_upgrade() -> None:
    async with running(World(Limits(connections=2))) as world:
        async with world.connect("a"), world.connect("b"):
            with pytest.raises(websockets.InvalidStatus) as refused:
                await world.connect("c").__aenter__()
            assert refused.value.response.status_code == 503
            assert refused.value.response.headers["Retry-After"] == "5"
            assert json.loads(refused.value.response.body)["detail"]["code"] == "too_many_connections"
        await eventually(lambda: world.hub.stats()["connections"] == 0)
        async with world.connect("c") as socket:
            await receive(socket, "hello")


async def test_origin_and_key_are_checked_before_the_upgrade_and_the_key_is_not_logged(
    world: World, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    caplog.set_level("INFO")
    with pytest.raises(websockets.InvalidStatus) as refused:
        await world.connect("c", origin="https://evil.example").__aenter__()
    assert refused.value.response.status_code == 403
    assert "https://evil.example" in json.loads(refused.value.response.body)["detail"]["message"]
    with pytest.raises(websockets.InvalidStatus) as refused:
        await world.connect("c", "?token=sesame").__aenter__()
    assert refused.value.response.status_code == 401
    async with world.connect("c", "?token=good&firehose=0") as socket:
        assert (await receive(socket, "hello"))["firehose"] is False
    for bad in ("x" * 201, "%00"):
        with pytest.raises(websockets.InvalidStatus) as refused:
            await world.connect(bad).__aenter__()
        assert refused.value.response.status_code == 400
    if request.node.callspec.params["world"] == "transport":
        logged = [record.getMessage() for record in caplog.records]
        assert any("/ws/c" in line for line in logged)
        assert not any("token" in line or "sesame" in line for line in logged)


async def test_two_connections_with_one_client_id(world: World) -> None:
    async with world.connect("same") as one:
        async with world.connect("same") as two:
            for socket in (one, two):
                await receive(socket, "hello")
                await ask(socket, type="subscribe", query_id="query_a")
                await receive(socket, "realtime_update")
            world.add("a")
            for socket in (one, two):
                assert (await receive(socket, "realtime_update"))["data"][0]["value"] == 1
        await eventually(lambda: world.hub.stats()["active_subscriptions"] == 1)
        world.add("a")
        assert (await receive(one, "realtime_update"))["data"][0]["value"] == 2


async def test_subscriptions_over_http(world: World) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{world.port}") as http:
        async with world.connect("web") as one, world.connect("web") as two:
            for socket in (one, two):
                await receive(socket, "hello")
            answer = await http.post("/api/subscriptions", json={"query_id": "query_a", "client_id": "web"})
            assert answer.status_code == 201
            made = answer.json()
            assert set(made) == {"id", "query_id", "client_id", "created_at"}
            for socket in (one, two):
                assert (await receive(socket, "subscription_created"))["subscription_id"] == made["id"]
                assert (await receive(socket, "realtime_update"))["subscription_id"] == made["id"]
            assert (await http.delete(f"/api/subscriptions/{made['id']}")).json()["message"]
            for socket in (one, two):
                assert (await receive(socket, "subscription_deleted"))["subscription_id"] == made["id"]
            assert (await http.delete(f"/api/subscriptions/{made['id']}")).status_code == 404
            await ask(one, type="subscribe", query_id="query_a")
            id = (await receive(one, "subscription_created"))["subscription_id"]
            assert (await http.delete(f"/api/subscriptions/{id}")).status_code == 200
        early = {"query_id": "query_b", "client_id": "later"}
        waiting = (await http.post("/api/subscriptions", json=early)).json()
        cancelled = (await http.post("/api/subscriptions", json=early)).json()
        assert (await http.delete(f"/api/subscriptions/{cancelled['id']}")).status_code == 200
        async with world.connect("later") as socket:
            assert (await receive(socket, "subscription_created"))["subscription_id"] == waiting["id"]
            assert (await receive(socket, "realtime_update"))["query_id"] == "query_b"
        for body, status in (
            (b'{"query_id": "nope", "client_id": "x"}', 404),
            (b'{"query_id": "query_a"}', 400),
            (b'{"query_id": 5, "client_id": "x"}', 400),
            (b"{", 400),
            (b'{"x": "' + b"x" * 20_000 + b'"}', 413),
        ):
            answer = await http.post("/api/subscriptions", content=body)
            assert answer.status_code == status, body[:50]
            assert answer.json()["detail"]["code"]
