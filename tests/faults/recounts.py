"""Asks a server for everything, at every resolution, and compares it with the account."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from tests.faults.account import TOTALS, WIDTHS, Account, parse_time
from tests.faults.traffic import ANCHORS, ARRIVAL, DAY, EVENTS, HOUR, LABELS, MINUTE, NAMES, Series
from tests.recount import check_quantile
from tests.support import Streamgauge

Found = dict[tuple[Series, int], tuple[float, int]]
"""(series, start of the step) -> (value, count), steps without samples left out."""


def windows(start: int, now: int) -> Iterator[tuple[int, int, int]]:
    """(step, from, to) of the questions, which cover every stretch that has rows, at each resolution kept of it."""
    last = now + 15 * MINUTE
    ages = [age for age, _ in ANCHORS]
    for step, oldest in zip(WIDTHS, range(len(ages)), strict=True):
        if step < HOUR:
            yield step, start - 10 * MINUTE, last
            for age, spread in ANCHORS[: oldest + 1]:
                yield step, start - age - step, start - age + spread + step
        else:
            yield step, start - ages[oldest] - step, last


def recount(server: Streamgauge, account: Account, start: int, now: int, rng: random.Random, names: int) -> int:
    """Asserts that all answers are the recount; how many numbers were compared.

    start: of the campaign, in ms; names: how many of the metrics are asked for, drawn at random.
    """
    compared = check_ledger(server, account)
    for name in rng.sample(list(NAMES), names):
        for step, begin, end in windows(start, now):
            compared += check_panes(server, account, name, step, begin, end, rng)
        compared += check_whole(server, account, name, start - 500 * DAY, now + 15 * MINUTE, rng)
    whole = {"group_by": list(LABELS), "from_": start - DAY, "to": now + account.ahead + 15 * MINUTE}
    rows = server.ask(f"metric:{ARRIVAL}", aggregation="sum", **whole)["data"]
    found = {series_of(ARRIVAL, row): (row["value"], row["count"]) for row in rows if row["count"]}
    assert found == {series: (cell.sum, cell.count) for series, cell in account.arrivals.items()}
    return compared + len(found) + check_events(server, account, start, now)


def check_ledger(server: Streamgauge, account: Account) -> int:
    """The ledger balances, and says of each row what became of it."""
    ledger = server.call("GET", "/api/ledger")
    rejected = sum(ledger["rejected"].values())
    said = {name: ledger[name] for name in ("accepted", "events", "expired")}
    assert said == {"accepted": account.metrics, "events": account.events, "expired": 0}, ledger
    assert ledger["received"] == ledger["accepted"] + ledger["events"] + ledger["duplicate"] + rejected, ledger
    assert account.duplicate.least <= ledger["duplicate"] <= account.duplicate.most, (ledger, account.duplicate)
    assert account.rejected.least <= rejected <= account.rejected.most, (ledger, account.rejected)
    assert ledger.get("balanced", True), ledger
    return 5


def check_panes(
    server: Streamgauge, account: Account, name: str, step: int, begin: int, end: int, rng: random.Random
) -> int:
    """The panes of a metric over one stretch: sum and count, increase where it is a counter, else min or max."""
    aggregations = ["sum", "increase"] if name in (*TOTALS, "f_delta") else ["sum", rng.choice(("min", "max"))]
    compared = 0
    for aggregation in aggregations:
        answer, found = ask_panes(server, f"metric:{name}", aggregation, step, begin, end, list(LABELS))
        inside = range(*answer)
        wanted: Found = {}
        for series, cells in account.panes[step].items():
            if series.name == name:
                for at, cell in cells.items():
                    if at in inside:
                        wanted[series, at] = getattr(cell, aggregation, cell.sum), cell.count
        if aggregation == "increase" and name in TOTALS:
            wanted = increases(account, wanted, step)
            found = {
                at: (math.nan if at[0] in account.murky else value, count) for at, (value, count) in found.items()
            }
        compare(found, wanted, f"{aggregation} of {name} by {step} ms from {begin} to {end}")
        compared += len(found)
    return compared


def increases(account: Account, wanted: Found, step: int) -> Found:
    """The same cells, with what the running totals have grown by; NaN where that cannot be told."""
    grown: dict[tuple[Series, int], float] = defaultdict(float)
    for series in {series for series, _ in wanted}:
        for time, delta in account.increases(series):
            grown[series, time - time % step] += delta
    return {at: (math.nan if at[0] in account.murky else grown[at], count) for at, (_, count) in wanted.items()}


def check_whole(
    server: Streamgauge, account: Account, name: str, begin: int, end: int, rng: random.Random
) -> int:
    """A percentile, first or last over the whole of each series."""
    aggregation = "last" if name == "f_gauge" else rng.choice(("median", "percentile_90", "percentile_99"))
    answer = server.ask(f"metric:{name}", aggregation=aggregation, group_by=list(LABELS), from_=begin, to=end)
    of_name = {series for series in account.values if series.name == name}
    assert {series_of(name, row) for row in answer["data"] if row["count"]} == of_name
    for row in answer["data"]:
        series = series_of(name, row)
        values = account.values[series]
        assert row["count"] == len(values), (aggregation, row, len(values))
        if aggregation == "last":
            assert row["value"] == account.newest[series][1], (row, account.newest[series])
        else:
            rank = 0.5 if aggregation == "median" else float(aggregation.removeprefix("percentile_")) / 100
            check_quantile(row["value"], values, rank, answer.get("error_bound") or 0.0)
    return len(of_name)


def check_events(server: Streamgauge, account: Account, start: int, now: int) -> int:
    """The events of each type by minute: how many, and the sum of a property."""
    compared = 0
    for name in EVENTS:
        cells = account.panes[MINUTE].get(Series(name, "", ""), {})
        for aggregation, more in (("count", {}), ("sum", {"field": "amount"})):
            _, found = ask_panes(
                server, f"event:{name}", aggregation, MINUTE, start - 21 * HOUR, now + 15 * MINUTE, [], **more
            )
            wanted = {
                (Series(name, "", ""), at): (getattr(cell, aggregation), cell.count) for at, cell in cells.items()
            }
            compare(found, wanted, f"{aggregation} of {name}")
            compared += len(found)
    return compared


def ask_panes(
    server: Streamgauge, query: str, aggregation: str, step: int, begin: int, end: int, labels: list[str], **more: str
) -> tuple[tuple[int, int], Found]:
    """((from, to) that were answered for, what was found there)."""
    answer = server.ask(
        query, aggregation=aggregation, step=f"{step // 1000}s", from_=begin, to=end, group_by=labels,
        format="columns", **more,
    )  # fmt: skip
    bounds = parse_time(answer["from"]), parse_time(answer["to"])
    name = query.partition(":")[2]
    found: Found = {}
    for column in answer["columns"]["series"]:
        series = series_of(name, column)
        for at, value, count in zip(answer["columns"]["times"], column["values"], column["counts"], strict=True):
            assert at % step == 0, f"a step of {step} ms was answered with another one"
            if count:
                found[series, at] = value, count
    return bounds, found


def compare(found: Found, wanted: Found, what: str) -> None:
    """Asserts that both are the same."""
    if found.keys() == wanted.keys() and all(
        found[at][1] == count and (found[at][0] == value or math.isnan(value)) for at, (value, count) in wanted.items()
    ):
        return
    missing = {at: wanted[at] for at in wanted.keys() - found.keys()}
    extra = {at: found[at] for at in found.keys() - wanted.keys()}
    differ = {at: (found[at], wanted[at]) for at in found.keys() & wanted.keys() if found[at] != wanted[at]}
    raise AssertionError(
        f"{what}: {len(missing)} missing, {len(extra)} too many, {len(differ)} differ (found, wanted): "
        f"{list(missing.items())[:3]} {list(extra.items())[:3]} {list(differ.items())[:5]}"
    )


def series_of(name: str, row: Any) -> Series:
    """The series that a row of an answer stands for."""
    labels = row.get("labels") or {}
    return Series(name, labels.get("writer") or "", labels.get("k") or "")
