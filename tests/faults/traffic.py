"""Traffic: requests of every kind a sender can make, drawn at random, each with the rows it should count for."""

from __future__ import annotations

import gzip
import json
import random
import threading
import time
import zlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import zstandard

SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000
ANCHORS = ((2 * HOUR, 3 * MINUTE), (30 * HOUR, 40 * MINUTE), (45 * DAY, 5 * HOUR), (450 * DAY, 3 * DAY))
"""(age, spread) of old rows: one stretch for each resolution that is the finest to keep it."""
EVENT_ANCHORS = ((2 * HOUR, 3 * MINUTE), (20 * HOUR, 40 * MINUTE))
NAMES = {
    "f_delta": ("counter", "delta"),
    "f_total": ("counter", "cumulative"),
    "f_sum": ("counter", None),
    "f_gauge": ("gauge", None),
    "f_hist": ("histogram", None),
    "f_timer": ("timer", None),
}
ARRIVAL = "f_arrival"
"""A counter whose rows carry no time."""
EVENTS = ("f_login", "f_order")
LABELS = ("writer", "k")
BAD_METRICS: tuple[Any, ...] = (
    {"name": "f_sum", "metric_type": "counter", "value": "many"},
    {"name": "", "metric_type": "gauge", "value": 1},
    {"name": "f_sum", "metric_type": "meter", "value": 1},
    {"metric_type": "gauge", "value": 1},
    {"name": "f_sum", "metric_type": "counter", "value": 1, "timestamp": "1999-01-01T00:00:00Z"},
    {"name": "f_sum", "metric_type": "counter", "value": 1, "timestamp": "never"},
    7,
)
BAD_EVENTS: tuple[Any, ...] = ({"user_id": "u"}, {"event_type": ""}, {"event_type": "f_login", "timestamp": "?"}, [])


class Series(NamedTuple):
    """A series as the answers name it; for events the type of the event with empty labels."""

    name: str
    writer: str
    k: str


@dataclass(slots=True, eq=False)
class Row:
    """A good row. time: None = arrival, as far as it is not known; late: None = not known."""

    series: Series
    value: float
    time: int | None
    id: str | None
    late: bool | None = None


@dataclass(slots=True, eq=False)
class Request:
    """A request and what is known of its fate.

    rows: count once. repeats: rows that have counted before, sent again. bad: rows that are refused.
    tries: (sent, given up) in ms, of the attempts without an answer. conflict: a key that is another request's.
    """

    path: str
    body: bytes
    headers: dict[str, str]
    rows: list[Row]
    repeats: int = 0
    bad: int = 0
    single: bool = False
    conflict: bool = False
    sent: int = 0
    tries: list[tuple[int, int]] = field(default_factory=list)


class Writer:
    """Draws requests; several connections may ask it. `clock` gives ms; `start` is where the old rows' ages count."""

    def __init__(self, name: str, rng: random.Random, start: int, clock: Callable[[], int] | None = None) -> None:
        self.name, self.rng, self.start = name, rng, start
        self.clock = clock or (lambda: time.time_ns() // 1_000_000)
        self.generation = 0
        """Part of the labels: another one begins new series."""
        self._lock = threading.Lock()
        self._number = 0
        self._used: dict[Series, set[int]] = defaultdict(set)
        self._totals: dict[Series, int] = defaultdict(int)
        self._counted: list[tuple[str, dict[str, Any]]] = []
        self._answered: list[Request] = []

    def next(self) -> Request:
        """A new request."""
        with self._lock:
            draw = self.rng.random()
            if self._answered and draw < 0.04:
                return self._again()
            if self._answered and draw < 0.05:
                return self._conflicting()
            if draw < 0.06:
                return self._junk()
            if draw < 0.2:
                return self._events()
            return self._metrics()

    def counted(self, request: Request) -> None:
        """Tells that a request was answered, so that it may be repeated."""
        with self._lock:
            if "Idempotency-Key" in request.headers and not request.conflict and len(self._answered) < 500:
                self._answered.append(request)

    def _metrics(self) -> Request:
        rng = self.rng
        single = rng.random() < 0.4
        size = 1 if single else rng.choice((1, 2, 2, 3, 5, 10, 30, 120))
        keyed = rng.random() < 0.5
        age = self._age(ANCHORS)
        made = [self._row(age if rng.random() < 0.8 else self._age(ANCHORS), not keyed) for _ in range(size)]
        if single and rng.random() < 0.4:
            made = [self._arrival(not keyed)]
        elif not single and rng.random() < 0.2:
            made += [self._arrival(not keyed) for _ in range(3)]
        return self._request("/api/metrics", made, single, keyed, BAD_METRICS)

    def _events(self) -> Request:
        rng = self.rng
        single = rng.random() < 0.4
        keyed = rng.random() < 0.5
        made = []
        for _ in range(1 if single else rng.choice((1, 3, 9, 40))):
            type_name, amount = rng.choice(EVENTS), rng.randrange(1000)
            time, id = self.clock() - self._age(EVENT_ANCHORS)(), None if keyed else self._new_id()
            body = {"event_type": type_name, "timestamp": time, "properties": {"amount": amount}}
            body |= {"user_id": f"u{amount % 9}"} | ({"id": id} if id else {})
            made.append((Row(Series(type_name, "", ""), amount, time, id), body))
        return self._request("/api/events", made, single, keyed, BAD_EVENTS)

    def _request(
        self, path: str, made: list[tuple[Row, dict[str, Any]]], single: bool, keyed: bool, faults: tuple[Any, ...]
    ) -> Request:
        rng = self.rng
        bodies: list[Any] = [body for _, body in made]
        repeats = bad = 0
        if not single:
            if rng.random() < 0.15:
                bad = rng.randrange(1, 4)
                bodies += rng.choices(faults, k=bad)
            before = [body for of, body in self._counted if of == path]
            if before and rng.random() < 0.15:
                repeats = min(len(before), rng.randrange(1, 9))
                bodies += rng.sample(before, repeats)
            rng.shuffle(bodies)
        headers = {"Content-Type": "application/json"}
        if keyed:
            headers["Idempotency-Key"] = self._new_id()
        if single:
            raw = json.dumps(bodies[0]).encode()
        elif rng.random() < 0.3:
            headers["Content-Type"] = "application/x-ndjson"
            raw = b"\n".join(json.dumps(body).encode() for body in bodies)
        else:
            raw = json.dumps(bodies).encode()
        raw = self._compress(raw, headers)
        return Request(path, raw, headers, [row for row, _ in made], repeats, bad, single)

    def _compress(self, raw: bytes, headers: dict[str, str]) -> bytes:
        how = self.rng.choice((None, None, None, "gzip", "deflate", "zstd"))
        if how is None:
            return raw
        headers["Content-Encoding"] = how
        if how == "gzip":
            return gzip.compress(raw, 1)
        return zlib.compress(raw, 1) if how == "deflate" else zstandard.compress(raw)

    def remember(self, request: Request) -> None:
        """Keeps the bodies of rows with ids that have surely counted, to be sent again among others."""
        if request.conflict or request.headers.get("Idempotency-Key") or not request.single:
            return
        if request.headers.get("Content-Encoding") is None:
            with self._lock:
                body = json.loads(request.body)
                if "timestamp" in body and len(self._counted) < 300:
                    self._counted.append((request.path, body))

    def _again(self) -> Request:
        """An answered request, sent once more as it is: all of it is repeated."""
        old = self.rng.choice(self._answered)
        return Request(old.path, old.body, old.headers, [], len(old.rows) + old.repeats, old.bad, old.single)

    def _conflicting(self) -> Request:
        """The key of an answered request with other content: refused whole."""
        old = self.rng.choice(self._answered)
        one = {"name": "f_sum", "metric_type": "counter", "value": 1, "tags": {"writer": self.name, "k": "never"}}
        body = one if old.path == "/api/metrics" else {"event_type": "f_never"}
        headers = {"Content-Type": "application/json", "Idempotency-Key": old.headers["Idempotency-Key"]}
        return Request(old.path, json.dumps(body).encode(), headers, [], single=True, conflict=True)

    def _junk(self) -> Request:
        """A body that is refused whole: one row too bad to take, or no JSON."""
        body = self.rng.choice((b'{"name": "f_sum"', b"[1, 2", b'{"name": "f_sum", "metric_type": "x", "value": 1}'))
        return Request("/api/metrics", body, {"Content-Type": "application/json"}, [], bad=1, single=True)

    def _age(self, anchors: tuple[tuple[int, int], ...]) -> Callable[[], int]:
        """How old the rows of a request are: mostly in order or nearly, some late, some hours and days."""
        rng, draw = self.rng, self.rng.random()
        if draw < 0.6:
            return lambda: rng.randrange(600)
        if draw < 0.75:
            return lambda: 2500 + rng.randrange(20_000)
        if draw < 0.78:
            return lambda: -rng.randrange(8 * MINUTE)
        age, spread = rng.choice(anchors)
        # Against the start, so that the stretch stays where it is however long the campaign runs.
        return lambda: self.clock() - (self.start - age + rng.randrange(spread))

    def _row(self, age: Callable[[], int], with_id: bool) -> tuple[Row, dict[str, Any]]:
        rng = self.rng
        name = rng.choice(list(NAMES))
        type_name, temporality = NAMES[name]
        series = Series(name, self.name, f"{self.generation}-{rng.randrange(2)}")
        time = self.clock() - age()
        while time in self._used[series]:  # ties would make `first`, `last` and `increase` depend on the order
            time += 1
        self._used[series].add(time)
        value: float = rng.randrange(100)
        if name == "f_total":
            total = 0 if rng.random() < 0.02 else self._totals[series]
            value = self._totals[series] = total + rng.randrange(50)
        elif type_name == "gauge":
            value = rng.randrange(-8000, 8000) / 8
        elif type_name in ("histogram", "timer"):
            value = rng.randrange(1, 80_000) / 8
        id = self._new_id() if with_id else None
        body = {"name": name, "metric_type": type_name, "value": value, "timestamp": time}
        body |= {"tags": {"writer": self.name, "k": series.k}} | ({"id": id} if id else {})
        body |= {"temporality": temporality} if temporality else {}
        return Row(series, value, time, id), body

    def _arrival(self, with_id: bool) -> tuple[Row, dict[str, Any]]:
        """A counter's row without a time."""
        series = Series(ARRIVAL, self.name, "0")
        value, id = self.rng.randrange(100), self._new_id() if with_id else None
        body = {"name": ARRIVAL, "metric_type": "counter", "value": value, "tags": {"writer": self.name, "k": "0"}}
        return Row(series, value, None, id), body | ({"id": id} if id else {})

    def _new_id(self) -> str:
        self._number += 1
        return f"{self.name}-{self._number}"
