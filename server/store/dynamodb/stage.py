"""The stage: the finest level's blocks of the hour that is going on, in memory, and packed together in pages.

They are read once, when the store is opened. Later ones count before earlier ones at the same key.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from server.store import BlockKey, StoreDamaged
from server.store.dynamodb.manifest import Blob, Manifest

_HEAD = struct.Struct("<I")


class Staged(NamedTuple):
    """A block, and the pages that hold it; version: of the commit that wrote it."""

    generation: int
    version: int
    data: bytes
    blob: Blob | None


Stage = Mapping[BlockKey, Staged]


def pack(stage: Stage) -> bytes:
    """Blocks as one value."""
    listed = [(key.start, key.name, held.generation, held.version, len(held.data)) for key, held in stage.items()]
    head = json.dumps(listed).encode()
    return b"".join((_HEAD.pack(len(head)), head, *(held.data for held in stage.values())))


def unpack(data: bytes, blob: Blob) -> Iterator[tuple[BlockKey, Staged]]:
    """The inverse. StoreDamaged."""
    try:
        at = _HEAD.size + _HEAD.unpack_from(data)[0]
        for start, name, generation, version, length in json.loads(data[_HEAD.size : at]):
            yield BlockKey(0, start, name), Staged(generation, version, data[at : at + length], blob)
            at += length
    except (ValueError, struct.error) as error:
        raise StoreDamaged(f"the pages of the blocks of this hour cannot be read: {error}") from error


def living(stage: Stage, manifest: Manifest) -> dict[BlockKey, Staged]:
    """The blocks that are there as of a manifest."""
    return {key: held for key, held in stage.items() if manifest.has(0, key.start, key.name, held.version)}


def blobs_of(stage: Stage, manifest: Manifest) -> tuple[Blob, ...]:
    """The manifest's pages that still hold any of these blocks, in their order."""
    needed = {held.blob for held in stage.values()}
    return tuple(blob for blob in manifest.stage if blob in needed)
