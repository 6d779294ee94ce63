"""A log on Redis, read with ranges only: the server's cursor and its clients are not touched."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from redis import Redis, RedisCluster
from redis.exceptions import RedisError

from server.log import LogDamaged, LogUnavailable, Record
from server.log.redis_names import (
    NONE_DELETED,
    Ends,
    format_id,
    in_cluster,
    lost_key,
    parse_ends,
    parse_id,
    split_url,
    text,
)
from server.log.scan import Hole

READ_BYTES = 4 << 20
MAX_COUNT = 1024
WATCH_SECONDS = 2.5
"""A running server appends at least a tick each second."""
_KEYS = ("", ":epoch", ":cursors", ":lost")


class RedisReader:
    """See server.log.LogReader."""

    dense = False

    def __init__(self, url: str) -> None:
        bare, self._stream, _ = split_url(url)
        # Plain commands on one connection; typed too loosely to check against.
        self._client: Any = None
        self._make = RedisCluster if in_cluster(url) else Redis
        self._bare = bare
        self._host = urlsplit(bare).hostname or bare.partition("?")[0]
        self.place = f"stream {self._stream} at {self._host}"
        self.epoch = text(self._ask("GET", f"{self._stream}:epoch") or b"")

    @classmethod
    def open(cls, url: str) -> RedisReader | None:
        """None where there is no such stream."""
        reader = cls(url)
        if reader.exists():
            return reader
        reader.close()
        return None

    def exists(self) -> bool:
        """Whether the stream is there."""
        return bool(self._ask("EXISTS", self._stream))

    def read(self, after: int) -> Iterator[Record | Hole]:
        count = 16
        while found := self._ask("XRANGE", self._stream, format_id(after + 1), "+", "COUNT", count):
            records = [self._record(*entry) for entry in found]
            yield from records
            after = records[-1].position
            mean = sum(len(record.payload) for record in records) // len(records)
            count = max(1, min(MAX_COUNT, READ_BYTES // (mean + 1)))

    def _record(self, name: bytes, fields: Any) -> Record:
        held = fields if isinstance(fields, dict) else _paired(fields)
        if b"e" not in held:
            raise LogDamaged(f"entry {name.decode()} of {self.place} is none of Streamgauge's")
        return Record(parse_id(name), held[b"e"])

    def entries(self, after: int, count: int) -> list[tuple[bytes, dict[bytes, bytes]]]:
        """(id, fields) of some entries above a position, whoever made them."""
        found = self._ask("XRANGE", self._stream, format_id(after + 1), "+", "COUNT", count)
        return [(name, fields if isinstance(fields, dict) else _paired(fields)) for name, fields in found]

    def replace(self, ids: list[str], filler: bytes) -> None:
        """Take entries out and append one, at once; the stream then knows of none that were taken out.

        Raises LogUnavailable, also where somebody appends at this moment.
        """
        answer = self._ask("XINFO", "STREAM", self._stream)
        names = {text(name) for name in (answer if isinstance(answer, dict) else answer[::2])}
        id = format_id(parse_ends(answer).last + 1)
        commands: list[tuple[object, ...]] = [("XDEL", self._stream, one) for one in ids]
        commands.append(("XADD", self._stream, id, "e", filler))
        if "max-deleted-entry-id" in names:  # since Redis 7
            commands.append(("XSETID", self._stream, id, "MAXDELETEDID", NONE_DELETED))
        self._at_once(commands)

    def first(self) -> int:
        found = self._ask("XRANGE", self._stream, "-", "+", "COUNT", 1)
        return parse_id(found[0][0]) if found else self.last() + 1

    def last(self) -> int:
        """Position of the newest entry ever appended."""
        return self.ends().last

    def ends(self) -> Ends:
        """Where the stream ends."""
        return parse_ends(self._ask("XINFO", "STREAM", self._stream))

    def lost(self) -> int:
        """The newest position that Redis is known to have lost by itself, 0 for none."""
        return int(self._ask("GET", lost_key(self._stream)) or 0)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def set_aside(self, mark: str) -> str:
        """Renames the stream and what belongs to it, at once; its new name."""
        there = [key for key in _KEYS if self._ask("EXISTS", self._stream + key)]
        self._at_once([("RENAME", self._stream + key, f"{self._stream}.{mark}{key}") for key in there])
        return f"{self._stream}.{mark}"

    def owner(self) -> str:
        """Who appends to the stream or owns it, "" for nobody; it is watched for a while."""
        lease = f"{self._stream}:lease"
        before, left, until = self.last(), self._ask("PTTL", lease), time.monotonic() + WATCH_SECONDS
        while time.monotonic() < until:
            if self.last() != before:
                return f"a server appends to {self.place}"
            if (now := self._ask("PTTL", lease)) > left:  # renewed; one that is left over only runs out
                return f"an engine owns {self.place}"
            left = now
            time.sleep(0.1)
        return ""

    def _at_once(self, commands: list[tuple[object, ...]]) -> None:
        try:
            pipeline = self._connected().pipeline(transaction=True)
            for command in commands:
                pipeline.execute_command(*command)
            pipeline.execute()
        except (RedisError, OSError) as error:
            raise LogUnavailable(f"the Redis at {self._host} does not answer as it should: {error}") from error

    def _connected(self) -> Any:
        if self._client is None:  # a cluster is asked for its nodes here
            self._client = self._make.from_url(self._bare, protocol=2, socket_timeout=10, socket_connect_timeout=2)
        return self._client

    def _ask(self, *command: object) -> Any:
        try:
            return self._connected().execute_command(*command)
        except (RedisError, OSError) as error:
            raise LogUnavailable(f"the Redis at {self._host} does not answer as it should: {error}") from error


def _paired(fields: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(fields[::2], fields[1::2], strict=True))
