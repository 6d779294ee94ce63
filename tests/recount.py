"""The oracle: every accepted sample, and each answer recounted from scratch with nothing but sorting and adding."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import cache

import numpy as np

from engine.levels import floor
from engine.model import COUNTER, DELTA, Applied, Entry, parse_series_key
from engine.query.bounds import Bounds
from engine.query.calendar import Calendar
from engine.query.execute import Table
from engine.query.value import Query


@dataclass(slots=True)
class Answer:
    """A table with the bounds it was computed for."""

    table: Table
    bounds: Bounds
    rows: dict[tuple[tuple[str, ...], int], tuple[float, int]]
    """(group, time of the step, 0 without) -> (value, count)."""


@dataclass(slots=True)
class Sample:
    """An accepted sample, as the oracle remembers it."""

    key: bytes
    labels: dict[str, str]
    name: str
    type: int
    total: bool
    delta: bool
    time: int
    position: int
    row: int
    value: float
    counts_in_increase: bool
    """For running totals: it was neither late nor behind what had been closed early."""


class Oracle:
    """Every accepted sample, and answers recounted from them."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.expired = 0

    def take(self, given: Entry, applied: Applied, lateness: int, closed: int, oldest: int) -> None:
        """Sees an entry. closed: the engine's boundary as its rows were filed; oldest: start of the oldest block."""
        if given.batch is None:
            return
        parsed = [(key, parse_series_key(key)) for key in given.batch.keys]
        duplicate = applied.duplicate
        for row, (code, value, time) in enumerate(
            zip(given.batch.codes.tolist(), given.batch.values.tolist(), given.batch.times.tolist(), strict=True)
        ):
            if duplicate is not None and duplicate[row]:
                continue
            if time < closed and time < oldest:
                self.expired += 1
                continue
            key, series = parsed[code]
            self.samples.append(
                Sample(
                    key, dict(series.labels), series.name, series.type,
                    series.type == COUNTER and series.temporality != DELTA,
                    series.type == COUNTER and series.temporality == DELTA,
                    time, applied.position, row, value, time >= applied.stamp - lateness and time >= closed,
                )
            )  # fmt: skip

    def increases(self, name: str) -> list[tuple[Sample, float]]:
        """What each sample adds to its series' increase, those that add nothing left out."""
        found: list[tuple[Sample, float]] = []
        points: dict[bytes, dict[int, Sample]] = {}
        for sample in self.samples:
            if sample.name != name:
                continue
            if sample.delta:
                found.append((sample, sample.value))
            elif sample.total and sample.counts_in_increase:
                points.setdefault(sample.key, {})[sample.time] = sample  # the higher offset wins
        for of_series in points.values():
            before: float | None = None
            for time in sorted(of_series):
                sample = of_series[time]
                if before is not None:
                    delta = sample.value if sample.value < before else sample.value - before
                    found.append((sample, delta))
                before = sample.value
        return found

    def check(self, query: Query, answer: Answer) -> None:
        """Asserts that an answer is the recount over its own bounds."""
        bounds = answer.bounds
        chosen = [s for s in self.samples if self._wanted(s, query, bounds)]
        cells: dict[tuple[tuple[str, ...], int], list[Sample]] = {}
        for sample in chosen:
            cells.setdefault(self._cell(sample, query, bounds), []).append(sample)
        present = {cell for cell, (_, count) in answer.rows.items() if count}
        assert present == set(cells), f"cells {present ^ set(cells)} differ for {query}"
        added: dict[tuple[tuple[str, ...], int], list[float]] = {}
        if query.aggregation in ("increase", "rate"):
            for sample, delta in self.increases(query.name):
                if self._wanted(sample, query, bounds):
                    added.setdefault(self._cell(sample, query, bounds), []).append(delta)
        if bounds.edges is not None and bounds.exact_from is None:
            assert query.calendar is not None
            check_edges(bounds.edges.tolist(), query.calendar)
        counters = any(s.type == COUNTER for s in chosen)
        for cell, samples in cells.items():
            value, count = answer.rows[cell]
            assert count == len(samples), f"count of {cell} in {query}: {count}, not {len(samples)}"
            if query.aggregation in ("increase", "rate"):
                if not counters:
                    continue
                deltas = added.get(cell, [])
                share = 1 / self._seconds(cell[1], bounds) if query.aggregation == "rate" else 1.0
                wanted = math.fsum(deltas) * share
                scale = math.fsum(abs(s.value) for s in samples) + math.fsum(map(abs, deltas))
                assert abs(value - wanted) <= 1e-12 * scale * share, f"{query} {cell}: {value}, not {wanted}"
            else:
                compare(query.aggregation or "count", value, samples, answer.table.error)

    @staticmethod
    def _wanted(sample: Sample, query: Query, bounds: Bounds) -> bool:
        return (
            sample.name == query.name
            and bounds.start <= sample.time < bounds.end
            and (query.type is None or sample.type == query.type)
            and all(matcher.accepts(sample.labels.get(matcher.label, "")) for matcher in query.matchers)
        )

    @staticmethod
    def _cell(sample: Sample, query: Query, bounds: Bounds) -> tuple[tuple[str, ...], int]:
        group = tuple(sample.labels.get(label, "") for label in query.group_by)
        if bounds.edges is not None:
            if bounds.exact_from is None and query.calendar is not None:
                return group, begin_of(first_day(sample.time, query.calendar), query.calendar.zone)
            return group, max(edge for edge in bounds.edges.tolist() if edge <= sample.time)
        return group, 0 if bounds.step is None else bounds.start + floor(sample.time - bounds.start, bounds.step)

    @staticmethod
    def _seconds(start: int, bounds: Bounds) -> float:
        if bounds.edges is not None:
            return (min(edge for edge in bounds.edges.tolist() if edge > start) - start) / 1000
        return (bounds.step or bounds.end - bounds.start) / 1000


def first_day(moment: int, calendar: Calendar) -> date:
    """The first day of the step that a moment lies in, by what the clock on the wall shows."""
    day = datetime.fromtimestamp(moment / 1000, calendar.zone).date()
    if calendar.unit == "mo":
        months = (day.year - 1970) * 12 + day.month - 1
        months -= months % calendar.count
        return date(1970 + months // 12, months % 12 + 1, 1)
    epoch, length = date(1970, 1, 1), calendar.count
    if calendar.unit == "w":
        epoch, length = date(1969, 12, 29 if calendar.first_weekday == 0 else 28), 7 * calendar.count
    return day - timedelta(days=(day - epoch).days % length)


@cache
def begin_of(day: date, zone: tzinfo) -> int:
    """The first minute, in ms, in which the clock on the wall shows a day or a later one: found by looking at each."""
    noon = int(datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp())
    for second in range(noon - 27 * 3600, noon + 27 * 3600, 60):
        if datetime.fromtimestamp(second, zone).date() >= day:
            return second * 1000
    raise AssertionError(f"{day} does not begin in {zone}")


def check_edges(edges: list[int], calendar: Calendar) -> None:
    """Asserts that edges are the beginnings of all steps between the first and the last."""
    for edge, following in itertools.pairwise(edges):
        assert edge < following
        assert edge == begin_of(first_day(edge, calendar), calendar.zone), f"{edge} begins no step of {calendar}"
        assert first_day(following - 1, calendar) == first_day(edge, calendar) < first_day(following, calendar)
    assert edges[-1] == begin_of(first_day(edges[-1], calendar), calendar.zone)


def compare(aggregation: str, value: float, samples: list[Sample], error: float) -> None:
    """Asserts one value against the samples it stands for."""
    values = [s.value for s in samples]
    n, magnitude = len(values), math.fsum(map(abs, values))
    what = f"{aggregation} of {n}: {value}"
    if aggregation == "count":
        assert value == n, what
    elif aggregation == "sum":
        assert abs(value - math.fsum(values)) <= 1e-12 * magnitude, what
    elif aggregation == "average":
        assert abs(value - math.fsum(values) / n) <= 1e-12 * magnitude / n, what
    elif aggregation in ("min", "max"):
        assert value == (min if aggregation == "min" else max)(values), what
    elif aggregation in ("first", "last"):
        assert value in edges(samples, latest=aggregation == "last"), what
    elif aggregation == "stddev":
        wanted = float(np.std(values))
        assert abs(value - wanted) <= 1e-9 * wanted + 1e-7 * max(map(abs, values)), f"{what}, not {wanted}"
    elif aggregation == "unique":
        distinct = len(set(values))
        assert abs(value - distinct) <= (0 if n <= 64 else max(0.08 * distinct, 2)), f"{what}, not {distinct}"
    else:
        rank = (
            0.5 if aggregation == "median" else float(aggregation.removeprefix("percentile_").replace("_", ".")) / 100
        )
        check_quantile(value, values, rank, error)


def edges(samples: list[Sample], latest: bool) -> set[float]:
    """The values first or last may have: of samples of one moment and entry, each series' own may stand."""
    pick = max if latest else min
    moment = pick((s.time, s.position) for s in samples)
    tied = [s for s in samples if (s.time, s.position) == moment]
    return {
        pick((s for s in tied if s.key == key), key=lambda s: s.row).value for key in {s.key for s in tied}
    }  # fmt: skip


def check_quantile(value: float, values: Sequence[float], rank: float, error: float) -> None:
    """Asserts a quantile: as numpy has it up to 64 values, else within the bound of the order statistics around it."""
    ordered = np.sort(np.array(values, np.float64))
    at = rank * (len(ordered) - 1)
    low, high = float(ordered[math.floor(at)]), float(ordered[math.ceil(at)])
    share = at - math.floor(at)
    exact = low * (1 - share) + high * share
    allowed = 4e-16 * max(abs(low), abs(high))
    if len(ordered) > 64:
        assert error > 0
        # Below 2^-1022 floats are 2^-1074 apart, which is more than any relative bound can promise.
        allowed += error * 1.000001 * (abs(low) * (1 - share) + abs(high) * share) + 5e-324
    assert abs(value - exact) <= allowed, f"quantile {rank} of {len(values)}: {value}, not {exact} +- {allowed}"
    assert ordered[0] <= value <= ordered[-1]
