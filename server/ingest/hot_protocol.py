"""The ingest routes straight from the bytes of a connection, for requests whose head came before, byte by byte.

A client that posts often sends the same head again and again. The first one goes the normal way, through uvicorn and
`IngestApp`; what uvicorn read in it is remembered under its bytes. From then on, a read that holds exactly this head
and as many bytes of body as it says needs no HTTP parser, no task and no ASGI messages. Everything else (other heads,
parts of requests, several at once) goes the normal way, and the answers are the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from server.errors import ApiError
from server.ingest.over_http import Answer, Head, IngestApp, read_head

MAX_HEADS = 1024
MAX_HEAD_BYTES = 4096

_STATUS = {status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus}
_NOT_HOT = {b"transfer-encoding", b"expect", b"upgrade", b"connection", b"idempotency-key"}


class _Known(NamedTuple):
    path: str
    head: Head
    length: int


if TYPE_CHECKING:

    class _Http(asyncio.Protocol):
        """What the mixin uses of uvicorn's HttpToolsProtocol."""

        loop: asyncio.AbstractEventLoop
        transport: asyncio.Transport
        config: Any
        flow: Any
        cycle: Any
        scope: Any
        server_state: Any
        root_path: str
        access_log: bool
        limit_concurrency: int | None
        timeout_keep_alive: float
        timeout_keep_alive_task: asyncio.TimerHandle | None

        def on_message_begin(self) -> None: ...
        def on_message_complete(self) -> None: ...
        def shutdown(self) -> None: ...
        def timeout_keep_alive_handler(self) -> None: ...

else:
    _Http = object


class HotRoutesMixin(_Http):
    """To be put before an HttpToolsProtocol class; see `hot_protocol`."""

    ingest: ClassVar[IngestApp]
    _heads: ClassVar[dict[bytes, _Known]]
    _default: ClassVar[tuple[object, bytes]] = (None, b"")

    _header_timer: asyncio.TimerHandle | None = None  # server.protocols ends connections by it
    _begun = 0  # requests that the parser has begun and ended on this connection
    _ended = 0
    _busy = False  # an answer of a hot request is due
    _held = b""  # what came meanwhile
    _closing = False
    _idle_since = 0.0

    def on_message_begin(self) -> None:
        self._begun += 1
        super().on_message_begin()

    def on_message_complete(self) -> None:
        self._ended += 1
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        if self._busy:
            self._held += data
            self.flow.pause_reading()
            return
        if not data.startswith(b"POST ") or not self._quiet():
            super().data_received(data)
            return
        end = data.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES) + 4
        known = self._heads.get(data[:end])
        if known is None:
            begun = self._begun
            super().data_received(data)
            if end > 3 and self._begun == begun + 1 == self._ended:
                self._remember(data[:end], len(data) - end)
        elif known.length != len(data) - end or self.flow.write_paused:
            super().data_received(data)
        else:
            if self._header_timer is not None:
                self._header_timer.cancel()
                self._header_timer = None
            self._busy = True
            self.ingest.post(known.path, data[end:], known.head, self._answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._held = b""
        super().connection_lost(exc)

    def shutdown(self) -> None:
        if self._busy:
            self._closing = True  # after the answer
        else:
            super().shutdown()

    def timeout_keep_alive_handler(self) -> None:
        # Hot requests leave the timer alone, which costs less than setting it anew each time.
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if self._busy or left > 0:
            left = self.timeout_keep_alive if self._busy else left
            self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()

    def _quiet(self) -> bool:
        """The last request on this connection is answered, and nothing of another has come."""
        return self._begun == self._ended and (self.cycle is None or self.cycle.response_complete)

    def _remember(self, head: bytes, length: int) -> None:
        scope = self.scope
        if not self.ingest.is_ready:
            return
        if scope.get("method") != "POST" or scope["path"] not in self.ingest.paths or scope["query_string"]:
            return
        if self.access_log or self.root_path or self.limit_concurrency is not None or scope["http_version"] != "1.1":
            return
        headers: Sequence[tuple[bytes, bytes]] = scope["headers"]
        if any(name in _NOT_HOT for name, _ in headers):
            return
        try:
            self.ingest.gate.require(headers, "ingest")
            found = read_head(headers)
        except ApiError:
            return
        if found.length != length or sum(name == b"content-length" for name, _ in headers) != 1:
            return
        if len(self._heads) >= MAX_HEADS:
            self._heads.clear()
        self._heads[head] = _Known(scope["path"], found, length)

    def _answer(self, answer: Answer) -> None:
        self._busy = False
        transport = self.transport
        if transport.is_closing():
            return
        transport.write(self._render(answer))
        self.server_state.total_requests += 1
        self._idle_since = self.loop.time()
        if self._closing:
            transport.close()
            return
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        if self._held:
            held, self._held = self._held, b""
            self.flow.resume_reading()
            self.data_received(held)

    def _render(self, answer: Answer) -> bytes:
        headers = self.server_state.default_headers  # uvicorn makes a new list each second
        made_of, default = HotRoutesMixin._default
        if made_of is not headers:
            default = b"".join(b"%b: %b\r\n" % pair for pair in headers)
            HotRoutesMixin._default = (headers, default)
        more = b"".join(b"%b: %b\r\n" % pair for pair in answer.headers) if answer.headers else b""
        if self._closing:
            more += b"connection: close\r\n"
        return (
            b"%b%bcontent-type: application/json\r\ncontent-length: %d\r\naccess-control-allow-origin: *\r\n%b\r\n%b"
            % (_STATUS[answer.status], default, len(answer.body), more, answer.body)
        )


def hot_protocol(base: type[Any], ingest: IngestApp) -> type[Any]:
    """A class for uvicorn's `http=`: `base` (HttpToolsProtocol or a subclass) with the hot routes of `ingest`."""
    return type(f"Hot{base.__name__}", (HotRoutesMixin, base), {"ingest": ingest, "_heads": {}})
