"""What a store in DynamoDB costs: units, items and bytes of what a server writes and reads there, and a month's bill.

Units are counted from the sizes of items, as DynamoDB bills them; a stand-in takes the requests. Stamps are set, so a
day passes in seconds. What each name costs is measured with few names over a day, for it is the same for each; what a
flush costs besides is measured with 1,000 series over an hour.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from engine.levels import DAY, HOUR, MINUTE
from engine.query.value import Query
from tests.benchmarks.table import Figure, number
from tests.cost_support import FULL_GAUGES, FULL_HISTOGRAMS, GAUGES, HISTOGRAMS, KEEP, Kind, River, Tallying
from tests.dynamodb_support import Dynalite, aws_at

PRICES = "us-east-1, on demand, as of 2025-01, without the free tier"
WRITE_MILLION, READ_MILLION, GB_MONTH = 0.625, 0.125, 0.25
"""An example, in USD: look yours up."""
SERIES = 1_000
"""Over which what a flush costs by itself is spread."""
MINUTES, MONTH = 1_440, 30
LATE = 2 * MINUTE
"""After which an hour is over for sure."""
DAYS_AT_ONCE, DAYS_IN_BLOCK = 8, 32
LIMITS = {GAUGES: 0.1, HISTOGRAMS: 0.3, FULL_GAUGES: None, FULL_HISTOGRAMS: None}
LIKE = {FULL_GAUGES: GAUGES, FULL_HISTOGRAMS: HISTOGRAMS}
SPARE_DAYS = 35
QUERIES = 20_000


class Day(NamedTuple):
    """What one series costs in a day. bytes: by level, of what is written and stays until its retention is over."""

    writes: float
    reads: float
    items: float
    samples: int
    bytes: dict[str, float]


def store(folder: Path, quick: bool) -> Iterator[Figure]:
    """Writes for each kind of series, reads of a query, and the month of an example."""
    with stand_in(folder) as server:
        fixed = {kind: by_flush(client_at(server), kind, quick) for kind in (GAUGES, HISTOGRAMS)}
        found: dict[tuple[Kind, int], Day] = {}
        with River(client_at(server), 1, 10, GAUGES) as week:
            week.flow(0, DAYS_AT_ONCE * DAY + LATE)
            of_days = week.client.bytes("blocks/3") / week.series / DAYS_AT_ONCE
            for kind, limit in LIMITS.items():
                for per_name in (1, 10):
                    like = found.get((LIKE[kind], per_name)) if kind in LIKE else None
                    day = found[kind, per_name] = a_day(client_at(server), kind, per_name, of_days, like, quick)
                    hourly = fixed[HISTOGRAMS if kind.times > 1 else GAUGES]
                    yield figure(kind, per_name, day, hourly, limit)
            reads = {}
            for hours, step in ((1, 15_000), (24, 5 * MINUTE), (7 * 24, HOUR)):
                query = Query("metric", "metric_0000", aggregation="average", range=hours * HOUR, step=step)
                reads[hours] = week.read(query)
                note = "a metric of 10 series, nothing of it in the server's cache"
                yield Figure(f"DynamoDB, query of {hours} h by {step // 1000} s", reads[hours], "read units", note=note)
        yield month(found[GAUGES, 1], found[HISTOGRAMS, 1], fixed, reads[24], client_at(server))


@contextmanager
def stand_in(folder: Path) -> Iterator[Dynalite]:
    """A DynamoDB."""
    logging.getLogger("server.store.dynamodb").setLevel(logging.ERROR)  # dynalite lets nothing expire, and need not
    server = Dynalite(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def client_at(server: Dynalite) -> Tallying:
    """A client with tables of its own."""
    return Tallying.at(aws_at(server.url), f"t{secrets.token_hex(4)}")


def a_day(client: Tallying, kind: Kind, per_name: int, of_days: float, like: Day | None, quick: bool) -> Day:
    """One series' share of a day. of_days: bytes of its pane of a day, which is taken to be as large for all.

    like: the day whose fold to hours is taken for this one's as well; then a few hours are enough.
    """
    hours = 3 if quick or like is not None else 24
    with River(client, 4 if per_name == 1 else 1, per_name, kind) as river:
        river.flow(0, hours * HOUR + LATE)
    share = river.series * hours / 24
    whole = ("blocks/4", "blocks/1", "blocks/2")
    # A block of days is written over every 8 days, when it has 8, 16, 24 and 32 of them; the one before it is deleted.
    rewritten = sum(2 * days - DAYS_IN_BLOCK * (days == DAYS_IN_BLOCK) for days in range(8, 33, 8)) / DAYS_IN_BLOCK
    daily = rewritten * of_days / 1024 + 4 / DAYS_IN_BLOCK
    reads = client.usage.snapshot()["blocks"].read_units / share
    if like is None:
        folded = client.bytes("blocks/2") / share
    else:
        folded = like.bytes["blocks/2"]
        daily, reads = daily + folded / 1024, reads + client.bytes("blocks/1") / share / 4096
    return Day(
        client.units(*whole) / share + daily,
        reads,
        sum(client.written[kind].items for kind in whole if kind in client.written) / share,
        round(river.samples / share),
        {kind: client.bytes(kind) / share for kind in whole} | {"blocks/2": folded, "blocks/3": of_days},
    )


def by_flush(client: Tallying, kind: Kind, quick: bool) -> float:
    """Write units of an hour that belong to no name: checkpoint, manifest, head, index. Of 1,000 series."""
    per_name = 100 if quick else 10
    with River(client, SERIES // per_name, per_name, kind) as river:
        river.flow(0, 10 * MINUTE)
        before = client.units("state", "blocks/index")
        river.flow(10 * MINUTE, HOUR + LATE)
        assert river.rollups.flushes == 3, "at the beginning, when that hour is over, and the hour itself"
    return client.units("state", "blocks/index") - before


def figure(kind: Kind, per_name: int, day: Day, hourly: float, limit: float | None) -> Figure:
    """One line, and what it means for a million samples and 10,000 series-days."""
    units = day.writes + hourly * 24 / SERIES
    size = sum(day.bytes.values())
    million = 1e6 / day.samples
    note = (
        f"per million samples {number(units * million)} write units, {number(day.reads * million)} read units, "
        f"{number(day.items * million)} items, {number(size * million / 1e6)} MB; per 10,000 series-days "
        f"{number(units * 1e4)}, {number(day.reads * 1e4)}, {number(day.items * 1e4)}, {number(size * 1e4 / 1e6)} MB"
    )
    names = f"{kind.name}, {per_name} of a name"
    return Figure(f"DynamoDB, {names}", units / MINUTES, "write units/series and min", limit, note=note)


def month(gauge: Day, histogram: Day, fixed: dict[Kind, float], query: int, client: Tallying) -> Figure:
    """900 gauges and 100 histograms every 10 s, an event per second, queries of 24 h: the bill of a month."""
    with River(client, 1, 1, GAUGES) as river:
        river.flow(0, HOUR + LATE, events=10)
    events = client.units("events")
    flush = 0.9 * fixed[GAUGES] + 0.1 * fixed[HISTOGRAMS]
    writes = MONTH * (900 * gauge.writes + 100 * histogram.writes + 24 * (flush + events))
    reads = MONTH * (900 * gauge.reads + 100 * histogram.reads) + QUERIES * query
    stored = 900 * held(gauge) + 100 * held(histogram) + 25 * client.bytes("events") * 24 / 1e9
    bill = writes / 1e6 * WRITE_MILLION, reads / 1e6 * READ_MILLION, stored * GB_MONTH
    note = (
        f"900 gauges, 100 histograms of 10 values, two decimals, every 10 s; an event per second; {QUERIES:,} queries "
        f"of 24 h of 10 series: {writes / 1e6:.2f} M writes ${bill[0]:.2f}, {reads / 1e6:.2f} M reads ${bill[1]:.2f}, "
        f"{stored:.2f} GB after a year ${bill[2]:.2f} ({PRICES})"
    )
    return Figure("DynamoDB, a month of 1,000 series", sum(bill), "USD", note=note)


def held(day: Day) -> float:
    """GB of a series after a year: what is kept so long, items outliving their retention by 35 days."""
    levels = {"blocks/4": KEEP[0], "blocks/1": KEEP[1], "blocks/2": KEEP[2], "blocks/3": KEEP[3]}
    return sum(day.bytes[kind] * min(365, kept / DAY + SPARE_DAYS) for kind, kept in levels.items()) / 1e9
