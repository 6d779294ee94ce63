"""The server's own numbers: what is counted, that it does not count itself, and what stands in the log."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.model import parse_series_key
from server import logs
from server.app import App
from server.config import load_settings
from server.counts import OTHER, RING, CountedApp, Counts, Ring
from server.log import LogFull
from server.selfmetrics import METRICS, SelfMetrics, Sources


@asynccontextmanager
async def running(folder: Path, **settings: Any) -> AsyncIterator[tuple[App, httpx.AsyncClient]]:
    """A whole server without sockets, and a client of it. It sends its numbers only when it is told."""
    given = {"data_dir": folder, "self_metrics": False, "metrics_log_interval": 0, "drain_seconds": 0} | settings
    app = App(load_settings(_env_file=None, **given))
    await app.open()
    try:
        await app.ready()
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            yield app, client
    finally:
        await app.close()


def numbers(app: App) -> SelfMetrics:
    return SelfMetrics(Sources(app.pipeline, app.counts, app.rollups, app.hub, app.live, app.alerting.numbers), 10, 0)


def value(app: App, name: str, **labels: str) -> float:
    """What one of our series has come to: the sum of a counter, the newest value of a gauge."""
    catalogue = app.engine.catalogue
    for one in catalogue.names[f"streamgauge_{name}"].series.view().tolist():
        if dict(parse_series_key(catalogue.keys[one]).labels) == labels:
            kept = app.engine.lifetime
            gauge = METRICS[f"streamgauge_{name}"].type == 1
            return float((kept.newest() if gauge else kept.sums())[one])
    raise KeyError((name, labels))


async def test_requests_are_counted_by_route_and_status_and_errors_by_code(tmp_path: Path) -> None:
    async with running(tmp_path) as (app, client):
        own = numbers(app)
        for name in ("query_0", "query_1"):
            assert (await client.get(f"/api/queries/{name}")).status_code == 404
        await client.get(f"/{'x' * 50}")
        good = await client.post("/api/metrics", json={"name": "a", "metric_type": "gauge", "value": 1})
        await client.post("/api/metrics", content=b"{")
        await client.post("/api/metrics", json={"name": "a", "metric_type": "gauge"})
        await client.request("BREW", "/api/stats")
        await own.send()
        assert value(app, "http_requests_total", method="GET", path="/api/queries/{query_id}", status="404") == 2
        assert value(app, "http_requests_total", method="GET", path=OTHER, status="404") == 1
        assert value(app, "http_requests_total", method="POST", path="/api/metrics", status="201") == 1
        assert value(app, "http_requests_total", method=OTHER, path=OTHER, status="405") == 1
        assert value(app, "http_errors_total", code="not_found", kind="CLIENT_ERROR") == 3
        assert value(app, "http_errors_total", code="bad_json", kind="CLIENT_ERROR") == 1
        assert value(app, "http_errors_total", code="invalid_rows", kind="CLIENT_ERROR") == 1
        assert value(app, "http_response_bytes_total", method="POST", path="/api/metrics") > len(good.content)
        durations = app.engine.catalogue.names["streamgauge_http_request_duration_seconds"].series.view()
        assert app.engine.lifetime.counts()[durations].sum() == 7
        assert 0 < app.engine.lifetime.sums()[durations].sum() < 5


async def test_an_internal_error_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path) as (app, client):

        def fail(*_: object) -> None:
            raise RuntimeError("on purpose")

        own = numbers(app)
        monkeypatch.setattr(app.answers.queries, "documents", fail)
        assert (await client.get("/api/queries")).status_code == 500
        await own.send()
        assert value(app, "http_requests_total", method="GET", path="/api/queries", status="500") == 1
        assert value(app, "http_errors_total", code="internal", kind="INTERNAL_ERROR") == 1
        assert value(app, "http_error_percent") == 100
        monkeypatch.undo()
        for path in ("/api/queries", "/api/queries/none", "/api/alerts", "/health"):
            await client.get(path)
        await own.send()
        assert value(app, "http_error_percent") == 0


async def test_it_does_not_count_itself_and_says_how_many_rows_were_its_own(tmp_path: Path) -> None:
    async with running(tmp_path) as (app, client):
        own = numbers(app)
        rows = [{"name": "a", "metric_type": "gauge", "value": 1}] * 3
        await client.post("/api/metrics", json=rows)
        for _ in range(5):
            await own.send()
        stats = (await client.get("/api/stats")).json()
        assert stats["total_metrics"] == 3 + stats["own_metrics"] and stats["own_metrics"] > 50
        assert value(app, "rows_total", outcome="accepted") == 3
        assert [m["name"] for m in stats["metrics"] if "own" not in m] == [stats["metrics"][0]["name"]] == ["a"]
        assert all(m["name"].startswith("streamgauge_") and m["own"] is True for m in stats["metrics"][1:])
        listed = (await client.get("/api/metrics")).json()
        assert [row["name"] for row in listed] == ["a"] * 3
        asked = (await client.get("/api/metrics?name=streamgauge_series&limit=2")).json()
        assert [row["name"] for row in asked] == ["streamgauge_series"] * 2


async def test_counters_go_on_after_a_restart_and_after_a_full_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as (app, client):
        own = numbers(app)
        await client.post("/api/metrics", json={"name": "a", "metric_type": "gauge", "value": 1})
        await own.send()
    async with running(tmp_path) as (app, client):
        own = numbers(app)
        await own.send()
        assert value(app, "rows_total", outcome="accepted") == 1, "what the ledger knew is no news"
        await client.post("/api/metrics", json={"name": "a", "metric_type": "gauge", "value": 1})

        async def full(*_: object) -> int:
            raise LogFull("on purpose")

        with monkeypatch.context() as patch:
            patch.setattr(app.log, "append", full)
            await own.send()
        assert value(app, "rows_total", outcome="accepted") == 1
        await own.send()
        assert value(app, "rows_total", outcome="accepted") == 2
        assert value(app, "http_requests_total", method="POST", path="/api/metrics", status="201") == 2


async def test_what_is_sent_is_bounded_and_described(tmp_path: Path) -> None:
    async with running(tmp_path) as (app, client):
        own = numbers(app)
        for _ in range(3 * RING):
            await client.post("/api/metrics", json={"name": "a", "metric_type": "gauge", "value": 1})
        before = app.engine.ledger.accepted
        await own.send()
        assert app.engine.ledger.accepted - before < 60 + 2 * RING
        await app.rollups.flush()
        await own.send()
        names = {name for name in app.engine.catalogue.names if name.startswith("streamgauge_")}
        assert names <= METRICS.keys()
        assert METRICS.keys() - names <= {"streamgauge_http_errors_total", "streamgauge_event_loop_lag_seconds"}
        assert value(app, "checkpoint_bytes") > 1000
        assert value(app, "log_size_bytes") > 1000
        assert value(app, "process_resident_bytes") > 10 << 20


async def test_it_runs_on_a_timer_and_writes_a_summary(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with running(tmp_path, self_metrics=True, self_metrics_interval=0.1, metrics_log_interval=0.3) as (
        app,
        client,
    ):
        await client.post("/api/metrics", json={"name": "a", "metric_type": "gauge", "value": 1})
        until = time.monotonic() + 5
        while not (lines := [r for r in caplog.records if r.name == "streamgauge.numbers"]):
            assert time.monotonic() < until
            await asyncio.sleep(0.02)
        assert "1 rows received" in lines[0].getMessage(), "its own are left out"
        data = lines[0].__dict__["data"]
        assert (data["accepted"], data["rejected"]) == (1, 0) and data["resident_bytes"] > 0
        assert value(app, "series") > 10
        assert app.engine.catalogue.names["streamgauge_event_loop_lag_seconds"]


async def test_own_metrics_are_in_the_firehose_of_those_who_ask(tmp_path: Path) -> None:
    async with running(tmp_path) as (app, client):
        offered: list[tuple[bool, int]] = []
        app.hub.firehose = lambda arrivals: offered.append((arrivals.own, arrivals.count))  # type: ignore[method-assign]
        await client.post("/api/metrics", json={"name": "a", "metric_type": "gauge", "value": 1})
        await numbers(app).send()
        assert offered[0] == (False, 1)
        assert [count for own, count in offered[1:] if not own] in ([], [0])
        assert sum(count for own, count in offered if own) == app.engine.lifetime.own_samples() > 0


def test_a_ring_keeps_the_newest() -> None:
    ring = Ring()
    assert ring.take() == []
    for number in range(RING + 5):
        ring.add(number)
    assert ring.take() == [float(number) for number in range(5, RING + 5)]
    ring.add(7)
    assert ring.take() == [7] and ring.take() == [] and ring.count == RING + 6


async def test_an_app_that_breaks_counts_as_500() -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("on purpose")

    counts = Counts()
    scope = {"type": "http", "method": "GET", "path": "/x", "headers": [(b"content-length", b"12")]}
    with pytest.raises(RuntimeError):
        await CountedApp(broken, counts, [])(scope, broken, broken)  # type: ignore[arg-type]
    tally = counts.tallies["GET", OTHER]
    assert (tally.statuses[500], tally.received, tally.sent) == (1, 12, 0)


async def test_each_query_that_is_asked_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with running(tmp_path) as (_, client):
        await client.post("/api/metrics", json={"name": "a", "metric_type": "gauge", "value": 1})
        body = {"query_string": 'metric:a{x!="\n"}', "aggregation": "sum", "step": "1m", "time_range": "5m"}
        for shape in ("rows", "columns"):
            assert (await client.post("/api/query", json=body | {"format": shape})).status_code == 200
    [rows, columns] = [record for record in caplog.records if record.name == logs.QUERIES]
    assert "\n" not in rows.getMessage()
    for record in (rows, columns):
        data = record.__dict__["data"]
        assert data["query"] == 'metric:a{x!="\n"}' and data["cost_ms"] > 0 and data["rows"] == 5
        assert data["samples"] == 1


def test_json_lines_hold_everything_on_one_line() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        import sys

        record = logging.LogRecord("a.b", logging.ERROR, "f", 1, "it %s", ("broke\n",), sys.exc_info())
    record.__dict__["data"] = {"rows": 3, "time": "never mine"}
    line = logs.JsonLines().format(record)
    assert "\n" not in line
    read = json.loads(line)
    assert (read["level"], read["logger"], read["message"], read["rows"]) == ("error", "a.b", "it broke\n", 3)
    assert read["time"].endswith("Z") and "ValueError: two\nlines" in read["exception"]


@pytest.mark.parametrize("queries", [True, False])
def test_the_settings_set_it_up(queries: bool, capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    kept = root.handlers[:], root.level
    try:
        logs.configure(
            load_settings(_env_file=None, log_level="info", log_format="JSON", enable_query_logging=queries)
        )
        logging.getLogger(logs.QUERIES).info("asked")
        logging.getLogger("x").debug("too fine")
        written = [json.loads(line)["message"] for line in capsys.readouterr().err.splitlines()]
        assert written == (["asked"] if queries else [])
    finally:
        logging.getLogger(logs.QUERIES).disabled = False
        root.handlers[:], root.level = kept[0], kept[1]
