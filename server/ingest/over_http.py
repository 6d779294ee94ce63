"""POST /api/metrics and POST /api/events as plain ASGI, in front of the app that has all other routes.

A Starlette route costs more than all the work on one sample, so these two do without.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import blake2b
from typing import Any, ClassVar, NamedTuple

from engine.model import Event
from server.auth import App, Gate, Message, Receive, Send
from server.config import Settings
from server.counts import Counts
from server.errors import CODES, ApiError
from server.ingest import rejects
from server.ingest.collector import Collector, Parts, Placed
from server.ingest.rejects import Keyed
from server.limits import MAX_ID, RowLimits
from server.wire.content import decode_body
from server.wire.json_events import EventParser
from server.wire.json_metrics import MetricParser, Sample
from server.wire.receipts import Receipt, event_json, metric_json
from server.wire.rows import Refused, RowError, any_json, hash_id

METRICS, EVENTS = "/api/metrics", "/api/events"

_KINDS = {METRICS: "metric", EVENTS: "event"}
_log = logging.getLogger(__name__)
_LINES = (b"ndjson", b"jsonl", b"json-seq", b"x-json-stream")
_BODY_REASONS = {"bad_json": "bad_json", "bad_request": "bad_body"}
"""Errors of a body as a whole that the ledger counts, as one refused row."""
_JSON = (b"content-type", b"application/json")
_OPEN_CORS = (b"access-control-allow-origin", b"*")


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
    code: str = ""
    """Of an error."""


class Head(NamedTuple):
    """What ingest reads of a request's headers."""

    length: int | None = None
    encoding: str = ""
    lines: bool = False
    key: str | None = None
    again: bool = False
    """Whether these are refused rows that are sent again: what is refused of them is not kept once more."""


class _Admitted(NamedTuple):
    """A request that is ready for the log: what it brings, and how to answer once it is there."""

    parts: Parts
    answer: Callable[[Placed], Answer]
    error: ApiError | None = None
    """The answer whatever becomes of `parts`, which only count a body that could not be read."""


class IngestApp:
    """ASGI app: ingest itself, everything else by the next app."""

    paths: ClassVar[tuple[str, ...]] = (METRICS, EVENTS)

    def __init__(
        self, next_app: App, collector: Collector, gate: Gate, settings: Settings, counts: Counts | None = None
    ) -> None:
        limits = RowLimits.of(settings)
        self.gate = gate
        self.is_ready = True
        """False keeps hot connections on the normal way, where the app in front can refuse."""
        self._next = next_app
        self._counts = counts = counts or Counts()
        self._tallies = {path: counts.tally("POST", path) for path in self.paths}
        self._collector = collector
        self._max_bytes = settings.max_body_bytes
        self._timeout = settings.body_timeout
        self._keeps = settings.max_rejects > 0
        self._metrics = MetricParser(limits)
        self._events = EventParser(limits)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "http" and scope["path"] in self.paths:
            method = scope["method"]
            if method == "POST":
                status, body, more, _ = await self._post(scope, receive)
                headers = [_JSON, (b"content-length", b"%d" % len(body)), _OPEN_CORS, *more]
                await send({"type": "http.response.start", "status": status, "headers": headers})
                await send({"type": "http.response.body", "body": body})
                return
            if method == "OPTIONS":
                headers = self.gate.preflight_headers(scope["headers"], scope["path"])
                await send({"type": "http.response.start", "status": 204, "headers": headers})
                await send({"type": "http.response.body", "body": b""})
                return
        await self._next(scope, receive, send)

    def post(self, path: str, body: bytes, head: Head, answer: Callable[[Answer], None]) -> None:
        """A whole request that may ingest, without ASGI; `answer` is called once, now or later."""
        begun = time.perf_counter()

        def finish(done: Answer) -> None:
            self._tallies[path].done(done.status, len(body), len(done.body), begun)
            if done.code:
                self._counts.errors[done.code, done.status] += 1
            answer(done)

        try:
            if len(body) > self._max_bytes:
                raise self._too_large()
            self._collector.check_room(len(body))
            admitted = self._admit(path, body, head)
            if isinstance(admitted, Answer):
                finish(admitted)
                return
        except Exception as error:
            finish(_failed(path, error))
            return

        def deliver(placed: Placed | None, error: BaseException | None) -> None:
            try:
                if admitted.error is not None:
                    raise admitted.error
                if placed is None:
                    raise error or AssertionError("neither a place nor an error")
                done = admitted.answer(placed)
            except Exception as failure:
                done = _failed(path, failure)
            finish(done)

        self._collector.put(admitted.parts, len(body), deliver)

    async def send_again(self, kind: str, lines: bytes) -> dict[str, Any]:
        """Admits rows that were refused before, as NDJSON; the receipt. ApiError where nothing was taken."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        path = METRICS if kind == "metric" else EVENTS
        self.post(path, lines, Head(lines=True, again=True), lambda answer: _settle(future, answer))
        answer = await future
        receipt: dict[str, Any] = any_json(answer.body)
        if "accepted" not in receipt:
            temporary = CODES[answer.code].temporary
            raise ApiError(answer.code, receipt["detail"]["message"], retry_after=1 if temporary else None)
        return receipt

    async def _post(self, scope: Message, receive: Receive) -> Answer:
        path = scope["path"]
        begun = time.perf_counter()
        try:
            self.gate.require(scope["headers"], "ingest")
            head = read_head(scope["headers"])
            if head.length is not None and head.length > self._max_bytes:
                raise self._too_large()
            self._collector.check_room(head.length or 0)
            body = await self._read(receive)
        except ApiError as error:
            refused = _failed(path, error)
            self._tallies[path].done(refused.status, 0, len(refused.body), begun)
            self._counts.errors[refused.code, refused.status] += 1
            return refused
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.post(path, body, head, lambda answer: _settle(future, answer))
        return await future

    async def _read(self, receive: Receive) -> bytes:
        """The body as sent. ApiError timeout, body_too_large; bad_request where the client left."""
        parts, size, more = [], 0, True
        try:
            async with asyncio.timeout(self._timeout):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ApiError("bad_request", "the client left before the end of the body")
                    part: bytes = message.get("body", b"")
                    parts.append(part)
                    size += len(part)
                    if size > self._max_bytes:
                        raise self._too_large()
                    more = message.get("more_body", False)
        except TimeoutError:
            raise ApiError("timeout", f"the body took over {self._timeout:g} s to arrive") from None
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _too_large(self) -> ApiError:
        return ApiError("body_too_large", f"the body is over {self._max_bytes} bytes; send smaller ones")

    def _admit(self, path: str, sent: bytes, head: Head) -> _Admitted | Answer:
        """Decode, parse and check a body that is all there. ApiError where it is refused unread."""
        keyed = None if head.key is None else (hash_id(head.key, b"request"), blake2b(sent, digest_size=8).digest())
        body = sent
        try:
            body = decode_body(sent, head.encoding, self._max_bytes) if head.encoding else sent
            lines = head.lines
            one = not lines and body[:64].lstrip()[:1] != b"["
            arrival = self._collector.river.stamp()
            if path == METRICS:
                admitted = self._admit_metrics(body, arrival, one, lines, keyed)
            else:
                admitted = self._admit_events(body, arrival, one, lines, keyed)
        except Refused as error:
            kept = rejects.of_one(_KINDS[path], error, body, keyed)
            admitted = _Admitted(Parts(rejected={error.reason: 1}, rejects=kept), partial(self._refuse_one, error))
        except ApiError as error:
            reason = _BODY_REASONS.get(error.code)
            if reason is None:
                raise
            fault = error  # the name of an except clause is gone when it ends
            parts = Parts(rejected={reason: 1}, rejects=rejects.of_body(reason, fault.message, body))
            admitted = _Admitted(parts, lambda placed: _failed(path, fault), fault)
        if (head.again or not self._keeps) and isinstance(admitted, _Admitted):
            admitted.parts.rejects = ()
        return admitted

    def _admit_metrics(self, body: bytes, arrival: int, one: bool, lines: bool, keyed: Keyed) -> _Admitted | Answer:
        if one:
            sample = self._metrics.single(body, arrival)
            return _Admitted(Parts(sample, keyed=keyed), partial(self._answer_metric, sample))
        rows = self._metrics.many(body, arrival, lines)
        if not rows.received:
            return Answer(202, Receipt().json())
        good = len(rows.batch)
        rejected = _count(rows.errors, rows.received - good)
        kept = rejects.of_rows("metric", rows.errors, keyed)
        parts = Parts(batch=rows.batch if good else None, keyed=keyed, rejected=rejected, rejects=kept)
        return _Admitted(parts, lambda placed: self._answer_rows(placed, good, rows.errors, rejected, metrics=True))

    def _admit_events(self, body: bytes, arrival: int, one: bool, lines: bool, keyed: Keyed) -> _Admitted | Answer:
        if one:
            event = self._events.single(body, arrival)
            return _Admitted(Parts(events=(event,), keyed=keyed), partial(self._answer_event, event))
        rows = self._events.many(body, arrival, lines)
        if not rows.received:
            return Answer(202, Receipt().json())
        good = len(rows.events)
        rejected = _count(rows.errors, rows.received - good)
        kept = rejects.of_rows("event", rows.errors, keyed)
        parts = Parts(events=rows.events, keyed=keyed, rejected=rejected, rejects=kept)
        return _Admitted(parts, lambda placed: self._answer_rows(placed, good, rows.errors, rejected, metrics=False))

    def _answer_metric(self, sample: Sample, placed: Placed) -> Answer:
        _check_conflict(placed)
        applied, row = placed.applied, placed.row
        position = applied.position
        if applied.duplicate is not None and applied.duplicate[row]:
            sample = sample._replace(time=applied.first_time.get(row, sample.time))
            position, row = applied.first.get(row, (position, row))
        return Answer(201, metric_json(sample, self._collector.river.offset(position), row))

    def _answer_event(self, event: Event, placed: Placed) -> Answer:
        _check_conflict(placed)
        applied, index = placed.applied, placed.event
        position = applied.position
        if applied.events_duplicate is not None and applied.events_duplicate[index]:
            event = event._replace(time=applied.events_first_time.get(index, event.time))
            position, index = applied.events_first.get(index, (position, index))
        return Answer(201, event_json(event, self._collector.river.offset(position), index))

    def _answer_rows(
        self, placed: Placed, good: int, errors: Sequence[RowError], rejected: dict[str, int], metrics: bool
    ) -> Answer:
        _check_conflict(placed)
        applied = placed.applied
        first = placed.row if metrics else placed.event
        repeated = applied.duplicate if metrics else applied.events_duplicate
        late = applied.late if metrics else None
        duplicate = 0 if repeated is None else int(repeated[first : first + good].sum())
        receipt = Receipt(
            accepted=good - duplicate,
            duplicate=duplicate,
            late=0 if late is None else int(late[first : first + good].sum()),
            rejected=sum(rejected.values()),
            errors=errors,
            offset=self._collector.river.offset(applied.position),
        )
        if good:
            return Answer(202, receipt.json())
        detail: dict[str, object] = {"code": "invalid_rows", "message": "no row of the body can be taken"}
        return Answer(422, receipt.json(detail), code="invalid_rows")

    def _refuse_one(self, error: Refused, placed: Placed) -> Answer:
        receipt = Receipt(
            rejected=1,
            errors=[RowError(0, error.reason, str(error))],
            offset=self._collector.river.offset(placed.applied.position),
        )
        detail: dict[str, object] = {"code": "invalid_rows", "reason": error.reason, "message": str(error)}
        return Answer(422, receipt.json(detail), code="invalid_rows")


def _settle(future: asyncio.Future[Answer], answer: Answer) -> None:
    if not future.done():
        future.set_result(answer)


def read_head(headers: Sequence[tuple[bytes, bytes]]) -> Head:
    """What ingest needs of the headers. ApiError bad_request for an Idempotency-Key that is none."""
    length: int | None = None
    encoding, lines, key = "", False, None
    for name, value in headers:
        if name == b"content-length":
            length = int(value) if value.isdigit() else None
        elif name == b"content-type":
            lines = any(part in value.lower() for part in _LINES)
        elif name == b"content-encoding":
            encoding = f"{encoding},{value.decode('latin-1')}" if encoding else value.decode("latin-1")
        elif name == b"idempotency-key":
            key = value.decode("latin-1")
            if not 0 < len(key) <= MAX_ID:
                raise ApiError("bad_request", f"Idempotency-Key must have 1 to {MAX_ID} characters")
    return Head(length, encoding, lines, key)


def _count(errors: Sequence[RowError], rejected: int) -> dict[str, int]:
    """Refused rows by reason; those that are not in `errors` were not read."""
    counts = dict(Counter(error.reason for error in errors))
    if rejected > len(errors):
        counts["too_many_errors"] = rejected - len(errors)
    return counts


def _check_conflict(placed: Placed) -> None:
    if placed.conflict:
        raise ApiError("conflict", "this Idempotency-Key came before with another body; nothing of this one counts")


def _failed(path: str, error: BaseException) -> Answer:
    if not isinstance(error, ApiError):
        _log.error("POST %s failed", path, exc_info=error)
        error = ApiError("internal", "an internal error; the server's log has more")
    more = tuple((name.lower().encode(), value.encode()) for name, value in error.headers().items())
    return Answer(error.status, error.json(), more, error.code)
