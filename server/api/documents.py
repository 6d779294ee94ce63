"""Documents of one kind that people save: in memory for reading, in the store for good."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Any

from server.changes import Changed, nobody_else
from server.errors import ApiError
from server.store import Store
from server.wire.messages import decode_json, encode
from server.wire.times import format_time


class Documents:
    """All documents of a kind by id, oldest first. `kind` is what messages call one; the rest bounds them."""

    def __init__(self, store: Store, kind: str, most: int, max_bytes: int | None = None) -> None:
        self._store, self._kind, self._most, self._max_bytes = store, kind, most, max_bytes
        self._documents: dict[str, dict[str, Any]] = {}
        self.changed: Changed = nobody_else
        self.noticed: Callable[[str], None] = lambda id: None
        """Told the id of each document that has been saved or deleted, here or by another process."""
        # Between a look and the write that rests on it nobody else may write.
        self._writing = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._documents)

    @property
    def kind(self) -> str:
        """What the store calls them."""
        return self._kind

    async def open(self) -> None:
        """Reads what is stored."""
        stored = await asyncio.to_thread(self._store.list_documents, self._kind)
        self._documents = {id: decode_json(body) for id, body in stored}

    def reload(self, id: str, body: bytes | None) -> None:
        """Another process has saved one, or deleted it (None)."""
        if body is None:
            self._documents.pop(id, None)
        else:
            self._documents[id] = decode_json(body)
        self._notice(id)

    def all(self) -> list[dict[str, Any]]:
        """All of them, oldest first."""
        return list(self._documents.values())

    def find(self, id: str) -> dict[str, Any]:
        """A saved document. Raises ApiError not_found."""
        document = self._documents.get(id)
        if document is None:
            raise ApiError("not_found", f"there is no {self._kind} {id[:100]!r}")
        return document

    async def add(self, members: dict[str, Any]) -> dict[str, Any]:
        """Saves a new document for good and returns it, with id and created_at. ApiError conflict, body_too_large."""
        async with self._writing:
            if len(self._documents) >= self._most:
                raise ApiError("conflict", f"{self._most} {self._kind}s are saved already; delete some first")
            own = {"id": f"{self._kind}_{secrets.token_hex(8)}", "created_at": format_time(time.time_ns() // 1_000_000)}
            return await self._write({**own, **members})

    async def update(self, id: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
        """Replaces a document for good by what `change` makes of it, and returns that.

        Nobody else writes between. Raises ApiError not_found, body_too_large, and what `change` raises.
        """
        async with self._writing:
            before = self.find(id)
            after = change(before)
            return before if after == before else await self._write(after)

    async def delete(self, id: str) -> None:
        """Deletes a document for good. Raises ApiError not_found."""
        async with self._writing:
            self.find(id)
            await asyncio.to_thread(self._store.delete_document, self._kind, id)
            self._documents.pop(id, None)
            self._notice(id)
            await self.changed(self._kind, id)

    def _notice(self, id: str) -> None:
        """One has been saved or deleted."""
        self.noticed(id)

    async def _write(self, document: dict[str, Any]) -> dict[str, Any]:
        encoded = encode(document)
        if self._max_bytes is not None and len(encoded) > self._max_bytes:
            message = f"a {self._kind} may have {self._max_bytes} bytes; this one has {len(encoded)}"
            raise ApiError("body_too_large", message)
        await asyncio.to_thread(self._store.put_document, self._kind, document["id"], encoded)
        self._documents[document["id"]] = document
        self._notice(document["id"])
        await self.changed(self._kind, document["id"])
        return document
