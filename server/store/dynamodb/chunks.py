"""Values that may be larger than an item: in chunks beside one another, under one version.

sk = <what it is>|<version>|<chunk>; the first chunk says how many there are, and the checksum of all.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from server.store import StoreDamaged
from server.store.dynamodb.client import Item, Key
from server.store.dynamodb.manifest import Manifest
from server.store.dynamodb.values import key_of

CHUNK_BYTES = 290_000
_LONG_NAME = 600


class Value(NamedTuple):
    """A value as it is stored. rank: the first part of its sk; generation: of the flush that wrote it."""

    rank: str
    version: int
    generation: int
    data: bytes


def chunks_of(pk: str, value: Value, expires: int | None) -> Iterator[Item]:
    """The items of a value. expires: seconds since 1970, None for never."""
    parts = [value.data[at : at + CHUNK_BYTES] for at in range(0, len(value.data), CHUNK_BYTES)] or [b""]
    for number, part in enumerate(parts):
        sk = f"{value.rank}|{value.version:012d}|{number:03d}"
        item: Item = {"pk": pk, "sk": sk, "g": value.generation}
        if part:
            item["d"] = part
        if number == 0:
            item |= {"n": len(parts), "c": zlib.crc32(value.data)}
        if expires is not None:
            item["expires"] = expires
        yield item


@dataclass(frozen=True, slots=True)
class Found:
    """The chunks of a value that were found; they are looked at when it is asked for."""

    rank: str
    version: int
    items: list[Item]

    @property
    def keys(self) -> list[Key]:
        """Where they lie."""
        return [key_of(item) for item in self.items]

    def value(self) -> Value:
        """StoreDamaged where it is not what was written."""
        first = self.items[0]
        data = b"".join(part for item in self.items if isinstance(part := item.get("d"), bytes))
        if len(self.items) != first.get("n") or zlib.crc32(data) != first.get("c"):
            raise StoreDamaged(f"an item of the store is damaged: {first['pk']!r} {first['sk']!r}")
        return Value(self.rank, self.version, int(first["g"]), data)


def committed(items: Iterable[Item], manifest: Manifest) -> list[Found]:
    """The values among the items of a pk that have been committed, in order of rank and version."""
    grouped: dict[tuple[str, int], list[Item]] = {}
    for item in sorted(items, key=key_of):
        rank, version, _ = str(item["sk"]).rsplit("|", 2)
        if manifest.counts(int(version)):
            grouped.setdefault((rank, int(version)), []).append(item)
    return [Found(*place, parts) for place, parts in sorted(grouped.items())]


def in_key(name: str) -> str:
    """A name as part of a key, which has room for 2,048 bytes."""
    encoded = name.encode()
    return name if len(encoded) <= _LONG_NAME else f"#{hashlib.sha256(encoded).hexdigest()}"
