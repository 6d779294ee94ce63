"""Bad input over real connections: each gets its documented error, never a 500, and the server lives on.

After every test the server must still be alive, take a good POST, and its ledger must add up.
"""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import Listener, Streamgauge

LIMIT = 200_000
"""MAX_BODY_BYTES of this server."""
GOOD = {"name": "good", "metric_type": "gauge", "value": 1}
DOCUMENTED = {200, 201, 202, 400, 404, 405, 408, 409, 413, 415, 422, 429, 504}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Streamgauge]:
    settings = {"MAX_BODY_BYTES": LIMIT, "BODY_TIMEOUT": "1", "CHECKPOINT_INTERVAL": "0.5", "LATENESS": "1"}
    server = Streamgauge(tmp_path_factory.mktemp("bad"), settings)
    server.start()
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.output, server.output[-4000:]


@pytest.fixture(scope="module", autouse=True)
def slow_heads(server: Streamgauge) -> Iterator[list[socket.socket]]:
    """Connections that began a request long ago and send a byte of its head now and then."""
    sockets = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
    for one in sockets:
        one.sendall(b"POST /api/metrics HTTP/1.1\r\nHost: localhost\r\nX-")
    over = threading.Event()

    def dribble() -> None:
        alive = list(sockets)
        while not over.wait(0.5):
            for one in list(alive):
                try:
                    one.sendall(b"a")
                except OSError:
                    alive.remove(one)

    thread = threading.Thread(target=dribble)
    thread.start()
    yield sockets
    over.set()
    thread.join()
    for one in sockets:
        one.close()


@pytest.fixture(autouse=True)
def lives_on(server: Streamgauge) -> Iterator[None]:
    yield
    assert server.child is not None and server.child.poll() is None, server.output[-4000:]
    assert server.call("GET", "/health")["status"] == "ok"
    server.call("POST", "/api/metrics", GOOD, expect=201)
    check_ledger(server.call("GET", "/api/ledger"))


def check_ledger(ledger: dict[str, Any]) -> None:
    """received = accepted + duplicate + what was rejected; events stand beside the accepted metrics."""
    rejected = sum(ledger["rejected"].values())
    assert ledger["received"] == ledger["accepted"] + ledger["events"] + ledger["duplicate"] + rejected


def refused(server: Streamgauge, body: bytes, status: int, path: str = "/api/metrics", **headers: str) -> dict[str, Any]:
    """The detail of a refusal, which the ledger counts as one row where it was read at all."""
    before = server.call("GET", "/api/ledger")
    answer = server.call("POST", path, body, status, **headers)
    after = server.call("GET", "/api/ledger")
    read = 1 if status in (400, 422) else 0
    assert sum(after["rejected"].values()) - sum(before["rejected"].values()) == read
    assert after["accepted"] == before["accepted"] and after["events"] == before["events"]
    detail: dict[str, Any] = answer["detail"]
    assert detail["message"]
    return detail


@pytest.mark.parametrize(
    ("body", "byte", "line"),
    [
        (b'{"name": "a", "metric_type": "gauge", "value": }', 47, 1),
        (b'{"name": "a",\n "metric_type": gauge}', 30, 2),
        (b'[{"name": "a"},\n\n {"name" "b"}]', 26, 3),
        (b'{"name": "a", "metric_type": "gauge", "value": 1', 48, 1),
        (b"", 0, 1),
        (b'{"name": "a", "metric_type": "gauge", "value": NaN}', 47, 1),
        (b'{"name": "a", "event_type": "\xff", "metric_type": "gauge", "value": 1}', 29, 1),
    ],
)
def test_malformed_json_is_refused_with_the_place(server: Streamgauge, body: bytes, byte: int, line: int) -> None:
    for path in ("/api/metrics", "/api/events"):
        detail = refused(server, body, 400, path)
        assert detail["code"] == "bad_json"
        assert abs(detail["position"] - byte) <= 1 and detail["line"] == line, detail
        assert f"line {line}" in detail["message"]
    status, answer = server.request("POST", "/api/query", body)
    assert status == 400 and answer["detail"]["code"] == "bad_json"  # type: ignore[index]


def metric(**more: Any) -> bytes:
    return json.dumps({"name": "bad", "metric_type": "gauge", "value": 1} | more).encode()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"5", "bad_row"), (b'"text"', "bad_row"), (b"null", "bad_row"), (b"{}", "missing_field"),
        (b'{"name": "a", "metric_type": "gauge"}', "missing_field"),
        (metric(name=5), "bad_name"), (metric(name=""), "bad_name"), (metric(name="a\nb"), "bad_name"),
        (metric(name="x" * 201), "too_long"), (metric(name=None), "bad_name"),
        (metric(metric_type="rainfall"), "bad_type"), (metric(metric_type=None), "bad_type"), (metric(metric_type=1), "bad_type"),
        (metric(value="5"), "bad_value"), (metric(value=True), "bad_value"), (metric(value=None), "bad_value"),
        (metric(value=[]), "bad_value"), (b'{"name": "a", "metric_type": "gauge", "value": 1e999}', "bad_value"),
        (b'{"name": "a", "metric_type": "gauge", "value": -1e999}', "bad_value"),
        (metric(tags=[]), "bad_labels"), (metric(tags="a=b"), "bad_labels"), (metric(tags={"a": {"b": "c"}}), "bad_labels"),
        (metric(tags={"a": ["b"]}), "bad_labels"), (metric(tags={"": "b"}), "bad_labels"), (metric(tags={"__a": "b"}), "bad_labels"),
        (metric(tags={f"t{n}": "v" for n in range(33)}), "bad_labels"), (metric(tags={"a": "x" * 1025}), None),
        (metric(tags={"x" * 201: "a"}), None), (metric(unit=5), "bad_name"), (metric(source=5), None),
        (metric(timestamp="yesterday"), "bad_timestamp"), (metric(timestamp={}), "bad_timestamp"), (metric(timestamp=1e300), "bad_timestamp"),
        (metric(timestamp=(datetime.now(UTC) + timedelta(minutes=11)).isoformat()), "future"),
        (metric(timestamp="1970-01-01T00:00:00Z"), "too_old"), (metric(timestamp=-1), "too_old"),
        (metric(temporality="sometimes"), "bad_temporality"), (metric(id=""), "bad_id"), (metric(id="x" * 1025), "bad_id"),
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
def test_bad_metrics(server: Streamgauge, body: bytes, reason: str | None) -> None:
    detail = refused(server, body, 422)
    assert detail["code"] == "invalid_rows"
    assert reason is None or detail["reason"] == reason, detail


def event(**more: Any) -> bytes:
    return json.dumps({"event_type": "bad"} | more).encode()


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"x": value}
    return value


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"[1]", None), (b"{}", "missing_field"), (event(event_type=5), "bad_name"), (event(event_type="x" * 201), "too_long"),
        (event(properties=[]), "bad_properties"), (event(properties="x"), "bad_properties"), (event(metadata=5), "bad_properties"),
        (event(properties=nested(17)), "too_deep"), (event(user_id={}), None), (event(user_id="x" * 1025), None),
        (event(timestamp="2020-01-01T00:00:00Z"), "too_old"), (event(timestamp=4102444800), "future"),
        (b'{"event_type": "a", "properties": {"x": 1e999}}', "bad_properties"),
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
def test_bad_events(server: Streamgauge, body: bytes, reason: str | None) -> None:
    answer = server.call("POST", "/api/events", body, expect=422)
    assert answer["detail"]["code"] == "invalid_rows"
    assert reason is None or answer["detail"]["reason"] == reason, answer


def test_an_event_too_deep_to_be_read(server: Streamgauge) -> None:
    body = b'{"event_type": "a", "properties": ' + b'{"x":' * 5000 + b"1" + b"}" * 5001
    detail = refused(server, body, 400, "/api/events")
    assert detail["code"] == "bad_json" and "too deeply" in detail["message"]
    answer = server.call("POST", "/api/events", b"[" + body + b"]", expect=422)
    assert answer["errors"][0]["reason"] == "too_deep"


def test_good_rows_beside_bad_ones_count(server: Streamgauge) -> None:
    lines = b"\n".join([metric(name="mixed"), b"{", b"", metric(name="mixed", value="x"), metric(name="mixed"), b"\xff", b"[]"])
    receipt = server.call("POST", "/api/metrics", lines, 202, Content_Type="application/x-ndjson")
    assert (receipt["accepted"], receipt["rejected"]) == (2, 4)
    assert [(error["index"], error["reason"]) for error in receipt["errors"]] == [
        (1, "bad_json"), (3, "bad_value"), (5, "bad_json"), (6, "bad_row"),
    ]  # fmt: skip
    bad = [json.loads(metric(value=None))] * 150
    receipt = server.call("POST", "/api/metrics", [*bad, GOOD], expect=202)
    assert (receipt["accepted"], receipt["rejected"], len(receipt["errors"])) == (1, 150, 100)
    refusal = server.call("POST", "/api/metrics", bad, expect=422)
    assert (refusal["detail"]["code"], refusal["rejected"]) == ("invalid_rows", 150)
    assert server.call("POST", "/api/metrics", [], expect=202)["accepted"] == 0
    assert server.ask("metric:mixed", aggregation="count")["data"] == [{"value": 2, "count": 2}]


# Bodies


def deflate(data: bytes) -> bytes:
    return zlib.compress(data)


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


PACKERS = {"gzip": gzip.compress, "deflate": deflate, "zstd": zstd}


@pytest.mark.parametrize("encoding", PACKERS)
def test_compressed_bodies(server: Streamgauge, encoding: str) -> None:
    pack = PACKERS[encoding]
    server.call("POST", "/api/metrics", pack(json.dumps(GOOD).encode()), 201, Content_Encoding=encoding)
    bomb = pack(b'{"name": "' + b"a" * 50_000_000 + b'"}')
    assert len(bomb) < LIMIT
    began = time.monotonic()
    assert refused(server, bomb, 413, Content_Encoding=encoding)["code"] == "body_too_large"
    assert time.monotonic() - began < 1
    for broken in (pack(metric())[:-5], b"not " + encoding.encode(), pack(metric())[:3]):
        assert refused(server, broken, 400, Content_Encoding=encoding)["code"] == "bad_request"
    assert refused(server, pack(b"{"), 400, Content_Encoding=encoding)["code"] == "bad_json"
    query = pack(b'{"query_string": "metric:good"}' + b" " * 1_000_000)
    assert server.call("POST", "/api/query", query, 413, Content_Encoding=encoding)["detail"]["code"] == "body_too_large"


def test_bodies_that_are_too_large_or_unreadable(server: Streamgauge) -> None:
    large = b'{"name": "' + b"a" * LIMIT + b'"}'
    assert refused(server, large, 413)["code"] == "body_too_large"
    assert refused(server, large, 413, "/api/events")["code"] == "body_too_large"
    for path in ("/api/query", "/api/queries", "/api/alerts", "/api/subscriptions"):
        assert server.call("POST", path, b"[" + b" " * 300_000, 413)["detail"]["code"] == "body_too_large"
    assert refused(server, metric(), 415, Content_Encoding="br")["code"] == "unsupported_encoding"
    assert refused(server, metric(), 415, Content_Encoding="gzip, gzip, gzip")["code"] == "unsupported_encoding"
    assert server.call("POST", "/api/metrics", metric(), 400, Idempotency_Key="k" * 1025)["detail"]["code"] == "bad_request"


def exchange(server: Streamgauge, *parts: bytes, pause: float = 0.0, seconds: float = 5.0) -> bytes:
    """The answer, or what there is of it when the connection ends; parts are sent with pauses between them."""
    answer = b""
    with socket.create_connection(("127.0.0.1", server.port), seconds) as connection:
        try:
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)
            while not is_whole(answer) and (part := connection.recv(65536)):
                answer += part
        except (TimeoutError, ConnectionError):
            pass
    return answer


def is_whole(answer: bytes) -> bool:
    """Whether an HTTP answer has come with all of its body."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return bool(lengths) and len(body) >= int(lengths[0])


HEAD = b"POST /api/metrics HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def test_bodies_larger_than_they_say_and_chunked_ones(server: Streamgauge) -> None:
    chunk = b"%x\r\n%b\r\n" % (65536, b" " * 65536)
    answer = exchange(server, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", chunk, chunk, chunk, chunk, seconds=2)
    assert answer.startswith(b"HTTP/1.1 413") and b"body_too_large" in answer
    answer = exchange(server, HEAD + b"Content-Length: 99999999999\r\n\r\n{", seconds=2)
    assert answer.startswith(b"HTTP/1.1 413") and b"body_too_large" in answer
    for length in (b"-1", b"abc", b"1, 2", b"99999999999999999999999999"):
        answer = exchange(server, HEAD + b"Content-Length: " + length + b"\r\n\r\n{}", seconds=2)
        assert answer[9:12] in (b"400", b"413"), answer
    for garbage in (b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"POST /api/metrics HTTP/9.9\r\n\r\n", b"\0" * 1000):
        assert exchange(server, garbage, seconds=2)[9:12] in (b"400", b"408", b"")


def test_a_slow_body_is_given_up(server: Streamgauge) -> None:
    began = time.monotonic()
    answer = exchange(server, HEAD + b"Content-Length: 1000\r\n\r\n", *[b" "] * 4, pause=0.1, seconds=4)
    assert answer.startswith(b"HTTP/1.1 408") and b'"timeout"' in answer
    assert time.monotonic() - began < 3
    exchange(server, HEAD + b"Content-Length: 1000\r\n\r\n{", seconds=0.05)  # one that leaves in the middle


def test_slow_heads_end_and_held_up_nobody(server: Streamgauge, slow_heads: list[socket.socket]) -> None:
    for one in slow_heads:
        one.settimeout(13)
        answer = b""
        try:
            while part := one.recv(65536):
                answer += part
        except ConnectionError:
            pass
        assert answer == b"" or answer.startswith(b"HTTP/1.1 408")


def test_a_head_that_is_too_large(server: Streamgauge) -> None:
    answer = exchange(server, HEAD + b"X-Large: " + b"a" * 200_000 + b"\r\n\r\n", seconds=2)
    assert answer[9:12] in (b"431", b"400", b"")


@pytest.mark.parametrize(
    "path",
    ["/%00", "/..%2f..%2fetc%2fpasswd", "//etc/passwd", "/" + "a" * 5000, "/%ff%fe", "/api/queries/%00", "/api/alerts/" + "x" * 900,
     "/api/queries/..%2f..", "/assets/../../pyproject.toml"],
    ids=lambda path: path[:30],
)  # fmt: skip
def test_strange_paths(server: Streamgauge, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        answer = exchange(server, f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        assert answer[9:12] in (b"404", b"405", b"400"), answer[:200]
        assert b'{"detail":{"code":' in answer and b"root:" not in answer


# WebSocket frames


def frame(opcode: int, payload: bytes, final: bool = True, masked: bool = True, reserved: int = 0) -> bytes:
    """A frame as a client sends it, well-formed or not."""
    head = bytes([(0x80 if final else 0) | reserved << 4 | opcode])
    mask = 0x80 if masked else 0
    size = len(payload)
    if size < 126:
        length = bytes([mask | size])
    elif size <= 0xFFFF:
        length = bytes([mask | 126]) + struct.pack(">H", size)
    else:
        length = bytes([mask | 127]) + struct.pack(">Q", size)
    return head + length + (bytes(4) if masked else b"") + payload


def upgraded(server: Streamgauge, client_id: str = "rude") -> socket.socket:
    """A bare socket after the handshake."""
    connection = socket.create_connection(("127.0.0.1", server.port), 5)
    connection.sendall(
        f"GET /ws/{client_id}?firehose=0 HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    answer = b""
    while b'"hello"' not in answer:
        part = connection.recv(65536)
        assert part, answer
        answer += part
    return connection


@pytest.mark.parametrize(
    "sent",
    [
        frame(1, b"{}", masked=False), frame(1, b"{}", reserved=4), frame(3, b"x"), frame(9, b"x" * 126), frame(0, b"x"),
        frame(1, b"a", final=False) + frame(1, b"b"), frame(1, b"\xff\xfe"), frame(8, b"\x00"), frame(8, struct.pack(">H", 5)),
        b"\x81\xff" + struct.pack(">Q", 1 << 62) + bytes(4), b"\x00" * 5000, b"GET / HTTP/1.1\r\n\r\n", frame(1, b"x" * 2_000_000),
    ],
    ids=lambda sent: f"{sent[:6].hex()}_{len(sent)}",
)  # fmt: skip
def test_junk_frames_end_only_their_connection(server: Streamgauge, sent: bytes) -> None:
    with server.listen("bystander") as bystander, upgraded(server) as rude:
        try:
            rude.sendall(sent)
            rude.settimeout(3)
            while rude.recv(65536):
                pass
        except TimeoutError:
            raise AssertionError("the connection stays open after a protocol error") from None
        except ConnectionError:
            pass
        server.call("POST", "/api/metrics", GOOD, expect=201)
        bystander.until("new_metric")


def test_fragments_are_joined_whatever_lies_between(server: Streamgauge) -> None:
    with upgraded(server) as client:
        for byte in (b'{"ty', b'pe":', b' "pi', b'ng"}'):
            final = byte.endswith(b"}")
            client.sendall(frame(1 if byte.startswith(b"{") else 0, byte, final=final) + frame(9, b"?"))
            time.sleep(0.02)
        client.settimeout(3)
        answer = b""
        while b'{"type":"pong"}' not in answer:
            answer += client.recv(65536)
        assert b"\x8a\x01?" in answer


def test_handshakes_that_are_none(server: Streamgauge) -> None:
    for head in ("", "Upgrade: websocket\r\n", "Upgrade: websocket\r\nConnection: Upgrade\r\n",
                 "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 99\r\n"):  # fmt: skip
        answer = exchange(server, f"GET /ws/a HTTP/1.1\r\nHost: localhost\r\n{head}\r\n".encode(), seconds=1)
        assert answer[9:10] == b"4", answer[:200]


def test_a_client_that_never_reads_holds_up_nobody(server: Streamgauge) -> None:
    def memory() -> int:
        assert server.child is not None
        return int(Path(f"/proc/{server.child.pid}/statm").read_text().split()[1]) * 4096

    stuck = upgraded(server, "stuck")
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    wide = {"query_string": "metric:wide", "aggregation": "sum", "group_by": ["k"]}
    for number in range(20):
        stuck.sendall(frame(1, json.dumps({"type": "subscribe", "query": wide | {"time_range": f"{number + 1}m"}}).encode()))
    rows = [{"name": "wide", "metric_type": "counter", "value": 1, "tags": {"k": str(n)}} for n in range(500)]
    with server.listen("reader", "?firehose=0") as reader:
        reader.subscribe(query=wide)
        before, slowest = 0, 0.0
        for number in range(1, 41):
            began = time.monotonic()
            server.call("POST", "/api/metrics", rows, expect=202)
            reader.until("realtime_update", lambda message: message["data"] and message["data"][0]["value"] == number)  # noqa: B023
            slowest = max(slowest, time.monotonic() - began)
            before = before or memory()
        assert slowest < 2
        assert memory() - before < 60 << 20
    stuck.close()


# At random


class Wire:
    """One connection that is used again and again."""

    def __init__(self, server: Streamgauge) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)

    def post(self, path: str, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """(status, decoded answer), which must be documented and JSON."""
        self.connection.request("POST", path, body, {"Content-Type": "application/json", **(headers or {})})
        answer = self.connection.getresponse()
        decoded = json.loads(answer.read())
        assert answer.status in DOCUMENTED, (answer.status, body[:500], decoded)
        assert answer.status < 400 or {"code", "message"} <= set(decoded["detail"])
        return answer.status, decoded


@pytest.fixture(scope="module")
def wire(server: Streamgauge) -> Iterator[Wire]:
    wire = Wire(server)
    yield wire
    wire.connection.close()


FUZZ = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
numbers = st.one_of(st.integers(-(2**70), 2**70), st.floats(), st.sampled_from([1e11, 99999999999, 253402300800, -0.0]))
texts = st.one_of(st.text(max_size=30), st.sampled_from(["gauge", "counter", "2024-01-01T00:00:00Z", "1h", "sum", "__name__", "\ud800"]))
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
anything = st.recursive(
    scalars, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)), max_leaves=12
)


def mostly(usual: Any) -> Any:
    """The usual value, or anything."""
    return st.one_of(st.just(usual), st.just(usual), anything)


METRICS = st.fixed_dictionaries(
    {"name": mostly("fuzz"), "metric_type": mostly("gauge"), "value": st.one_of(numbers, anything)},
    optional={"tags": st.one_of(st.dictionaries(texts, scalars, max_size=5), anything), "unit": mostly("m"), "source": mostly("s"),
              "timestamp": anything, "id": anything, "temporality": mostly("delta"), "extra": anything},
)  # fmt: skip
EVENTS = st.fixed_dictionaries(
    {"event_type": mostly("fuzz")},
    optional={"user_id": anything, "session_id": anything, "properties": anything, "metadata": anything, "timestamp": anything,
              "id": anything},
)  # fmt: skip
QUERIES = st.fixed_dictionaries(
    {"query_string": st.one_of(st.sampled_from(["metric:fuzz", "event:fuzz", 'metric:good{a=~"b.*"}', "metric:wide"]), anything)},
    optional={"aggregation": st.one_of(st.sampled_from(["sum", "unique", "rate", "p99", "median", "last"]), anything),
              "time_range": mostly("1h"), "from": st.one_of(numbers, anything), "to": st.one_of(numbers, anything), "at": numbers,
              "step": st.one_of(st.sampled_from(["1s", "5s", "7m", "3650d", "1w"]), anything), "group_by": mostly(["a", "k"]),
              "filters": anything, "format": mostly("columns"), "field": mostly("x")},
)  # fmt: skip


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


@FUZZ
@given(rows=st.lists(METRICS, min_size=1, max_size=5), how=st.sampled_from(["one", "array", "lines"]))
def test_any_metrics(wire: Wire, rows: list[Any], how: str) -> None:
    answer_rows(wire, "/api/metrics", rows, how)


@FUZZ
@given(rows=st.lists(EVENTS, min_size=1, max_size=5), how=st.sampled_from(["one", "array", "lines"]))
def test_any_events(wire: Wire, rows: list[Any], how: str) -> None:
    answer_rows(wire, "/api/events", rows, how)


def answer_rows(wire: Wire, path: str, rows: list[Any], how: str) -> None:
    if how == "one":
        status, answer = wire.post(path, encoded(rows[0]))
        assert status in (201, 400, 422)
        return
    lines = how == "lines"
    body = b"\n".join(map(encoded, rows)) if lines else encoded(rows)
    status, answer = wire.post(path, body, {"Content-Type": "application/x-ndjson"} if lines else None)
    if status in (202, 422):
        assert answer["accepted"] + answer["duplicate"] + answer["rejected"] == len(rows), (answer, body)
        assert len(answer["errors"]) == answer["rejected"]
    else:
        assert status == 400 and not lines, (status, body)


@FUZZ
@given(body=st.one_of(st.binary(max_size=200), st.text(alphabet='[]{}",:0159eE+-.ntf\\u "a', max_size=60).map(str.encode)),
       path=st.sampled_from(["/api/metrics", "/api/events", "/api/query", "/api/queries", "/api/alerts", "/api/subscriptions"]),
       encoding=st.sampled_from([None, None, "gzip", "deflate", "zstd"]))  # fmt: skip
def test_any_bytes(wire: Wire, body: bytes, path: str, encoding: str | None) -> None:
    wire.post(path, body, {"Content-Encoding": encoding} if encoding else None)


@FUZZ
@given(query=QUERIES)
def test_any_query(wire: Wire, query: Any) -> None:
    status, answer = wire.post("/api/query", encoded(query))
    if status == 200:
        assert "data" in answer or "columns" in answer


@settings(FUZZ, max_examples=60)
@given(message=st.one_of(anything, st.fixed_dictionaries(
    {"type": st.sampled_from(["subscribe", "unsubscribe", "configure", "ping"])},
    optional={"query": st.one_of(QUERIES, anything), "query_id": anything, "since": anything, "delta": anything,
              "subscription_id": anything, "firehose": anything, "max_rate": st.one_of(numbers, anything)})))  # fmt: skip
def test_any_message(server: Streamgauge, talker: list[Listener], message: Any) -> None:
    if not talker:
        talker.append(server.listen("talker", "?firehose=0"))
    talker[0].socket.send(encoded(message).decode("utf-8", "replace"))
    kind = talker[0].read()["type"]
    assert kind in {"error", "pong", "configured", "subscription_created", "subscription_deleted", "realtime_update",
                    "new_metric", "new_event", "dropped", "gap"}  # fmt: skip
    time.sleep(0.021)  # MAX_MESSAGE_RATE


@pytest.fixture(scope="module")
def talker() -> list[Listener]:
    """The one connection that all random messages go over."""
    return []


def test_after_any_message_the_connection_is_served(talker: list[Listener]) -> None:
    [listener] = talker
    listener.send(type="ping")
    listener.until("pong")
    listener.socket.close(timeout=1)


def test_all_of_it_is_in_the_ledger_and_survives_a_kill(server: Streamgauge) -> None:
    def counts() -> dict[str, Any]:
        return {name: count for name, count in server.call("GET", "/api/ledger").items() if name != "offset"}

    before = counts()
    assert len(before["rejected"]) > 12
    server.kill()
    server.start()
    assert counts() == before
