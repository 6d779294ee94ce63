"""Saying that this process is there, and how it stands, to whoever asks (`streamgauge status`)."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from server.log import MEMBER_LIFE, Members
from server.ownership import Ownership
from server.pipeline import Pipeline
from server.roles import Role

INTERVAL = 1.0
MARGIN = 0.5
"""Seconds before the others take this process for dead at which it does so itself."""


class Presence:
    """One process's. place: where it answers over HTTP."""

    def __init__(
        self, members: Members, role: Role, place: str, pipeline: Pipeline, ownership: Ownership | None
    ) -> None:
        self._members, self._role, self._place = members, role, place
        self._pipeline, self._ownership = pipeline, ownership
        self._heard = 0.0

    @property
    def is_heard(self) -> bool:
        """Whether the others cannot have taken this process for dead yet. Asks nobody, so it is right at once after
        the process was stopped for a while."""
        return time.monotonic() - self._heard < MEMBER_LIFE - MARGIN

    async def run(self) -> None:
        """Says it every second; for ever."""
        while True:
            begun = time.monotonic()
            if await self._members.announce(self.said()):
                self._heard = begun
            await asyncio.sleep(INTERVAL)

    def said(self) -> dict[str, Any]:
        """What is said now. behind_ms: by how much the newest arrival applied here lies back."""
        engine, ownership, terms = self._pipeline.engine, self._ownership, self._pipeline.engine.terms
        ledger = engine.ledger
        return {
            "role": self._role, "place": self._place, "offset": self._pipeline.offset(engine.position),
            "behind_ms": max(0, time.time_ns() // 1_000_000 - engine.stamp),
            "owns": ownership is not None and ownership.rollups is not None,
            "ready": self._pipeline.is_caught_up,
            "partitions": terms.held_by(self._members.name), "dealt": terms.dealt(),
            "fence": engine.shared.fence if engine.shared is not None else 0, "flush": engine.generation,
            "ledger": {
                "received": ledger.received, "accepted": ledger.accepted, "events": ledger.events,
                "duplicate": ledger.duplicate, "rejected": ledger.rejected.total(), "balanced": engine.balanced,
            },
        }  # fmt: skip

    async def close(self) -> None:
        """It is not there any more."""
        await self._members.close()
