"""Batches that reach the server once: each has an Idempotency-Key, so that it can be sent again after a loss."""

from __future__ import annotations

import gzip
import json
import re
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from server.cli.client import Client, Lost, Reply, refusal
from server.cli.command import Fault
from server.cli.rows import BadRow, Row

MAX_ERRORS = 10
"""Refused rows that are shown."""
_AGAIN = {408, 429, 502, 503, 504}
"""Statuses after which the same request may succeed."""
_LONGEST_PAUSE = 2.0
_LINE = re.compile(r"^line \d+: ")
"""Counts the lines of the request; `place` counts those of the file."""


@dataclass
class Total:
    """The sum of the receipts."""

    accepted: int = 0
    duplicate: int = 0
    late: int = 0
    rejected: int = 0
    requests: int = 0
    repeated: int = 0
    """Requests that were sent again."""
    errors: list[str] = field(default_factory=list)
    """The first few refused rows, as lines."""

    @property
    def rows(self) -> int:
        """Rows that have been answered for."""
        return self.accepted + self.duplicate + self.rejected

    def refuse(self, place: str, message: str) -> None:
        """Count a refused row."""
        self.rejected += 1
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(f"{place}: {message}")

    def __str__(self) -> str:
        parts = [f"{self.accepted:,} accepted"]
        if self.late:
            parts[0] += f" ({self.late:,} of them late)"
        if self.duplicate:
            parts.append(f"{self.duplicate:,} counted before")
        parts.append(f"{self.rejected:,} refused")
        again = f", {self.repeated:,} of them again" if self.repeated else ""
        return f"{', '.join(parts)}; {self.requests:,} requests{again}"


class Sender:
    """Sends batches one after another and adds up their receipts in `total`.

    patience: seconds for which a batch is tried again; waiting: told before each pause why and how long (seconds).
    """

    def __init__(
        self,
        client: Client,
        *,
        compress: bool = False,
        patience: float = 60.0,
        waiting: Callable[[str, float], None] | None = None,
    ) -> None:
        self.total = Total()
        self._client = client
        self._compress = compress
        self._patience = patience
        self._waiting = waiting
        self._reached = False

    def send(self, rows: Sequence[Row], key: str | None = None) -> None:
        """Metrics or events, all of one kind, as one request. Fault where it fails for good.

        key: the Idempotency-Key; without it a random one.
        """
        reply = self._post(rows, key or secrets.token_hex(16))
        if reply.status == 413 and len(rows) > 1:
            middle = len(rows) // 2
            self.send(rows[:middle], f"{key}-0" if key else None)
            self.send(rows[middle:], f"{key}-1" if key else None)
            return
        self._add(rows, reply)

    def _post(self, rows: Sequence[Row], key: str) -> Reply:
        body = b"\n".join(row.text for row in rows)
        headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": key}
        if self._compress:
            body, headers["Content-Encoding"] = gzip.compress(body, 6, mtime=0), "gzip"
        path = "/api/events" if rows[0].is_event else "/api/metrics"
        until, pause = time.monotonic() + self._patience, 0.1
        while True:
            self.total.requests += 1
            wait = pause
            try:
                reply = self._client.request("POST", path, body, headers)
                self._reached = True
                if reply.status not in _AGAIN:
                    return reply
                why = f"the server says: {reply.message()}"
                wait = max(pause, _seconds(reply.headers.get("retry-after", "")))
            except Lost as error:
                why = str(error)
                if error.refused and not self._reached:
                    raise Fault(why) from None
                self._reached = True  # somebody was there, though the answer got lost
            if time.monotonic() + wait > until:
                raise Fault(f"given up after {self._patience:g} s; {why}")
            if self._waiting is not None:
                self._waiting(why, wait)
            time.sleep(wait)
            pause = min(pause * 2, _LONGEST_PAUSE)
            self.total.repeated += 1

    def _add(self, rows: Sequence[Row], reply: Reply) -> None:
        if reply.status == 413:
            self.total.refuse(rows[0].place, reply.message())
            return
        receipt = reply.json()
        if not isinstance(receipt, dict) or "accepted" not in receipt:
            raise refusal(reply)
        total = self.total
        total.accepted += receipt["accepted"]
        total.duplicate += receipt["duplicate"]
        total.late += receipt["late"]
        total.rejected += receipt["rejected"]
        for error in receipt["errors"][: MAX_ERRORS - len(total.errors)]:
            index = error["index"]
            place = rows[index].place if 0 <= index < len(rows) else f"row {index}"
            total.errors.append(f"{place}: {_LINE.sub('', error['message'])}")


class Batches:
    """Gathers rows into batches of metrics and of events, and hands the full ones to a sender."""

    def __init__(self, sender: Sender, rows: int, max_bytes: int = 4 << 20) -> None:
        self._sender = sender
        self._rows, self._max_bytes = rows, max_bytes
        self._gathered: dict[bool, list[Row]] = {False: [], True: []}
        self._bytes = {False: 0, True: 0}

    def put(self, row: Row | BadRow) -> None:
        """One more row. Fault as Sender.send."""
        if isinstance(row, BadRow):
            self._sender.total.refuse(row.place, row.message)
            return
        kind = row.is_event
        self._gathered[kind].append(row)
        self._bytes[kind] += len(row.text) + 1
        if len(self._gathered[kind]) >= self._rows or self._bytes[kind] >= self._max_bytes:
            self._send(kind)

    def flush(self) -> None:
        """Send what has been gathered."""
        for kind in (False, True):
            if self._gathered[kind]:
                self._send(kind)

    def _send(self, kind: bool) -> None:
        rows, self._gathered[kind], self._bytes[kind] = self._gathered[kind], [], 0
        self._sender.send(rows)


def row_of(value: object, place: str = "the row") -> Row:
    """A row of a plain object."""
    is_event = isinstance(value, dict) and "event_type" in value
    return Row(place, json.dumps(value, separators=(",", ":")).encode(), is_event)


def _seconds(text: str) -> float:
    try:
        return min(60.0, max(0.0, float(text)))
    except ValueError:
        return 0.0
