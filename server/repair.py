"""Repairing: what is damaged in a log, and making it good as far as that can be, with nothing deleted.

A plan is made by looking only. Carrying it out leaves every sound row where it was, puts entries in the place of those
that are missing, which say how many rows were lost (rejected as `damaged`), and keeps what it replaces aside.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from engine.model import Entry
from server.damage import Loss, all_losses, losses, sentence
from server.log import (
    Good,
    Hole,
    Log,
    LogDamaged,
    mend_segments,
    mend_stream,
    open_log,
    recovered_strays,
    scan_segments,
    scan_stream,
)
from server.origin import Origin, check
from server.wire.entry import pack_entry, unpack_entry

REASON = "damaged"
"""Why rows count as rejected that a repair has found missing."""


_LATER = 32


class CannotMend(Exception):
    """What no repair can make good; the message is a sentence, with the way out."""


@dataclass(slots=True)
class Plan:
    """What is wrong with a log. holes: all of them; losses: those that matter to the store, with their rows."""

    url: str
    position: int
    """Where the store ends."""
    holes: list[Hole] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    found: dict[int, bytes] = field(default_factory=dict)
    """Missing entries that stand elsewhere in the files."""
    stamps: list[tuple[int, int]] = field(default_factory=list)
    """(first position of a hole, stamp of the entry before it), in order."""
    first: int = 0
    last: int = 0
    misfit: str = ""
    """Why the log as a whole does not fit the store."""

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.holes or self.losses or self.misfit)

    @property
    def lost_rows(self) -> int:
        """Rows that are known to be lost for good."""
        return sum(self.lost(loss) for loss in self.losses)

    def sentences(self) -> Iterator[str]:
        """What is wrong, one place each."""
        for loss in self.losses:
            back = len(self._back(loss))
            yield sentence(loss) + (f"; {back} of them stand elsewhere and are put back" if back else "")
        harmless = len(self.holes) - sum(not _is_beginning(loss.hole) for loss in self.losses)
        if harmless > 0:
            yield f"{harmless} more place{'s' if harmless > 1 else ''}, behind which the store has everything"
        if self.misfit:
            yield self.misfit[0].upper() + self.misfit[1:]

    def lost(self, loss: Loss) -> int:
        """Rows of a loss that are not put back, as far as is known."""
        return max(0, loss.least - sum(unpack_entry(payload).rows for payload in self._back(loss)))

    def _back(self, loss: Loss) -> list[bytes]:
        return [payload for at, payload in self.found.items() if loss.hole.first <= at <= loss.hole.last]

    def fill(self, position: int) -> bytes:
        """What takes the place of a missing entry: itself where it was found, else one that counts what was lost."""
        if position in self.found:
            return self.found[position]
        lost = sum(self.lost(loss) for loss in self.losses if self._counts_at(loss) == position)
        before = bisect_right(self.stamps, (position, 1 << 63)) - 1
        return filler(self.stamps[before][1] if before >= 0 else 0, lost)

    def _counts_at(self, loss: Loss) -> int:
        """The first missing position of a loss that is not put back."""
        return next((at for at in range(loss.hole.first, loss.hole.last + 1) if at not in self.found), 0)


def filler(stamp: int, lost: int) -> bytes:
    """An entry that says how many rows were lost."""
    return pack_entry(Entry(stamp, rejected={REASON: lost} if lost else {}))


def _is_beginning(hole: Hole) -> bool:
    return "is the oldest file" in hole.why


def _is_newer(hole: Hole) -> bool:
    """Whether an entry is of a version that a later release may well write; others are no entries."""
    found = re.search(r"entry of version (\d+)", hole.why)
    return found is not None and int(found[1]) <= _LATER


def make_plan(url: str, position: int) -> Plan:
    """What is wrong with the log at `url` for a store that ends at a position. Reads only.

    Raises CannotMend, and LogUnavailable.
    """
    plan = Plan(url, position)
    embedded = urlsplit(url).scheme == "file"
    directory = Path(unquote(urlsplit(url).path))
    stamp = 0

    def seen() -> Iterator[Good | Hole]:
        nonlocal stamp
        for one in scan_segments(directory) if embedded else scan_stream(url, position):
            if isinstance(one, Good):
                plan.first, plan.last = plan.first or one.position, one.position
                stamp = int.from_bytes(one.payload[8:16], "little", signed=True)
            elif one.missing:
                plan.stamps.append((one.first, stamp))
            yield one

    plan.holes = [loss.hole for loss in losses(seen())]
    newer = next((hole for hole in plan.holes if _is_newer(hole)), None)
    if newer is not None:
        raise CannotMend(f"{newer.path} {newer.why}. Start the release that wrote it; nothing is damaged there")
    found = all_losses(directory, position) if embedded else losses(scan_stream(url, position), position)
    plan.losses = [loss for loss in found if not loss.hole.torn]
    plan.holes = [hole for hole in plan.holes if not hole.torn or plan.losses]
    plan.found = recovered_strays(plan.holes) if embedded else {}
    return plan


async def look_whether_it_fits(plan: Plan, origin: Origin | None) -> None:
    """Adds to a plan without losses what keeps the log as a whole from following the store; opens the log for it."""
    if plan.holes or plan.losses:
        return
    if urlsplit(plan.url).scheme == "file" and not plan.last:
        if (origin is not None or plan.position) and (origin is None or origin.complete != plan.position):
            plan.misfit = (
                f"The log in {unquote(urlsplit(plan.url).path)} is gone: all after entry {plan.position}, with which "
                "the store ends, is missing, with an unknown number of rows"
            )
        return
    try:
        log = await open_log(plan.url)
    except LogDamaged as error:
        plan.misfit = str(error)
        return
    try:
        last, complete = await log.last(), origin is not None and origin.complete == plan.position
        if last >= plan.position or complete:
            await check(log, origin, plan.position)
        elif urlsplit(plan.url).scheme == "file":
            plan.misfit = (
                f"The log ends with entry {last}, before entry {plan.position}, with which the store ends: the entries "
                "after that, if there were any, are missing, with an unknown number of rows"
            )
    except LogDamaged as error:
        plan.misfit = str(error)
        if origin is not None and origin.epoch != log.epoch and last:
            raise CannotMend(f"{error}. Or move the store away: the log that is there fills a new one") from None
    finally:
        await log.close()


async def carry_out(plan: Plan, aside: Path, origin: Origin | None) -> Origin:
    """Mends the log; what the store is to note of it then. Raises LogError and OSError."""
    counted, embedded = 0, urlsplit(plan.url).scheme == "file"
    if embedded:
        if plan.holes:
            mend_segments(Path(unquote(urlsplit(plan.url).path)), aside, plan.holes, plan.position, plan.fill)
        counted = sum(plan.lost(loss) for loss in plan.losses if _is_beginning(loss.hole))
    stamp = plan.stamps[-1][1] if plan.stamps else 0
    if plan.holes and not embedded:
        mend_stream(plan.url, aside, [hole.first for hole in plan.holes], filler(stamp, plan.lost_rows))
    log = await open_log(plan.url)
    try:
        if counted:
            await log.append(filler(stamp, counted))
        return await _accepted(log, plan.position, origin)
    finally:
        await log.close()


async def _accepted(log: Log, position: int, origin: Origin | None) -> Origin:
    """What makes the log fit the store from here on."""
    last, gap = await log.last(), None
    if not await log.reaches_back(position):
        if await log.first() > last:  # one entry, so that its beginning stays where it is
            last = await log.append(filler(0, 0))
        gap = position, await log.first()
    epoch = log.epoch if last or origin is None else origin.epoch
    return Origin(epoch, position if last <= position else None, gap)
