"""The store in DynamoDB.

    state     the head (which commit is the newest), pages (checkpoint, catalogue, dedup window, stage), documents
    blocks    what has been rolled up       events    what was sent as events

A flush writes its items beside what is there, under a version of their own, and then the head, on condition that
nobody else has: all of it counts from then on, or nothing. One that could not be finished goes on where it was.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from engine.levels import HOUR, LEVELS, floor
from server.store import (
    Aws,
    BlockKey,
    Flush,
    StoreConflict,
    StoreDamaged,
    StoredEvent,
    StoreUnavailable,
    WrittenShare,
)
from server.store.dynamodb import packs, shelf
from server.store.dynamodb.client import Client, Item
from server.store.dynamodb.commits import Attempt, Commits
from server.store.dynamodb.manifest import Blob, Manifest, with_floor
from server.store.dynamodb.packs import counted
from server.store.dynamodb.reader import LASTING, TABLES, View, pack_series, unpack_series
from server.store.dynamodb.shelf import BUCKETS, buckets_of, with_buckets, without_buckets
from server.store.dynamodb.stage import Stage, Staged, pack

logger = logging.getLogger("streamgauge.store")

STRETCH = 4_096
"""Series in a stretch of the catalogue that gets no more."""
AT_ONCE = 250
"""Items between two notes of how far a flush has come, and blocks that are let go of together."""
MAX_READ = 100_000


class DynamoStore(Commits):
    """server.store.Store. It takes the store over with its first write; who had it before can write no more."""

    def __init__(self, client: Client, part: str, keep: Sequence[int] = (), events: int = 0) -> None:
        super().__init__(client, part, keep, events)
        self._read_lately: set[BlockKey] = set()
        self._replaced: deque[tuple[list[BlockKey], Manifest]] = deque()
        """Blocks that had been there before, by the flush that replaced them, and the manifest then; the last first."""
        self._looked_at: dict[int, tuple[int, int, int]] = {}
        """Per level, (level, before, generation) as of which there was nothing left to let go of."""

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

    def refresh(self, generation: int) -> None:
        if 0 < generation <= self.generation:
            return
        with self._lock:
            self.load()
        if self.generation < generation:
            raise StoreUnavailable(f"flush {generation} is not in the store yet; try again")

    def write_share(
        self, generation: int, version: int, blocks: Mapping[BlockKey, bytes], guard: Callable[[], bool]
    ) -> WrittenShare:
        view = self._now
        if self.generation >= generation:
            raise StoreConflict(f"flush {generation} is in the store already")
        items = self._shelf.items(blocks, version, generation)
        while some := list(islice(items, AT_ONCE)):
            if not guard():
                raise StoreConflict(f"this process is not to write a share of flush {generation} any more")
            self._client.put_many(shelf.TABLE, some)
        self._delete_replaced(blocks, view.manifest)
        return WrittenShare(version, buckets_of(blocks), sum(map(len, blocks.values())))

    # writing

    def write(self, flush: Flush) -> None:
        with self._lock:
            self._take_over(anew=False)
            known = self._attempt
            if known is not None and known.generation == flush.generation and known.shares != flush.shares:
                self._look_again()  # it is not the same attempt that goes on
            before = self._view
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

    def _attempt_of(self, flush: Flush) -> Attempt:
        """The attempt under way, where it is the same flush and no other commit has come in between."""
        known, same = self._attempt, (flush.generation, flush.shares)
        if known is None or (known.generation, known.shares) != same or known.version <= self._view.manifest.version:
            known = self._attempt = Attempt(flush.generation, self._issue(), flush.shares)
        return known

    def _prepare(self, flush: Flush, attempt: Attempt, before: View) -> tuple[Manifest, Stage]:
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
        if any(share.version <= held.version for share in flush.shares):
            raise StoreUnavailable("something else was written before the shares of the flush; try again without")
        manifest = held.following(
            version, [share.version for share in flush.shares],
            generation=flush.generation, position=max(flush.position, held.position), floors=floors,
            checkpoint=blobs["checkpoint"], series=series, stage=(*held.stage, *([blobs["stage"]] if stage else [])),
            dedup={number: blob for number, blob in dedup.items() if number >= flush.dedup_drop_before},
            buckets=with_buckets(held, buckets_of(upper), *(share.buckets for share in flush.shares)),
            events=counted(events, held),
            size=held.size + sum(map(len, flush.blocks.values())) + sum(len(e.body) for e in events)
            + sum(share.size for share in flush.shares),
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

    def _put_pages(self, attempt: Attempt, values: Mapping[str, bytes]) -> dict[str, Blob]:
        self._check()
        missing = [name for name in values if name not in attempt.blobs]
        attempt.blobs.update(zip(missing, self._pages.write([values[name] for name in missing]), strict=True))
        return attempt.blobs

    def _put_items(self, attempt: Attempt, table: str, items: Iterable[Item]) -> None:
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

    # letting go

    def _tidy(self, before: Manifest, flush: Flush) -> None:
        """Deletes what an earlier flush has replaced: whoever still read it has ended, or begins again."""
        try:
            self._delete_replaced(flush.blocks, self._view.manifest)
            self._pages.forget(before, self._view.manifest)
        except (StoreUnavailable, StoreDamaged) as error:
            logger.warning("what is not needed any more stays in the tables until it expires: %s", error)

    def _delete_replaced(self, written: Iterable[BlockKey], manifest: Manifest) -> None:
        """Notes what was replaced as of a manifest, and deletes what was in LASTING flushes before: of that nobody who
        has seen any since needs anything older than was the newest then."""
        self._replaced.appendleft(([key for key in written if key in self._read_lately], manifest))
        self._read_lately = set()
        while self._replaced[-1][1].generation <= self._view.manifest.generation - LASTING:
            self._client.delete_many(shelf.TABLE, self._shelf.superseded(*self._replaced.pop()))

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
