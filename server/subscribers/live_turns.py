"""Turns with some rounds of the event loop in between, so that many who become due at once leave room for requests."""

from __future__ import annotations

import asyncio
from heapq import heappop, heappush
from itertools import count

ROUNDS = 8
"""Rounds of the event loop from one turn to the next: about what a request takes from its first byte to its answer."""


class Turns:
    """Gives turns, the most urgent first. Use it on one event loop."""

    def __init__(self) -> None:
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._asked = count()
        self._giving = False

    async def take(self, patience: float) -> None:
        """Returns when it is the caller's turn; see `ask`."""
        await self.ask(patience)

    def ask(self, patience: float) -> asyncio.Future[None]:
        """A turn, done when it comes. patience: seconds from now after which others are no more urgent.

        So what is cheap need not wait for all that is dear and became due with it, and nothing waits for ever.
        """
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.hurry(turn, patience)
        return turn

    def hurry(self, turn: asyncio.Future[None], patience: float) -> None:
        """Makes a turn that was asked for and has not come as urgent as one asked for now with this patience."""
        loop = asyncio.get_running_loop()
        heappush(self._waiting, (loop.time() + patience, next(self._asked), turn))
        if not self._giving:
            self._giving = True
            loop.call_soon(self._give)

    def _give(self) -> None:
        while self._waiting:
            _, _, turn = heappop(self._waiting)
            if not turn.done():  # its caller may have been cancelled, or hurried and had it
                turn.set_result(None)
                self._pause(ROUNDS)
                return
        self._giving = False

    def _pause(self, rounds: int) -> None:
        then = (self._pause, rounds - 1) if rounds > 1 else (self._give,)
        asyncio.get_running_loop().call_soon(*then)
