"""The wire of one connection as the hub sees it, and a channel for ASGI servers that hide their transport."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

from server.hub.frames import TEXT, payloads

logger = logging.getLogger("streamgauge.hub")

WRITE_BOUND = 64 * 1024
"""Bytes waiting in a connection's write buffer above which it counts as blocked and gets only the newest."""

EXTENSION = "streamgauge.transport"
"""Key in an ASGI scope's extensions under which `server.protocols` offers a Channel."""


class Channel(Protocol):
    """Writes whole frames to one connection and never waits.

    blocked: more than WRITE_BOUND bytes wait to be sent. on_drain is called when that ends.
    open: False as soon as the connection is ending.
    heard: set to True whenever the peer sent something or took what was waiting; the heartbeat sets it to False.
    """

    open: bool
    blocked: bool
    heard: bool
    on_drain: Callable[[], None] | None

    def write(self, parts: list[bytes], size: int) -> None:
        """Send the parts, which together are whole frames of `size` bytes. Nothing happens on a closing connection."""

    def ping(self) -> None:
        """Send a ping frame."""

    async def drained(self) -> None:
        """Return when the connection is not blocked, or is gone."""

    def close(self, code: int, reason: str) -> None:
        """Start the closing handshake; a peer that does not take part is cut off some seconds later."""

    def abort(self) -> None:
        """End the connection at once."""


Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class AsgiChannel:
    """A Channel over ASGI `send`: slower, the same behaviour. The server below does its own pings."""

    def __init__(self, send: Send) -> None:
        self.open = True
        self.blocked = False
        self.heard = True
        self.on_drain: Callable[[], None] | None = None
        self._send = send
        self._waiting: list[bytes] = []
        self._size = 0
        self._closing: tuple[int, str] | None = None
        self._wake = asyncio.Event()
        self._free = asyncio.Event()
        self._free.set()
        self._task = asyncio.create_task(self._run())

    def write(self, parts: list[bytes], size: int) -> None:
        if not self.open or self._task.done():
            return
        self._waiting.extend(parts)
        self._size += size
        if self._size > WRITE_BOUND:
            self.blocked = True
            self._free.clear()
        self._wake.set()

    def ping(self) -> None:
        self.heard = True  # the server's keepalive decides here

    async def drained(self) -> None:
        await self._free.wait()

    def close(self, code: int, reason: str) -> None:
        self.open = False
        self._closing = self._closing or (code, reason)
        self._wake.set()

    def abort(self) -> None:
        self.open = False
        self._task.cancel()
        self._free.set()

    async def stop(self) -> None:
        """End the writer; to be called when the connection is over."""
        self._task.cancel()
        await asyncio.wait([self._task])
        self._free.set()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            frames = b"".join(self._waiting)
            self._waiting.clear()
            try:
                for opcode, payload in payloads(frames):
                    if opcode == TEXT:
                        await self._send({"type": "websocket.send", "text": payload.decode()})
                if self._closing is not None and not self._waiting:
                    await self._send({"type": "websocket.close", "code": self._closing[0], "reason": self._closing[1]})
                    return
            except (OSError, RuntimeError) as error:  # what servers raise for a connection that is gone
                logger.debug("connection gone while sending: %r", error)
                return
            finally:
                self._size = sum(map(len, self._waiting))
                if self.blocked and self._size <= WRITE_BOUND:
                    self.blocked = False
                    self.heard = True
                    self._free.set()
                    if self.on_drain is not None:
                        self.on_drain()
