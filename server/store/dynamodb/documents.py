"""Documents: an item each, written over as a whole."""

from __future__ import annotations

import time

import zstandard

from server.store import StoreDamaged, StoreUnavailable
from server.store.dynamodb.client import Item
from server.store.dynamodb.pages import TABLE
from server.store.dynamodb.reader import Reader

MAX_BYTES = 300_000


class Documents(Reader):
    """The part of the store that deals with documents; the methods are those of server.store.Store."""

    def put_document(self, kind: str, id: str, body: bytes) -> None:
        data = zstandard.ZstdCompressor().compress(body)
        if len(data) > MAX_BYTES:
            raise StoreUnavailable(f"{kind} {id[:100]!r} is too large: DynamoDB holds {MAX_BYTES} bytes, compressed")
        there = self._client.get(TABLE, (self._kind(kind), id))
        first = time.time_ns() if there is None else int(there["first"])
        self._client.put(TABLE, {"pk": self._kind(kind), "sk": id, "first": first, "d": data})

    def get_document(self, kind: str, id: str) -> bytes | None:
        there = self._client.get(TABLE, (self._kind(kind), id))
        return None if there is None else _body(there)

    def delete_document(self, kind: str, id: str) -> bool:
        there = self._client.get(TABLE, (self._kind(kind), id))
        if there is not None:
            self._client.delete_many(TABLE, [(self._kind(kind), id)])
        return there is not None

    def list_documents(self, kind: str) -> list[tuple[str, bytes]]:
        found = self._client.query(TABLE, self._kind(kind))
        return [(str(item["sk"]), _body(item)) for item in sorted(found, key=lambda item: int(item["first"]))]

    def _kind(self, kind: str) -> str:
        return f"document|{self._part}|{kind}"


def _body(item: Item) -> bytes:
    try:
        return zstandard.ZstdDecompressor().decompress(bytes(item["d"]) if isinstance(item["d"], bytes) else b"")
    except zstandard.ZstdError as error:
        raise StoreDamaged(f"document {item['sk']!r:.100} is damaged: {error}") from error
