"""Requests as fast as they are answered, over a few kept connections, with the time each took."""

from __future__ import annotations

import asyncio
import math
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

from server.cli.client import TIMEOUT, Client, lost
from server.cli.command import Fault

_SERVER_GONE = "the server ended the connection"


@dataclass
class Measure:
    """What a phase has measured. rows: per request."""

    name: str
    connections: int
    rows: int = 1
    seconds: float = 0.0
    took: list[float] = field(default_factory=list)
    """Seconds from sending to the answer, of those that were well answered."""
    errors: int = 0
    fault: str = ""
    """What the first error said."""

    @property
    def per_second(self) -> float:
        """Rows per second that were well answered."""
        return len(self.took) * self.rows / self.seconds if self.seconds else 0.0

    def percentile(self, part: float) -> float | None:
        """Milliseconds that this part of the requests stayed within; None without any."""
        if not self.took:
            return None
        ordered = sorted(self.took)
        return ordered[min(len(ordered) - 1, math.ceil(part * len(ordered)) - 1)] * 1000


class Connection(asyncio.Protocol):
    """One HTTP/1.1 connection with one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._needed = -1
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's do not inherit from it

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed; whoever waits for an answer is told."""
        self._fail(exc or ConnectionError(_SERVER_GONE))

    def data_received(self, data: bytes) -> None:
        """Bytes of an answer."""
        self._buffer = self._buffer + data if self._buffer else data
        if self._needed < 0:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            if at < 0 or not head.startswith(b"http/1."):
                self._fail(ConnectionError("the answer is not a Streamgauge server's"))
                return
            self._needed = end + 4 + int(head[at + 15 :].split(b"\r\n", 1)[0])
        if len(self._buffer) >= self._needed:
            answer, self._answer = self._answer, None
            body = self._buffer[: self._needed]
            self._buffer, self._needed = self._buffer[self._needed :], -1
            if answer is not None and not answer.done():
                answer.set_result((int(body[9:12]), body))

    async def send(self, request: bytes) -> tuple[int, bytes]:
        """(status, whole answer) of a request. ConnectionError where the connection ends before."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionError(_SERVER_GONE)
        answer: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self._answer = answer
        self._transport.write(request)
        return await answer

    def close(self) -> None:
        """Ends the connection."""
        if self._transport is not None:
            self._transport.close()

    def _fail(self, error: Exception) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_exception(error)


async def connect(client: Client) -> Connection:
    """A connection to the client's server. Fault where there is none."""
    secure = ssl.create_default_context() if client.base.scheme == "https" else None
    port = client.base.port or (443 if secure else 80)
    try:
        async with asyncio.timeout(TIMEOUT):
            _, connection = await asyncio.get_running_loop().create_connection(
                Connection, client.base.hostname or "", port, ssl=secure
            )
    except OSError as error:
        raise Fault(str(lost(client.url, error, TIMEOUT))) from None
    return connection


def request(client: Client, path: str, body: bytes, lines: bool = False) -> bytes:
    """A POST request as bytes. lines: the body is NDJSON."""
    head = [f"POST {client.base.path.rstrip('/')}{path} HTTP/1.1", f"Host: {client.base.netloc}"]
    head += [f"Content-Type: application/{'x-ndjson' if lines else 'json'}", f"Content-Length: {len(body)}"]
    head += [f"{name}: {value}" for name, value in client.headers.items()]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


async def press(client: Client, measure: Measure, seconds: float, requests: Iterator[bytes]) -> Measure:
    """Send the requests over the measure's connections for so long, each as soon as the one before is answered."""
    connections = [await connect(client) for _ in range(measure.connections)]
    begun = time.perf_counter()
    until = begun + seconds

    async def work(connection: Connection) -> None:
        while (sent := time.perf_counter()) < until:
            status, answer = await connection.send(next(requests))
            if 200 <= status < 300:
                measure.took.append(time.perf_counter() - sent)
            else:
                measure.errors += 1
                measure.fault = measure.fault or answer.rpartition(b"\r\n\r\n")[2].decode(errors="replace")
                await asyncio.sleep(0.01)

    try:
        await asyncio.gather(*map(work, connections))
    except OSError as error:
        raise Fault(str(lost(client.url, error, TIMEOUT))) from None
    finally:
        measure.seconds = time.perf_counter() - begun
        for connection in connections:
            connection.close()
    return measure
