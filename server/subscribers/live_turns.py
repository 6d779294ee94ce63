"""One turn per round of the event loop, so that many who become due at once leave room for requests in between."""

from __future__ import annotations

import asyncio
from collections import deque


class Turns:
    """Gives turns in the order they were asked for. Use it on one event loop."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._giving = False

    async def take(self) -> None:
        """Returns when it is the caller's turn."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        if not self._giving:
            self._giving = True
            loop.call_soon(self._give)
        await turn

    def _give(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # its caller may have been cancelled
                turn.set_result(None)
                asyncio.get_running_loop().call_soon(self._give)
                return
        self._giving = False
