"""The store in DynamoDB as of one commit, beside the server that goes on writing to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from server.store import Aws, BlockKey, StoreError, StoreUnavailable
from server.store.dynamodb.client import Client
from server.store.dynamodb.pages import TABLE
from server.store.dynamodb.reader import HEAD, TABLES, Reader, View
from server.store.dynamodb.shelf import BUCKETS


class DynamoSnapshot(Reader):
    """server.store.Snapshot."""

    @classmethod
    def open(cls, place: tuple[str, str], aws: Aws, part: str = "0") -> DynamoSnapshot | None:
        """The store in the tables of a (region, prefix); None where nothing has been stored."""
        client = Client.open(*place, aws, TABLES, to_read=True)
        try:
            found = cls(client, part)
            if found.load() is not None and found._view.manifest.generation:
                return found
        except BaseException:
            client.close()
            raise
        client.close()
        return None

    def _is_past(self, view: View) -> bool:
        head = self._client.get(TABLE, (HEAD, self._part))
        if head is None or head["version"] == view.manifest.version:
            return False
        raise StoreUnavailable("the store went on while it was read; try again")

    def checkpoints(self) -> list[tuple[int, int]]:
        manifest = self._now.manifest
        return [(manifest.generation, manifest.position)]

    def number(self, name: str) -> int:
        manifest = self._now.manifest
        numbers = {"let_go": manifest.let_go, "events_let_go": manifest.events_let_go}
        return numbers.get(name, 0)

    def next_block(self, level: int, start: int) -> BlockKey | None:
        if not level:
            return min((key for key in self._now.stage if key.start >= start), default=None)
        for bucket in self._now.manifest.buckets.get(level, ()):
            found = self._shelf.keys_of(level, max(start, bucket), bucket + BUCKETS[level], self._now.manifest)
            if found:
                return min(found)
        return None

    def block_counts(self) -> dict[int, int]:
        counts = {level: len(self.list_blocks(level, -(1 << 62), 1 << 62)) for level in (0, *BUCKETS)}
        return {level: count for level, count in counts.items() if count}

    def event_count(self, upto: int = 1 << 62) -> int:
        manifest = self._now.manifest
        if upto >= manifest.position:
            return sum(sum(hours.values()) for hours in manifest.events.values())
        hours = self._packs.read(None, -(1 << 62), 1 << 62, manifest)
        return sum(1 for hour in hours for event in hour if event.position <= upto)

    def copy(self, path: Path, progress: Callable[[int, int], None]) -> None:
        raise StoreError("a store in DynamoDB is not copied to a file")
