"""The store in DynamoDB.

    state     the head (which commit is the newest), pages (checkpoint, catalogue, dedup window, stage), documents
    blocks    what has been rolled up       events    what was sent as events

A flush writes its items beside what is there, under a version of their own, and then the head, on condition that
nobody else has: all of it counts from then on, or nothing. One that could not be finished goes on where it was.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from engine.levels import HOUR, LEVELS, floor
from server.store import Aws, BlockKey, Flush, StoreClosed, StoreConflict, StoreDamaged, StoredEvent, StoreUnavailable
from server.store.dynamodb import packs, shelf
from server.store.dynamodb.client import Client, Item, Stale
from server.store.dynamodb.documents import Documents
from server.store.dynamodb.manifest import Blob, Manifest, with_floor
from server.store.dynamodb.packs import counted
from server.store.dynamodb.pages import TABLE
from server.store.dynamodb.reader import HEAD, LASTING, TABLES, View, pack_series, unpack_series
from server.store.dynamodb.shelf import BUCKETS, with_buckets, without_buckets
from server.store.dynamodb.stage import Stage, Staged, blobs_of, living, pack

logger = logging.getLogger("streamgauge.store")

STRIDE = 1_000
"""Versions that a new owner leaves out: the one before may have begun some of them."""
STRETCH = 4_096
"""Series in a stretch of the catalogue that gets no more."""
AT_ONCE = 250
"""Items between two notes of how far a flush has come, and blocks that are let go of together."""
MAX_READ = 100_000
_ONE_SERVER = "run one server, or give each a DATABASE_URL with a prefix of its own"
_TAKEN_OVER = f"another server has taken over the store, so this one may not write to it any more; {_ONE_SERVER}"


@dataclass(slots=True)
class _Attempt:
    """A flush that is being written. written: how many items of each table are; blobs: what is in pages, by name."""

    generation: int
    version: int
    written: dict[str, int] = field(default_factory=dict)
    blobs: dict[str, Blob] = field(default_factory=dict)


class DynamoStore(Documents):
    """server.store.Store. It takes the store over with its first write; who had it before can write no more."""

    def __init__(self, client: Client, part: str, keep: Sequence[int] = (), events: int = 0) -> None:
        super().__init__(client, part, keep, events)
        self.guard: Callable[[], bool] = lambda: True
        self._lock = threading.Lock()
        self._is_owner = False
        self._issued = 0
        self._attempt: _Attempt | None = None
        self._recent: deque[View] = deque(maxlen=LASTING + 1)
        """The newest commits; their pages are not written over yet."""
        self._read_lately: set[BlockKey] = set()
        self._replaced: deque[list[BlockKey]] = deque()
        """Blocks that had been there before, by the flush that replaced them, the last first."""
        self._looked_at: dict[int, tuple[int, int, int]] = {}
        """Per level, (level, before, generation) as of which there was nothing left to let go of."""
        self.load()

    @classmethod
    def open(
        cls, place: tuple[str, str], aws: Aws, keep: Sequence[int], events: int, part: str = "0"
    ) -> DynamoStore:
        """The store in the tables of a (region, prefix). Raises as `Client.open` does."""
        client = Client.open(*place, aws, TABLES)
        try:
            return cls(client, part, keep, events)
        except BaseException:
            client.close()
            raise

    # sharing

    def take_over(self) -> int:
        with self._lock:
            self._is_owner, self._attempt = False, None
            self._take_over()
            return self.generation

    def refresh(self, generation: int) -> None:
        if 0 < generation <= self.generation:
            return
        with self._lock:
            self.load()
        if self.generation < generation:
            raise StoreUnavailable(f"flush {generation} is not in the store yet; try again")

    def _check(self) -> None:
        """Raises StoreConflict where somebody else may be the owner."""
        if not self.guard():
            raise StoreConflict("this process does not own the store any more")

    # writing

    def write(self, flush: Flush) -> None:
        with self._lock:
            self._take_over(anew=False)
            before, known = self._view, self._attempt
            if known is not None and (known.generation, known.version) == (flush.generation, before.manifest.version):
                self._attempt = None  # an earlier try has got through after all
                return
            if flush.generation <= before.manifest.generation:
                raise StoreConflict(
                    f"the store holds generation {before.manifest.generation}, so generation {flush.generation} comes "
                    "too late; is another server writing to it?"
                )
            attempt = self._attempt_of(flush)
            try:
                manifest, fresh = self._prepare(flush, attempt, before)
            except StoreDamaged:
                self._check_owner()  # a new owner deletes what it has replaced
                raise
            self._commit(manifest, {**before.stage, **fresh}, flushes=before.flushes + 1)
            self._attempt = None
            self._tidy(before.manifest, flush)

    def _attempt_of(self, flush: Flush) -> _Attempt:
        """The attempt under way, where it is the same flush and no other commit has come in between."""
        known = self._attempt
        if known is None or known.generation != flush.generation or known.version <= self._view.manifest.version:
            known = self._attempt = _Attempt(flush.generation, self._issue())
        return known

    def _prepare(self, flush: Flush, attempt: _Attempt, before: View) -> tuple[Manifest, Stage]:
        """Writes all that a flush brings; the manifest that will make it count, and what is new in the stage."""
        held, version = before.manifest, attempt.version
        events = self._new_events(flush, held)
        packed = self._packs.items(events, version, flush.generation)
        stretches = self._stretches(flush.series, held)
        upper = {key: data for key, data in flush.blocks.items() if key.level}
        stage: Stage = {
            key: Staged(flush.generation, version, data, None) for key, data in flush.blocks.items() if not key.level
        }
        blobs = self._put_pages(attempt, {
            "checkpoint": b"".join(flush.checkpoint),
            **({"stage": pack(stage)} if stage else {}),
            **({"series": pack_series(stretches[1])} if stretches[1] else {}),
            **{f"dedup {number}": chunk for number, chunk in flush.dedup_chunks},
        })  # fmt: skip
        self._put_items(attempt, packs.TABLE, packed)
        self._put_items(attempt, shelf.TABLE, self._shelf.items(upper, version, flush.generation))
        dedup = held.dedup | {number: blobs[f"dedup {number}"] for number, _ in flush.dedup_chunks}
        series = stretches[0]
        if stretches[1]:
            series = (*series, (stretches[1][-1][0], len(stretches[1]), blobs["series"]))
        floors = held.floors
        if flush.packed_before:
            floors = floors | {0: with_floor(floors.get(0, ()), flush.packed_before, version - 1)}
        manifest = held.following(
            version, generation=flush.generation, position=max(flush.position, held.position), floors=floors,
            checkpoint=blobs["checkpoint"], series=series, stage=(*held.stage, *([blobs["stage"]] if stage else [])),
            dedup={number: blob for number, blob in dedup.items() if number >= flush.dedup_drop_before},
            buckets=with_buckets(held, upper), events=counted(events, held),
            size=held.size + sum(map(len, flush.blocks.values())) + sum(len(e.body) for e in events),
        )  # fmt: skip
        return manifest, {key: block._replace(blob=blobs["stage"]) for key, block in stage.items()}

    def _new_events(self, flush: Flush, held: Manifest) -> list[StoredEvent]:
        """The events of a flush that are not there yet; as a rule all are above the position of the last flush."""
        doubtful = [event for event in flush.events if event.position <= held.position]
        if not doubtful:
            return flush.events
        start, end = min(event.time for event in doubtful), max(event.time for event in doubtful) + 1
        known = {(event.position, event.row) for hour in self._packs.read(None, start, end, held) for event in hour}
        return [event for event in flush.events if (event.position, event.row) not in known]

    def _put_pages(self, attempt: _Attempt, values: Mapping[str, bytes]) -> dict[str, Blob]:
        self._check()
        missing = [name for name in values if name not in attempt.blobs]
        attempt.blobs.update(zip(missing, self._pages.write([values[name] for name in missing]), strict=True))
        return attempt.blobs

    def _put_items(self, attempt: _Attempt, table: str, items: Iterable[Item]) -> None:
        """Writes items that come in the same order each time, from where an earlier try has ended."""
        left = islice(items, attempt.written.get(table, 0), None)
        while some := list(islice(left, AT_ONCE)):
            self._check()
            self._client.put_many(table, some)
            attempt.written[table] = attempt.written.get(table, 0) + len(some)

    def _stretches(
        self, rows: Sequence[tuple[int, bytes]], held: Manifest
    ) -> tuple[tuple[tuple[int, int, Blob], ...], list[tuple[int, bytes]]]:
        """(the stretches of the catalogue that stay, the rows of the last one). StoreConflict."""
        if not rows:
            return held.series, []
        given = dict(rows)
        for id, key in rows:
            if given[id] != key:
                raise StoreConflict(f"series {id} is {key!r} and {given[id]!r} in one flush")
        stay = held.series
        known: dict[int, bytes] = {}
        # A short last stretch is written anew with what is new; others only where a row of theirs comes again.
        while stay and (min(given) <= stay[-1][0] or (not known and stay[-1][1] < STRETCH)):
            known.update(unpack_series(self._pages.read([stay[-1][2]])[0]))
            stay = stay[:-1]
        for id, key in given.items():
            if known.get(id, key) != key:
                raise StoreConflict(f"series {id} is {known[id]!r} in the store, the flush has {key!r}")
        return stay, sorted((known | given).items())

    # owning and committing

    def _take_over(self, *, anew: bool = True) -> None:
        """Becomes the owner. Raises StoreConflict where somebody else does so at the same moment.

        anew: of whatever is there now; else only if that is what is known here. Where somebody has written meanwhile,
        they stay the owner: a flush made from what was there before could not be written on top of theirs.
        """
        if self._closed:
            raise StoreClosed("the store is closed")
        if self._is_owner:
            return
        known = self._view
        head = self.load()
        if not anew and self._view.manifest.version != known.manifest.version:
            self._view = known
            raise StoreConflict(f"another server has written to the store since this one was started; {_ONE_SERVER}")
        fence = 1 if head is None else int(head["fence"]) + 1
        now: Item = {"pk": HEAD, "sk": self._part, "fence": fence, "version": 0, "manifest": ""}
        expected: dict[str, Any] = {"fence": None}
        if head is not None:
            now |= {"version": head["version"], "manifest": head["manifest"]}
            expected = {"fence": head["fence"], "version": head["version"]}
        self._put_head(now, expected)
        self._is_owner = True
        self._pages.fence = fence
        self._recent = deque([self._view], maxlen=LASTING + 1)
        self._pages.keep(self._view.manifest, blobs=filter(None, [self._view.blob]))
        self._issued = self._view.manifest.version + (STRIDE if head is not None else 0)

    def _check_owner(self) -> None:
        """StoreConflict where the store has been taken over."""
        head = self._client.get(TABLE, (HEAD, self._part))
        if head is None or head["fence"] != self._pages.fence:
            raise StoreConflict(_TAKEN_OVER)

    def _issue(self) -> int:
        self._issued = max(self._issued, self._view.manifest.version) + 1
        return self._issued

    def _commit(self, manifest: Manifest, stage: Stage, *, flushes: int) -> None:
        """Makes a manifest the one that counts."""
        self._check()
        before = self._view
        stage = living(stage, manifest)
        manifest = replace(manifest, stage=blobs_of(stage, manifest))
        (blob,) = self._pages.write([manifest.encode()])
        fence = self._pages.fence
        now: Item = {
            "pk": HEAD, "sk": self._part, "fence": fence, "version": manifest.version, "manifest": json.dumps(blob),
        }  # fmt: skip
        self._put_head(now, {"fence": fence, "version": before.manifest.version})
        self._view = View(manifest, stage, blob, flushes)
        attempted = self._attempt.blobs.values() if self._attempt is not None else ()
        self._recent.appendleft(self._view)
        blobs = [*attempted, *(view.blob for view in self._recent if view.blob is not None)]
        self._pages.keep(*(view.manifest for view in self._recent), blobs=blobs)

    def _put_head(self, head: Item, expected: Mapping[str, Any]) -> None:
        self._check()
        try:
            self._client.put(TABLE, head, expected)
        except Stale:
            self._check_owner()
            # Nobody but this one writes under its fence: an earlier put has got through, only its answer was lost.
            flushes = self._view.flushes
            self.load()
            self._view = self._view._replace(flushes=flushes + 1)
            self._pages.keep(self._view.manifest, blobs=filter(None, [self._view.blob]))
            raise StoreUnavailable("a commit whose answer was lost has been found to be there; try again") from None

    def _amend(self, change: Callable[[Manifest], Manifest]) -> None:
        """Commits a change that brings no items. The lock must be held."""
        self._take_over(anew=False)
        view = self._view
        self._commit(change(view.manifest.following(self._issue())), view.stage, flushes=view.flushes)

    # letting go

    def _tidy(self, before: Manifest, flush: Flush) -> None:
        """Deletes what an earlier flush has replaced: whoever still read it has ended, or begins again."""
        self._replaced.appendleft([key for key in flush.blocks if key in self._read_lately])
        self._read_lately = set()
        gone = self._replaced.pop() if len(self._replaced) > LASTING else []
        try:
            self._client.delete_many(shelf.TABLE, self._shelf.superseded(gone, self._view.manifest))
            self._pages.forget(before, self._view.manifest)
        except (StoreUnavailable, StoreDamaged) as error:
            logger.warning("what is not needed any more stays in the tables until it expires: %s", error)

    def read_blocks(self, keys: Sequence[BlockKey]) -> dict[BlockKey, tuple[int, bytes]]:
        try:
            found = super().read_blocks(keys)
        except StoreDamaged:
            if self._is_owner:
                self._check_owner()
            raise
        if len(self._read_lately) < MAX_READ:
            self._read_lately.update(key for key in found if key.level)
        return found

    def expire(self, level: int, before: int, rows: Callable[[bytes], int] | None = None) -> int:
        with self._lock:
            if (level, before, self._now.manifest.generation) == self._looked_at.get(level):
                return 0
            found = self.list_blocks(level, -(1 << 62), before)
            at = 0
            while at < len(found):
                end = _end_of_step(found, at)
                some = found[at:end]
                reached = before if end == len(found) else found[end].start
                gone = sum(self._rows_let_go(some, rows)) if rows is not None else 0
                items = self._shelf.items_of(some, self._view.manifest) if level == LEVELS[-1] else []
                self._let_go(level, reached, gone)
                self._client.delete_many(shelf.TABLE, items)
                at = end
            self._looked_at[level] = level, before, self._view.manifest.generation
            return len(found)

    def _let_go(self, level: int, before: int, rows: int) -> None:
        def change(now: Manifest) -> Manifest:
            floors = now.floors | {level: with_floor(now.floors.get(level, ()), before, now.version)}
            buckets = without_buckets(now, level, before)
            return replace(now, floors=floors, buckets=buckets, let_go=now.let_go + rows)

        self._amend(change)

    def _rows_let_go(self, keys: Sequence[BlockKey], rows: Callable[[bytes], int]) -> Iterable[int]:
        try:
            found = self._read_blocks(keys, self._view)
        except StoreDamaged as error:
            if len(keys) > 1:
                for key in keys:
                    yield from self._rows_let_go([key], rows)
            else:
                logger.error("retention lets go of rows that cannot be counted any more: %s", error)
            return
        yield from (rows(data) for _, data in found.values())

    def expire_events(self, before: int) -> int:
        with self._lock:
            gone = sum(self.event_types(None, before).values())
            if gone:
                self._amend(lambda now: self._without_events(now, before, gone))
            return gone

    def _without_events(self, now: Manifest, before: int, gone: int) -> Manifest:
        edge = floor(before, HOUR)
        left: dict[str, dict[int, int]] = {}
        for type, hours in now.events.items():
            kept = {hour: count for hour, count in hours.items() if hour >= edge}
            if edge in kept and before > edge:
                kept[edge] = sum(map(len, self._packs.read(type, before, edge + HOUR, now)))
            if kept := {hour: count for hour, count in kept.items() if count}:
                left[type] = kept
        floors = with_floor(now.event_floors, before, now.version)
        return replace(now, event_floors=floors, events=left, events_let_go=now.events_let_go + gone)

    def delete_name(self, name: str) -> int:
        with self._lock:
            keys = [key for level in BUCKETS for key in self.list_blocks(level, -(1 << 62), 1 << 62, (name,))]
            items = self._shelf.items_of(keys, self._view.manifest)
            staged = sum(key.name == name for key in self._view.stage)
            if keys or staged:
                self._amend(lambda now: replace(now, deleted=now.deleted | {name: now.version}))
                self._client.delete_many(shelf.TABLE, items)
            return len(keys) + staged

    def close(self) -> None:
        with self._lock:
            super().close()


def _end_of_step(keys: Sequence[BlockKey], begin: int) -> int:
    """Where some blocks end that are let go of together; those that begin at one time stay together."""
    end = min(begin + AT_ONCE, len(keys))
    while end < len(keys) and keys[end].start == keys[end - 1].start:
        end += 1
    return end
