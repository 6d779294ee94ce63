"""The manifest: what the store holds as of one commit. Whoever has it knows which items count and which do not.

Every commit has a version, a number that is never used twice. Items are written under the version that will be
committed, beside those they replace; the commit itself is one conditional put of the head, which names the manifest.
So a write that was broken off, by a kill or by an owner that has been replaced, leaves items whose version is never
committed, and nobody ever sees them.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any, NamedTuple

from server.store import StoreDamaged, StoreVersion

FORMAT = 1
MAX_SKIPPED = 5_000
"""Ranges of versions that are known to be no commit; of more the oldest are forgotten, whose items have expired."""

Slot = tuple[int, int]
"""(fence, number) of a page."""
Floors = tuple[tuple[int, int], ...]
"""(time, version): what lies before the time and was written up to the version is gone."""


class Blob(NamedTuple):
    """Bytes in pages. size: before compression; crc: of the compressed bytes."""

    slots: tuple[Slot, ...]
    size: int
    crc: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """Never changed, only replaced. version: of the commit; generation, position: of the newest flush.

    checkpoint: its state; dedup: chunks by number; series: (last id, how many, pages) of each stretch of the catalogue;
    stage: blocks of the finest level that are not put together yet. floors: per level, before when its blocks are
    gone; event_floors: the same of events. deleted: name -> version up to which its blocks are gone. buckets: per
    level, the stretches of time that have any. events: type -> hour -> how many. skipped: (first, last) of versions
    that are no commit. let_go, events_let_go: rows that retention has deleted for good. size: bytes of what was put.
    """

    version: int = 0
    generation: int = 0
    position: int = 0
    checkpoint: Blob | None = None
    dedup: dict[int, Blob] = field(default_factory=dict)
    series: tuple[tuple[int, int, Blob], ...] = ()
    stage: tuple[Blob, ...] = ()
    floors: dict[int, Floors] = field(default_factory=dict)
    event_floors: Floors = ()
    deleted: dict[str, int] = field(default_factory=dict)
    buckets: dict[int, list[int]] = field(default_factory=dict)
    events: dict[str, dict[int, int]] = field(default_factory=dict)
    skipped: tuple[tuple[int, int], ...] = ()
    let_go: int = 0
    events_let_go: int = 0
    size: int = 0

    def counts(self, version: int) -> bool:
        """Whether what was written under a version has been committed."""
        return version <= self.version and not any(first <= version <= last for first, last in self.skipped)

    def has(self, level: int, start: int, name: str, version: int) -> bool:
        """Whether a block that was written under a version is still there."""
        return version > self.deleted.get(name, -1) and not is_below(self.floors.get(level, ()), start, version)

    def following(self, version: int, also: Collection[int] = (), **changes: Any) -> Manifest:
        """The manifest of the next commit; versions between this one and that are no commit, but those in `also`."""
        counting = [self.version, *sorted(also), version]
        between = ((one + 1, other - 1) for one, other in pairwise(counting) if other > one + 1)
        return replace(self, version=version, skipped=(*self.skipped, *between)[-MAX_SKIPPED:], **changes)

    def blobs(self) -> list[Blob]:
        """All the blobs it names."""
        checkpoint = [self.checkpoint] if self.checkpoint is not None else []
        return [*checkpoint, *self.dedup.values(), *(blob for _, _, blob in self.series), *self.stage]

    def encode(self) -> bytes:
        """As bytes."""
        return json.dumps({"format": FORMAT, **asdict(self)}).encode()

    @classmethod
    def decode(cls, data: bytes) -> Manifest:
        """The inverse. StoreVersion for one of another release, StoreDamaged for none at all."""
        try:
            held: dict[str, Any] = json.loads(data)
            if held.pop("format") != FORMAT:
                raise StoreVersion("the store was written by another release of Streamgauge; use that one, or a newer")
            held["checkpoint"] = held["checkpoint"] and as_blob(held["checkpoint"])
            held["dedup"] = {int(number): as_blob(blob) for number, blob in held["dedup"].items()}
            held["series"] = tuple((last, count, as_blob(blob)) for last, count, blob in held["series"])
            held["stage"] = tuple(map(as_blob, held["stage"]))
            held["skipped"] = tuple((first, last) for first, last in held["skipped"])
            held["floors"] = {int(level): _floors(value) for level, value in held["floors"].items()}
            held["event_floors"] = _floors(held["event_floors"])
            held["buckets"] = {int(level): value for level, value in held["buckets"].items()}
            held["events"] = {
                type: {int(hour): count for hour, count in hours.items()} for type, hours in held["events"].items()
            }
            return cls(**held)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreDamaged(f"the store's manifest cannot be read: {error!r:.200}") from error


def as_blob(given: Any) -> Blob:
    """A blob as it comes out of JSON."""
    slots, size, crc = given
    return Blob(tuple((fence, number) for fence, number in slots), size, crc)


def _floors(given: Any) -> Floors:
    return tuple((before, version) for before, version in given)


def with_floor(floors: Floors, before: int, version: int) -> Floors:
    """Floors and one more, which is of the newest version; those that say nothing beside it are left out."""
    return (*(floor for floor in floors if floor[0] > before), (before, version))


def is_below(floors: Floors, time: int, version: int) -> bool:
    """Whether something is gone."""
    return any(time < before and version <= upto for before, upto in floors)
