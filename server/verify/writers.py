"""Whether the entries of each writer are all there: by their sequence, and by how many rows it says it wrote before."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

from engine.model import Entry

MAX_WRITERS = 1000
"""Writers whose last sequence is remembered, as by the server."""
MAX_GAPS = 100
REMEMBERED = 10_000
"""Newest entries whose content is remembered, to see whether a repeated one is the same."""


@dataclass(slots=True)
class Gap:
    """A stretch of a writer's entries that is not in the log.

    after, before: positions of the writer's entries around it; since, until: their stamps; 0 where there is none.
    first, last: sequences of what is missing. rows: in it; None where that is not known.
    """

    epoch: int
    after: int
    before: int
    since: int
    until: int
    first: int
    last: int
    rows: int | None

    @property
    def entries(self) -> int:
        """How many are missing."""
        return self.last - self.first + 1


@dataclass(slots=True)
class _Written:
    """The last entry of a writer: where and when it is, its sequence, and how many rows it has written with it."""

    position: int
    stamp: int
    sequence: int
    rows: int | None


@dataclass(slots=True)
class Writers:
    """Follows entries in log order. sequences: the last of each writer as the checkpoint knows it."""

    sequences: dict[int, int]
    gaps: list[Gap] = field(default_factory=list)
    """The first MAX_GAPS; entries without rows may be missing where an append failed, which lost nothing."""
    missing_rows: int = 0
    """Rows that were handed to the log, not refused, and are not in it."""
    forged: list[tuple[int, int]] = field(default_factory=list)
    """(position, position of another entry with the same number of the same writer and other content)."""
    _seen: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    _last: dict[int, _Written] = field(default_factory=dict)
    _balance: dict[int, int] = field(default_factory=dict)

    def saw_before(self, entry: Entry, position: int, payload: bytes) -> None:
        """An entry that the checkpoint contains: its writer's last one tells what is missing after it."""
        if entry.epoch:
            self._check_content(entry, position, payload)
            last = self._last.get(entry.epoch)
            if last is None or last.sequence < entry.sequence:
                self._last[entry.epoch] = _written(entry, position)

    def repeats(self, entry: Entry, position: int, payload: bytes) -> bool:
        """Whether its writer appended an entry of this number before; otherwise it counts as its next one."""
        if not entry.epoch:
            return False
        self._check_content(entry, position, payload)
        if entry.sequence <= self.sequences.get(entry.epoch, 0):
            return True
        self._take(entry, position)
        return False

    def _check_content(self, entry: Entry, position: int, payload: bytes) -> None:
        number, content = (entry.epoch, entry.sequence), zlib.crc32(payload)
        before = self._seen.setdefault(number, (position, content))
        if before[1] != content and len(self.forged) < MAX_GAPS:
            self.forged.append((position, before[0]))
        if len(self._seen) > REMEMBERED:
            del self._seen[next(iter(self._seen))]

    def _take(self, entry: Entry, position: int) -> None:
        epoch = entry.epoch
        known = self.sequences.pop(epoch, 0)
        before = self._last.get(epoch)
        if before is not None and before.sequence != known:
            before = None  # the log lacks what the checkpoint saw last of this writer
        skipped = entry.sequence - known - 1
        rows = None
        if before is not None and before.rows is not None and entry.written is not None:
            rows = entry.written - before.rows
            self._weigh(epoch, rows)
        elif not known and entry.written:
            rows = entry.written
            self._weigh(epoch, rows)
        if skipped and (rows is None or rows > 0) and len(self.gaps) < MAX_GAPS:
            after, since = (before.position, before.stamp) if before is not None else (0, 0)
            gap = Gap(epoch, after, position, since, entry.stamp, known + 1, entry.sequence - 1, rows)
            self.gaps.append(gap)
        self.sequences[epoch] = entry.sequence
        if len(self.sequences) > MAX_WRITERS:
            del self.sequences[next(iter(self.sequences))]
        self._last[epoch] = _written(entry, position)

    def _weigh(self, epoch: int, rows: int) -> None:
        """Counts what seems to be missing. A writer takes back what it learns was refused, so a later entry may
        correct it.
        """
        held = self._balance.get(epoch, 0)
        self._balance[epoch] = held + rows
        self.missing_rows += max(0, held + rows) - max(0, held)


def _written(entry: Entry, position: int) -> _Written:
    rows = None if entry.written is None else entry.written + entry.rows
    return _Written(position, entry.stamp, entry.sequence, rows)
