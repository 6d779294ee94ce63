"""Rolling up: what a flush does to the stored blocks, as a pure function.

A pane of a stored level changes in one of two ways: new panes are merged into the block that holds them, or, where
the finer block is still kept, the pane is the fold of that block and replaces what was there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from engine import panes
from engine.levels import LEVELS, SPANS, WIDTHS, floor
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


Read = Callable[[list[BlockId]], dict[BlockId, Panes]]
List = Callable[[int, int, int], Iterable[BlockId]]
"""(level, start, end) -> the stored blocks that start there."""


def roll(
    pending: Pending, catalogue: Catalogue, read: Read, stored: List
) -> tuple[dict[BlockId, Panes], tuple[int, ...]]:
    """The blocks to overwrite, and the new `rolled` bounds. Panes of a block are sorted by series and start."""
    changed: dict[BlockId, Panes] = {}
    fresh: dict[tuple[int, int], list[Panes]] = defaultdict(list)
    for key, slot in pending.slots.items():
        fresh[key].append(slot.merged())
    folded: dict[BlockId, Panes] = {}
    rolled = []
    for level in LEVELS:
        mine = _merge_level(level, fresh, folded, pending.horizons, catalogue, read)
        changed.update(mine)
        done = max(floor(pending.closed, SPANS[level]), pending.rolled[level])
        rolled.append(done)
        if level + 1 in LEVELS:
            due = {block for block in mine if block.start < done}
            if done > pending.rolled[level]:
                due |= {block for block in stored(level, pending.rolled[level], done) if block not in mine}
            folded = _fold_blocks(due, mine, catalogue, read)
    return changed, tuple(rolled)


def _merge_level(
    level: int, fresh: dict[tuple[int, int], list[Panes]], folded: dict[BlockId, Panes], horizons: tuple[int, ...],
    catalogue: Catalogue, read: Read,
) -> dict[BlockId, Panes]:  # fmt: skip
    """This level's blocks after new panes were merged in and folds of finer blocks put in place."""
    additions: dict[BlockId, list[Panes]] = defaultdict(list)
    for (of_level, start), parts in list(fresh.items()):
        if of_level != level:
            continue
        if level + 1 in LEVELS and start < horizons[level]:
            fresh[level + 1, floor(start, SPANS[level + 1])].extend(parts)
            continue
        for name, part in _by_name(panes.concat(parts), catalogue):
            additions[BlockId(level, start, name)].append(part)
    replacements: dict[BlockId, list[Panes]] = defaultdict(list)
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


def _fold_to(rows: Panes, block: BlockId, catalogue: Catalogue) -> Panes:
    """One pane per series and slice of the block's level."""
    width = WIDTHS[block.level]
    slices = (rows.start - block.start) // width
    keys = rows.series.astype(np.int64) * Slot.per_slot + slices
    keys, merged = panes.fold(rows, keys, panes.ALL, catalogue.sketched_rows(rows.series))
    merged.start = block.start + (keys % Slot.per_slot) * width
    return merged


def _fold_blocks(
    due: set[BlockId], at_hand: dict[BlockId, Panes], catalogue: Catalogue, read: Read
) -> dict[BlockId, Panes]:
    """Each block folded into one pane per series of the next level, which starts where the block does."""
    blocks = {block: at_hand[block] for block in due if block in at_hand}
    blocks |= read([block for block in due if block not in at_hand])
    result = {}
    for block, rows in blocks.items():
        unique = catalogue.sketched_rows(rows.series)
        _, merged = panes.fold(rows, rows.series.astype(np.int64), panes.ALL, unique)
        merged.start = np.full(len(merged), block.start, np.int64)
        result[block] = merged
    return result


def _by_name(rows: Panes, catalogue: Catalogue) -> Iterable[tuple[str, Panes]]:
    """The rows of each metric name."""
    numbers = catalogue.name_numbers[rows.series]
    order = np.argsort(numbers, kind="stable")
    if not len(order):
        return
    starts = np.flatnonzero(np.append(True, np.diff(numbers[order]) != 0))
    for begin, end in zip(starts, [*starts[1:], len(order)], strict=True):
        part = order[begin:end]
        yield catalogue.by_number[int(numbers[part[0]])].name, rows.take(part)
