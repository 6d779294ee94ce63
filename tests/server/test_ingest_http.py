"""POST /api/metrics and /api/events: answers, receipts, refusals, and what reaches the log."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import numpy as np
import pytest

from engine.model import Applied, Entry, parse_series_key
from server.ingest.collector import Collector
from server.log import LogFull, LogUnavailable
from tests.server.ingest_support import NOW, FakeRiver, call, make_app

METRIC = {
    "name": "api_requests",
    "metric_type": "counter",
    "value": 1250,
    "tags": {"endpoint": "/api/users", "method": "GET"},
    "unit": "requests",
    "source": "api_server",
}
STORED = METRIC | {"id": "metric_e-1_0", "timestamp": "2023-11-14T22:13:20.000Z"}
EVENT = {"event_type": "page_view", "user_id": "u1", "properties": {"a": [1]}, "metadata": {"ip": "::1"}}


async def test_one_metric() -> None:
    river = FakeRiver()
    reply = await call(make_app(river), "/api/metrics", METRIC)
    assert (reply.status, reply.body) == (201, STORED)
    assert type(reply.body["value"]) is int and reply.headers["content-type"] == "application/json"
    assert reply.headers["access-control-allow-origin"] == "*"
    batch = river.entries[0].batch
    assert batch is not None and parse_series_key(batch.keys[0]).labels[-1] == ("source", "api_server")


async def test_one_event() -> None:
    river = FakeRiver()
    reply = await call(make_app(river), "/api/events", EVENT | {"timestamp": "2023-11-14T22:13:19Z"})
    times = {"id": "event_e-1_0", "timestamp": "2023-11-14T22:13:19.000Z", "session_id": None}
    assert (reply.status, reply.body) == (201, EVENT | times)
    assert river.entries[0].events[0].time == NOW - 1000


@pytest.mark.parametrize(("path", "row"), [("/api/metrics", METRIC), ("/api/events", EVENT)])
async def test_batches(path: str, row: dict[str, Any]) -> None:
    river = FakeRiver()
    app = make_app(river)
    receipt = {"accepted": 2, "duplicate": 0, "late": 0, "rejected": 0, "errors": [], "offset": "e-1"}
    reply = await call(app, path, [row, row])
    assert (reply.status, reply.body) == (202, receipt)
    lines = "\n".join(json.dumps(row) for _ in range(2)).encode()
    reply = await call(app, path, gzip.compress(lines), content_type="application/x-ndjson", content_encoding="gzip")
    assert (reply.status, reply.body) == (202, receipt | {"offset": "e-2"})
    reply = await call(app, path, [row, {"value": 1}, row])
    assert reply.status == 202 and reply.body["accepted"] == 2 and reply.body["rejected"] == 1
    assert [(e["index"], e["reason"]) for e in reply.body["errors"]] == [(1, "missing_field")]
    reply = await call(app, path, [])
    assert (reply.status, reply.body) == (202, receipt | {"accepted": 0, "offset": None})
    assert river.rejected == {"missing_field": 1} and len(river.entries) == 3


@pytest.mark.parametrize("path", ["/api/metrics", "/api/events"])
async def test_refused_rows_reach_the_ledger(path: str) -> None:
    river = FakeRiver()
    app = make_app(river)
    reply = await call(app, path, {"name": 1, "event_type": 1, "metric_type": "gauge", "value": 1})
    assert reply.status == 422 and reply.body["detail"]["code"] == "invalid_rows"
    assert reply.body["rejected"] == 1 and reply.body["offset"] == "e-1"
    reply = await call(app, path, [{}] * 150)
    assert reply.status == 422 and reply.body["rejected"] == 150 and len(reply.body["errors"]) == 100
    reply = await call(app, path, b"[{]")
    assert reply.status == 400 and reply.body["detail"] == {
        "code": "bad_json",
        "message": reply.body["detail"]["message"],
        "position": 2,
        "line": 1,
    }
    assert (await call(app, path, b"")).status == 400
    assert (await call(app, path, b"\x1f\x8b\x08", content_encoding="gzip")).body["detail"]["code"] == "bad_request"
    assert river.rejected == {"bad_name": 1, "missing_field": 150, "bad_json": 2, "bad_body": 1}


async def test_refused_requests_do_not_reach_the_log() -> None:
    river = FakeRiver()
    app = make_app(river, max_body_bytes="1 KiB")
    big = json.dumps([METRIC] * 100).encode()
    for body, headers, status, code in (
        (big, {}, 413, "body_too_large"),
        (b"", {"content_length": "2000"}, 413, "body_too_large"),
        (gzip.compress(big), {"content_encoding": "gzip"}, 413, "body_too_large"),
        (b"{}", {"content_encoding": "br"}, 415, "unsupported_encoding"),
        (b"{}", {"host": "evil.example"}, 403, "forbidden"),
        (b"{}", {"idempotency_key": "x" * 2000}, 400, "bad_request"),
    ):
        reply = await call(app, "/api/metrics", body, **headers)
        assert (reply.status, reply.body["detail"]["code"]) == (status, code)
    reply = await call(app, "/api/metrics", chunks=[b"0" * 1000, b"0" * 1000])
    assert reply.status == 413
    assert (await call(make_app(river, api_keys="ingest:12345678"), "/api/metrics", METRIC)).status == 401
    assert not river.entries
    allowed = make_app(river, api_keys="ingest:12345678")
    assert (await call(allowed, "/api/metrics", METRIC, host="x", x_api_key="12345678")).status == 201


async def test_a_body_in_parts_and_one_that_never_ends() -> None:
    app = make_app(FakeRiver(), body_timeout="100ms")
    raw = json.dumps(METRIC).encode()
    reply = await call(app, "/api/metrics", chunks=[raw[:10], b"", raw[10:]])
    assert reply.body == STORED
    reply = await call(app, "/api/metrics", raw[:10], stall=True)
    assert (reply.status, reply.body["detail"]["code"]) == (408, "timeout")


async def test_other_routes_are_left_to_the_next_app() -> None:
    app = make_app(FakeRiver())
    for path, method in (("/api/metrics", "GET"), ("/api/metrics/", "POST"), ("/api/stats", "GET")):
        assert (await call(app, path, method=method)).status == 418
    ask = {"origin": "https://x.example", "access_control_request_method": "POST"}
    reply = await call(app, "/api/metrics", method="OPTIONS", **ask)
    assert reply.status == 204 and reply.headers["access-control-allow-origin"] == "*"


async def test_one_tick_is_one_entry() -> None:
    river = FakeRiver()
    app = make_app(river)
    other = METRIC | {"name": "other"}
    replies = await asyncio.gather(
        call(app, "/api/metrics", METRIC),
        call(app, "/api/metrics", [other, METRIC, {}]),
        call(app, "/api/events", EVENT),
        call(app, "/api/metrics", other),
        call(app, "/api/metrics", METRIC | {"id": "x"}, idempotency_key="k"),
        call(app, "/api/events", [EVENT, EVENT]),
    )
    assert len(river.entries) == 1
    entry = river.entries[0]
    assert entry.batch is not None and entry.rejected == {"missing_field": 1} and len(entry.events) == 3
    names = [parse_series_key(entry.batch.keys[code]).name for code in entry.batch.codes]
    assert names == ["api_requests", "other", "api_requests", "other", "api_requests"]
    assert list(entry.batch.ids) == [4] and entry.requests[0].metrics == (4, 5) and entry.requests[0].events == (1, 1)
    assert [reply.body.get("id", reply.body.get("accepted")) for reply in replies] == [
        "metric_e-1_0", 2, "event_e-1_0", "metric_e-1_3", "metric_e-1_4", 2,
    ]  # fmt: skip


async def test_duplicates_late_rows_and_conflicts() -> None:
    river = FakeRiver()
    app = make_app(river)

    def apply(entry: Entry, position: int) -> Applied:
        rows = 0 if entry.batch is None else len(entry.batch)
        repeated = np.arange(rows) % 2 == 0
        applied = Applied(position, entry.stamp, late=np.ones(rows, bool), duplicate=repeated, first={0: (7, 9)})
        applied.events_duplicate, applied.events_first = np.ones(len(entry.events), bool), {0: (5, 6)}
        applied.conflicts = [i for i, r in enumerate(entry.requests) if r.key == entry.requests[0].key]
        return applied

    river.apply = apply
    assert (await call(app, "/api/metrics", METRIC)).body["id"] == "metric_e-7_9"
    assert (await call(app, "/api/events", EVENT)).body["id"] == "event_e-5_6"
    body = (await call(app, "/api/metrics", [METRIC] * 5)).body
    assert (body["accepted"], body["duplicate"], body["late"]) == (2, 3, 5)
    for path, row in (("/api/metrics", METRIC), ("/api/metrics", [METRIC]), ("/api/events", EVENT)):
        reply = await call(app, path, row, idempotency_key="k")
        assert (reply.status, reply.body["detail"]["code"]) == (409, "conflict")


async def test_the_same_key_and_body_have_the_same_hashes() -> None:
    river = FakeRiver()
    app = make_app(river)
    for key, row in (("a", METRIC), ("a", METRIC), ("b", METRIC), ("a", METRIC | {"value": 2})):
        await call(app, "/api/metrics", row, idempotency_key=key)
    one, same, other_key, other_body = [entry.requests[0] for entry in river.entries]
    assert one == same
    assert other_key.key != one.key and other_key.body == one.body
    assert other_body.key == one.key and other_body.body != one.body


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(LogFull("x"), 503, "log_full"), (LogUnavailable("x"), 503, "log_unavailable"), (KeyError("x"), 500, "internal")],
)
async def test_what_the_log_refuses(error: Exception, status: int, code: str) -> None:
    river = FakeRiver()
    app = make_app(river)

    def refuse(entry: Entry, position: int) -> Applied:
        raise error

    river.apply = refuse
    for body in (METRIC, [METRIC], [{}]):
        reply = await call(app, "/api/metrics", body)
        assert (reply.status, reply.body["detail"]["code"]) == (status, code)
        assert ("retry-after" in reply.headers) == (status == 503)
    assert (await call(app, "/api/metrics", b"{")).status == 400
    river.apply = lambda entry, position: Applied(position, entry.stamp)
    assert (await call(app, "/api/metrics", METRIC)).status == 201


async def test_what_waits_for_the_log_is_bounded() -> None:
    river = FakeRiver()
    river.hold = asyncio.Event()
    app = make_app(river)
    app._collector = collector = Collector(river, max_requests=3)
    waiting = [asyncio.create_task(call(app, "/api/metrics", METRIC)) for _ in range(3)]
    await asyncio.sleep(0.01)
    reply = await call(app, "/api/metrics", METRIC)
    assert reply.status == 429 and reply.headers["retry-after"] == "1"
    waiting[0].cancel()  # a client that leaves takes nothing from the others
    river.hold.set()
    assert [reply.status for reply in await asyncio.gather(*waiting[1:])] == [201, 201]
    await collector.drain()
    assert (await call(app, "/api/metrics", METRIC)).status == 201
