"""Admission: key, limit, parse, check, stamp, append. What comes out of here is an Entry; what goes back is a receipt.

over_http ──bodies──▶ collector ──one Entry per loop tick──▶ River (server.pipeline) ──Applied──▶ answers
"""

from __future__ import annotations

from typing import Protocol

from engine.model import Applied, Entry


class River(Protocol):
    """What ingest needs of the pipeline."""

    def stamp(self) -> int:
        """The arrival time of now, ms; never decreasing."""
        ...

    async def submit(self, entry: Entry) -> Applied:
        """Append the entry and wait until it has been applied. Calls made in order are appended in order.

        server.log.LogFull where the log is at its bound, server.log.LogUnavailable where it cannot be reached; the
        entry was not acknowledged then.
        """
        ...

    def offset(self, position: int) -> str:
        """The offset of a position, as receipts show it."""
        ...
