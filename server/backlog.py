"""What waits for the store, and what that means for those who want to add to it.

    open   rows pass
    held   they wait: the store is at work, only slower than what comes
    shut   they are refused (store_stalled): the store has stood still for STORE_STALL, or STORE_BACKLOG bytes wait

A store that stands still for less delays its writes and nothing else: what it lacks is in memory and in the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import time

from engine.engine import Engine
from server.errors import ApiError

FLUSH_BYTES = 64 << 20
"""What waits when a flush begins before its time."""
WAIT_BYTES = 2 * FLUSH_BYTES
"""What waits when rows have to wait as well, while the store is at work."""
SLOW_SECONDS = 10.0
"""A flush that takes longer is one of a store that stands still."""
LOOK_SECONDS = 0.05
RETRY_AFTER = 5.0
_EVENT_BYTES = 400
"""Of an event without its body, about."""


class Backlog:
    """Everything on one event loop. stall: seconds; bound: bytes, at least WAIT_BYTES.

    others: another process writes to the store, so only what waits here tells whether it does.
    """

    def __init__(self, engine: Engine, stall: float, bound: int, *, others: bool = False) -> None:
        self._engine, self._others = engine, others
        self._stall, self._bound = stall, max(bound, WAIT_BYTES)
        self._begun: float | None = None
        """When the flush under way began."""
        self._fault = ""
        self._held = False
        self._refusal = ""
        self._look_at = 0.0
        self._counted = engine.events
        """The list of which the first `_events` are counted."""
        self._events = 0
        self._event_bytes = 0
        self._frozen_bytes = 0
        self._changed = asyncio.Event()

    @property
    def nbytes(self) -> int:
        """Memory of what waits: panes and events."""
        return self._engine.pending_bytes + self._frozen_bytes + self._bytes_of_events()

    @property
    def trouble(self) -> str:
        """What keeps the store from taking anything, for people; empty where nothing does."""
        if not self._stuck:
            return ""
        return f"the store has taken nothing for {self._standing:.0f} s{': ' * bool(self._fault)}{self._fault}"

    def begun(self) -> None:
        """A flush is about to take all that waits."""
        self._frozen_bytes = self._bytes_of_events()
        self._events = self._event_bytes = 0
        self._begun, self._fault = time.monotonic(), ""

    def failed(self, fault: Exception) -> None:
        """It could not be written, and will be tried again."""
        self._fault = str(fault)

    def ended(self) -> None:
        """It is written, or given up with the server."""
        self._begun, self._fault, self._look_at = None, "", 0.0
        self._frozen_bytes = 0
        self._changed.set()

    def passes(self) -> bool:
        """Whether rows pass without waiting."""
        if time.monotonic() >= self._look_at:
            self._look()
        return not (self._held or self._refusal)

    async def passage(self) -> None:
        """Returns when rows may pass. ApiError store_stalled where they may not."""
        while not self.passes():
            if self._refusal:
                raise ApiError("store_stalled", self._refusal, retry_after=RETRY_AFTER)
            await self._change()

    async def room(self) -> None:
        """Returns when little enough waits to go on with a replay, which nobody can be refused."""
        while self.nbytes >= WAIT_BYTES and not self._others:
            await self._change()

    @property
    def _standing(self) -> float:
        return 0.0 if self._begun is None else time.monotonic() - self._begun

    @property
    def _stuck(self) -> bool:
        return bool(self._fault) or self._standing > SLOW_SECONDS

    def _look(self) -> None:
        self._look_at = time.monotonic() + LOOK_SECONDS
        nbytes = self.nbytes
        self._held, self._refusal = False, ""
        if self._others:
            if nbytes >= self._bound:
                self._refusal = f"no engine writes to the store, and {nbytes >> 20} MiB wait for it (STORE_BACKLOG)"
        elif not self._stuck:
            self._held = nbytes >= WAIT_BYTES
        elif self._standing >= self._stall:
            self._refusal = f"{self.trouble}; rows are refused after {self._stall:g} s of that (STORE_STALL)"
        elif nbytes >= self._bound:
            self._refusal = f"{self.trouble}, and {nbytes >> 20} MiB wait for it (STORE_BACKLOG); rows are refused"

    async def _change(self) -> None:
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await self._changed.wait()

    def _bytes_of_events(self) -> int:
        """Counted on from the last time: while no flush begins, events only come. With one begins another list."""
        events = self._engine.events
        if events is not self._counted:
            self._counted, self._events, self._event_bytes = events, 0, 0
        self._event_bytes += sum(len(event.body) + _EVENT_BYTES for _, _, event in events[self._events :])
        self._events = len(events)
        return self._event_bytes
