"""A client of a running server: one kept connection, and errors as sentences. The standard library is all it needs."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import ssl
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

from server.cli.command import Fault

DEFAULT_URL = "http://127.0.0.1:8000"
TIMEOUT = 60.0
"""Seconds without a byte after which an answer is given up."""


class Reply(NamedTuple):
    """What the server answered. `headers` have lower-case names."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    def json(self) -> Any:
        """The decoded body; None where it is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    def message(self) -> str:
        """Why the server refused, in its own words where it has some."""
        detail = found.get("detail") if isinstance(found := self.json(), dict) else None
        if isinstance(detail, dict) and "message" in detail:
            return str(detail["message"])
        return f"HTTP status {self.status}, and nothing that a Streamgauge server says"


class Lost(Exception):
    """The connection was not made or broke before the answer was there. `refused`: nobody listens."""

    def __init__(self, message: str, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class Client:
    """Requests to the server at `url` (http or https, a path before /api is kept) with an API key, or "" for none."""

    def __init__(self, url: str = DEFAULT_URL, key: str = "", timeout: float = TIMEOUT) -> None:
        self.base = _split(url)
        self.url = self.base.geturl().rstrip("/")
        self._key = key
        self._timeout = timeout
        self._connection: http.client.HTTPConnection | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Those that carry the key."""
        return {"Authorization": f"Bearer {self._key}"} if self._key else {}

    @property
    def socket_url(self) -> str:
        """Where the server's WebSocket routes start."""
        return ("wss" if self.base.scheme == "https" else "ws") + self.url[len(self.base.scheme) :]

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """One request over the kept connection. Lost without an answer; nothing is tried twice."""
        connection = self._connection or self._connect()
        self._connection = None
        try:
            connection.request(method, self.base.path.rstrip("/") + path, body, {**self.headers, **(headers or {})})
            answer = connection.getresponse()
            reply = Reply(answer.status, answer.read(), {name.lower(): text for name, text in answer.getheaders()})
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._lost(error) from None
        if not answer.will_close:
            self._connection = connection
        return reply

    def call(self, method: str, path: str, body: object = None) -> Any:
        """The decoded answer to a request with a JSON body. Fault where the server cannot be reached or refuses."""
        data = None if body is None else json.dumps(body).encode()
        try:
            reply = self.request(method, path, data, {"Content-Type": "application/json"})
        except Lost as error:
            raise Fault(str(error)) from None
        if reply.status >= 300:
            raise refusal(reply)
        if (found := reply.json()) is None:
            raise Fault(f"{self.url} answers, but not as a Streamgauge server does; is the address right?")
        return found

    def close(self) -> None:
        """Ends the kept connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self.base.hostname or "", self.base.port
        if self.base.scheme == "https":
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(host, port, timeout=self._timeout)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=self._timeout)
        try:
            connection.connect()
        except OSError as error:
            raise self._lost(error) from None
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _lost(self, error: Exception) -> Lost:
        return lost(self.url, error, self._timeout)


def lost(url: str, error: Exception, timeout: float) -> Lost:
    """An error of the connection to `url` as a sentence."""
    if isinstance(error, ConnectionRefusedError):
        return Lost(
            f"nothing listens on {url}. Start a server with `streamgauge serve`, or name another one with --url.", True
        )
    if isinstance(error, socket.gaierror):
        return Lost(f"the host of {url} is not known ({error.strerror}).", True)
    if isinstance(error, TimeoutError):
        return Lost(f"{url} did not answer within {timeout:g} s.")
    if isinstance(error, ssl.SSLError):
        return Lost(f"no secure connection to {url}: {error.reason or error}.", True)
    if isinstance(error, http.client.HTTPException) and not isinstance(error, http.client.RemoteDisconnected):
        return Lost(f"{url} answers, but not with HTTP as a Streamgauge server does; is the address right?", True)
    return Lost(f"the connection to {url} broke ({error or type(error).__name__}).")


def refusal(reply: Reply) -> Fault:
    """The Fault for an answer that is an error."""
    hint = ""
    if reply.status in (401, 403) and "key" in reply.message():
        hint = " (give the key with --key or STREAMGAUGE_KEY)"
    return Fault(f"the server refused: {reply.message()}{hint}")


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Adds --url and --key, which every client command has."""
    group = parser.add_argument_group("the server")
    group.add_argument(
        "--url",
        default=os.environ.get("STREAMGAUGE_URL") or DEFAULT_URL,
        help=f"its address; else STREAMGAUGE_URL, else {DEFAULT_URL}",
    )
    group.add_argument(
        "--key", default=os.environ.get("STREAMGAUGE_KEY", ""), help="an API key; else STREAMGAUGE_KEY, which ps hides"
    )


def client_of(given: argparse.Namespace) -> Client:
    """The client that --url and --key ask for. Fault for a bad address or key."""
    if not given.key.isascii() or not given.key.isprintable():
        raise Fault("an API key has printable ASCII characters only; this one has others.")
    return Client(given.url, given.key)


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment:
        raise Fault(f"{url!r} is no address of a server; write it like {DEFAULT_URL}")
    return parts
