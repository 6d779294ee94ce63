"""Stand-ins for DynamoDB as real processes, and a proxy that makes the trouble DynamoDB makes.

moto is the more complete one (time to live), dynalite the stricter one (limits, empty text); neither bills, throttles
or fails by itself.
"""

from __future__ import annotations

import http.client
import json
import random
import socket
import struct
import sys
import threading
import time
import urllib.request
import zlib
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from server.store import Aws
from tests.support import ROOT, Process

REGION = "eu-central-1"
SECRETS = ("a-key-id", "a-secret-key", "a-session-token")


def aws_at(url: str, *, create_tables: bool = True) -> Aws:
    """How to reach a stand-in."""
    return Aws(url, *SECRETS, create_tables=create_tables)


def ask(url: str, operation: str, **body: Any) -> Any:
    """One request to a stand-in, as any program might send it."""
    headers = {
        "X-Amz-Target": f"DynamoDB_20120810.{operation}",
        "Content-Type": "application/x-amz-json-1.0",
        "X-Amz-Date": "20260101T000000Z",
        "Authorization": f"AWS4-HMAC-SHA256 Credential=k/20260101/{REGION}/dynamodb/aws4_request, "
        "SignedHeaders=host, Signature=s",
    }
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=10) as answer:
        return json.load(answer)


def make_table(url: str, name: str, **keys: str) -> None:
    """A table of somebody's own; keys: attribute -> type, the first is the hash key."""
    schema = [{"AttributeName": key, "KeyType": kind} for key, kind in zip(keys, ("HASH", "RANGE"), strict=False)]
    types = [{"AttributeName": key, "AttributeType": type} for key, type in keys.items()]
    ask(url, "CreateTable", TableName=name, KeySchema=schema, AttributeDefinitions=types, BillingMode="PAY_PER_REQUEST")


class StandIn(Process):
    """A process that answers as DynamoDB does, with its tables in memory."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status > 0
        except OSError:
            return False
        finally:
            connection.close()


MOTO = """
import threading
from moto.dynamodb.responses import DynamoHandler
from moto.server import main

one_by_one, act = threading.Lock(), DynamoHandler.call_action

def call_action(self):
    with one_by_one:
        return act(self)

DynamoHandler.call_action = call_action
main()
"""
"""moto answers on many threads, and looks at the condition of a put some time before it writes, so that another put may
come in between; with DynamoDB none can."""


class MotoServer(StandIn):
    """moto_server of the test requirements."""

    def command(self) -> list[str]:
        return [sys.executable, "-c", MOTO, "--host", "127.0.0.1", "--port", str(self.port)]


class Dynalite(StandIn):
    """dynalite, which `make setup` installs."""

    def command(self) -> list[str]:
        program = ROOT / "tests/dynalite/node_modules/dynalite/cli.js"
        assert program.is_file(), "dynalite is not installed; run `make setup`"
        at_once = ["--createTableMs", "0", "--deleteTableMs", "0", "--updateTableMs", "0"]
        return ["node", str(program), "--host", "127.0.0.1", "--port", str(self.port), *at_once]


ANSWERS = {
    "throughput": (400, "ProvisionedThroughputExceededException"),
    "throttling": (400, "ThrottlingException"),
    "limit": (400, "RequestLimitExceeded"),
    "error": (500, "InternalServerError"),
    "unavailable": (503, "ServiceUnavailable"),
    "denied": (400, "AccessDeniedException"),
    "signature": (400, "InvalidSignatureException"),
    "expired": (400, "ExpiredTokenException"),
    "unheard of": (400, "SomethingNewException"),
    "invalid": (400, "ValidationException"),
}
"""Kinds of trouble that are an answer of their own, the request goes no further."""
KINDS = {*ANSWERS, "slow", "hang", "cut", "lost", "reset", "garbled", "unprocessed"}
SLOW_SECONDS = 0.1


@dataclass
class Trouble:
    """What a proxy does to a share of the requests; `only` to these operations, and at most `times` if given."""

    kind: str
    share: float
    only: frozenset[str]
    times: int | None


class FaultProxy:
    """An HTTP proxy in front of a stand-in. Use it as a context; `trouble` and `calm` may be called at any time.

    Kinds of trouble besides those in ANSWERS: `slow` (passed on after SLOW_SECONDS), `hang` (no answer until there is
    calm, then the connection ends), `cut` (it ends before the request is passed on), `lost` (the request is carried
    out, and the connection ends instead of an answer), `reset` (the same, with a bang), `garbled` (a byte of the answer
    is another, its checksum is not), `unprocessed` (only part of a batch is passed on, the rest comes back).
    """

    def __init__(self, upstream: str, seed: int = 0) -> None:
        self.upstream = upstream.removeprefix("http://")
        self.seen: Counter[str] = Counter()
        """Operation -> requests that have come."""
        self.made: Counter[str] = Counter()
        """Kind -> how often it was made."""
        self.largest = 0
        """Bytes of the largest body that has come."""
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._troubles: list[Trouble] = []
        self._calm = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _handler_of(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def trouble(
        self, kind: str, share: float = 1.0, *, only: Collection[str] = (), times: int | None = None
    ) -> None:
        """From now on make this trouble too."""
        assert kind in KINDS, kind
        with self._lock:
            self._calm.clear()
            self._troubles.append(Trouble(kind, share, frozenset(only), times))

    def calm(self) -> None:
        """From now on pass everything on."""
        with self._lock:
            self._troubles.clear()
            self._calm.set()

    def until_calm(self) -> None:
        """Wait for calm, or for half a minute."""
        self._calm.wait(30)

    def choose(self, operation: str, size: int) -> str:
        """The trouble that a request gets, "" for none."""
        with self._lock:
            self.seen[operation] += 1
            self.largest = max(self.largest, size)
            for each in self._troubles:
                if (not each.only or operation in each.only) and each.times != 0 and self._random.random() < each.share:
                    each.times = each.times and each.times - 1
                    self.made[each.kind] += 1
                    return each.kind
        return ""

    def part(self, count: int) -> int:
        """How many of a batch are passed on: at least one."""
        with self._lock:
            return self._random.randrange(1, count) if count > 1 else count

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.calm()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    """Clients of it are killed; it need not complain of that."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


_BETWEEN = ("content-length", "host", "connection")
"""Headers that concern one connection only."""


class _Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    proxy: FaultProxy

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing; what came is in `seen` and `made`."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        operation = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
        kind = self.proxy.choose(operation, len(body))
        if kind in ANSWERS:
            self.refuse(*ANSWERS[kind])
        elif kind == "unprocessed" and operation.startswith("Batch"):
            self.pass_part(body)
        elif kind in ("hang", "cut"):
            if kind == "hang":
                self.proxy.until_calm()
            self.cut()
        else:
            if kind == "slow":
                time.sleep(SLOW_SECONDS)
            status, headers, answer = self.pass_on(body)
            if kind in ("lost", "reset"):
                self.cut(reset=kind == "reset")
                return
            if kind == "garbled":
                headers["x-amz-crc32"] = str(zlib.crc32(answer))
                answer = answer.replace(b"a", b"b", 1) if b"a" in answer else answer[:-1]
            self.answer(status, headers, answer)

    def pass_on(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """(status, headers, body) of the stand-in's answer."""
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _BETWEEN}
        upstream = http.client.HTTPConnection(self.proxy.upstream, timeout=30)
        upstream.request("POST", "/", body, headers | {"Connection": "close"})
        answer = upstream.getresponse()
        kept = {name: value for name, value in answer.getheaders() if name.lower().startswith(("content-type", "x-am"))}
        data = answer.read()
        upstream.close()
        return answer.status, kept, data

    def pass_part(self, body: bytes) -> None:
        """Pass a part of a batch on and give the rest back."""
        request = json.loads(body)
        ((table, wanted),) = request["RequestItems"].items()
        reading = isinstance(wanted, dict)
        each = wanted["Keys"] if reading else wanted
        part = self.proxy.part(len(each))
        taken = wanted | {"Keys": each[:part]} if reading else each[:part]
        status, headers, answer = self.pass_on(json.dumps({"RequestItems": {table: taken}}).encode())
        decoded = json.loads(answer)
        if part < len(each):
            left = {"Keys": each[part:]} if reading else each[part:]
            decoded["UnprocessedKeys" if reading else "UnprocessedItems"] = {table: left}
        headers.pop("x-amz-crc32", None)
        self.answer(status, headers, json.dumps(decoded).encode())

    def refuse(self, status: int, code: str) -> None:
        """An error as DynamoDB has it; the message repeats what must not be told, as that of AWS may."""
        said = f"The canonical request was {self.headers} {' '.join(SECRETS)}"
        body = json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": said}).encode()
        self.answer(status, {"Content-Type": "application/x-amz-json-1.0"}, body)

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def cut(self, *, reset: bool = False) -> None:
        """End the connection without a word."""
        self.close_connection = True
        if reset:  # closed without lingering, so that what was to be sent is thrown away
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            return
        self.connection.shutdown(socket.SHUT_RDWR)


def _handler_of(proxy: FaultProxy) -> type[_Handler]:
    return type("Handler", (_Handler,), {"proxy": proxy})
