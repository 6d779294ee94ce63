"""What parsing costs: `python -m tests.benchmarks.parse` prints nanoseconds of CPU per sample."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from typing import Any

from server.wire.json_metrics import MetricParser
from server.wire.times import format_time

ARRIVAL = 1_700_000_600_000
ROWS = 1_000
SERIES = 10_000


def make_row(series: int, at: int, rng: random.Random) -> dict[str, Any]:
    """A gauge sample with four tags and a time in epoch ms."""
    return {
        "name": f"http_request_duration_{series % 20}",
        "metric_type": "gauge",
        "value": rng.random() * 100,
        "tags": {
            "host": f"host-{series // 20}",
            "region": "eu-west-1",
            "service": "checkout",
            "instance": f"i-{series:08d}",
        },
        "timestamp": ARRIVAL - 1000 + at,
    }


def make_bodies(count: int, change: Callable[[dict[str, Any]], None] | None = None) -> list[bytes]:
    """Bodies of ROWS rows of random series."""
    rng = random.Random(1)
    bodies = []
    for _ in range(count):
        rows = [make_row(rng.randrange(SERIES), i, rng) for i in range(ROWS)]
        for row in rows:
            if change is not None:
                change(row)
        bodies.append(json.dumps(rows, separators=(",", ":")).encode())
    return bodies


def measure(bodies: list[bytes], repeat: int = 5) -> float:
    """Nanoseconds of CPU per sample, best of some rounds over all bodies, the series known."""
    parser = MetricParser()
    best = float("inf")
    for _ in range(repeat + 1):
        start = time.process_time()
        for body in bodies:
            parser.many(body, ARRIVAL)
        best = min(best, (time.process_time() - start) / (len(bodies) * ROWS))
    return best * 1e9


def _iso(row: dict[str, Any]) -> None:
    row["timestamp"] = format_time(row["timestamp"])


def _full(row: dict[str, Any]) -> None:
    row["unit"] = "ms"
    row["source"] = "checkout"


def main() -> None:
    for what, change in (("epoch ms", None), ("ISO 8601", _iso), ("unit and source", _full)):
        print(f"array of {ROWS}, {SERIES} series, 4 tags, {what}: {measure(make_bodies(30, change)):.0f} ns/sample")
    parser, body = MetricParser(), json.dumps(make_row(1, 0, random.Random(1))).encode()
    start = time.process_time()
    for _ in range(100_000):
        parser.single(body, ARRIVAL)
    print(f"single object: {(time.process_time() - start) * 1e4:.0f} ns")


if __name__ == "__main__":
    main()
