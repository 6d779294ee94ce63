"""A preview of an alert: 30 days of 100 series, over HTTP, from stored panes to messages."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.benchmarks import load
from tests.benchmarks.machine import Meter, ours, peak_bytes, running
from tests.benchmarks.samples import head, now
from tests.benchmarks.table import Figure
from tests.support import Streamgauge

HOSTS, MINUTE, DAY = 100, 60_000, 86_400_000
TARGET = 2.0
ALERT = {
    "name": "Busy", "metric_name": "cpu", "aggregation": "average", "window": "5m", "group_by": ["host"],
    "threshold": 120, "for": "2m", "notification_channels": ["slack"],
}  # fmt: skip


def of_a_month(folder: Path, quick: bool) -> Iterator[Figure]:
    """Asked once, when nothing of it has been read before: all days but the last by the minute, that by 5 s."""
    days = 3 if quick else 30
    with running(ours(folder, {"CHECKPOINT_INTERVAL": 3})) as server:
        end = now() // MINUTE * MINUTE
        load.send_all(server.port, _bodies(end - days * DAY, end - DAY, MINUTE), 1)
        load.send_all(server.port, _bodies(end - DAY, end, 5000), 1)
        time.sleep(10)  # what is still to be rolled up and written
        meter = Meter(server.pid)
        found = _ask(server, days)
        spent = meter.read()
        again = _ask(server, days)["took"]
        parts = ", ".join(f"{each['resolution']} from {each['from'][:16]}" for each in found["evaluated"])
        note = (
            f"{spent.cpu:.2f} CPU-s, asked again {again:.2f} s; {found['total_episodes']} episodes, "
            f"{found['total_messages']} messages; by {parts}; at most {peak_bytes(server.pid) >> 20} MiB resident"
        )
        yield Figure(f"preview of {days} days x {HOSTS} series", found["took"], "s", TARGET, note=note)


def _ask(server: Streamgauge, days: int) -> dict[str, Any]:
    asked = {"alert": ALERT, "time_range": f"{days}d"}
    found: dict[str, Any] = server.call("POST", "/api/alerts/preview", asked)
    return found


def _bodies(begin: int, end: int, step: int) -> Iterator[bytes]:
    """Batches of ten moments each. Now and then a host is busy for ten minutes."""
    rng = random.Random(begin)
    busy = [0] * HOSTS
    for first in range(begin, end, 10 * step):
        rows = []
        for moment in range(first, min(first + 10 * step, end), step):
            for host in range(HOSTS):
                if rng.random() < step / MINUTE / 10_000:
                    busy[host] = moment + 10 * MINUTE
                value = 50 + rng.gauss(0, 5) + (100 if busy[host] > moment else 0)
                rows.append(
                    f'{{"name":"cpu","metric_type":"gauge","value":{value:.2f},"tags":{{"host":"h{host}"}},'
                    f'"timestamp":{moment}}}'
                )
        body = f"[{','.join(rows)}]".encode()
        yield head("/api/metrics", len(body)) + body
