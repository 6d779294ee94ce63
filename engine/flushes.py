"""What a flush takes out of an engine, and what becomes of it: given to the store, or taken back.

One server alone does this between two entries of its own choice. Where several processes follow one log, its owner
says in the log where a flush begins and that it is done, so that all of them do the same at the same place:

    owner  a process has become the owner, under a higher fence than all before; the store's newest flush is `number`
    begin  flush `number` takes what is pending here; `text`: a version for each engine's share, where it is shared
    share  an engine's share of it is written (see server.subscribers.rollups_shares)
    done   it is in the store; `bounds`: the new `rolled`
    assign which engine has which part of the work (see engine.terms)

Marks of a lower fence are of owners who do not know yet that they have been replaced: they change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.model import Event, Mark
from engine.rollup import Pending
from engine.rules.marks import ALERT
from engine.terms import ASSIGN

if TYPE_CHECKING:
    from engine.engine import Engine

OWNER, BEGIN, SHARE, DONE = "owner", "begin", "share", "done"


def take_marks(engine: Engine, marks: Sequence[Mark]) -> None:
    """Does what the marks of an entry say: of flushes, where the log is shared, and of alerts."""
    engine.book.news = []
    for mark in marks:
        if mark.kind == ALERT:
            engine.book.take(mark, engine.terms)
        elif engine.shared is not None:
            engine.shared.take(engine, mark)


@dataclass(frozen=True, slots=True)
class Frozen:
    """What one flush writes. series: packed keys of those that the store does not know, the first has id `known`."""

    generation: int
    position: int
    pending: Pending
    events: list[tuple[int, int, Event]]
    known: int
    series: list[bytes]
    chunk: bytes | None
    """New keys of the dedup window."""
    oldest_chunk: int


def freeze(engine: Engine) -> Frozen:
    """Takes all that is pending, between two entries."""
    generation, known = engine.generation + 1, engine.flushed_series
    engine.frozen, engine.pending = engine.pending, {}
    engine.frozen_events, engine.events = engine.events, []
    patient = engine.options.retention.patient
    return Frozen(
        generation, engine.position,
        Pending(engine.frozen, engine.closed, engine.rolled, engine.horizons, patient), engine.frozen_events,
        known, engine.catalogue.keys[known:],
        engine.seen.take_chunk(generation), engine.seen.oldest_chunk(generation),
    )  # fmt: skip


def thaw(engine: Engine, frozen: Frozen, rolled: tuple[int, ...]) -> None:
    """It is in the store: lets go of it here."""
    engine.stored += sum(slot.samples for slot in engine.frozen.values())
    engine.frozen, engine.frozen_events = {}, []
    engine.generation, engine.rolled = frozen.generation, rolled
    engine.flushed_series += len(frozen.series)
    engine.flushed_position = frozen.position


def take_back(engine: Engine, frozen: Frozen) -> None:
    """It never came into the store: it is pending again, before what has come since."""
    later, engine.pending = engine.pending, engine.frozen
    for key, slot in later.items():
        mine = engine.pending.setdefault(key, slot)
        if mine is not slot:
            for part in slot.parts():
                mine.add_panes(part)
    engine.events = [*engine.frozen_events, *engine.events]
    engine.frozen, engine.frozen_events = {}, []
    engine.seen.take_back(frozen.generation, frozen.chunk)


class Shared:
    """The flushes of a log's owner, as every process that follows the log sees them."""

    def __init__(self) -> None:
        self.fence = 0
        """Of the newest owner."""
        self.frozen: Frozen | None = None
        """The flush that has begun and is not done."""

    def take(self, engine: Engine, mark: Mark) -> None:
        """Sees a mark, in log order."""
        if mark.kind == OWNER and mark.fence > self.fence:
            self.fence = mark.fence
            self._settle(engine, mark)
        elif mark.fence != self.fence:
            return
        elif mark.kind == ASSIGN:
            engine.terms.take(mark)
        elif mark.kind == BEGIN and self.frozen is None and mark.number == engine.generation + 1:
            self.frozen = freeze(engine)
        elif mark.kind == DONE and self.frozen is not None and mark.number == self.frozen.generation:
            thaw(engine, self.frozen, mark.bounds)
            self.frozen = None

    def _settle(self, engine: Engine, mark: Mark) -> None:
        """The owner before may have ended in a flush; the new one has seen in the store whether it was done."""
        frozen, self.frozen = self.frozen, None
        if frozen is not None and frozen.generation == mark.number:
            thaw(engine, frozen, mark.bounds)
        elif frozen is not None:
            take_back(engine, frozen)
