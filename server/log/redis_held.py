"""What was read of a stream lately, to be put back where Redis comes back without it.

With appendfsync everysec a power loss takes the last second or two from Redis, while this process has applied them and
its clients have their answers. Put back under the same ids the log is whole again. What is no longer held cannot be
put back: it is counted, and the stream goes on above it, so that no position ever stands for two entries.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from server.log.redis_names import SEQUENCE_BITS, format_id, lost_key, parse_id

log = logging.getLogger(__name__)

HELD_BYTES = 32 << 20
HELD_MS = 10_000
"""By the clock of Redis; everysec loses two seconds at most."""
_CHUNK = 64


class Held:
    """The newest entries read, bounded by time and bytes; and the newest position known."""

    def __init__(self, max_bytes: int = HELD_BYTES) -> None:
        self.newest = 0
        self._max_bytes = max_bytes
        self._entries: deque[tuple[int, bytes]] = deque()
        self._bytes = 0
        self._let_go = 0
        """The newest position that was read and is not held any more."""

    def add(self, position: int, payload: bytes) -> None:
        """An entry was read, in order."""
        self.newest = max(self.newest, position)
        self._entries.append((position, payload))
        self._bytes += len(payload)
        oldest = (position >> SEQUENCE_BITS) - HELD_MS << SEQUENCE_BITS
        while self._entries and (self._bytes > self._max_bytes or self._entries[0][0] < oldest):
            self._let_go, gone = self._entries.popleft()
            self._bytes -= len(gone)

    def appended(self, position: int) -> None:
        """An entry was appended; whether it is read is still open."""
        self.newest = max(self.newest, position)

    def after(self, position: int) -> tuple[list[tuple[int, bytes]], bool]:
        """(The held entries above a position, in order; whether any above it was read and is not held.)"""
        return [entry for entry in self._entries if entry[0] > position], self._let_go > position


async def is_behind(connection: Any, stream: str, held: Held) -> bool:
    """Whether a stream ends before the newest position known."""
    newest = held.newest  # as of before the question: other connections go on meanwhile
    return await _last(connection, stream) < newest


async def put_back(connection: Any, stream: str, held: Held) -> bool:
    """Makes a stream whole that has gone back, over a fresh connection; True where not all could be put back.

    Raises redis-py's ConnectionError where Redis takes nothing, so that it is tried again with the next connection.
    """
    newest = held.newest
    last = await _last(connection, stream)
    if last >= newest:
        return False
    entries, incomplete = held.after(last)
    try:
        for begin in range(0, len(entries), _CHUNK):
            await _add(connection, stream, entries[begin : begin + _CHUNK])
        if await _last(connection, stream) < newest:  # appended and never read, or read and not held
            await _go_on_above(connection, stream, newest)
    except ResponseError as error:
        raise RedisConnectionError(f"Redis came back with less and does not take it back: {error}") from error
    log.warning(
        "log: Redis came back without the newest entries (it ends at %d, %d were appended); %d entries are put back",
        last, newest, len(entries),
    )  # fmt: skip
    if incomplete:
        log.error(
            "log: entries between %d and %d are gone from Redis and not held any more. They have been applied, and "
            "the next checkpoint holds them; a kill before it would lose them",
            last, entries[0][0] if entries else newest,
        )  # fmt: skip
    return incomplete


async def _last(connection: Any, stream: str) -> int:
    await connection.send_command("XINFO", "STREAM", stream)
    try:
        answer = await connection.read_response()
    except ResponseError as error:
        if "no such key" in str(error):
            return 0
        raise
    return parse_id(answer[answer.index(b"last-generated-id") + 1])


async def _add(connection: Any, stream: str, entries: list[tuple[int, bytes]]) -> None:
    commands = [("XADD", stream, format_id(position), "e", payload) for position, payload in entries]
    await connection.send_packed_command(connection.pack_commands(commands))
    refusal: ResponseError | None = None
    for _ in entries:
        try:
            await connection.read_response()
        except ResponseError as error:
            # Another connection, or another server that reads this stream, was faster: then it is there.
            if "equal or smaller" not in str(error):
                refusal = error
    if refusal is not None:
        raise refusal


async def _go_on_above(connection: Any, stream: str, position: int) -> None:
    """Makes the ids of what is appended from now on greater than a position, and notes why they leap."""
    await connection.send_command("SET", lost_key(stream), position)
    await connection.read_response()
    await connection.send_command("XLEN", stream)
    if await connection.read_response():
        await connection.send_command("XSETID", stream, format_id(position))
        await connection.read_response()
        return
    # An entry is what makes the stream exist; it goes at once, its id stays the last one.
    for command in (("XADD", stream, format_id(position), "e", b"-"), ("XTRIM", stream, "MAXLEN", 0)):
        await connection.send_command(*command)
        await connection.read_response()
