"""What is sent: series, and bodies as bytes in which only the time is missing.

Encoding while the clock runs would measure the generator, so the rows are encoded before and joined by the time.
"""

from __future__ import annotations

import json
import random
import time
from typing import NamedTuple

BATCH = 1000


class Series(NamedTuple):
    """One series: its name, type and four labels."""

    name: str
    type: str
    labels: dict[str, str]


def make_series(count: int, types: tuple[str, ...] = ("gauge", "histogram"), names: int = 20) -> list[Series]:
    """`count` series with 4 labels, spread over `names` names, whose types take turns."""
    return [
        Series(
            f"http_request_{types[number % names % len(types)]}_{number % names}",
            types[number % names % len(types)],
            {
                "host": f"host-{number // 20 % 500}",
                "region": ("eu-west-1", "us-east-1", "ap-south-1")[number % 3],
                "service": f"service-{number % 40}",
                "instance": f"i-{number:08d}",
            },
        )
        for number in range(count)
    ]


def now() -> int:
    """The time in ms."""
    return time.time_ns() // 1_000_000


def row(series: Series, value: float, more: dict[str, object] | None = None) -> bytes:
    """A sample as one JSON object."""
    body = {"name": series.name, "metric_type": series.type, "value": value, "tags": series.labels, **(more or {})}
    return json.dumps(body, separators=(",", ":")).encode()


class Body:
    """A body of many samples, all of one time that is filled in when it is sent."""

    __slots__ = ("_head", "_parts", "rows")

    def __init__(self, path: str, parts: list[bytes], rows: int) -> None:
        """parts: the body cut where the 13 digits of the time belong."""
        self._parts = parts
        self.rows = rows
        length = sum(map(len, parts)) + 13 * (len(parts) - 1)
        self._head = head(path, length)

    def at(self, moment: int) -> bytes:
        """The whole request, with the time in ms."""
        return self._head + (b"%d" % moment).join(self._parts)


def head(path: str, length: int) -> bytes:
    """The head of a POST as clients send it."""
    return (
        b"POST %b HTTP/1.1\r\nhost: 127.0.0.1:8000\r\nuser-agent: bench/1\r\naccept: */*\r\n"
        b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % (path.encode(), length)
    )


def batches(series: list[Series], size: int = BATCH, rounds: int = 2, seed: int = 1) -> list[Body]:
    """Bodies of POST /api/metrics with `size` rows that go through all series `rounds` times, shuffled."""
    return [
        Body(
            "/api/metrics",
            _cut(b"[", [row(*drawn)[:-1] + b',"timestamp":' for drawn in chunk], b"},", b"}]"),
            len(chunk),
        )
        for chunk in _chunks(series, size, rounds, seed)
    ]


def _cut(begin: bytes, rows: list[bytes], between: bytes, end: bytes) -> list[bytes]:
    """The parts between which the time belongs: each row up to its time begins with what ends the row before."""
    return [begin + rows[0], *(between + one for one in rows[1:]), end]


def imports(series: list[Series], size: int = BATCH, rounds: int = 2, seed: int = 1) -> list[Body]:
    """The same samples as `batches`, as VictoriaMetrics' JSON lines for POST /api/v1/import."""
    bodies = []
    for chunk in _chunks(series, size, rounds, seed):
        lines: list[bytes] = []
        for one, value in chunk:
            labels = {"__name__": one.name, **one.labels}
            line = json.dumps({"metric": labels, "values": [value]}, separators=(",", ":"))
            lines.append(line[:-1].encode() + b',"timestamps":[')
        bodies.append(Body("/api/v1/import", _cut(b"", lines, b"]}\n", b"]}\n"), len(chunk)))
    return bodies


def _chunks(series: list[Series], size: int, rounds: int, seed: int) -> list[list[tuple[Series, float]]]:
    rng = random.Random(seed)
    drawn = []
    for _ in range(rounds):
        order = list(series)
        rng.shuffle(order)
        drawn += [(one, round(rng.lognormvariate(3, 1), 3)) for one in order]
    return [drawn[at : at + size] for at in range(0, len(drawn), size)]


def singles(series: list[Series], count: int, seed: int = 1) -> list[bytes]:
    """Whole requests of one sample each, without a time."""
    rng = random.Random(seed)
    requests = []
    for _ in range(count):
        body = row(rng.choice(series), round(rng.lognormvariate(3, 1), 3))
        requests.append(head("/api/metrics", len(body)) + body)
    return requests
