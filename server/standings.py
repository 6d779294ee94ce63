"""What engines tell one another, and gateways, of the series that they watch for anomalies: the most unusual ones.

What a detector knows is with the engine that evaluates the rule; the others see it here, a few seconds old.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence

from engine.anomaly import Episode, Standing
from server.api.alerting import Anomaly
from server.errors import ApiError
from server.log import LogUnavailable, Members

TOPIC = "anomalies"
EVERY, LIFE = 5.0, 15.0
"""Seconds between two times that it is told, and after which it is forgotten."""
MOST = 100
"""Series of each engine that the others know of."""


class Standings:
    """One process's. own: the most unusual series that are watched here, so many at most."""

    def __init__(self, members: Members, own: Callable[[int], Sequence[Anomaly]]) -> None:
        self._members, self._own = members, own

    async def run(self) -> None:
        """Tells it every few seconds, where there is anything; for ever."""
        told = False
        while True:
            found = self._own(MOST)
            if found or told:
                await self._members.leave(TOPIC, pack(found), LIFE)
            told = bool(found)
            await asyncio.sleep(EVERY)

    async def of_others(self) -> list[Anomaly]:
        """What the other processes tell. Raises ApiError where Redis does not answer."""
        try:
            left = await self._members.left(TOPIC)
        except LogUnavailable as error:
            raise ApiError("log_unavailable", str(error), retry_after=1) from None
        return [each for data in left for each in unpack(data)]


def pack(found: Sequence[Anomaly]) -> bytes:
    """As JSON."""
    return json.dumps([tuple(each) for each in found], separators=(",", ":")).encode()


def unpack(data: bytes) -> list[Anomaly]:
    """The inverse."""
    return [
        Anomaly(
            alert, (about[0], about[1]), tuple((name, value) for name, value in group),
            Standing(*standing)._replace(likely=tuple(standing[-1]) if standing[-1] else None),
            [Episode(*each) for each in episodes],
        )
        for alert, about, group, standing, episodes in json.loads(data)
    ]  # fmt: skip
