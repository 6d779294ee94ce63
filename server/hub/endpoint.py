"""/ws/{client_id}: admission before the handshake, then the client's messages one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol
from urllib.parse import parse_qs

from server.errors import ApiError
from server.hub.channel import EXTENSION, AsgiChannel, Channel, Send
from server.hub.dialogue import handle
from server.hub.hub import Hub
from server.hub.session import Session

MAX_CLIENT_ID = 200
"""Characters."""

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Headers = list[tuple[bytes, bytes]]


class Gatekeeper(Protocol):
    """Who may come in; `server.auth.Gate` is one."""

    def check_origin(self, headers: Headers) -> None:
        """ApiError forbidden_origin for a page of another site that is not allowed."""

    def require(self, headers: Headers, scope: str) -> None:
        """ApiError unauthorized or forbidden without a key of this scope."""


class WebSocketEndpoint:
    """An ASGI application for the route /ws/{client_id} (path parameter `client_id`).

    Query string: firehose=0 starts without the firehose, since=<offset> replays it, token=<key> is the key where a
    client cannot set headers. Refusals are HTTP responses with the usual body, before the upgrade.
    """

    def __init__(self, hub: Hub, gate: Gatekeeper) -> None:
        self._hub = hub
        self._gate = gate

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if (await receive())["type"] != "websocket.connect":
            return
        try:
            client_id, query = self._check(scope)
            self._hub.admit()
        except ApiError as error:
            await _refuse(scope, send, error)
            return
        try:
            await send({"type": "websocket.accept"})
            await self._serve(scope, receive, send, client_id, query)
        finally:
            self._hub.release()

    def _check(self, scope: MutableMapping[str, Any]) -> tuple[str, dict[str, str]]:
        query = {name: values[-1] for name, values in parse_qs(scope["query_string"].decode("latin-1")).items()}
        headers: Headers = list(scope["headers"])
        if "token" in query:  # `server.protocols` has moved it to the headers already, another server has not
            headers.append((b"authorization", b"Bearer " + query["token"].encode()))
        self._gate.check_origin(headers)
        self._gate.require(headers, "read")
        client_id = str(scope.get("path_params", {}).get("client_id") or scope["path"].rpartition("/")[2])
        if not client_id or len(client_id) > MAX_CLIENT_ID or not client_id.isprintable():
            raise ApiError("bad_request", f"a client id is 1 to {MAX_CLIENT_ID} printable characters")
        return client_id, query

    async def _serve(
        self, scope: MutableMapping[str, Any], receive: Receive, send: Send, client_id: str, query: dict[str, str]
    ) -> None:
        offered: Channel | None = scope.get("extensions", {}).get(EXTENSION)
        channel = AsgiChannel(send) if offered is None else offered
        firehose = query.get("firehose", "1").lower() not in ("0", "false", "off")
        session = self._hub.connect(channel, client_id, firehose, query.get("since"))
        try:
            await _listen(self._hub, session, receive)
        finally:
            self._hub.disconnect(session)
            if isinstance(channel, AsgiChannel):
                await channel.stop()


async def _listen(hub: Hub, session: Session, receive: Receive) -> None:
    """Serve what the client says until it is gone. While it does not read its answers, it is not listened to."""
    loop = asyncio.get_running_loop()
    while True:
        event = await receive()
        if event["type"] == "websocket.disconnect" or not session.channel.open:
            return
        session.channel.heard = True
        text = event.get("text")
        pause = handle(hub, session, event["bytes"] if text is None else text, loop.time())
        if session.full:
            session.flush()
        if pause:
            await asyncio.sleep(pause)
        if session.channel.blocked:
            await session.channel.drained()


async def _refuse(scope: MutableMapping[str, Any], send: Send, error: ApiError) -> None:
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": error.meaning.websocket, "reason": error.message[:100]})
        return
    body = error.json()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(name.lower().encode(), value.encode()) for name, value in error.headers().items()]
    await send({"type": "websocket.http.response.start", "status": error.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})
