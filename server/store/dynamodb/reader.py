"""What the store holds, as threads that do not write to it see it: always the whole of one commit."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple, TypeVar

from engine.levels import HOUR, floor
from server.store import (
    SCAN_CHUNK,
    SCAN_LIMIT,
    BlockKey,
    Checkpoint,
    ScannedEvent,
    StoreClosed,
    StoreDamaged,
    StoredEvent,
    StoreUnavailable,
    TooManyRows,
)
from server.store.dynamodb import packs, shelf
from server.store.dynamodb.client import Client, Item
from server.store.dynamodb.manifest import Blob, Manifest, as_blob
from server.store.dynamodb.packs import Packs, place
from server.store.dynamodb.pages import TABLE, Pages
from server.store.dynamodb.shelf import Shelf
from server.store.dynamodb.stage import Stage, Staged, living, unpack
from server.store.fields import event_values, split_path

TABLES = (TABLE, shelf.TABLE, packs.TABLE)
HEAD = "head"
_EVER = 1 << 62
LASTING = 4
"""Flushes for which what has been replaced stays: somebody may still be reading it."""
LOOK_SECONDS = 0.5
_TRIES = 20
_SERIES = struct.Struct("<qI")
Result = TypeVar("Result")


class View(NamedTuple):
    """One commit. blob: of the manifest; flushes: how many this process has seen before it."""

    manifest: Manifest
    stage: Stage
    blob: Blob | None
    flushes: int = 0


class Reader:
    """The methods of `server.store.Store` that read. part: which of the stores that share the tables this is.

    keep: how long the blocks of each level are kept, ms; events: the same of events; 0 and () for ever.
    """

    def __init__(self, client: Client, part: str, keep: Sequence[int] = (), events: int = 0) -> None:
        self._client, self._part = client, part
        self._pages = Pages(client, part)
        self._shelf = Shelf(client, part, keep)
        self._packs = Packs(client, part, events)
        self._closed = False
        self._view = View(Manifest(), {}, None)
        self._looked = 0.0
        """When it was last seen that what this view shows is still there."""

    def load(self) -> Item | None:
        """Takes the newest commit for what there is; the head that names it, None in a new store."""
        flushes, self._looked = self._view.flushes + 1, time.monotonic()
        for left in reversed(range(_TRIES)):
            head = self._client.get(TABLE, (HEAD, self._part))
            if head is None or not head["manifest"]:
                self._view = View(Manifest(), {}, None, flushes)
                return head
            blob = as_blob(json.loads(str(head["manifest"])))
            try:
                manifest = Manifest.decode(self._pages.read([blob])[0])
                self._view = View(manifest, self._load_stage(manifest), blob, flushes)
                return head
            except StoreDamaged:  # or else its owner has gone on meanwhile, twice
                if not left:
                    raise
        raise AssertionError

    def _load_stage(self, manifest: Manifest) -> Stage:
        found: dict[BlockKey, Staged] = {}
        for blob, data in zip(manifest.stage, self._pages.read(manifest.stage), strict=True):
            found.update(unpack(data, blob))
        return living(found, manifest)

    def _in_one_view(self, read: Callable[[View], Result]) -> Result:
        """What is read of a commit while the store goes on: LASTING flushes later it is still whole."""
        for left in reversed(range(_TRIES)):
            view = self._now
            try:
                found = read(view)
            except StoreDamaged:
                if not left or not self._is_past(view):
                    raise
                continue
            if self._view.flushes - view.flushes <= LASTING:
                return found
        raise StoreUnavailable("the store was written to again and again while it was read; try again")

    def _is_past(self, view: View) -> bool:
        """Whether what cannot be read of a commit may be so because newer ones have taken its place."""
        if self._view.flushes - view.flushes > LASTING:
            return True
        head = self._client.get(TABLE, (HEAD, self._part))
        if head is None or head["version"] == self._view.manifest.version:
            return False
        self.load()
        return True

    def _check_present(self, view: View) -> None:
        """StoreDamaged where what was not found may have been there, and been replaced by so many flushes since that
        it is deleted. Looks once in LOOK_SECONDS: as many flushes take longer."""
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        looked = time.monotonic()
        head = self._client.get(TABLE, (HEAD, self._part))
        if head is not None and int(head.get("flush", 0)) - view.manifest.generation >= LASTING:
            raise StoreDamaged("the store went on while it was read")
        self._looked = looked

    @property
    def generation(self) -> int:
        """Of the newest flush that is seen here."""
        return self._view.manifest.generation

    @property
    def _now(self) -> View:
        if self._closed:
            raise StoreClosed("the store is closed")
        return self._view

    # checkpoints, the catalogue and the dedup window

    def newest_checkpoint(self) -> Checkpoint | None:
        def read(view: View) -> Checkpoint | None:
            if view.manifest.checkpoint is None:
                return None
            (data,) = self._pages.read([view.manifest.checkpoint])
            return Checkpoint(view.manifest.generation, view.manifest.position, data)

        return self._in_one_view(read)

    def series(self) -> Iterator[tuple[int, bytes]]:
        for _, _, blob in self._now.manifest.series:
            yield from unpack_series(self._pages.read([blob])[0])

    def dedup_chunks(self) -> list[tuple[int, bytes]]:
        def read(view: View) -> list[tuple[int, bytes]]:
            chunks = sorted(view.manifest.dedup.items())
            values = self._pages.read([blob for _, blob in chunks])
            return [(number, value) for (number, _), value in zip(chunks, values, strict=True)]

        return self._in_one_view(read)

    # blocks

    def read_blocks(self, keys: Sequence[BlockKey]) -> dict[BlockKey, tuple[int, bytes]]:
        def read(view: View) -> dict[BlockKey, tuple[int, bytes]]:
            found = self._read_blocks(keys, view)
            if len(found) < len(keys):
                self._check_present(view)
            return found

        return self._in_one_view(read)

    def _read_blocks(self, keys: Sequence[BlockKey], view: View) -> dict[BlockKey, tuple[int, bytes]]:
        found = self._shelf.read([key for key in keys if key.level], view.manifest)
        for key in keys:
            held = view.stage.get(key) if not key.level else None
            if held is not None:
                found[key] = held.generation, held.data
        return found

    def list_blocks(self, level: int, start: int, end: int, names: Collection[str] | None = None) -> list[BlockKey]:
        view = self._now
        if level:
            found = self._shelf.keys_of(level, start, end, view.manifest)
        else:
            found = {key for key in view.stage if start <= key.start < end}
        return sorted(key for key in found if names is None or key.name in names)

    # events

    def events(
        self, type: str | None, start: int, end: int, *, user_id: str | None = None, limit: int | None = None,
        newest_first: bool = False, upto: tuple[int, int] | None = None, after: tuple[int, int, int] | None = None,
    ) -> list[StoredEvent]:  # fmt: skip
        if after is not None:
            start, end = (start, min(end, after[0] + 1)) if newest_first else (max(start, after[0]), end)
        found: list[StoredEvent] = []
        for hour in self._packs.read(type, start, end, self._now.manifest, backwards=newest_first):
            if limit is not None and len(found) >= limit:
                break
            found += [
                event for event in hour
                if (user_id is None or event.user_id == user_id)
                and (upto is None or (event.position, event.row) <= upto)
                and (after is None or (place(event) < after if newest_first else place(event) > after))
            ]  # fmt: skip
        return found[:limit]

    def events_scan(
        self, type: str | None, start: int, end: int, fields: Sequence[str] = (),
        upto: tuple[int, int] | None = None, *, limit: int = SCAN_LIMIT,
    ) -> Iterator[list[ScannedEvent]]:  # fmt: skip
        paths = [split_path(path) for path in fields]
        manifest = self._now.manifest
        most = sum(
            count for each, hours in manifest.events.items() if type in (None, each)
            for hour, count in hours.items() if hour < end and hour + HOUR > start
        )  # fmt: skip
        if most > limit:  # some of these may lie beside the range
            count = sum(1 for hour in self._packs.read(type, start, end, manifest) for e in hour if _is_upto(e, upto))
            if count > limit:
                raise TooManyRows(count, limit)
        return self._scan(type, start, end, paths, upto, manifest)

    def _scan(
        self, type: str | None, start: int, end: int, paths: list[list[str]], upto: tuple[int, int] | None,
        manifest: Manifest,
    ) -> Iterator[list[ScannedEvent]]:  # fmt: skip
        for hour in self._packs.read(type, start, end, manifest):
            chosen = [event for event in hour if _is_upto(event, upto)]
            for at in range(0, len(chosen), SCAN_CHUNK):
                yield [
                    (event.time, event.user_id, event.session_id, *event_values(event, paths))
                    for event in chosen[at : at + SCAN_CHUNK]
                ]

    def event_types(self, start: int | None = None, end: int | None = None) -> dict[str, int]:
        manifest = self._now.manifest
        start, end = -_EVER if start is None else start, _EVER if end is None else end
        found: dict[str, int] = {}
        cut = {floor(moment, HOUR) for moment in (start, end) if moment % HOUR}
        for type, hours in manifest.events.items():
            whole = sum(n for hour, n in hours.items() if hour >= start and hour + HOUR <= end and hour not in cut)
            for hour in cut & hours.keys():
                begin, finish = max(start, hour), min(end, hour + HOUR)
                whole += sum(map(len, self._packs.read(type, begin, finish, manifest)))
            if whole:
                found[type] = whole
        return found

    # the tables

    def size(self) -> int:
        return self._now.manifest.size

    def close(self) -> None:
        self._closed = True
        self._client.close()


def _is_upto(event: StoredEvent, upto: tuple[int, int] | None) -> bool:
    return upto is None or (event.position, event.row) <= upto


def pack_series(rows: Sequence[tuple[int, bytes]]) -> bytes:
    """A stretch of the catalogue as one value."""
    return b"".join(part for id, key in rows for part in (_SERIES.pack(id, len(key)), key))


def unpack_series(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The inverse."""
    at = 0
    while at < len(data):
        id, length = _SERIES.unpack_from(data, at)
        at += _SERIES.size
        yield id, data[at : at + length]
        at += length
