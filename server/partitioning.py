"""The log's owner deals the partitions of the engines' work out, to the engines that are there; see engine.terms.

An engine says each second that it is there. One that has stopped, has been silent for as long as members live, or is
far behind, gets nothing and loses what it held; one that comes gets its part, as soon as it has caught up.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from engine.model import Entry
from server.log import LogUnavailable, Members
from server.pipeline import Pipeline
from server.roles import ENGINE

logger = logging.getLogger("streamgauge.owner")

LOOK_SECONDS = 0.5
MAX_BEHIND = 5_000
"""ms by which an engine may be behind that is to hold anything."""


class Partitioning:
    """The owner's part of it. members: those who work on the log; among them this process."""

    def __init__(self, members: Members, pipeline: Pipeline) -> None:
        self._members, self._pipeline = members, pipeline
        self._is_down = False

    async def run(self, fence: int) -> None:
        """Deals out, as the owner with this fence; for ever. Raises LogError as `submit` does."""
        while True:
            engines = await self._engines()
            if engines is not None:
                await self._deal(engines, fence)
            await asyncio.sleep(LOOK_SECONDS)

    async def _engines(self) -> set[str] | None:
        """The engines that can hold something; None where nobody says which there are."""
        try:
            found = await self._members.listed()
        except LogUnavailable as error:
            if not self._is_down:
                logger.warning("the partitions stay with those who hold them: %s", error)
            self._is_down = True
            return None
        self._is_down = False
        return {self._members.name, *(each["name"] for each in found if is_able(each))}

    async def _deal(self, engines: set[str], fence: int) -> None:
        engine = self._pipeline.engine
        mark = engine.terms.deal(engines, engine.book.looks, fence)
        if mark is not None:
            logger.info("the partitions are dealt out anew, to %s", " and ".join(sorted(engines)))
            await self._pipeline.submit(Entry(self._pipeline.stamp(), marks=[mark]))


def is_able(said: dict[str, Any]) -> bool:
    """Whether a process can hold partitions, by what it says of itself."""
    return bool(said["role"] == ENGINE and said["ready"] and said["behind_ms"] <= MAX_BEHIND)
