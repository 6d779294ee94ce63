"""What a damaged log has lost: which entries, with how many rows, as sentences for people.

Each entry says how many rows its writer had handed over before it. So a stretch that is missing held what lies between
the entries around it, exactly where they are of one writer.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from engine.model import Entry
from server.log import Good, Hole, LogDamaged, LogError, scan_segments, scan_stream
from server.wire.entry import unpack_entry

WAY_OUT = (
    "Restore a backup, or run `streamgauge repair`: it keeps what is damaged aside and every other row in the log, "
    "and counts the missing ones as rejected"
)
_NOTE = struct.Struct("<QQ")
_SHOWN = 5
_MAX_WRITERS = 1000


class Loss(NamedTuple):
    """A hole, and how many rows were in it: at least, and at most where that is known."""

    hole: Hole
    least: int
    most: int | None

    @property
    def rows(self) -> str:
        """The number of rows in words."""
        if self.least == self.most:
            return f"{self.least:,} row{'' if self.least == 1 else 's'}"
        if self.most is not None:
            return f"at most {self.most:,} rows"
        return f"at least {self.least:,} rows" if self.least else "an unknown number of rows"


def pack_note(epoch: int, written: int) -> bytes:
    """What the log remembers with its end: the writer, and the rows it has handed over so far."""
    return _NOTE.pack(epoch, written)


class _Writers:
    """How many rows each writer had handed over by its newest entry that was seen."""

    def __init__(self) -> None:
        self._handed_over: dict[int, int | None] = {}
        self.last = 0
        """The writer of the newest entry, 0 before the first."""

    def see(self, entry: Entry) -> None:
        self._handed_over.pop(entry.epoch, None)
        self._handed_over[entry.epoch] = None if entry.written is None else entry.written + entry.rows
        self.last = entry.epoch
        if len(self._handed_over) > _MAX_WRITERS:
            del self._handed_over[next(iter(self._handed_over))]

    def lost_before(self, epoch: int, written: int | None) -> tuple[int, int | None]:
        """(at least, at most) the rows between the newest entry and one of a writer that had written so many."""
        if written is None or not self.last:
            return 0, None
        before = self._handed_over.get(epoch)
        if epoch == self.last:
            return (0, None) if before is None else (max(0, written - before),) * 2
        # the rest of what the writer before it wrote is missing too, however much that was
        return max(0, written - (before or 0)), None


def losses(found: Iterable[Good | Hole], after: int = 0) -> Iterator[Loss]:
    """What a scanned log has lost above a position, in order; entries that cannot be read are holes as well."""
    writers = _Writers()
    waiting: list[Hole] = []
    for one in found:
        if isinstance(one, Hole):
            waiting.append(one)
            continue
        try:
            entry = unpack_entry(one.payload)
        except ValueError as error:
            why = f"has an entry that cannot be read: {error}"
            waiting.append(Hole(one.path, one.start, one.end, one.position, one.position, why))
            continue
        if not entry.epoch:  # put in by a repair
            continue
        if waiting:
            bounds = writers.lost_before(entry.epoch, entry.written)
            if not writers.last and waiting[0].first == 1:  # from the beginning: nothing of it can be stored
                bounds = entry.written or 0, None
            if any(hole.vague for hole in waiting):
                bounds = bounds[0], None
            yield from _shared(waiting, *bounds, after)
            waiting = []
        writers.see(entry)
    if waiting and waiting[-1].note.strip(b"\0"):
        yield from _shared(waiting, *writers.lost_before(*_NOTE.unpack_from(waiting[-1].note)), after)
    elif waiting:
        yield from _shared(waiting, 0, None, after)


def _shared(holes: list[Hole], least: int, most: int | None, after: int) -> Iterator[Loss]:
    """Neighbouring holes with the rows of all of them, which are put down to the last that lacks entries."""
    counts = next((hole for hole in reversed(holes) if hole.missing), holes[-1] if holes[-1].torn else None)
    for hole in holes:
        if hole.last <= after and not hole.torn:
            if not hole.missing:
                yield Loss(hole, 0, 0)
        elif hole is not counts:
            yield Loss(hole, 0, 0)
        elif hole.first <= after:  # some of its rows are in the store
            yield Loss(replace(hole, first=after + 1), 0, most)
        else:
            yield Loss(hole, least, most)


def sentence(loss: Loss) -> str:
    """A loss as a sentence without its full stop."""
    hole = loss.hole
    text = f"{hole.path} {hole.why}"
    if hole.end > hole.start:
        text += f", bytes {hole.start} to {hole.end}"
    if not hole.missing:
        return text + (": what stood there is not known" if hole.torn else ": no entry is missing there")
    entries = f"entry {hole.first} is" if hole.missing == 1 else f"entries {hole.first} to {hole.last} are"
    return f"{text}: {entries} missing, with {loss.rows}"


def _from(found: Iterable[Good | Hole], after: int) -> Iterator[Good | Hole]:
    """What was found, and a hole before it where it does not reach back to the entry after a position."""
    for number, one in enumerate(found):
        first = one.position if isinstance(one, Good) else one.first
        if number == 0 and first > after + 1:
            why = f"is the oldest file and begins with entry {first}"
            yield Hole(one.path, 0, 0, after + 1, first - 1, why)
        yield one


def all_losses(directory: Path, after: int) -> Iterator[Loss]:
    """What the segments in a directory have lost above a position, the beginning and the end included."""
    return losses(_from(scan_segments(directory), after), after)


def explained(found: Iterable[Loss], cause: str) -> str:
    """All that is wrong with a log, and the way out; the cause where nothing was found."""
    found = [loss for loss in found if not loss.hole.torn]
    shown = ". ".join(sentence(loss) for loss in found[:_SHOWN]) or cause
    if len(found) > _SHOWN:
        shown += f". {len(found) - _SHOWN} more places are damaged"
    return f"{shown}. {WAY_OUT}"


def explain(error: LogDamaged, log: str, after: int) -> str:
    """What the damaged log at a URL has lost above a position, and the way out. Blocks: it reads the log."""
    url = urlsplit(log)
    try:
        if url.scheme == "file":
            return explained(all_losses(Path(unquote(url.path)), after), str(error))
        return explained(losses(scan_stream(log, after), after), str(error))
    except (LogError, OSError) as second:
        return f"{error}; and it cannot be read: {second}"
