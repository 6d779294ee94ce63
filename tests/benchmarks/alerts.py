"""What the evaluation of alerts costs: 10,000 instances, each second, with samples coming in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

import numpy as np

from engine.aggregates import Registry
from engine.engine import Engine
from engine.model import GAUGE, Applied, Batch, Entry, pack_series_key
from engine.query.plan import Limits
from engine.query.value import Query
from engine.rules.model import THRESHOLD, Readings, Rule
from server.answers import Answers
from server.questions import SavedQueries
from server.store import open_store
from server.subscribers.alerts import Alerts
from server.subscribers.alerts_readings import Readers
from tests.benchmarks.table import Figure

INSTANCES, EVERY, WINDOW = 10_000, 10, 300
"""Alert instances, seconds between two samples of a series, seconds of each rule's window."""
BEGIN = 1_700_000_000_000
TARGET = 10.0


def evaluation(folder: Path, quick: bool) -> Iterator[Figure]:
    """Percent of a core, with the instances in few rules and in many; and with all of them going up and down."""
    seconds = 10 if quick else 60
    for rules in (1, 10, 100):
        cost = asyncio.run(_run(folder / str(rules), rules, seconds, flap=False))
        name = f"10,000 alert instances of {rules} rules, each second"
        yield Figure(name, cost, "% core", TARGET, note=f"windows of {WINDOW} s, by host")
    cost = asyncio.run(_run(folder / "flap", 10, seconds, flap=True))
    yield Figure("10,000 alert instances that all go up and down each minute", cost, "% core", note="edges included")


async def _run(folder: Path, rules: int, seconds: int, flap: bool) -> float:
    store, engine, registry = open_store(f"sqlite:///{folder}.db"), Engine(), Registry()

    async def asked(query: Query) -> None: ...

    async def judge(rule: Rule, at: int) -> Readings | None: ...

    position = 0

    async def submit(entry: Entry) -> Applied:
        nonlocal position
        position += 1
        return engine.apply(entry, position)[0]

    answers = Answers(engine, store, registry, SavedQueries(store, registry), str, Limits(), 30, asked)
    known = {f"alert_{number}": _rule(number, flap) for number in range(rules)}
    alerts = Alerts(engine, Readers(engine, answers, judge), submit, lambda: known)
    keys = [
        pack_series_key(f"cpu{number}", GAUGE, labels=[("host", f"h{host}")])
        for number in range(rules) for host in range(INSTANCES // rules)
    ]  # fmt: skip
    chance, taken = np.random.default_rng(1), []
    warm = WINDOW + 100
    for second in range(warm + seconds):
        rows = np.arange(second % EVERY, len(keys), EVERY).astype(np.int32)
        high = 200.0 if flap and second // 60 % 2 else 50.0
        times = np.full(len(rows), BEGIN + second * 1000 + 500)
        batch = Batch(keys, rows, chance.normal(high, 10, len(rows)), times)
        position += 1
        alerts.applied(engine.apply(Entry(BEGIN + second * 1000 + 900, 1, position, batch=batch), position)[1])
        if second >= warm - 10:
            begun = time.process_time()
            await alerts.evaluate()
            taken.append(time.process_time() - begun)
    await asyncio.to_thread(store.close)
    return mean(taken[10:]) * 100


def _rule(number: int, flap: bool) -> Rule:
    window = (30 if flap else WINDOW) * 1000
    query = Query("metric", f"cpu{number}", aggregation="average", group_by=("host",), range=window)
    return Rule(f"alert_{number}", "CPU", THRESHOLD, query, critical=100.0, max_groups=INSTANCES)
