"""Who does which part of the engines' work: partitions, and the terms for which engines hold them.

Where several engines follow one log, alert rules and metrics fall into PARTITIONS partitions, by a hash of their id or
name. The log's owner says in the log which engine has which:

    assign   from here on these partitions are held for these terms, by these engines

A term is a number that is never given twice. What an engine decides carries the term for which it decided, and counts
only where its partition is still held for that: so an engine that was replaced, and does not know it yet, changes
nothing from this place in the log on, in any process. A server that is alone holds all for the term ALONE.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Hashable, Iterable, Sequence
from functools import lru_cache
from typing import Any

from engine.model import Mark

PARTITIONS = 64
"""Part of the format: another number would deal all of them out anew."""
ASSIGN = "assign"
ALONE = 0
NOBODY = ""


@lru_cache(maxsize=1 << 16)
def partition_of(key: str) -> int:
    """The partition of a rule's id or a metric's name."""
    return zlib.crc32(key.encode()) % PARTITIONS


class Terms:
    """Who holds what, as the log has it."""

    def __init__(self) -> None:
        self.holding = [ALONE] * PARTITIONS
        """Per partition, the term for which it is held."""
        self.engines: dict[int, str] = {}
        """Per term for which anything is held, the engine that holds it."""
        self.newest = ALONE

    def of_key(self, key: str) -> int:
        """The term for which the partition of a rule's id or a metric's name is held."""
        return self.holding[partition_of(key)]

    def partitions(self, term: int) -> list[int]:
        """What is held for a term."""
        return [partition for partition, held in enumerate(self.holding) if held == term]

    def of_engine(self, engine: str) -> list[int]:
        """The terms for which an engine holds anything."""
        return [term for term, name in self.engines.items() if name == engine]

    def held_by(self, engine: str) -> list[int]:
        """The partitions that an engine holds."""
        return [at for at, term in enumerate(self.holding) if term and self.engines.get(term) == engine]

    def dealt(self) -> dict[str, list[int]]:
        """The partitions that each engine holds that holds any."""
        return {engine: self.held_by(engine) for engine in sorted(set(self.engines.values()))}

    def take(self, mark: Mark) -> None:
        """Does what an `assign` of the log's owner says."""
        for term, engine, partitions in json.loads(mark.text):
            self.engines[term] = engine
            self.newest = max(self.newest, term)
            for partition in partitions:
                self.holding[partition] = term
        self.engines = {term: self.engines[term] for term in sorted(set(self.holding)) if term in self.engines}

    def deal(self, engines: Collection[str], alike: Sequence[Hashable], fence: int) -> Mark | None:
        """What the log's owner has to say so that these engines, and no others, hold all; None for nothing.

        alike: per partition, how far it has been worked on. Those held for one new term were held for one before, and
        have come as far, so that whoever takes them over begins with all of them at one place.
        """
        held = [self.engines.get(term, NOBODY) for term in self.holding]
        fresh: dict[tuple[str, int, Hashable], list[int]] = {}
        for partition, (engine, before) in enumerate(zip(deal_out(held, engines), held, strict=True)):
            if engine != before:
                fresh.setdefault((engine, self.holding[partition], alike[partition]), []).append(partition)
        if not fresh:
            return None
        terms = enumerate(fresh.items(), self.newest + 1)
        said = [(term, engine, partitions) for term, ((engine, _, _), partitions) in terms]
        return Mark(ASSIGN, fence=fence, text=json.dumps(said, separators=(",", ":")))

    def state(self) -> list[Any]:
        """All of it, as JSON takes it."""
        return [self.newest, self.holding, list(self.engines.items())]

    def restore(self, state: list[Any]) -> None:
        """The inverse of `state`."""
        self.newest, self.holding, engines = state
        self.engines = dict(engines)


def deal_out(held: Sequence[str], engines: Collection[str]) -> list[str]:
    """Which of the engines is to have each partition: as evenly as can be, and with as few changes.

    held: who has it. engines: one at least.
    """
    having = {engine: [at for at, who in enumerate(held) if who == engine] for engine in engines}
    least, more = divmod(len(held), len(having))
    order = sorted(having, key=lambda engine: (-len(having[engine]), engine))
    quota = {engine: least + (at < more) for at, engine in enumerate(order)}
    kept = {at for engine in order for at in having[engine][: quota[engine]]}
    takers: Iterable[str] = (engine for engine in order for _ in range(quota[engine] - len(having[engine])))
    free = iter(takers)
    return [who if at in kept else next(free) for at, who in enumerate(held)]
