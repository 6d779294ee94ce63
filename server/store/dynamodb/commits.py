"""Who writes to the store, and what makes a write count: the head, put on condition that nobody else has put it."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from server.store import StoreClosed, StoreConflict, StoreUnavailable, WrittenShare
from server.store.dynamodb.client import Client, Item, Stale
from server.store.dynamodb.documents import Documents
from server.store.dynamodb.manifest import Blob, Manifest
from server.store.dynamodb.pages import TABLE
from server.store.dynamodb.reader import HEAD, LASTING, View
from server.store.dynamodb.stage import Stage, blobs_of, living

STRIDE = 1_000
"""Versions that a new owner leaves out: the one before may have begun some of them, and not have committed any."""
ONE_SERVER = "run one server, or give each a DATABASE_URL with a prefix of its own"
_TAKEN_OVER = f"another server has taken over the store, so this one may not write to it any more; {ONE_SERVER}"


@dataclass(slots=True)
class Attempt:
    """A flush that is being written. written: how many items of each table are; blobs: what is in pages, by name."""

    generation: int
    version: int
    shares: Sequence[WrittenShare]
    written: dict[str, int] = field(default_factory=dict)
    blobs: dict[str, Blob] = field(default_factory=dict)


class Commits(Documents):
    """The part of a store that commits. The lock must be held for what begins with an underscore."""

    def __init__(self, client: Client, part: str, keep: Sequence[int], events: int) -> None:
        super().__init__(client, part, keep, events)
        self.guard: Callable[[], bool] = lambda: True
        self._lock = threading.Lock()
        self._is_owner = False
        self._issued = 0
        self._attempt: Attempt | None = None
        self._recent: deque[View] = deque(maxlen=LASTING + 1)
        """The newest commits; their pages are not written over yet."""
        self.load()

    def take_over(self) -> int:
        with self._lock:
            self._is_owner, self._attempt = False, None
            self._take_over()
            return self.generation

    def versions(self, count: int) -> list[int]:
        with self._lock:
            self._take_over(anew=False)
            return [self._issue() for _ in range(count)]

    def _check_present(self, view: View) -> None:
        if not self._is_owner:  # of what it has written itself it knows
            super()._check_present(view)

    def _check(self) -> None:
        """Raises StoreConflict where somebody else may be the owner."""
        if not self.guard():
            raise StoreConflict("this process does not own the store any more")

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
            raise StoreConflict(f"another server has written to the store since this one was started; {ONE_SERVER}")
        fence = 1 if head is None else int(head["fence"]) + 1
        now: Item = {
            "pk": HEAD, "sk": self._part, "fence": fence, "version": 0, "manifest": "", "issued": 0,
            "flush": self._view.manifest.generation,
        }  # fmt: skip
        expected: dict[str, Any] = {"fence": None}
        if head is not None:
            issued = max(self._view.manifest.version, int(head.get("issued", 0))) + STRIDE
            now |= {"version": head["version"], "manifest": head["manifest"], "issued": issued}
            expected = {"fence": head["fence"], "version": head["version"]}
        self._put_head(now, expected)
        self._is_owner = True
        self._pages.fence = fence
        self._recent = deque([self._view], maxlen=LASTING + 1)
        self._pages.keep(self._view.manifest, blobs=filter(None, [self._view.blob]))
        self._issued = int(now["issued"])

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
            "flush": manifest.generation,
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
            # Nobody but this one writes under its fence: an earlier put has got through, only its answer was lost.
            self._look_again()
            raise StoreUnavailable("a commit whose answer was lost has been found to be there; try again") from None

    def _look_again(self) -> None:
        """The newest commit, which may be one whose answer was lost. StoreConflict where it is not this one's."""
        self._check_owner()
        flushes = self._view.flushes
        self.load()
        self._view = self._view._replace(flushes=flushes + 1)
        self._pages.keep(self._view.manifest, blobs=filter(None, [self._view.blob]))

    def _amend(self, change: Callable[[Manifest], Manifest]) -> None:
        """Commits a change that brings no items. The lock must be held."""
        self._take_over(anew=False)
        view = self._view
        self._commit(change(view.manifest.following(self._issue())), view.stage, flushes=view.flushes)
