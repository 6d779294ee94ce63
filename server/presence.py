"""Saying that this process is there, and how it stands, to whoever asks (`streamgauge status`)."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from server.log import Members
from server.ownership import Ownership
from server.pipeline import Pipeline
from server.roles import Role

INTERVAL = 1.0


class Presence:
    """One process's. place: where it answers over HTTP."""

    def __init__(
        self, members: Members, role: Role, place: str, pipeline: Pipeline, ownership: Ownership | None
    ) -> None:
        self._members, self._role, self._place = members, role, place
        self._pipeline, self._ownership = pipeline, ownership

    async def run(self) -> None:
        """Says it every second; for ever."""
        while True:
            await self._members.announce(self.said())
            await asyncio.sleep(INTERVAL)

    def said(self) -> dict[str, Any]:
        """What is said now. behind_ms: by how much the newest arrival applied here lies back."""
        engine, ownership = self._pipeline.engine, self._ownership
        ledger = engine.ledger
        return {
            "role": self._role, "place": self._place, "offset": self._pipeline.offset(engine.position),
            "behind_ms": max(0, time.time_ns() // 1_000_000 - engine.stamp),
            "owns": ownership is not None and ownership.rollups is not None,
            "fence": engine.shared.fence if engine.shared is not None else 0, "flush": engine.generation,
            "ledger": {
                "received": ledger.received, "accepted": ledger.accepted, "events": ledger.events,
                "duplicate": ledger.duplicate, "rejected": ledger.rejected.total(), "balanced": engine.balanced,
            },
        }  # fmt: skip

    async def close(self) -> None:
        """It is not there any more."""
        await self._members.close()
