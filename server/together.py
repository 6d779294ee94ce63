"""The parts of a process that is not alone on its log: see server.roles for what it is then."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import NamedTuple

from server.alerting import Alerting
from server.config import Settings
from server.hub import Hub
from server.log import Lease, open_members
from server.ownership import Ownership
from server.partitioning import Partitioning
from server.pipeline import Pipeline
from server.presence import Presence
from server.roles import Role
from server.shared import Saved, Shared
from server.standings import Standings
from server.store import SharedStore
from server.subscribers.rollups_owner import OwnersRollups
from server.subscribers.rollups_shares import Shares

GATHER_SECONDS = 0.05


class Whose(NamedTuple):
    """The process: name is that of no other, lease that of an engine."""

    role: Role
    name: str
    lease: Lease | None
    settings: Settings


class Together:
    """Wires them. make: the rollups of the log's owner under a fence; saved: documents by kind; stored: see Shared."""

    def __init__(
        self, whose: Whose, pipeline: Pipeline, store: SharedStore, alerting: Alerting, hub: Hub,
        make: Callable[[int], OwnersRollups], saved: dict[str, Saved], stored: Callable[[], None],
    ) -> None:  # fmt: skip
        self.ownership: Ownership | None = None
        self._shares: Shares | None = None
        self._lease = whose.lease
        members = open_members(whose.settings.log, whose.name)
        if whose.lease is not None:
            pipeline.gather = GATHER_SECONDS
            partitioning = Partitioning(members, pipeline)
            self.ownership = Ownership(whose.lease, store, pipeline, make, partitioning.run)
            self._shares = Shares(pipeline.engine, store, pipeline.submit, whose.name, lambda: self._presence.is_heard)
            pipeline.subscribers += [self.ownership.applied, self._shares.applied]
        self.shared = Shared(pipeline, store, hub, saved, stored)
        place = f"{whose.settings.host}:{whose.settings.port}"
        self._presence = Presence(members, whose.role, place, pipeline, self.ownership)
        self._standings = Standings(members, alerting.watched_here)
        alerting.is_heard = lambda: self._presence.is_heard
        alerting.elsewhere = self._standings.of_others

    def tasks(self) -> Iterator[tuple[str, Coroutine[None, None, None]]]:
        """What goes on as long as the process does, by name."""
        yield "presence", self._presence.run()
        if self.ownership is not None and self._shares is not None and self._lease is not None:
            yield "lease", self._lease.run()
            yield "ownership", self.ownership.run()
            yield "shares", self._shares.run()
            yield "standings", self._standings.run()

    async def give_up(self) -> None:
        """Writes a last flush where this process owns the log, which is still followed, and lets others own it."""
        if self.ownership is not None:
            await self.ownership.close()

    async def close(self) -> None:
        """It is not there any more. To be called once the tasks have ended."""
        await self._presence.close()
