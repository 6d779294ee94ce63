"""Blocks: what has been rolled up, an item for each, beside a list of their names.

    pk  <part>|<level>|<bucket>|<name>     sk  <start>|<version>|<chunk>     a block
    pk  <part>|index|<level>|<bucket>      sk  all|<version>|<chunk>         which blocks a commit wrote there

A bucket is a stretch of time, so that no key grows for ever or takes all the load, and that a query of a range asks
for the keys it needs. Blocks of the finest level are not here, they are in the stage (see server.store.dynamodb.stage).
"""

from __future__ import annotations

import json
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from engine.levels import DAY, LEVELS, PACKED, level_of, span
from server.store import BlockKey
from server.store.dynamodb.chunks import Found, Value, chunks_of, committed, in_key
from server.store.dynamodb.client import Client, Item, Key
from server.store.dynamodb.manifest import Manifest

TABLE = "blocks"
BUCKETS = {PACKED: DAY, 1: DAY, 2: 32 * DAY, 3: 1024 * DAY}
"""Width of a bucket by level, in ms."""
SPARE_SECONDS = 35 * 86_400
"""How long an item outlives its retention. What is not folded into the next level yet is needed for that, and a server
may have been away for some time."""


class Shelf:
    """The blocks of one part of the store. keep: how long each level's are kept, ms."""

    def __init__(self, client: Client, part: str, keep: Sequence[int]) -> None:
        self._client, self._part, self._keep = client, part, keep

    def items(self, blocks: Mapping[BlockKey, bytes], version: int, generation: int) -> Iterator[Item]:
        """What has to be written for blocks, and for finding them again."""
        listed: dict[tuple[int, int], list[tuple[int, str]]] = defaultdict(list)
        for key, data in sorted(blocks.items()):
            value = Value(f"{key.start:014d}", version, generation, data)
            yield from chunks_of(self._pk(key), value, self._expires(key.level, key.start))
            listed[key.level, bucket_of(key)].append((key.start, key.name))
        for (level, bucket), names in sorted(listed.items()):
            data = zlib.compress(json.dumps(names).encode(), 6)
            expires = self._expires(level, bucket + BUCKETS[level])
            yield from chunks_of(self._index(level, bucket), Value("all", version, generation, data), expires)

    def read(self, keys: Iterable[BlockKey], manifest: Manifest) -> dict[BlockKey, tuple[int, bytes]]:
        """key -> (generation, data) of the blocks that exist as of a manifest."""
        newest = {key: found[-1].value() for key, found in self._find(keys, manifest).items()}
        return {key: (value.generation, value.data) for key, value in newest.items()}

    def superseded(self, keys: Iterable[BlockKey], manifest: Manifest) -> list[Key]:
        """The keys of items under these blocks that a newer version has replaced."""
        return [
            item for versions in self._find(keys, manifest).values() for older in versions[:-1] for item in older.keys
        ]

    def items_of(self, keys: Iterable[BlockKey], manifest: Manifest) -> list[Key]:
        """The keys of all items under these blocks."""
        return [item for versions in self._find(keys, manifest).values() for each in versions for item in each.keys]

    def keys_of(self, level: int, start: int, end: int, manifest: Manifest) -> set[BlockKey]:
        """The keys of the level's blocks that begin in [start, end)."""
        buckets = [at for at in manifest.buckets.get(level, ()) if at < end and at + BUCKETS[level] > start]
        keys = set()
        for items in self._client.query_many(TABLE, [(self._index(level, at), "", None) for at in buckets]):
            for found in committed(items, manifest):
                for begin, name in json.loads(zlib.decompress(found.value().data)):
                    if start <= begin < end and manifest.has(level, begin, name, found.version):
                        keys.add(BlockKey(level, begin, name))
        return keys

    def _find(self, keys: Iterable[BlockKey], manifest: Manifest) -> dict[BlockKey, list[Found]]:
        """key -> its versions, the newest last."""
        wanted: dict[str, dict[str, BlockKey]] = defaultdict(dict)
        for key in keys:
            wanted[self._pk(key)][f"{key.start:014d}"] = key
        ranges = [(pk, f"{min(ranks)}|", f"{max(ranks)}|~") for pk, ranks in wanted.items()]
        result: dict[BlockKey, list[Found]] = defaultdict(list)
        for ranks, items in zip(wanted.values(), self._client.query_many(TABLE, ranges), strict=True):
            for found in committed(items, manifest):
                known = ranks.get(found.rank)
                if known is not None and manifest.has(known.level, known.start, known.name, found.version):
                    result[known].append(found)
        return result

    def _pk(self, key: BlockKey) -> str:
        return f"{self._part}|{key.level}|{bucket_of(key)}|{in_key(key.name)}"

    def _index(self, level: int, bucket: int) -> str:
        return f"{self._part}|index|{level}|{bucket}"

    def _expires(self, level: int, start: int) -> int | None:
        """The last level's never do: its rows are counted when they go."""
        kept = level_of(level)
        if kept == LEVELS[-1] or not self._keep:
            return None
        return (start + span(level) + self._keep[kept]) // 1000 + SPARE_SECONDS


def bucket_of(key: BlockKey) -> int:
    """The beginning of the bucket that holds a block, ms."""
    width = BUCKETS[key.level]
    return key.start - key.start % width


def buckets_of(keys: Iterable[BlockKey]) -> dict[int, list[int]]:
    """level -> the buckets that hold these blocks."""
    found: dict[int, set[int]] = defaultdict(set)
    for key in keys:
        found[key.level].add(bucket_of(key))
    return {level: sorted(buckets) for level, buckets in found.items()}


def with_buckets(manifest: Manifest, *more: Mapping[int, Iterable[int]]) -> dict[int, list[int]]:
    """The manifest's buckets and others."""
    found: dict[int, set[int]] = defaultdict(set)
    for each in (manifest.buckets, *more):
        for level, buckets in each.items():
            found[level].update(buckets)
    return {level: sorted(buckets) for level, buckets in found.items()}


def without_buckets(manifest: Manifest, level: int, before: int) -> dict[int, list[int]]:
    """The manifest's buckets without those of a level that end before a time."""
    width = BUCKETS.get(level, 0)
    left = [at for at in manifest.buckets.get(level, ()) if at + width > before]
    return manifest.buckets | {level: left}
