"""Pages: bytes of any length in items below DynamoDB's 400 KB, written over those that nobody needs any more.

A page is used again once it is in no manifest, because writing over an item costs no more than a new one, and deleting
one costs as much as writing it. Every owner of the store (fence) has pages of its own, so one that has been replaced
and does not know it yet writes over nothing.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from itertools import count

import zstandard

from server.store import StoreDamaged
from server.store.dynamodb.client import Client, Item, Key
from server.store.dynamodb.manifest import Blob, Manifest, Slot

TABLE = "state"
PAGE_BYTES = 290_000
_LEVEL = 3
_MAX_BYTES = 1 << 32


class Pages:
    """The pages of one part of the store. `fence`: of the owner, who alone may write."""

    def __init__(self, client: Client, part: str) -> None:
        self._client, self._part = client, part
        self.fence = 0
        self._taken: set[int] = set()

    def keep(self, *manifests: Manifest, blobs: Iterable[Blob] = ()) -> None:
        """From here on only the pages of these are not to be written over."""
        named = [*blobs, *(blob for manifest in manifests for blob in manifest.blobs())]
        self._taken = {number for blob in named for fence, number in blob.slots if fence == self.fence}

    def write(self, values: Sequence[bytes]) -> list[Blob]:
        """Writes values to free pages. What is already known to be written is the caller's business."""
        blobs, items = [], []
        free = (number for number in count() if number not in self._taken)
        taken = []
        for value in values:
            data = zstandard.ZstdCompressor(level=_LEVEL).compress(value)
            slots = []
            for at in range(0, len(data), PAGE_BYTES):
                number = next(free)
                taken.append(number)
                slots.append((self.fence, number))
                items.append(self._item((self.fence, number), data[at : at + PAGE_BYTES]))
            blobs.append(Blob(tuple(slots), len(value), zlib.crc32(data)))
        self._taken.update(taken)
        self._client.put_many(TABLE, items)
        return blobs

    def read(self, blobs: Sequence[Blob]) -> list[bytes]:
        """The values of blobs. StoreDamaged where one is not there any more, or not what was written."""
        keys = {slot: self._key(slot) for blob in blobs for slot in blob.slots}
        items = self._client.get_many(TABLE, keys.values())
        found = []
        for blob in blobs:
            data = b"".join(_bytes(items.get(keys[slot])) for slot in blob.slots)
            if zlib.crc32(data) != blob.crc or blob.size > _MAX_BYTES:
                raise StoreDamaged(f"pages {blob.slots[:3]} of the store are not what was written")
            found.append(zstandard.ZstdDecompressor().decompress(data, max_output_size=max(blob.size, 1)))
        return found

    def forget(self, before: Manifest, now: Manifest) -> None:
        """Deletes the pages of earlier owners that are in no manifest any more."""
        kept = {slot for blob in now.blobs() for slot in blob.slots}
        gone = {slot for blob in before.blobs() for slot in blob.slots if slot[0] != self.fence} - kept
        self._client.delete_many(TABLE, map(self._key, sorted(gone)))

    def _key(self, slot: Slot) -> Key:
        fence, number = slot
        return f"page|{self._part}|{fence}|{number}", "-"

    def _item(self, slot: Slot, data: bytes) -> Item:
        pk, sk = self._key(slot)
        return {"pk": pk, "sk": sk, "d": data}


def _bytes(item: Item | None) -> bytes:
    data = item and item["d"]
    return data if isinstance(data, bytes) else b""
