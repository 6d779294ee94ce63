"""The account: every row that was acknowledged, pane by pane, and what the ledger must say of all that was sent."""

from __future__ import annotations

import math
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any

from tests.faults.traffic import DAY, EVENTS, HOUR, MINUTE, SECOND, Request, Row, Series

WIDTHS = (5 * SECOND, MINUTE, HOUR, DAY)
TOTALS = ("f_total", "f_sum")
"""Counters whose `increase` reads running totals."""


class Misuse(Exception):
    """An answer that contradicts what is known, or is none of those expected."""


@dataclass(slots=True)
class Cell:
    """A pane as it must be."""

    count: int = 0
    sum: float = 0.0
    min: float = math.inf
    max: float = -math.inf

    def add(self, value: float) -> None:
        """One more sample."""
        self.count += 1
        self.sum += value
        self.min, self.max = min(self.min, value), max(self.max, value)


@dataclass(slots=True)
class Bounds:
    """A count known up to what unanswered attempts may have added."""

    least: int = 0
    most: int = 0

    def add(self, least: int, most: int | None = None) -> None:
        """Adds a number, or one that lies between two."""
        self.least += least
        self.most += least if most is None else most


Panes = dict[Series, dict[int, Cell]]


@dataclass(slots=True)
class Account:
    """All that was acknowledged. Senders settle their requests here, from any thread. lateness: ms."""

    lateness: int
    outages: bool = False
    """Whether the log may be away for a while without a kill."""
    floor: tuple[int, int] = (0, 0)
    """(since when, the least stamp an entry can have), where the server's clock is, or was, ahead."""
    ahead: int = 0
    """By how much the server's clock is ahead at most, in ms."""
    metrics: int = 0
    events: int = 0
    duplicate: Bounds = field(default_factory=Bounds)
    rejected: Bounds = field(default_factory=Bounds)
    panes: dict[int, Panes] = field(default_factory=lambda: {width: defaultdict(dict) for width in WIDTHS})
    arrivals: dict[Series, Cell] = field(default_factory=lambda: defaultdict(Cell))
    values: dict[Series, list[float]] = field(default_factory=lambda: defaultdict(list))
    newest: dict[Series, tuple[int, float]] = field(default_factory=dict)
    points: dict[Series, list[tuple[int, float]]] = field(default_factory=lambda: defaultdict(list))
    """The running totals that came in time, as (time, value)."""
    murky: set[Series] = field(default_factory=set)
    """Running totals of which one cannot be told from outside to have come in time: their increase is not recounted."""
    late: int = 0
    unanswered: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def settle(self, request: Request, status: int, answer: Any, now: int) -> None:
        """Takes the answer to a request, which came at `now`. Misuse where it cannot be."""
        with self.lock:
            self.unanswered += bool(request.tries)
            tries = len(request.tries)
            wanted = 201 if request.single else 202
            if request.conflict or not (request.rows or request.repeats):
                wanted = 409 if request.conflict else answer_to_junk(status)
                # A body that is no JSON is answered so even when the log takes no note of it.
                self.rejected.add(0 if status == 400 and self.outages else 1, 1 + tries)
            if status != wanted or (status == 202 and answer["rejected"] != request.bad):
                raise Misuse(f"{status} {str(answer)[:400]} to {request.headers} {request.body[:300]!r}")
            if status == 201:
                self._single(request, answer, now)
            elif status == 202:
                self._batch(request, answer, now)

    def _single(self, request: Request, answer: Any, now: int) -> None:
        self.duplicate.add(request.repeats, request.repeats + len(request.tries))
        for row in request.rows:
            if row.time is not None:
                if parse_time(answer["timestamp"]) != row.time:
                    raise Misuse(f"{row} is answered as {answer}")
                begin = request.tries[0][0] if request.tries else request.sent
                self._judge(row, begin, now)
            self._count(row)

    def _batch(self, request: Request, answer: Any, now: int) -> None:
        rows, repeats, bad, tries = len(request.rows), request.repeats, request.bad, len(request.tries)
        found = answer["accepted"], answer["duplicate"]
        if rows == 0 and found == (0, repeats):
            self.duplicate.add(repeats, (1 + tries) * repeats)
            self.rejected.add(bad, (1 + tries) * bad)
        elif found == (rows, repeats):  # no attempt before was taken
            self.duplicate.add(repeats)
            self.rejected.add(bad)
            self.late += answer["late"]
            in_time_order = sorted(request.rows, key=lambda row: math.inf if row.time is None else row.time)
            for index, row in enumerate(in_time_order):  # an entry has one stamp, so the oldest are the late ones
                row.late = index < answer["late"]
                self._count(row)
        elif found == (0, rows + repeats) and tries:  # at least one attempt before was taken
            self.duplicate.add(rows + 2 * repeats, repeats + tries * (rows + repeats))
            self.rejected.add(2 * bad, (1 + tries) * bad)
            for row in request.rows:
                self._judge(row, request.tries[0][0], request.tries[-1][1])
                self._count(row)
        else:
            raise Misuse(f"neither taken as a whole nor repeated as a whole: {rows} rows, {repeats} repeats, {answer}")

    def _judge(self, row: Row, begin: int, end: int) -> None:
        """Whether a row was late, where its entry was stamped between two moments."""
        if row.time is not None:
            since, floor = self.floor
            if row.time < (max(begin, floor) if begin >= since else begin) - self.lateness:
                row.late = True
            elif row.time >= end + self.ahead - self.lateness:
                row.late = False

    def _count(self, row: Row) -> None:
        series = row.series
        if series.name in EVENTS:
            self.events += 1
        else:
            self.metrics += 1
        if row.time is None:
            self.arrivals[series].add(row.value)
            return
        for width, panes in self.panes.items():
            start = row.time - row.time % width
            of_series = panes[series]
            cell = of_series.get(start)
            if cell is None:
                cell = of_series[start] = Cell()
            cell.add(row.value)
        self.values[series].append(row.value)
        if row.time > self.newest.get(series, (-1, 0.0))[0]:
            self.newest[series] = row.time, row.value
        if series.name in TOTALS:
            if row.late is None:
                self.murky.add(series)
            elif not row.late:
                self.points[series].append((row.time, row.value))

    def increases(self, series: Series) -> list[tuple[int, float]]:
        """(time, what it adds to the increase) of each running total; the first is the baseline, a drop a reset."""
        points = sorted(self.points[series])
        return [
            (time, value if value < before else value - before)
            for (_, before), (time, value) in pairwise(points)
        ]


def answer_to_junk(status: int) -> int:
    """The status itself where it is one that a body without any good row may get."""
    return status if status in (400, 422) else 422


def parse_time(text: str) -> int:
    """ms of an ISO 8601 time in an answer."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)
