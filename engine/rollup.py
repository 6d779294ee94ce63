"""Rolling up: what a flush does to the stored blocks, as a pure function.

A pane of a stored level changes in one of two ways: new panes are merged into the block that holds them, or, where
the finer block is still kept, the pane is the fold of what that block has of its time and replaces what was there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import numpy as np

from engine import panes
from engine.levels import LEVELS, PACKED, SPANS, WIDTHS, floor, folded_at, span, width
from engine.model import Ints
from engine.panes import Panes
from engine.series import Catalogue
from engine.slots import Slot


class BlockId(NamedTuple):
    """One level's panes of one metric for one span of time."""

    level: int
    start: int
    name: str


class Pending(NamedTuple):
    """What a flush has to roll up: new panes by (level, block start), as of these bounds."""

    slots: dict[tuple[int, int], Slot]
    closed: int
    """Everything before this time is closed."""
    rolled: tuple[int, ...]
    """Per level, up to where its blocks have been folded into the next one."""
    horizons: tuple[int, ...]
    """Per level, the start of the oldest block it keeps."""
    patient: bool = False
    """See engine.levels.Retention."""


class Share(NamedTuple):
    """What of a patient flush is rolled up here, where several share it. The shares of a flush have no block in common,
    and together have all.

    whole: whether all of a metric's blocks are made here, but the single ones of the hour that is going on; singles:
    whether those are, of all metrics.
    """

    whole: Callable[[str], bool]
    singles: bool

    def has(self, block: BlockId, done: int) -> bool:
        """Whether new panes of a block are rolled up here; done: before when hours are over."""
        if block.level == 0 and block.start >= done:
            return self.singles
        return self.whole(block.name)


ALL_OF_IT = Share(lambda name: True, True)
Read = Callable[[list[BlockId]], dict[BlockId, Panes]]
List = Callable[[int, int, int], Iterable[BlockId]]
"""(level, start, end) -> the stored blocks that start there."""
Blocks = dict[BlockId, Panes]


def roll(
    pending: Pending, catalogue: Catalogue, read: Read, stored: List, share: Share = ALL_OF_IT
) -> tuple[Blocks, tuple[int, ...]]:
    """The blocks to overwrite, and the new `rolled` bounds. Panes of a block are sorted by series and start.

    Where the rolling is patient, the finest level's blocks of an hour that is over come out as packed ones; the single
    ones that are stored of it are not needed any more.
    """
    def listed(level: int, start: int, end: int) -> Iterable[BlockId]:
        return (block for block in stored(level, start, end) if share.whole(block.name))

    changed: Blocks = {}
    fresh: dict[tuple[int, int], list[Panes]] = defaultdict(list)
    for key, slot in pending.slots.items():
        fresh[key].append(slot.merged())
    folded: Blocks = {}
    rolled = []
    for level in LEVELS:
        done = max(floor(pending.closed, folded_at(level, pending.patient)), pending.rolled[level])
        additions = _additions(level, fresh, pending.horizons, catalogue, partial(share.has, done=done))
        if level == 0 and pending.patient:
            mine, due = _merge_patiently(additions, pending.rolled[0], done, catalogue, read, listed)
        else:
            mine = _merge(level, additions, folded, catalogue, read)
            due = {block for block in mine if block.start < done}
            if done > pending.rolled[level] and level + 1 in LEVELS:
                due |= {block for block in listed(level, pending.rolled[level], done) if block not in mine}
        changed.update(mine)
        rolled.append(done)
        if level + 1 in LEVELS:
            folded = _fold_blocks(level + 1, due, mine, catalogue, read)
    return changed, tuple(rolled)


Additions = dict[BlockId, list[Panes]]


def _additions(
    level: int, fresh: dict[tuple[int, int], list[Panes]], horizons: tuple[int, ...], catalogue: Catalogue,
    wanted: Callable[[BlockId], bool],
) -> Additions:  # fmt: skip
    """A level's new panes by block. Those it does not keep any more become new ones of the next level."""
    found: Additions = defaultdict(list)
    for (of_level, start), parts in list(fresh.items()):
        if of_level != level:
            continue
        if level + 1 in LEVELS and start < horizons[level]:
            fresh[level + 1, floor(start, SPANS[level + 1])].extend(parts)
            continue
        for name, rows, of_name in _by_name(panes.concat(parts), catalogue):
            block = BlockId(level, start, name)
            if wanted(block):
                found[block].append(rows.take(of_name))
    return found


def _merge(level: int, additions: Additions, folded: Blocks, catalogue: Catalogue, read: Read) -> Blocks:
    """A level's blocks after new panes were merged in and folds of finer blocks put in place."""
    replacements: Additions = defaultdict(list)
    for block, part in folded.items():
        replacements[BlockId(level, floor(block.start, SPANS[level]), block.name)].append(part)
    touched = list(additions.keys() | replacements.keys())
    before = read(touched)
    result = {}
    for block in touched:
        old = before.get(block)
        if old is not None and block in replacements:
            gone = np.unique(np.concatenate([part.start for part in replacements[block]]))
            old = old.take(np.flatnonzero(~np.isin(old.start, gone)))
        parts = [*([old] if old is not None else []), *replacements.get(block, []), *additions.get(block, [])]
        result[block] = _fold_to(panes.concat(parts), block, catalogue)
    return result


def _merge_patiently(
    additions: Additions, rolled: int, done: int, catalogue: Catalogue, read: Read, stored: List
) -> tuple[Blocks, set[BlockId]]:
    """The finest level: single blocks of the hour that is going on, packed ones of hours that are over.

    Also which of them have to be folded into the next level: the packed ones.
    """
    going_on = {block: parts for block, parts in additions.items() if block.start >= rolled}
    single = _merge(0, going_on, {}, catalogue, read)
    packed: Additions = defaultdict(list)
    for block, parts in additions.items():
        if block.start < rolled:
            packed[_packed(block)] += parts
    over = {block: single.pop(block) for block in list(single) if block.start < done}
    if done > rolled:
        over |= read([block for block in stored(0, rolled, done) if block not in over])
    for block, rows in over.items():
        packed[_packed(block)].append(rows)
    before = read([block for block in packed if block.start < rolled])
    whole = {
        block: _fold_to(panes.concat([*([before[block]] if block in before else []), *parts]), block, catalogue)
        for block, parts in packed.items()
    }
    return single | whole, set(whole)


def _packed(block: BlockId) -> BlockId:
    return BlockId(PACKED, floor(block.start, span(PACKED)), block.name)


def _fold_to(rows: Panes, block: BlockId, catalogue: Catalogue) -> Panes:
    """One pane per series and slice of the block's level."""
    return _fold(rows, width(block.level), catalogue)


def _fold_blocks(level: int, due: set[BlockId], at_hand: Blocks, catalogue: Catalogue, read: Read) -> Blocks:
    """Each block folded into panes of a level, which is the next one."""
    blocks = {block: at_hand[block] for block in due if block in at_hand}
    blocks |= read([block for block in due if block not in at_hand])
    return {block: _fold(rows, WIDTHS[level], catalogue) for block, rows in blocks.items()}


def _fold(rows: Panes, width: int, catalogue: Catalogue) -> Panes:
    """One pane per series and slice of that width, sorted by them."""
    if not len(rows):
        return rows
    slices = rows.start // width
    first = int(slices.min())
    per_series = int(slices.max()) - first + 1
    keys, merged = panes.fold(
        rows, rows.series.astype(np.int64) * per_series + slices - first, panes.ALL,
        catalogue.sketched_rows(rows.series),
    )  # fmt: skip
    merged.start = (keys % per_series + first) * width
    return merged


def _by_name(rows: Panes, catalogue: Catalogue) -> Iterable[tuple[str, Panes, Ints]]:
    """(name, all panes, which rows of them are its own) of each metric."""
    numbers = catalogue.name_numbers[rows.series]
    order = np.argsort(numbers, kind="stable")
    if not len(order):
        return
    starts = np.flatnonzero(np.append(True, np.diff(numbers[order]) != 0))
    for begin, end in zip(starts, [*starts[1:], len(order)], strict=True):
        part = order[begin:end]
        yield catalogue.by_number[int(numbers[part[0]])].name, rows, part
