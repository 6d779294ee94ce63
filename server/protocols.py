"""uvicorn's protocols and what they leave out: a way to a WebSocket's transport, bounds on slow or greedy peers.

WebSocketProtocol puts itself, as a `server.hub` Channel, into the scope's extensions. Writing a prebuilt frame past the
library is sound because only whole frames are ever written, from one thread, and only while the connection is open:
after the handshake's answer, before any close frame from either side, and the library itself never has a fragmented
message or unsent bytes pending when control returns to the loop.

HttpProtocol ends connections that do not finish a request's headers in time or send too many of them.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import PayloadTooBig
from websockets.frames import CloseCode, Frame
from websockets.http11 import Request
from websockets.protocol import State

from server.errors import ApiError
from server.hub import EXTENSION, WRITE_BOUND, ping_frame, text_frame
from server.wire.messages import error_message

HEADER_TIMEOUT = 10.0
"""Seconds in which a request's headers must be complete."""
MAX_HEADER_BYTES = 64 * 1024
CLOSE_TIMEOUT = 5.0
"""Seconds a peer has to finish the closing handshake and to take what was still to be sent."""
SHUTDOWN_TIMEOUT = 1.0
"""The same when the server stops, after `Hub.drain` has said goodbye."""
MAX_QUEUED_MESSAGES = 1024
"""Messages of one connection that may wait for the application (one read from the socket can hold many)."""
JOIN_BELOW = 32 * 1024
"""Bytes below which parts are joined for one write; larger ones stay apart, so that connections share them."""

_PING = ping_frame()


def refusal(status: int, phrase: bytes, body: bytes) -> bytes:
    """A whole HTTP response that ends its connection; the body is JSON."""
    later = b"retry-after: 1\r\n" if status == 503 else b""
    head = b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%bconnection: close\r\n\r\n"
    return head % (status, phrase, len(body), later) + body


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """One WebSocket connection, and the Channel to it. Compression and uvicorn's own pings are off."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ping_interval = None  # the hub's heartbeat does it
        self.conn.available_extensions = None
        self.open = False
        """Frames may be written: between the handshake's answer and the first close frame of either side."""
        self.blocked = False
        self.heard = True
        self.on_drain: Callable[[], None] | None = None
        self._abort_timer: asyncio.TimerHandle | None = None

    # The Channel

    def write(self, parts: list[bytes], size: int) -> None:
        if not self.open or self.transport.is_closing():  # uvloop raises on a closed transport
            return
        if size < JOIN_BELOW:
            self.transport.write(b"".join(parts))
        else:
            self.transport.writelines(parts)

    def ping(self) -> None:
        if self.open and not self.transport.is_closing():
            self.transport.write(_PING)

    async def drained(self) -> None:
        await self.writable.wait()

    def close(self, code: int, reason: str) -> None:
        if not self.open:
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.conn.send_close(code, reason)
        self._write_pending()
        self.close_sent = True
        self._end()

    def abort(self) -> None:
        self.open = False
        self.transport.abort()

    # What uvicorn calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(high=WRITE_BOUND, low=WRITE_BOUND // 4)
        sock = transport.get_extra_info("socket")
        if sock is not None and hasattr(socket, "TCP_NOTSENT_LOWAT") and sock.family != socket.AF_UNIX:
            # Otherwise the kernel would keep some MB of old updates for a slow reader.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 2 * WRITE_BOUND)

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        if self._abort_timer is not None:
            self._abort_timer.cancel()
            self._abort_timer = None
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.blocked = True

    def resume_writing(self) -> None:
        super().resume_writing()
        self.blocked = False
        self.heard = True
        if self.on_drain is not None:
            self.on_drain()

    def data_received(self, data: bytes) -> None:
        self.heard = True
        if self.conn.parser_exc is not None or self.conn.eof_sent:
            return  # the connection has failed or is over; what still comes is read and forgotten
        super().data_received(data)
        if self.open and self.conn.state is not State.OPEN:
            self._end()

        elif not self.handshake_initiated and self.conn.handshake_exc is not None:
            self._refuse_handshake(self.conn.handshake_exc)

    def eof_received(self) -> None:
        self.open = False
        self._arm_abort()

    def _refuse_handshake(self, error: Exception) -> None:
        """The library could not read the request (a header line too long, say) and would leave the peer waiting."""
        body = ApiError("bad_request", f"the WebSocket handshake cannot be read: {error}").json()
        self.transport.write(refusal(400, b"Bad Request", body))
        self.handshake_complete = self.close_sent = True
        self.transport.close()
        self._arm_abort()

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.close_sent:  # refused by the library: no valid handshake
            return
        cast("dict[str, object]", self.scope["extensions"])[EXTENSION] = self
        query = parse_qsl(self.scope["query_string"].decode("latin-1"), keep_blank_values=True)
        tokens = [value for name, value in query if name == "token"]
        if tokens:
            # A key must not reach the log line uvicorn writes for each connection, so it travels on as a header.
            rest = [(name, value) for name, value in query if name != "token"]
            self.scope["query_string"] = urlencode(rest).encode()
            headers = cast("list[tuple[bytes, bytes]]", self.scope["headers"])
            headers.append((b"authorization", b"Bearer " + tokens[0].encode()))

    def send_receive_event_to_app(self) -> None:
        if self.close_sent or self.conn.state is not State.OPEN:
            self.frames = []
            return
        if self.queue.qsize() >= MAX_QUEUED_MESSAGES:
            self.frames = []
            self.close(CloseCode.POLICY_VIOLATION, "too many messages at once")
            return
        if self.curr_msg_data_type == "text":
            data = b"".join(self.frames)
            try:
                data.decode()
            except UnicodeDecodeError as error:
                self.frames = []
                self.conn.fail(CloseCode.INVALID_DATA, f"{error.reason} at position {error.start}")
                self._fail()
                return
        super().send_receive_event_to_app()

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if message["type"] == "websocket.accept":
            self.open = self.handshake_complete and not self.close_sent
        elif message["type"] == "websocket.close" and self.open:
            self._end()

    def handle_parser_exception(self) -> None:
        error = self.conn.parser_exc
        if isinstance(error, PayloadTooBig) and self.open and not self.transport.is_closing():
            self.transport.write(text_frame(error_message("message_too_large", f"{error}; the connection ends")))
        self._fail()

    def handle_ping(self) -> None:
        self._write_pending()  # the pong, which the library has made

    def handle_close(self, event: Frame) -> None:
        super().handle_close(event)
        self._end()

    def shutdown(self) -> None:
        self.open = False
        self._arm_abort(SHUTDOWN_TIMEOUT)
        super().shutdown()

    # Ending

    def _write_pending(self) -> None:
        output = b"".join(self.conn.data_to_send())
        if output and not self.transport.is_closing():
            self.transport.write(output)

    def _fail(self) -> None:
        """After conn.fail(): say why, close our side, and read on so that the peer gets to see it."""
        closed = self.conn.close_sent
        code, reason = (closed.code, closed.reason) if closed is not None else (1006, "")
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self._write_pending()
        self.close_sent = True
        if not self.transport.is_closing() and self.transport.can_write_eof():
            self.transport.write_eof()
        self._end()

    def _end(self) -> None:
        """No more frames; whatever the peer does, the connection is gone after CLOSE_TIMEOUT."""
        self.open = False
        if self.read_paused and not self.transport.is_closing():
            self.read_paused = False
            self.transport.resume_reading()
        self._arm_abort()
        # uvicorn closes the transport as soon as the application returns, unless this is set.
        self.close_timer = self.close_timer or self._abort_timer

    def _arm_abort(self, seconds: float = CLOSE_TIMEOUT) -> None:
        if self._abort_timer is None and not self.disconnected:
            self._abort_timer = self.loop.call_later(seconds, self.transport.abort)


class HttpProtocol(HttpToolsProtocol):
    """HTTP/1.1 with a deadline and a bound for the headers of each request, and a bound for the connections."""

    max_connections = 1 << 20
    """Of all kinds, as many as there are file descriptors for."""
    _header_timer: asyncio.TimerHandle | None = None
    _header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            message = f"{self.max_connections} connections are open, and there are file descriptors for no more"
            self._refuse(503, b"Service Unavailable", "too_many_connections", message)
            return
        self._header_timer = self.loop.call_later(HEADER_TIMEOUT, self._headers_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._headers_done()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        scope = self.scope
        # uvicorn makes a new scope when a request begins and puts the method in when its headers are complete.
        if scope is not None and "method" in scope and not self._idle():
            if self._header_timer is not None:
                self._headers_done()
            return
        if self.transport.is_closing():
            return
        if not self._unread():
            self._header_bytes += len(data)
        if self._header_bytes > MAX_HEADER_BYTES:
            message = f"the headers of a request may have {MAX_HEADER_BYTES} bytes"
            self._refuse(431, b"Request Header Fields Too Large", "bad_request", message)
        elif self._header_timer is None:
            self._header_timer = self.loop.call_later(HEADER_TIMEOUT, self._headers_late)

    def handle_websocket_upgrade(self) -> None:
        self._headers_done()
        super().handle_websocket_upgrade()

    def _idle(self) -> bool:
        """Something came after a complete request and its answer, but no new request has begun (blank lines)."""
        cycle = self.cycle
        return cycle is not None and cycle.response_complete and cycle.scope is self.scope

    def _unread(self) -> bool:
        """What came belongs to a request that was answered before all of its body had come."""
        cycle = self.cycle
        return cycle is not None and cycle.response_complete and cycle.scope is self.scope and cycle.more_body

    def _headers_done(self) -> None:
        self._header_bytes = 0
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _headers_late(self) -> None:
        self._header_timer = None
        if self._unread():
            self.transport.close()
            return
        self._refuse(408, b"Request Timeout", "timeout", f"no complete request within {HEADER_TIMEOUT:g} s")

    def _refuse(self, status: int, phrase: bytes, code: str, message: str) -> None:
        if self.transport.is_closing():
            return
        body = ApiError(code, message).json()
        self.transport.write(refusal(status, phrase, body))
        self.transport.close()
