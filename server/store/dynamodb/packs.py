"""Events: those of one type and hour that a commit wrote, packed together in an item of the table of events.

    pk  <part>|<hour>|<type>     sk  pack|<version>|<chunk>

How many there are of each type and hour stands in the manifest, so that only hours are read that have any.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator

import zstandard

from engine.levels import HOUR, floor
from server.store import StoreDamaged, StoredEvent
from server.store.dynamodb.chunks import Value, chunks_of, committed, in_key
from server.store.dynamodb.client import Client, Item
from server.store.dynamodb.manifest import Manifest, is_below

TABLE = "events"
SPARE_SECONDS = 86_400
"""How long an item outlives its retention."""
_LEVEL = 6
_ROW = struct.Struct("<qIqiiI")
_MAX_BYTES = 1 << 32
Place = tuple[int, int, int]


class Packs:
    """The events of one part of the store. keep: how long they are kept, ms."""

    def __init__(self, client: Client, part: str, keep: int) -> None:
        self._client, self._part, self._keep = client, part, keep

    def items(self, events: Iterable[StoredEvent], version: int, generation: int) -> list[Item]:
        """What has to be written for events. OverflowError for a number of more than 64 bits."""
        found: list[Item] = []
        for (hour, type), some in sorted(_by_hour(events).items()):
            data = zstandard.ZstdCompressor(level=_LEVEL).compress(b"".join(map(_pack, some)))
            expires = (hour + HOUR + self._keep) // 1000 + SPARE_SECONDS if self._keep else None
            found += chunks_of(self._pk(hour, type), Value("pack", version, generation, data), expires)
        return found

    def read(
        self, type: str | None, start: int, end: int, manifest: Manifest, *, backwards: bool = False
    ) -> Iterator[list[StoredEvent]]:
        """The events of [start, end), hour by hour, each hour's in order of (time, position, row) or the reverse."""
        types = manifest.events if type is None else [type] if type in manifest.events else []
        hours: dict[int, list[str]] = defaultdict(list)
        for each in types:
            for hour in manifest.events[each]:
                if hour < end and hour + HOUR > start:
                    hours[hour].append(each)
        for hour in sorted(hours, reverse=backwards):
            found = [event for event in self._hour(hour, hours[hour], manifest) if start <= event.time < end]
            yield sorted(found, key=place, reverse=backwards)

    def _hour(self, hour: int, types: list[str], manifest: Manifest) -> Iterator[StoredEvent]:
        ranges = [(self._pk(hour, type), "", None) for type in types]
        for type, items in zip(types, self._client.query_many(TABLE, ranges), strict=True):
            for found in committed(items, manifest):
                events = _unpack(found.value().data, type)
                yield from (e for e in events if not is_below(manifest.event_floors, e.time, found.version))

    def _pk(self, hour: int, type: str) -> str:
        return f"{self._part}|{hour}|{in_key(type)}"


def place(event: StoredEvent) -> Place:
    """What events are ordered by."""
    return event.time, event.position, event.row


def counted(events: Iterable[StoredEvent], manifest: Manifest) -> dict[str, dict[int, int]]:
    """The manifest's counts by type and hour, and these events."""
    found = {type: dict(hours) for type, hours in manifest.events.items()}
    for (hour, type), some in _by_hour(events).items():
        hours = found.setdefault(type, {})
        hours[hour] = hours.get(hour, 0) + len(some)
    return found


def _by_hour(events: Iterable[StoredEvent]) -> dict[tuple[int, str], list[StoredEvent]]:
    found: dict[tuple[int, str], list[StoredEvent]] = defaultdict(list)
    for event in events:
        found[floor(event.time, HOUR), event.type].append(event)
    return found


def _pack(event: StoredEvent) -> bytes:
    event.position.to_bytes(8, "little", signed=True)  # OverflowError where struct would say something else
    user, session = (None if text is None else text.encode() for text in (event.user_id, event.session_id))
    lengths = (-1 if text is None else len(text) for text in (user, session))
    row = _ROW.pack(event.position, event.row, event.time, *lengths, len(event.body))
    return b"".join((row, user or b"", session or b"", event.body))


def _unpack(data: bytes, type: str) -> Iterator[StoredEvent]:
    held = zstandard.ZstdDecompressor().decompress(data, max_output_size=_MAX_BYTES)
    at = 0
    try:
        while at < len(held):
            position, row, time, *lengths, size = _ROW.unpack_from(held, at)
            at += _ROW.size
            texts: list[str | None] = []
            for length in lengths:
                texts.append(None if length < 0 else held[at : at + length].decode())
                at += max(length, 0)
            yield StoredEvent(position, row, time, type, texts[0], texts[1], held[at : at + size])
            at += size
    except (struct.error, UnicodeDecodeError) as error:
        raise StoreDamaged(f"a pack of events cannot be read: {error}") from error
