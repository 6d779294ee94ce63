"""Gathers what all requests of one event-loop tick brought into one log entry.

request ──put──▶ tick ──▶ Entry ──River.submit──▶ Applied ──▶ each request gets its place in it
request ──put──▶  │
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from engine.model import Applied, Batch, Codes, Entry, Event, KeyedRequest, Reject
from server.errors import ApiError
from server.ingest import River
from server.ingest.rejects import MAX_ENTRY_BYTES, fitting
from server.log import LogFull, LogUnavailable
from server.wire.json_metrics import Sample
from server.wire.key_cache import Distinct

MAX_PENDING_BYTES = 128 << 20
MAX_PENDING_REQUESTS = 20_000


class Placed(NamedTuple):
    """Where the rows of one request are in the entry that took them."""

    applied: Applied
    row: int
    """The first of its rows in the batch."""
    event: int
    """The first of its events."""
    conflict: bool
    """True where its Idempotency-Key came before with another body: none of its rows count."""


Deliver = Callable[[Placed | None, BaseException | None], None]
"""Takes the place of a request, or the error that befell it. Must not raise."""


@dataclass(slots=True)
class Parts:
    """What one request brings: a sample or a batch, events, its Idempotency-Key, refused rows and their counts."""

    sample: Sample | None = None
    batch: Batch | None = None
    events: Sequence[Event] = ()
    keyed: tuple[bytes, bytes] | None = None
    """Hashes of the key and of the body."""
    rejected: dict[str, int] = field(default_factory=dict)
    rejects: Sequence[Reject] = ()


class Collector:
    """Joins requests into entries and hands them to the river, in order. Use it on one event loop."""

    def __init__(
        self, river: River, max_bytes: int = MAX_PENDING_BYTES, max_requests: int = MAX_PENDING_REQUESTS
    ) -> None:
        self.river = river
        self._max_bytes = max_bytes
        self._max_requests = max_requests
        self._distinct = Distinct()
        self._tick: list[tuple[Parts, Deliver, int]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._bytes = self._requests = 0

    def check_room(self, size: int) -> None:
        """ApiError too_many_requests where `size` more bytes, or one more request, would wait for the log."""
        if self._requests >= self._max_requests or (self._requests and self._bytes + size > self._max_bytes):
            raise ApiError("too_many_requests", "too much is waiting for the log; try again", retry_after=1)

    def put(self, parts: Parts, size: int, deliver: Deliver) -> None:
        """Queue what a request of `size` bytes brought. `deliver` is called once, with its place once it is applied.

        Or with an error: ApiError log_full or log_unavailable; then the request may be repeated as it is.
        """
        if not self._tick:
            asyncio.get_running_loop().call_soon(self._flush)
        self._tick.append((parts, deliver, size))
        self._bytes += size
        self._requests += 1

    async def drain(self) -> None:
        """Wait until everything queued has been answered."""
        while self._tick or self._tasks:
            if self._tasks:
                await asyncio.wait(self._tasks)
            await asyncio.sleep(0)

    def _flush(self) -> None:
        tick, self._tick = self._tick, []
        task = asyncio.get_running_loop().create_task(self._submit(tick))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _submit(self, tick: list[tuple[Parts, Deliver, int]]) -> None:
        try:
            entry, places = _join([parts for parts, _, _ in tick], self._distinct)
            entry.stamp = self.river.stamp()
            applied = await self.river.submit(entry)
        except BaseException as error:  # every request must hear of it, whatever it was
            failure = _failure(error)
            for _, deliver, _ in tick:
                deliver(None, failure)
            if not isinstance(error, Exception):
                raise
        else:
            conflicts = set(applied.conflicts)
            for (_, deliver, _), (row, event, request) in zip(tick, places, strict=True):
                deliver(Placed(applied, row, event, request in conflicts), None)
        finally:
            self._requests -= len(tick)
            self._bytes -= sum(size for _, _, size in tick)


def _failure(error: BaseException) -> BaseException:
    if isinstance(error, LogFull):
        return ApiError("log_full", f"the log is at its size bound: {error}", retry_after=5)
    if isinstance(error, LogUnavailable):
        return ApiError("log_unavailable", f"the log cannot be reached: {error}", retry_after=1)
    if isinstance(error, asyncio.CancelledError):
        return ApiError("shutting_down", "the server is shutting down", retry_after=1)
    return error


def _join(tick: list[Parts], distinct: Distinct) -> tuple[Entry, list[tuple[int, int, int]]]:
    """One entry of all parts, and for each its first row, first event and number among the keyed requests (or -1)."""
    entry = Entry(0)
    joined = _Columns(distinct)
    places: list[tuple[int, int, int]] = []
    room = MAX_ENTRY_BYTES
    for parts in tick:
        row, event, request = joined.rows, len(entry.events), -1
        if parts.sample is not None:
            joined.add_sample(parts.sample)
        elif parts.batch is not None:
            joined.add_batch(parts.batch)
        entry.events.extend(parts.events)
        if parts.keyed is not None:
            request = len(entry.requests)
            key, body = parts.keyed
            entry.requests.append(KeyedRequest(key, body, (row, joined.rows), (event, len(entry.events))))
        for reason, count in parts.rejected.items():
            entry.rejected[reason] = entry.rejected.get(reason, 0) + count
        if parts.rejects:
            some, room = fitting(parts.rejects, room)
            entry.rejects.extend(some)
        places.append((row, event, request))
    entry.batch = joined.batch()
    return entry, places


class _Columns:
    """Grows a batch out of samples and batches, in order."""

    def __init__(self, distinct: Distinct) -> None:
        self.rows = 0
        self._distinct = distinct
        self._index: dict[bytes, int] = {}
        self._ids: dict[int, bytes] = {}
        self._chunks: list[Batch] = []
        self._codes: list[int] = []
        self._values: list[int | float] = []
        self._times: list[int] = []

    def add_sample(self, sample: Sample) -> None:
        self._codes.append(self._index.setdefault(sample.known.key, len(self._index)))
        self._values.append(sample.value)
        self._times.append(sample.time)
        if sample.id is not None:
            self._ids[self.rows] = sample.id
        self.rows += 1

    def add_batch(self, batch: Batch) -> None:
        self._close_chunk()
        for row, given in batch.ids.items():
            self._ids[self.rows + row] = given
        self._chunks.append(batch)
        self.rows += len(batch)

    def batch(self) -> Batch | None:
        self._close_chunk()
        chunks = self._chunks
        if not chunks:
            return None
        codes, values, times = (
            np.concatenate(columns) if len(columns) > 1 else columns[0]
            for columns in zip(*((chunk.codes, chunk.values, chunk.times) for chunk in chunks), strict=True)
        )
        known = chunks[0].keys
        if all(chunk.keys is known for chunk in chunks):
            return Batch(known, codes, values, times, self._ids, whole=chunks[0].whole)
        own = [self._distinct(one.keys, one.codes) if one.whole else (one.keys, one.codes) for one in chunks]
        return Batch(*_join_keys(own), values, times, self._ids)

    def _close_chunk(self) -> None:
        if self._codes:
            columns = np.array(self._codes, np.int32), np.array(self._values, float), np.array(self._times, np.int64)
            self._chunks.append(Batch(list(self._index), *columns))
            self._index, self._codes, self._values, self._times = {}, [], [], []


def _join_keys(chunks: list[tuple[list[bytes], Codes]]) -> tuple[list[bytes], Codes]:
    """The distinct keys of all chunks, and each row's index into them."""
    index: dict[bytes, int] = {}
    own = [np.array([index.setdefault(key, len(index)) for key in keys], np.int32)[codes] for keys, codes in chunks]
    return list(index), np.concatenate(own)
