"""Bad input over real connections: each gets its documented error, never a 500, and the server lives on.

After every test the server must still be alive, take a good POST, and its ledger must add up.
"""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import zstandard

from tests.bad_input_support import GOOD, LIMIT, check_survives_a_kill, exchange
from tests.support import Streamgauge

pytestmark = pytest.mark.usefixtures("lives_on")


@pytest.fixture(scope="module", autouse=True)
def slow_heads(tough_server: Streamgauge) -> Iterator[list[socket.socket]]:
    """Connections that began a request long ago and send a byte of its head now and then."""
    sockets = [socket.create_connection(("127.0.0.1", tough_server.port)) for _ in range(20)]
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


def refused(
    tough_server: Streamgauge, body: bytes, status: int, path: str = "/api/metrics", **headers: str
) -> dict[str, Any]:
    """The detail of a refusal, which the ledger counts as one row where it was read at all."""
    before = tough_server.call("GET", "/api/ledger")
    answer = tough_server.call("POST", path, body, status, **headers)
    after = tough_server.call("GET", "/api/ledger")
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
        (b'{"name": "\xff", "event_type": "\xff", "metric_type": "gauge", "value": 1}', 10, 1),
    ],
)
def test_malformed_json_is_refused_with_the_place(tough_server: Streamgauge, body: bytes, byte: int, line: int) -> None:
    for path in ("/api/metrics", "/api/events"):
        detail = refused(tough_server, body, 400, path)
        assert detail["code"] == "bad_json"
        assert abs(detail["position"] - byte) <= 1 and detail["line"] == line, detail
        assert f"line {line}" in detail["message"]
    status, answer = tough_server.request("POST", "/api/query", body)
    assert status == 400 and answer["detail"]["code"] == "bad_json"


def metric(**more: Any) -> bytes:
    return json.dumps({"name": "bad", "metric_type": "gauge", "value": 1} | more).encode()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"5", "bad_row"),
        (b'"text"', "bad_row"),
        (b"null", "bad_row"),
        (b"{}", "missing_field"),
        (b'{"name": "a", "metric_type": "gauge"}', "missing_field"),
        (metric(name=5), "bad_name"),
        (metric(name=""), "bad_name"),
        (metric(name="a\nb"), "bad_name"),
        (metric(name="x" * 201), "too_long"),
        (metric(name=None), "bad_name"),
        (metric(metric_type="rainfall"), "bad_type"),
        (metric(metric_type=None), "bad_type"),
        (metric(metric_type=1), "bad_type"),
        (metric(value="5"), "bad_value"),
        (metric(value=True), "bad_value"),
        (metric(value=None), "bad_value"),
        (metric(value=[]), "bad_value"),
        (b'{"name": "a", "metric_type": "gauge", "value": 1e999}', "bad_value"),
        (b'{"name": "a", "metric_type": "gauge", "value": -1e999}', "bad_value"),
        (metric(tags=[]), "bad_labels"),
        (metric(tags="a=b"), "bad_labels"),
        (metric(tags={"a": {"b": "c"}}), "bad_labels"),
        (metric(tags={"a": ["b"]}), "bad_labels"),
        (metric(tags={"": "b"}), "bad_labels"),
        (metric(tags={"__a": "b"}), "bad_labels"),
        (metric(tags={f"t{n}": "v" for n in range(33)}), "bad_labels"),
        (metric(tags={"a": "x" * 1025}), None),
        (metric(tags={"x" * 201: "a"}), None),
        (metric(unit=5), "bad_name"),
        (metric(source=5), None),
        (metric(timestamp="yesterday"), "bad_timestamp"),
        (metric(timestamp={}), "bad_timestamp"),
        (metric(timestamp=1e300), "bad_timestamp"),
        (metric(timestamp=(datetime.now(UTC) + timedelta(hours=2)).isoformat()), "future"),
        (metric(timestamp="1970-01-01T00:00:00Z"), "too_old"),
        (metric(timestamp=-1), "too_old"),
        (metric(temporality="sometimes"), "bad_temporality"),
        (metric(id=""), "bad_id"),
        (metric(id="x" * 1025), "bad_id"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_bad_metrics(tough_server: Streamgauge, body: bytes, reason: str | None) -> None:
    detail = refused(tough_server, body, 422)
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
        (b"[1]", None),
        (b"{}", "missing_field"),
        (event(event_type=5), "bad_name"),
        (event(event_type="x" * 201), "too_long"),
        (event(properties=[]), "bad_properties"),
        (event(properties="x"), "bad_properties"),
        (event(metadata=5), "bad_properties"),
        (event(properties=nested(17)), "too_deep"),
        (event(user_id={}), None),
        (event(user_id="x" * 1025), None),
        (event(timestamp="2020-01-01T00:00:00Z"), "too_old"),
        (event(timestamp=4102444800), "future"),
        (b'{"event_type": "a", "properties": {"x": 1e999}}', "bad_properties"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_bad_events(tough_server: Streamgauge, body: bytes, reason: str | None) -> None:
    answer = tough_server.call("POST", "/api/events", body, expect=422)
    assert answer["detail"]["code"] == "invalid_rows"
    assert reason is None or answer["detail"]["reason"] == reason, answer


def test_an_event_too_deep_to_be_read(tough_server: Streamgauge) -> None:
    body = b'{"event_type": "a", "properties": ' + b'{"x":' * 5000 + b"1" + b"}" * 5001
    for whole in (body, b'[{"event_type": "deep"},' + body + b"]"):
        detail = refused(tough_server, whole, 400, "/api/events")
        assert detail["code"] == "bad_json" and "too deeply" in detail["message"]
    lines = b'{"event_type": "deep"}\n' + body
    receipt = tough_server.call("POST", "/api/events", lines, 202, Content_Type="application/x-ndjson")
    assert receipt["accepted"] == 1 and receipt["errors"][0]["reason"] == "too_deep"


def test_good_rows_beside_bad_ones_count(tough_server: Streamgauge) -> None:
    lines = b"\n".join(
        [metric(name="mixed"), b"{", b"", metric(name="mixed", value="x"), metric(name="mixed"), b"\xff", b"[]"]
    )
    receipt = tough_server.call("POST", "/api/metrics", lines, 202, Content_Type="application/x-ndjson")
    assert (receipt["accepted"], receipt["rejected"]) == (2, 4)
    assert [(error["index"], error["reason"]) for error in receipt["errors"]] == [
        (1, "bad_json"),
        (3, "bad_value"),
        (5, "bad_json"),
        (6, "bad_row"),
    ]
    bad = [json.loads(metric(value=None))] * 150
    receipt = tough_server.call("POST", "/api/metrics", [*bad, GOOD], expect=202)
    assert (receipt["accepted"], receipt["rejected"], len(receipt["errors"])) == (1, 150, 100)
    refusal = tough_server.call("POST", "/api/metrics", bad, expect=422)
    assert (refusal["detail"]["code"], refusal["rejected"]) == ("invalid_rows", 150)
    assert tough_server.call("POST", "/api/metrics", [], expect=202)["accepted"] == 0
    assert tough_server.ask("metric:mixed", aggregation="count")["data"] == [{"value": 2, "count": 2}]


# Bodies


def deflate(data: bytes) -> bytes:
    return zlib.compress(data)


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


PACKERS = {"gzip": gzip.compress, "deflate": deflate, "zstd": zstd}


@pytest.mark.parametrize("encoding", PACKERS)
def test_compressed_bodies(tough_server: Streamgauge, encoding: str) -> None:
    pack = PACKERS[encoding]
    tough_server.call("POST", "/api/metrics", pack(json.dumps(GOOD).encode()), 201, Content_Encoding=encoding)
    bomb = pack(b'{"name": "' + b"a" * 50_000_000 + b'"}')
    assert len(bomb) < LIMIT
    began = time.monotonic()
    assert refused(tough_server, bomb, 413, Content_Encoding=encoding)["code"] == "body_too_large"
    assert time.monotonic() - began < 1
    for broken in (pack(metric())[:-5], b"not " + encoding.encode(), pack(metric())[:3]):
        assert refused(tough_server, broken, 400, Content_Encoding=encoding)["code"] == "bad_request"
    assert refused(tough_server, pack(b"{"), 400, Content_Encoding=encoding)["code"] == "bad_json"
    query = pack(b'{"query_string": "metric:good"}' + b" " * 1_000_000)
    assert (
        tough_server.call("POST", "/api/query", query, 413, Content_Encoding=encoding)["detail"]["code"]
        == "body_too_large"
    )


def test_bodies_that_are_too_large_or_unreadable(tough_server: Streamgauge) -> None:
    large = b'{"name": "' + b"a" * LIMIT + b'"}'
    assert refused(tough_server, large, 413)["code"] == "body_too_large"
    assert refused(tough_server, large, 413, "/api/events")["code"] == "body_too_large"
    for name in ("query", "queries", "alerts", "alerts/preview", "silences", "dashboards", "subscriptions"):
        found = tough_server.call("POST", f"/api/{name}", b"[" + b" " * 300_000, 413)
        assert found["detail"]["code"] == "body_too_large"
    assert refused(tough_server, metric(), 415, Content_Encoding="br")["code"] == "unsupported_encoding"
    assert refused(tough_server, metric(), 415, Content_Encoding="gzip, gzip, gzip")["code"] == "unsupported_encoding"
    assert (
        tough_server.call("POST", "/api/metrics", metric(), 400, Idempotency_Key="k" * 1025)["detail"]["code"]
        == "bad_request"
    )


HEAD = b"POST /api/metrics HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def test_bodies_larger_than_they_say_and_chunked_ones(tough_server: Streamgauge) -> None:
    chunk = b"%x\r\n%b\r\n" % (65536, b" " * 65536)
    answer = exchange(tough_server, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", chunk, chunk, chunk, chunk, seconds=2)
    assert answer.startswith(b"HTTP/1.1 413") and b"body_too_large" in answer
    answer = exchange(tough_server, HEAD + b"Content-Length: 99999999999\r\n\r\n{", seconds=2)
    assert answer.startswith(b"HTTP/1.1 413") and b"body_too_large" in answer
    for length in (b"-1", b"abc", b"1, 2", b"99999999999999999999999999"):
        answer = exchange(tough_server, HEAD + b"Content-Length: " + length + b"\r\n\r\n{}", seconds=2)
        assert answer[9:12] in (b"400", b"413"), answer
    for garbage in (
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET\r\n\r\n",
        b"POST /api/metrics HTTP/9.9\r\n\r\n",
        b"\0" * 1000,
    ):
        assert exchange(tough_server, garbage, seconds=2)[9:12] in (b"400", b"408", b"")


def test_a_slow_body_is_given_up(tough_server: Streamgauge) -> None:
    began = time.monotonic()
    answer = exchange(tough_server, HEAD + b"Content-Length: 1000\r\n\r\n", *[b" "] * 4, pause=0.1, seconds=4)
    assert answer.startswith(b"HTTP/1.1 408") and b'"timeout"' in answer
    assert time.monotonic() - began < 3
    exchange(tough_server, HEAD + b"Content-Length: 1000\r\n\r\n{", seconds=0.05)  # one that leaves in the middle


def test_a_head_that_is_too_large(tough_server: Streamgauge) -> None:
    answer = exchange(tough_server, HEAD + b"X-Large: " + b"a" * 200_000 + b"\r\n\r\n", seconds=2)
    assert answer[9:12] in (b"431", b"400", b"")


@pytest.mark.parametrize(
    "path",
    [
        "/%00",
        "/..%2f..%2fetc%2fpasswd",
        "//etc/passwd",
        "/" + "a" * 5000,
        "/%ff%fe",
        "/api/queries/%00",
        "/api/alerts/" + "x" * 900,
        "/api/queries/..%2f..",
        "/api/dashboards/%2e%2e%2f",
        "/assets/../../pyproject.toml",
    ],
    ids=lambda path: path[:30],
)
def test_strange_paths(tough_server: Streamgauge, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        answer = exchange(
            tough_server, f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        )
        assert answer[9:12] in (b"404", b"405", b"400"), answer[:200]
        assert b'{"detail":{"code":' in answer and b"root:" not in answer


def test_slow_heads_end_and_held_up_nobody(tough_server: Streamgauge, slow_heads: list[socket.socket]) -> None:
    for one in slow_heads:
        one.settimeout(13)
        answer = b""
        try:
            while part := one.recv(65536):
                answer += part
        except ConnectionError:
            pass
        assert answer == b"" or answer.startswith(b"HTTP/1.1 408")


def test_all_of_it_is_in_the_ledger_and_survives_a_kill(tough_server: Streamgauge) -> None:
    assert len(check_survives_a_kill(tough_server)) > 12
