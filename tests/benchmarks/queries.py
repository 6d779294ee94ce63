"""A dashboard's query: an hour of 1,000 counters, as rates summed by label."""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from urllib.parse import quote

from tests.benchmarks import load
from tests.benchmarks.machine import PROMETHEUS, VICTORIA, Prometheus, installed, ours, running, victoria
from tests.benchmarks.samples import Series, head, make_series, now, row
from tests.benchmarks.table import Figure
from tests.support import free_port

SERIES, LABEL = 1000, "service"
SPAN, EVERY, STEP = 3_600_000, 10_000, 15
GAP = 120_000
"""The data ends this long ago, so that all of it lies in stored blocks."""
TARGET = 15.0


def rate_by_label(folder: Path, quick: bool) -> Iterator[Figure]:
    """`sum by (service)` of `rate`, 1,000 series, 1 h in stored blocks, step 15 s; the answer is read whole."""
    series = make_series(SERIES, ("counter",), names=1)
    end = (now() - GAP) // 60_000 * 60_000
    moments = range(end - SPAN, end, EVERY)
    repeat = 30 if quick else 200
    peers = {}
    if installed(VICTORIA):
        peers["victoria"] = _victoria(folder, series, moments, repeat)
    if installed(PROMETHEUS):
        peers["prometheus"] = _prometheus(folder, series, moments, repeat)
    name, fastest = min(peers.items(), key=lambda peer: peer[1], default=("", None)) if peers else ("", None)
    value, note = _ours(folder, series, moments, repeat)
    others = "".join(f"; {peer} p50 {taken:.1f} ms" for peer, taken in peers.items())
    what = f"sum by ({LABEL}) of rate, {SERIES:,} series, 1 h, step {STEP} s, p50"
    yield Figure(what, value, "ms", TARGET, peer=fastest, peer_name=name, note=note + others)


def _ours(folder: Path, series: list[Series], moments: range, repeat: int) -> tuple[float, str]:
    with running(ours(folder, {"CHECKPOINT_INTERVAL": 1})) as server:
        load.send_all(server.port, _deltas(series, moments), 1)
        query = {
            "query_string": f"metric:{series[0].name}", "from": moments.start, "to": moments.stop,
            "step": f"{STEP}s", "aggregation": "rate", "group_by": [LABEL],
        }  # fmt: skip
        expected = SERIES * len(moments)
        until = time.monotonic() + 60
        while (found := _total(server.port, query)) != expected:
            if time.monotonic() > until:
                raise RuntimeError(f"of {expected} samples the query sees {found}")
            time.sleep(0.5)
        time.sleep(3)  # the last flush
        taken = {}
        for form in ("columns", "rows"):
            body = json.dumps({**query, "format": form}).encode()
            taken[form] = _times(server.port, head("/api/query", len(body)) + body, repeat)
    columns = sorted(taken["columns"])
    note = (
        f"as columns: first {taken['columns'][0]:.1f}, p99 {columns[int(len(columns) * 0.99)]:.1f} ms; "
        f"as rows p50 {median(taken['rows']):.1f} ms"
    )
    return median(columns), note


def _deltas(series: list[Series], moments: range) -> Iterator[bytes]:
    """Batches of one moment each. Running totals that come this late would not count in a rate, deltas do."""
    rng = random.Random(1)
    for moment in moments:
        more: dict[str, object] = {"temporality": "delta", "timestamp": moment}
        body = b"[" + b",".join(row(one, rng.randrange(100), more) for one in series) + b"]"
        yield head("/api/metrics", len(body)) + body


def _total(port: int, query: dict[str, object]) -> int:
    body = json.dumps({**query, "aggregation": "count", "step": None, "group_by": []}).encode()
    with load.connect(port) as connection:
        connection.sendall(head("/api/query", len(body)) + body)
        text = load.answer(connection).partition(b"\r\n\r\n")[2]
    rows = json.loads(text)["data"]
    return int(sum(found["value"] for found in rows))


def _times(port: int, request: bytes, repeat: int) -> list[float]:
    """Milliseconds of each of some requests on one connection."""
    taken = []
    with load.connect(port) as connection:
        for _ in range(repeat):
            begun = time.perf_counter()
            connection.sendall(request)
            load.answer(connection)
            taken.append((time.perf_counter() - begun) * 1000)
    return taken


def _totals(series: list[Series], moments: range) -> Iterator[tuple[Series, list[int]]]:
    rng = random.Random(1)
    for one in series:
        total, values = 0, []
        for _ in moments:
            total += rng.randrange(100)
            values.append(total)
        yield one, values


def _range_query(series: Series, moments: range, more: str) -> bytes:
    query = quote(f"sum by ({LABEL}) (rate({series.name}[1m]))")
    path = (
        f"/api/v1/query_range?query={query}&start={moments.start // 1000}&end={moments.stop // 1000}&step={STEP}s{more}"
    )
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def _victoria(folder: Path, series: list[Series], moments: range, repeat: int) -> float:
    with running(victoria(folder)) as server:
        for one, values in _totals(series, moments):
            labels = {"__name__": one.name, **one.labels}
            body = json.dumps({"metric": labels, "values": values, "timestamps": list(moments)}).encode()
            load.send_all(server.port, [head("/api/v1/import", len(body)) + body], 1)
        time.sleep(3)  # until what came is in parts that can be searched
        request = _range_query(series[0], moments, "&nocache=1")
        _check(server.port, request)
        return median(_times(server.port, request, repeat))


def _prometheus(folder: Path, series: list[Series], moments: range, repeat: int) -> float:
    directory = folder / "prometheus"
    directory.mkdir()
    text = directory / "data.txt"
    with text.open("w") as file:
        file.write(f"# TYPE {series[0].name.removesuffix('_total')} counter\n")
        for one, values in _totals(series, moments):
            labels = ",".join(f'{name}="{value}"' for name, value in one.labels.items())
            file.writelines(
                f"{one.name}{{{labels}}} {value} {moment / 1000}\n"
                for moment, value in zip(moments, values, strict=True)
            )
        file.write("# EOF\n")
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(text), str(directory / "data")]
    subprocess.run(command, check=True, capture_output=True)
    with running(Prometheus(directory, free_port())) as server:
        request = _range_query(series[0], moments, "")
        _check(server.port, request)
        return median(_times(server.port, request, repeat))


def _check(port: int, request: bytes) -> None:
    """RuntimeError where a peer finds nothing: its time would say nothing either."""
    with load.connect(port) as connection:
        connection.sendall(request)
        text = load.answer(connection)
    if text.count(b'"values"') < 2:
        raise RuntimeError(f"a peer finds no data: {text[:300]!r}")
