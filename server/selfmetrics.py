"""The server's own numbers, as series `streamgauge_…` in its own stream, and as a line in its log.

Everything is counted elsewhere in plain numbers and read here every SELF_METRICS_INTERVAL seconds. Counters are sent as
what they have grown by, so that they go on after a restart; they leave out the rows that are sent from here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from engine.engine import Engine
from engine.model import COUNTER, DELTA, GAUGE, OWN_PREFIX, TIMER, UNSPECIFIED, Batch, Entry, pack_series_key
from server.counts import Counts, Ring
from server.errors import ApiError
from server.hub import Hub
from server.log import LogError
from server.pipeline import Pipeline
from server.subscribers.live import Live

logger = logging.getLogger("streamgauge.numbers")

BEAT = 0.5
"""Seconds between two looks at how late the event loop is."""
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Metric(NamedTuple):
    """One of our metrics."""

    type: int
    unit: str
    help: str


METRICS = {
    OWN_PREFIX + name: metric
    for name, metric in {
        "http_requests_total": Metric(COUNTER, "", "Requests answered, by method, route template and status"),
        "http_errors_total": Metric(COUNTER, "", "Errors answered, by code and by kind: CLIENT_ERROR, INTERNAL_ERROR"),
        "http_error_percent": Metric(GAUGE, "%", "Of the requests since the reading before, those answered with 5xx"),
        "http_request_duration_seconds": Metric(
            TIMER, "s", "Seconds from a request to its answer; of many, a sample of the newest"
        ),
        "http_request_bytes_total": Metric(COUNTER, "bytes", "Bytes of request bodies"),
        "http_response_bytes_total": Metric(COUNTER, "bytes", "Bytes of answers, without their heads"),
        "rows_total": Metric(COUNTER, "", "Rows by what became of them; the server's own are left out"),
        "ingest_lag_seconds": Metric(
            TIMER, "s", "Seconds from handing an entry to the log until it is applied; of many, a sample of the newest"
        ),
        "event_loop_lag_seconds": Metric(TIMER, "s", "Seconds by which the event loop was late"),
        "log_appends_total": Metric(COUNTER, "", "Entries appended to the log"),
        "log_append_bytes_total": Metric(COUNTER, "bytes", "Bytes appended to the log"),
        "log_append_seconds_total": Metric(COUNTER, "s", "Seconds spent on appending"),
        "log_size_bytes": Metric(GAUGE, "bytes", "Bytes that the log holds"),
        "store_flushes_total": Metric(COUNTER, "", "Flushes of closed panes to the store"),
        "store_flush_seconds": Metric(GAUGE, "s", "Seconds that the last flush took"),
        "checkpoint_bytes": Metric(GAUGE, "bytes", "Size of the last checkpoint"),
        "hub_connections": Metric(GAUGE, "", "WebSocket connections"),
        "hub_subscriptions": Metric(GAUGE, "", "Subscriptions of live queries"),
        "hub_sent_bytes_total": Metric(COUNTER, "bytes", "Bytes sent over WebSockets"),
        "hub_dropped_rows_total": Metric(COUNTER, "", "Rows that the firehose did not send, for its rate or in all"),
        "live_queries": Metric(GAUGE, "", "Live queries that somebody watches"),
        "live_evaluations_total": Metric(COUNTER, "", "Evaluations of live queries"),
        "live_evaluation_seconds_total": Metric(COUNTER, "s", "Seconds spent on them"),
        "alert_evaluations_total": Metric(COUNTER, "", "Evaluations of alert rules"),
        "alert_evaluation_seconds_total": Metric(COUNTER, "s", "Seconds spent on them"),
        "alerts_firing": Metric(GAUGE, "", "Alerts that fire: a rule and a group each"),
        "alerts_pending": Metric(GAUGE, "", "Alerts whose condition has not lasted long enough yet"),
        "alert_messages_waiting": Metric(GAUGE, "", "Incidents of which a channel has still to be told"),
        "series": Metric(GAUGE, "", "Series ever seen"),
        "open_panes_bytes": Metric(GAUGE, "bytes", "Memory of open panes"),
        "pending_panes_bytes": Metric(GAUGE, "bytes", "Memory of panes that wait for the store"),
        "process_resident_bytes": Metric(GAUGE, "bytes", "Resident memory"),
        "process_cpu_seconds_total": Metric(COUNTER, "s", "CPU time of the process"),
    }.items()
}
HELP = {name: metric.help for name, metric in METRICS.items()}
"""What the exposition says about our metrics."""

Labels = tuple[tuple[str, str], ...]
Reading = tuple[str, float, Labels]
"""(name without the prefix, value, labels)."""


class Flushes(Protocol):
    """What is known of the flushes of this process."""

    @property
    def flushes(self) -> int: ...
    @property
    def last_seconds(self) -> float: ...
    @property
    def checkpoint_bytes(self) -> int: ...


class _None(NamedTuple):
    flushes: int = 0
    last_seconds: float = 0.0
    checkpoint_bytes: int = 0


NO_FLUSHES: Flushes = _None()
"""Of a process that writes none."""


@dataclass(slots=True)
class Sources:
    """Where the numbers come from."""

    pipeline: Pipeline
    counts: Counts
    rollups: Flushes
    hub: Hub
    live: Live
    alerts: Callable[[], Iterator[tuple[str, float]]]
    """Of the evaluation of alerts, by name; nothing in a process that does not evaluate."""

    @property
    def engine(self) -> Engine:
        return self.pipeline.engine


class SelfMetrics:
    """Reads the numbers, sends them down the river, and logs a summary. Made when the replay has ended.

    interval: seconds between two readings, 0 for none; summary: seconds between two lines in the log, 0 for none.
    instance: what the numbers are labelled with where other processes send theirs too. Of such a process the rows are
    not told: all count the same ones.
    """

    def __init__(self, sources: Sources, interval: float, summary: float, instance: str = "") -> None:
        self._sources, self._interval, self._summary = sources, interval, summary
        self._instance: Labels = (("instance", instance),) if instance else ()
        self._sent: dict[tuple[str, Labels], float] = {}
        """Counters as they stood at the last reading."""
        self._shown: set[tuple[str, Labels]] = set()
        """Those of them that have been sent: the first time even a zero is."""
        self._own = sources.engine.lifetime.own_samples()
        """Accepted rows that were our own."""
        self._lag = Ring()
        self._latest = 0.0
        self._answered = self._failed = 0
        """Requests at the last reading, and those of them that were answered with 5xx."""
        # What the ledger counted before this process is no news.
        self._sent |= {(name, labels): value for name, value, labels in self._rows()}
        self._reported = self._ledger()

    async def run(self) -> None:
        """Beats, reads and logs when it is time; for ever."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        sample_at = begun + (min(self._interval, 1.0) if self._interval else float("inf"))
        summary_at = begun + (self._summary or float("inf"))
        while True:
            due = min(loop.time() + BEAT, sample_at, summary_at)
            await asyncio.sleep(due - loop.time())
            now = loop.time()
            self._lag.add(now - due)
            self._latest = max(self._latest, now - due)
            if now >= sample_at:
                sample_at = now + self._interval
                await self.send()
            if now >= summary_at:
                summary_at = now + self._summary
                self._report(self._summary)

    async def send(self) -> None:
        """One reading down the river. What the log does not take now is part of the next one."""
        readings = [(name, value, tuple(sorted((*labels, *self._instance)))) for name, value, labels in self._read()]
        grown: dict[tuple[str, Labels], float] = {}
        keys: dict[bytes, int] = {}
        codes: list[int] = []
        values: list[float] = []
        for name, value, labels in readings:
            metric = METRICS[OWN_PREFIX + name]
            if metric.type == COUNTER:
                before = self._sent.get((name, labels), 0)
                if before == value and (name, labels) in self._shown:
                    continue
                grown[name, labels] = value
                value -= before
            temporality = DELTA if metric.type == COUNTER else UNSPECIFIED
            key = pack_series_key(OWN_PREFIX + name, metric.type, temporality, metric.unit, labels)
            codes.append(keys.setdefault(key, len(keys)))
            values.append(value)
        stamp = self._sources.pipeline.stamp()
        columns = np.array(codes, np.int32), np.array(values), np.full(len(codes), stamp, np.int64)
        try:
            await self._sources.pipeline.submit(Entry(stamp, batch=Batch(list(keys), *columns)))
        except (LogError, ApiError) as error:
            logger.warning("the log takes none of the server's own numbers: %s", error)
            return
        self._own += len(codes)
        self._sent |= grown
        self._shown |= grown.keys()

    def _read(self) -> Iterator[Reading]:
        """All numbers now; the counters as they stand."""
        yield from self._http()
        if not self._instance:
            yield from self._rows()
        yield from self._river()
        yield from self._watchers()
        yield from (("event_loop_lag_seconds", lag, ()) for lag in self._lag.take())
        yield "process_resident_bytes", resident_bytes(), ()
        yield "process_cpu_seconds_total", time.process_time(), ()

    def _http(self) -> Iterator[Reading]:
        for (method, path), tally in sorted(self._sources.counts.tallies.items()):
            route: Labels = (("method", method), ("path", path))
            for status, count in enumerate(tally.statuses):
                if count:
                    yield "http_requests_total", count, (*route, ("status", str(status)))
            yield "http_request_bytes_total", tally.received, route
            yield "http_response_bytes_total", tally.sent, route
            yield from (("http_request_duration_seconds", seconds, route) for seconds in tally.durations.take())
        yield from self._error_percent()
        for (code, status), count in sorted(self._sources.counts.errors.items()):
            kind = "INTERNAL_ERROR" if status >= 500 else "CLIENT_ERROR"
            yield "http_errors_total", count, (("code", code), ("kind", kind))

    def _error_percent(self) -> Iterator[Reading]:
        """Nothing where nobody has asked since."""
        tallies = self._sources.counts.tallies.values()
        answered = sum(sum(tally.statuses) for tally in tallies)
        failed = sum(sum(tally.statuses[500:]) for tally in tallies)
        if answered > self._answered:
            yield "http_error_percent", 100 * (failed - self._failed) / (answered - self._answered), ()
        self._answered, self._failed = answered, failed

    def _rows(self) -> Iterator[Reading]:
        ledger = self._sources.engine.ledger
        outcomes = {
            "accepted": ledger.accepted - self._own, "event": ledger.events, "duplicate": ledger.duplicate,
            "rejected": ledger.rejected.total(), "late": ledger.late, "folded": ledger.folded,
        }  # fmt: skip
        for outcome, count in outcomes.items():
            yield "rows_total", count, (("outcome", outcome),)

    def _river(self) -> Iterator[Reading]:
        pipeline, rollups, engine = self._sources.pipeline, self._sources.rollups, self._sources.engine
        yield from (("ingest_lag_seconds", lag, ()) for lag in pipeline.lag.take())
        yield "log_appends_total", pipeline.appended, ()
        yield "log_append_bytes_total", pipeline.appended_bytes, ()
        yield "log_append_seconds_total", pipeline.append_seconds, ()
        yield "log_size_bytes", pipeline.log.size(), ()
        yield "store_flushes_total", rollups.flushes, ()
        if rollups.flushes:
            yield "store_flush_seconds", rollups.last_seconds, ()
            yield "checkpoint_bytes", rollups.checkpoint_bytes, ()
        yield "series", len(engine.catalogue), ()
        yield "open_panes_bytes", engine.open_bytes, ()
        yield "pending_panes_bytes", engine.pending_bytes, ()

    def _watchers(self) -> Iterator[Reading]:
        hub, live = self._sources.hub.stats(), self._sources.live.stats()
        yield "hub_connections", hub["connections"], ()
        yield "hub_subscriptions", hub["active_subscriptions"], ()
        yield "hub_sent_bytes_total", self._sources.hub.sent_bytes, ()
        yield "hub_dropped_rows_total", hub["firehose_dropped"], ()
        yield "live_queries", live["live_queries"], ()
        yield "live_evaluations_total", live["evaluations"], ()
        yield "live_evaluation_seconds_total", self._sources.live.evaluation_seconds, ()
        yield from ((name, value, ()) for name, value in self._sources.alerts())

    def _ledger(self) -> dict[str, Any]:
        """The ledger without our own rows."""
        ledger = self._sources.engine.ledger.as_dict()
        return ledger | {name: ledger[name] - self._own for name in ("received", "accepted")}

    def _report(self, seconds: float) -> None:
        """The summary line."""
        ledger, before = self._ledger(), self._reported
        self._reported = ledger
        data: dict[str, Any] = {
            name: ledger[name] - before[name] for name in ("received", "accepted", "events", "duplicate", "late")
        }
        data["rejected"] = sum(ledger["rejected"].values()) - sum(before["rejected"].values())
        data |= {
            "seconds": seconds, "series": len(self._sources.engine.catalogue),
            "connections": len(self._sources.hub.sessions), "log_bytes": self._sources.pipeline.log.size(),
            "resident_bytes": resident_bytes(), "event_loop_lag_ms": round(self._latest * 1000, 1),
        }  # fmt: skip
        self._latest = 0.0
        logger.info(
            "in %g s: %d rows received (%.1f/s), %d accepted, %d events, %d duplicate, %d rejected, %d late; "
            "%d series, %d connections, log %.1f MiB, memory %.0f MiB, event loop at most %.1f ms late",
            seconds, data["received"], data["received"] / seconds, data["accepted"], data["events"],
            data["duplicate"], data["rejected"], data["late"], data["series"], data["connections"],
            data["log_bytes"] / (1 << 20), data["resident_bytes"] / (1 << 20), data["event_loop_lag_ms"],
            extra={"data": data},
        )  # fmt: skip


def resident_bytes() -> int:
    """Resident memory of this process; where the system does not say, the most it ever was."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


