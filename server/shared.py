"""What a process does that is not alone on its log: it follows what the others write, in the store and elsewhere.

    done, owner   look into the store again, so that what is let go of in memory is found there
    document      somebody has saved or deleted a document: read it again
    subscribe, unsubscribe   POST and DELETE /api/subscriptions reach the client wherever it is connected
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol

from engine.engine import Delivery
from engine.flushes import DONE, OWNER
from engine.model import Entry, Mark
from server.changes import Changed
from server.errors import ApiError
from server.hub import Hub
from server.log import LogDamaged, LogError
from server.pipeline import Pipeline
from server.store import SharedStore, StoreUnavailable

logger = logging.getLogger("streamgauge.shared")

DOCUMENT, SUBSCRIBE, UNSUBSCRIBE = "document", "subscribe", "unsubscribe"
RETRY_SECONDS, MAX_RETRY_SECONDS = 0.05, 2.0


class Saved(Protocol):
    """Documents of one kind, in memory."""

    changed: Changed
    """Told of each that is saved or deleted here."""

    def reload(self, id: str, body: bytes | None) -> None:
        """One has been saved, or, with None, deleted, by another process."""


class Shared:
    """Of one process. saved: documents by kind; stored: called when the store holds more than before."""

    def __init__(
        self, pipeline: Pipeline, store: SharedStore, hub: Hub, saved: dict[str, Saved], stored: Callable[[], None]
    ) -> None:
        self._pipeline, self._store, self._hub, self._saved, self._stored = pipeline, store, hub, saved, stored
        for documents in saved.values():
            documents.changed = self.changed
        pipeline.before_marks = self.before
        pipeline.subscribers.append(self.applied)

    # following

    async def before(self, marks: Sequence[Mark]) -> None:
        """Awaited before an entry with marks is applied."""
        for mark in marks:
            if mark.kind in (DONE, OWNER):
                await self._insist(partial(asyncio.to_thread, self._store.refresh, mark.number))
            elif mark.kind == DOCUMENT:
                await self._insist(partial(self._reload, *json.loads(mark.text)))

    async def _insist(self, look: Callable[[], Awaitable[None]]) -> None:
        """What the others rest on has to be seen: without it the answers here would lack it."""
        pause = RETRY_SECONDS
        while True:
            try:
                return await look()
            except StoreUnavailable as error:
                if pause >= MAX_RETRY_SECONDS:
                    logger.error("what the log's owner has stored cannot be seen, so this process waits: %s", error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, MAX_RETRY_SECONDS)

    async def _reload(self, kind: str, id: str) -> None:
        body = await asyncio.to_thread(self._store.get_document, kind, id)
        if kind in self._saved:
            self._saved[kind].reload(id, body)

    def applied(self, delivery: Delivery) -> None:
        """Sees every entry."""
        for mark in delivery.marks:
            if mark.kind in (DONE, OWNER):
                self._check(mark)
                self._stored()
            elif mark.kind == SUBSCRIBE:
                self._subscribe(*json.loads(mark.text))
            elif mark.kind == UNSUBSCRIBE:
                self._hub.outside.delete(mark.text)

    def _check(self, mark: Mark) -> None:
        """The store has a flush of whose beginning this process knows nothing, so what is in it would count twice here.

        Only a Redis that has lost its end brings that about. A start from the newest checkpoint makes it right.
        """
        engine = self._pipeline.engine
        if engine.shared is not None and mark.fence == engine.shared.fence and mark.number > engine.generation:
            raise LogDamaged(
                f"the log has lost where flush {mark.number} begins, which the store holds. Start this process again: "
                "it goes on from the newest checkpoint"
            )

    def _subscribe(self, id: str, query_id: str, client_id: str) -> None:
        try:
            self._hub.outside.create(id, query_id, client_id)
        except ApiError as error:
            logger.warning("client %.100r cannot be subscribed here: %s", client_id, error.message)

    # telling

    async def changed(self, kind: str, id: str) -> None:
        """A document has been saved or deleted here."""
        await self._tell(Mark(DOCUMENT, text=json.dumps((kind, id))))

    async def subscribe(self, id: str, query_id: str, client_id: str) -> None:
        """Subscribes a client wherever it is connected."""
        await self._tell(Mark(SUBSCRIBE, text=json.dumps((id, query_id, client_id))))

    async def unsubscribe(self, id: str) -> None:
        """Ends a subscription wherever it is."""
        await self._tell(Mark(UNSUBSCRIBE, text=id))

    async def _tell(self, mark: Mark) -> None:
        try:
            await self._pipeline.submit(Entry(self._pipeline.stamp(), marks=[mark]))
        except LogError as error:
            raise ApiError("log_unavailable", str(error), retry_after=1) from None
