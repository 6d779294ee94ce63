"""The firehose: every arriving row to every connection that wants it, at most so many per second.

Connections with the same rate share one Group: one limiter, one choice of rows, one encoding. What an entry costs is
bounded by the rate and does not grow with its rows or with the connections that get nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol

from server.hub.frames import text_frame
from server.wire.messages import encode

KINDS = ("metric", "event")
PERIOD = 1.0
"""Seconds the rate counts over; a `dropped` message is sent at most once in it."""
REPLAY_ROWS = 1000
"""Newest rows of each kind that a connection with `since` can get again."""
_SCAN = 4
"""Rows looked at, per row that may be sent, to find the newest of each series."""


class Arrivals:
    """The rows of one kind that one log entry brought, in arrival order; turned into messages only when sent.

    kind: "metric" or "event". position: of the entry. count: rows. keys: what tells series apart, one per row.
    encode(i): row i as a whole `new_metric` or `new_event` message, JSON. own: the server's own metrics, which only
    those get who ask for them, and which are not replayed.
    """

    __slots__ = ("_frames", "count", "encode", "keys", "kind", "own", "position")

    def __init__(
        self, kind: str, position: int, count: int, keys: Sequence[Any], encode: Callable[[int], bytes],
        own: bool = False,
    ) -> None:  # fmt: skip
        self.kind = kind
        self.position = position
        self.count = count
        self.keys = keys
        self.encode = encode
        self.own = own
        self._frames: dict[int, bytes] = {}

    def frame(self, row: int) -> bytes:
        """The message of a row as a WebSocket frame; encoded once."""
        frame = self._frames.get(row)
        if frame is None:
            frame = self._frames[row] = text_frame(self.encode(row))
        return frame


Row = tuple[Arrivals, int]


class Replay:
    """The newest rows, for connections that come back and say up to where they have seen them."""

    def __init__(self, limit: int = REPLAY_ROWS) -> None:
        self.floor: int | None = None
        """Rows after this position are all here; None while that is not known of any."""
        self._limit = limit
        self._entries: dict[str, deque[Arrivals]] = {kind: deque() for kind in KINDS}
        self._rows = dict.fromkeys(KINDS, 0)

    def add(self, arrivals: Arrivals) -> None:
        """Keep the rows; older ones go as soon as the newest `limit` are here without them."""
        if self.floor is None:
            self.floor = arrivals.position - 1
        entries = self._entries[arrivals.kind]
        entries.append(arrivals)
        rows = self._rows[arrivals.kind] + arrivals.count
        while rows - entries[0].count >= self._limit:
            oldest = entries.popleft()
            rows -= oldest.count
            self.floor = max(self.floor, oldest.position)
        self._rows[arrivals.kind] = rows

    def after(self, position: int) -> tuple[bool, list[bytes]]:
        """(all of them?, frames) of the rows after a position, at most `limit` of each kind, by position."""
        complete = self.floor is not None and position >= self.floor
        chosen: list[Row] = []
        for entries in self._entries.values():
            rows = list(islice(self._newest_first(entries, position), self._limit + 1))
            if len(rows) > self._limit:
                complete = False
                rows.pop()
            chosen += reversed(rows)
        chosen.sort(key=lambda row: row[0].position)
        return complete, [arrivals.frame(i) for arrivals, i in chosen]

    @staticmethod
    def _newest_first(entries: deque[Arrivals], position: int) -> Iterator[Row]:
        for arrivals in reversed(entries):
            if arrivals.position <= position:
                return
            for row in range(arrivals.count - 1, -1, -1):
                yield arrivals, row


class Lane:
    """The limiter of one kind: at most `rate` rows in any PERIOD, and of the others the newest per series waits."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.waiting: dict[Any, Row] = {}
        self._sent: deque[float] = deque(maxlen=rate)

    def free(self, now: float) -> int:
        """Rows that may be sent now."""
        sent = self._sent
        while sent and sent[0] <= now - PERIOD:
            sent.popleft()
        return self.rate - len(sent)

    def next_free(self) -> float:
        """Loop time at which the next row may be sent, when none may now."""
        return self._sent[0] + PERIOD

    def sent(self, now: float, rows: int) -> None:
        """Count rows as sent."""
        self._sent.extend([now] * rows)

    def hold(self, arrivals: Arrivals) -> int:
        """Let the newest row of each series wait, at most `rate` of them in all; answers how many rows that drops."""
        newest: dict[Any, int] = {}
        for row in range(arrivals.count - 1, max(-1, arrivals.count - 1 - _SCAN * self.rate), -1):
            newest.setdefault(arrivals.keys[row], row)
            if len(newest) == self.rate:
                break
        dropped = arrivals.count - len(newest)
        for key, row in reversed(newest.items()):
            dropped += self.waiting.pop(key, None) is not None
            self.waiting[key] = arrivals, row
        while len(self.waiting) > self.rate:
            del self.waiting[next(iter(self.waiting))]
            dropped += 1
        return dropped

    def release(self, now: float) -> list[Row]:
        """The rows that wait and may be sent now, oldest first."""
        keys = list(islice(self.waiting, self.free(now)))
        self.sent(now, len(keys))
        return [self.waiting.pop(key) for key in keys]


class Listener(Protocol):
    """A connection as a Group sees it."""

    missed: int
    """Rows not sent to this connection beyond those the whole group did not send."""

    def push(self, block: bytes) -> bool:
        """Queue frames; False (and nothing queued) when the connection is blocked."""


class Group:
    """The connections that want the same rate (at least 1)."""

    def __init__(self, rate: int) -> None:
        self.listeners: set[Listener] = set()
        self.dropped_total = 0
        self._lanes = {kind: Lane(rate) for kind in KINDS}
        self._dropped = 0
        self._release_timer: asyncio.TimerHandle | None = None
        self._report_timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def add(self, listener: Listener) -> None:
        """From now on the listener gets what the group gets."""
        listener.missed = -self._dropped  # what was dropped before it came is not its loss
        self.listeners.add(listener)

    def remove(self, listener: Listener) -> None:
        """The listener gets nothing more; with the last one all timers stop."""
        self.listeners.discard(listener)
        if not self.listeners:
            for timer in (self._release_timer, self._report_timer):
                if timer is not None:
                    timer.cancel()
            self._release_timer = self._report_timer = None

    def offer(self, arrivals: Arrivals) -> None:
        """Send the rows at once if the rate allows, else choose."""
        lane, now = self._lanes[arrivals.kind], self._loop.time()
        if not lane.waiting and arrivals.count <= lane.free(now):
            lane.sent(now, arrivals.count)
            self._send((arrivals, row) for row in range(arrivals.count))
            return
        self._drop(lane.hold(arrivals))
        self._release()

    def _release(self) -> None:
        now = self._loop.time()
        due = []
        for lane in self._lanes.values():
            if lane.waiting:
                self._send(lane.release(now))
            if lane.waiting:
                due.append(lane.next_free())
        if due and self._release_timer is None:
            self._release_timer = self._loop.call_at(min(due), self._release_due)

    def _release_due(self) -> None:
        self._release_timer = None
        self._release()

    def _send(self, rows: Iterable[Row]) -> None:
        frames = [arrivals.frame(row) for arrivals, row in rows]
        if not frames:
            return
        block = b"".join(frames)
        for listener in self.listeners:
            if not listener.push(block):
                listener.missed += len(frames)
                self._report_later()

    def _drop(self, rows: int) -> None:
        if rows:
            self._dropped += rows
            self.dropped_total += rows
            self._report_later()

    def _report_later(self) -> None:
        if self._report_timer is None:
            self._report_timer = self._loop.call_later(PERIOD, self._report)

    def _report(self) -> None:
        self._report_timer = None
        dropped, self._dropped = self._dropped, 0
        frames: dict[int, bytes] = {}
        for listener in self.listeners:
            count = dropped + listener.missed
            listener.missed = 0
            if count <= 0:
                continue
            frame = frames.get(count)
            if frame is None:
                frame = frames[count] = text_frame(encode({"type": "dropped", "count": count}))
            if not listener.push(frame):
                listener.missed = count
                self._report_later()
