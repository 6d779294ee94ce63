"""The log on a Redis stream: one packed entry per XADD, read back with XREAD.

    STREAM              the entries, one field "e" each; position = (id's ms << 20) | id's sequence
    STREAM:epoch        the identity of this stream's life, set by the first who opens it
    STREAM:cursors      hash: consumer -> position it no longer needs; the least of all is where trimming stops
    STREAM:lost         the newest position that Redis has lost under a server that lived on, where one was

One task writes, so the order of the append calls is the order of the stream; all that waits goes in one pipeline.
A send whose answer was lost is repeated, which may double entries: their payloads carry (writer epoch, sequence), and
whoever reads skips the repeats. A Redis that comes back with fewer entries than were read gets them back (redis_held).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections import deque
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import urlsplit

from redis.exceptions import AuthenticationError, OutOfMemoryError, RedisError, ResponseError

from server.log import MAX_UNREAD_ATTACHMENTS, Lease, LogDamaged, LogFull, LogUnavailable, Record
from server.log.redis_client import TROUBLE, Client, MakeClient, Replaced, maker
from server.log.redis_guard import warning_of
from server.log.redis_held import Held, is_behind, put_back
from server.log.redis_names import (
    DURABILITY_SETTINGS,
    Ends,
    durability,
    format_id,
    pairs,
    parse_ends,
    parse_id,
    split_url,
    text,
)
from server.log.redis_start import begin_after, is_kept_above
from server.log.redis_trim import check_nothing_was_trimmed, trim
from server.log.segment_file import MAX_PAYLOAD
from server.log.unread import Append, Unread

log = logging.getLogger(__name__)

RETRY_SECONDS = 5.0
PENDING_BYTES = 64 << 20
SEND_BYTES = 4 << 20
READ_BYTES = 4 << 20
READ_COUNT = 1024
BLOCK_MS = 1000
MEASURE_SECONDS = 1.0


class RedisLog:
    """See `server.log.Log`; made by `open`."""

    def __init__(
        self, url: str, make: MakeClient | None, stream: str, consumer: str, max_bytes: int, patience: float,
        lease: Lease | None, shared: bool,
    ) -> None:  # fmt: skip
        self._make = make or maker(url, self._greet)
        self._lease, self._shared = lease, shared
        self._client: Client = self._make()
        self._loop = asyncio.get_running_loop()
        self._stream = stream
        self._consumer = consumer
        self._max_bytes = max_bytes
        self._patience = patience
        self._queue: deque[Append] = deque()
        self._sending: list[Append] = []
        self._queued_bytes = 0
        self._unread = Unread()
        self._held = Held()
        self._mending = asyncio.Lock()
        self._wake = asyncio.Event()
        self._size = 0
        self._entries = 0
        self._measured = 0.0
        self._down_since: float | None = None
        self._closed = False
        self._failure = ""
        self._writer: asyncio.Task[None] | None = None
        self.epoch = ""
        self.mode = ""
        self.setbacks = 0
        self.reached = 0

    @classmethod
    async def open(
        cls, url: str, *, max_bytes: int = 8 << 30, make: MakeClient | None = None, patience: float = RETRY_SECONDS,
        lease: Lease | None = None, shared: bool = False,
    ) -> RedisLog:  # fmt: skip
        """Open or create the stream at `url`; see `server.log.open_log`.

        make: makes the clients, in place of one for `url`. patience: seconds of trouble before appends are refused.
        """
        bare, stream, consumer = split_url(url)
        opened = cls(url, make, stream, consumer, max_bytes, patience, lease, shared)
        try:
            await opened._begin(urlsplit(bare).hostname or bare.partition("?")[0])
            opened.mode += f"; {warning}" if (warning := await warning_of(bare, opened._client)) else ""
        except BaseException:
            await opened._client.aclose()
            raise
        opened._writer = opened._loop.create_task(opened._write(), name="log-writer")
        opened._writer.add_done_callback(opened._writer_ended)
        return opened

    async def _begin(self, place: str) -> None:
        until = self._loop.time() + self._patience
        while True:
            try:
                await self._enrol()
                await self._measure()
                break
            except TROUBLE as error:
                if self._loop.time() > until or isinstance(error, AuthenticationError):
                    raise LogUnavailable(f"no Redis answers at {place}: {error}") from error
                await asyncio.sleep(0.1)
            except RedisError as error:
                raise LogUnavailable(f"the Redis at {place} refuses: {error}") from error
        self.mode = f"Redis stream {self._stream} at {place}: {await self._durability()}"

    async def _enrol(self) -> None:
        """Learn or set the epoch, and see that nothing is trimmed that this consumer has not let go.

        Looks before it writes: a Redis without memory refuses every write, and a start must not need one.
        """
        epoch, cursors = f"{self._stream}:epoch", f"{self._stream}:cursors"
        found = await self._client.get(epoch)
        if found is None:
            await self._client.execute_command("SET", epoch, secrets.token_hex(6), "NX")
            found = await self._client.get(epoch)
        self.epoch = text(found)
        if await self._client.execute_command("HGET", cursors, self._consumer) is None:
            gone = min(map(int, await self._client.execute_command("HVALS", cursors)), default=0)
            await self._client.execute_command("HSETNX", cursors, self._consumer, gone)

    async def _durability(self) -> str:
        found: dict[str, str] = {}
        try:
            for name in DURABILITY_SETTINGS:
                found.update(pairs(await self._client.execute_command("CONFIG", "GET", name)))
        except ResponseError:
            found.clear()
        return durability(found)

    async def append(self, payload: bytes, attachment: object | None = None, note: bytes = b"") -> int:
        if self._closed or self._failure:
            raise LogUnavailable(self._failure or "the log is closed")
        if not 0 < len(payload) <= MAX_PAYLOAD:
            raise ValueError(f"a log entry has 1 to {MAX_PAYLOAD} bytes, not {len(payload)}")
        if len(self._unread) >= MAX_UNREAD_ATTACHMENTS:
            raise LogUnavailable(f"{len(self._unread)} appended entries wait for their reader")
        down = 0.0 if self._down_since is None else self._loop.time() - self._down_since
        if self._queued_bytes and down > self._patience:  # one append at a time goes on asking
            raise LogUnavailable(f"Redis does not answer, for {down:.0f} s now")
        if self._queued_bytes + len(payload) > PENDING_BYTES and self._queue:
            raise LogUnavailable(f"{self._queued_bytes} bytes already wait for Redis")
        if self._size + self._queued_bytes + len(payload) > self._max_bytes:
            if self._loop.time() - self._measured > MEASURE_SECONDS:  # another consumer may have let it be trimmed
                with contextlib.suppress(*TROUBLE):  # full as far as is known
                    await self._measure()
            raise LogFull(f"the log holds {self._size} of {self._max_bytes} bytes (LOG_MAX_BYTES)")
        item = Append(payload, attachment, self._loop.create_future())
        self._queue.append(item)
        self._queued_bytes += len(payload)
        if attachment is not None:
            self._unread.add(item)
        self._wake.set()
        return await item.answer

    async def _write(self) -> None:
        """The one writer: send what waits, in order, until closed and empty."""
        while True:
            while not self._queue:
                if self._closed:
                    return
                self._wake.clear()
                await self._wake.wait()
            self._sending = items = []
            budget = SEND_BYTES
            while self._queue and budget > 0:
                items.append(self._queue.popleft())
                budget -= len(items[-1].payload or b"")
            await self._send(items)
            self._queued_bytes -= sum(item.length for item in items)

    async def _send(self, items: list[Append]) -> None:
        pause = 0.02
        while True:
            try:
                if len(items) == 1:
                    replies = [await self._add_one(items[0])]
                else:
                    pipeline = self._client.pipeline(transaction=False)
                    for item in items:
                        pipeline.execute_command("XADD", self._stream, "*", "e", item.payload)
                    replies = await pipeline.execute(raise_on_error=False)
                for reply in replies:
                    if isinstance(reply, TROUBLE):  # such as BusyLoadingError: none of them was done
                        raise reply
                self._down_since = None
                self._settle(items, replies)
                return
            except Replaced as error:
                self._settle(items, [LogUnavailable(str(error))])
                return
            except TROUBLE as error:
                now = self._loop.time()
                if self._down_since is None:
                    self._down_since = now
                    log.warning("log: Redis does not answer, trying again: %s", error)
                if now - self._down_since > self._patience:
                    self._settle(items, [LogUnavailable(f"Redis does not answer: {error}")])
                    return
                for item in items:
                    item.repeated = True
                await asyncio.sleep(pause)
                pause = min(pause * 2, 0.5)

    async def _add_one(self, item: Append) -> Any:
        try:
            return await self._client.execute_command("XADD", self._stream, "*", "e", item.payload)
        except ResponseError as error:
            return error

    def _settle(self, items: list[Append], replies: list[Any]) -> None:
        """Answer each append by its reply, or all by the one exception given."""
        if len(replies) != len(items):
            replies = replies * len(items)
        for item, reply in zip(items, replies, strict=True):
            if isinstance(reply, bytes):
                item.position = parse_id(reply)
                self._held.appended(item.position)
                self._size += item.length
                self._entries += 1
                answer: Any = item.position
            elif isinstance(reply, OutOfMemoryError) or (isinstance(reply, ResponseError) and "OOM" in str(reply)):
                answer = LogFull(f"Redis is out of memory: {reply}")
            elif isinstance(reply, LogUnavailable):
                answer = reply
            else:
                answer = LogUnavailable(f"Redis refuses the entry: {reply}")
            if not item.repeated:
                item.payload = None  # a repeated one may come twice: it is known by its payload, not its position
            if not item.answer.done():
                if item.position:
                    item.answer.set_result(answer)
                else:
                    item.answer.set_exception(answer)
        if not all(item.position for item in items):
            self._unread.drop_refused()

    def _writer_ended(self, task: asyncio.Task[None]) -> None:
        """The writer ends only with the log; anything else is passed on to every append."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("log: the writer died", exc_info=error)
        self._failure = self._failure or (f"the log's writer died: {error!r}" if error else "the log is closed")
        for item in [*self._sending, *self._queue]:
            if not item.answer.done():
                item.answer.set_exception(LogUnavailable(self._failure))
        self._queue.clear()

    async def follow(self, after: int) -> AsyncGenerator[list[Record], None]:
        client = self._make()
        down, pause, count = False, 0.02, 16
        try:
            while not self._closed:
                if self._failure:  # so that the process ends: it would refuse every append for ever
                    raise LogUnavailable(self._failure)
                try:
                    answer = await client.execute_command(
                        "XREAD", "COUNT", count, "BLOCK", BLOCK_MS, "STREAMS", self._stream, format_id(after)
                    )
                except Replaced as error:
                    raise LogDamaged(str(error)) from error
                except TROUBLE as error:
                    if self._closed:
                        return
                    if not down:
                        log.warning("log: reading from Redis stopped, trying again: %s", error)
                    down = True
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, 0.5)
                    continue
                except ResponseError as error:
                    raise LogUnavailable(f"Redis refuses to read {self._stream}: {error}") from error
                down, pause = False, 0.02
                if answer:
                    records = [self._record(entry) for entry in answer[0][1]]
                    if self._shared:
                        await check_nothing_was_trimmed(client, self._stream, after, records[0].position)
                    for record in records:
                        self._held.add(record.position, record.payload)
                    after = records[-1].position
                    mean = sum(len(record.payload) for record in records) // len(records)
                    count = max(1, min(READ_COUNT, READ_BYTES // (mean + 1)))
                    yield records
        finally:
            await client.aclose()

    def _record(self, entry: tuple[bytes, dict[bytes, bytes]]) -> Record:
        name, fields = entry
        position = parse_id(name)
        if b"e" not in fields:
            raise LogDamaged(f"entry {name.decode()} of {self._stream} is none of Streamgauge's")
        payload = fields[b"e"]
        return Record(position, payload, self._unread.take(position, payload))

    async def trim(self, upto: int) -> None:
        try:
            await trim(self._client, self._stream, self._consumer, upto, self._lease)
            await self._measure()
        except (RedisError, *TROUBLE) as error:
            raise LogUnavailable(f"the stream cannot be trimmed: {error}") from error

    async def sync(self) -> None:
        """Redis syncs by itself; WAITAOF is not asked of it, so that any server does."""

    async def start_after(self, position: int, complete: bool = True) -> None:
        await begin_after(self._client, self._stream, self._consumer, position, complete, await self._ends())

    async def reaches_back(self, position: int) -> bool:
        return await is_kept_above(self._client, self._stream, position, (await self.first(), await self.last()))

    async def _ends(self) -> Ends:
        try:
            return parse_ends(await self._client.execute_command("XINFO", "STREAM", self._stream))
        except ResponseError as error:
            if "no such key" in str(error):
                return Ends(0, 0, 0)
            raise LogUnavailable(str(error)) from error
        except (RedisError, *TROUBLE) as error:
            raise LogUnavailable(f"Redis does not answer: {error}") from error

    async def last(self) -> int:
        return (await self._ends()).last

    async def newest(self) -> int:
        return (await self._ends()).newest

    async def first(self) -> int:
        try:
            found = await self._client.execute_command("XRANGE", self._stream, "-", "+", "COUNT", 1)
        except (RedisError, *TROUBLE) as error:
            raise LogUnavailable(f"Redis does not answer: {error}") from error
        return parse_id(found[0][0]) if found else await self.last() + 1

    async def trimmed(self) -> int:
        first = await self.first()  # positions have gaps, so only the cursors tell what lay before it
        return min([first - 1, *map(int, await self._client.execute_command("HVALS", f"{self._stream}:cursors"))])

    def size(self) -> int:
        return self._size

    async def _greet(self, connection: Any) -> None:
        """Done on every new connection, for redis-py makes them anew unseen: whether the stream is still the same."""
        await connection.on_connect()
        if self.epoch:
            await connection.send_command("GET", f"{self._stream}:epoch")
            found = await connection.read_response()
            if found is None or text(found) != self.epoch:
                raise Replaced(f"another stream has taken the place of {self._stream}; start again")
            if await is_behind(connection, self._stream, self._held):
                async with self._mending:
                    self.setbacks += await put_back(connection, self._stream, self._held)

    async def _measure(self) -> None:
        """Ask Redis for the size of the stream; where it does not tell, what was appended and is still there."""
        self._measured = self._loop.time()
        try:
            self._size = await self._client.execute_command("MEMORY", "USAGE", self._stream, "SAMPLES", 64) or 0
        except ResponseError:
            kept = await self._client.execute_command("XLEN", self._stream)
            self._size = self._size * kept // max(kept, self._entries, 1)
            self._entries = kept

    async def close(self) -> None:
        self._closed = True
        self._wake.set()
        if self._writer is not None:
            await asyncio.wait([self._writer])
        await self._client.aclose()
