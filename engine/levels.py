"""The resolutions panes are kept at: 5 s, 1 min, 1 h and 1 day, above the open base panes of 1 s.

A block holds one level's panes of one metric for just the span of one pane of the next level, so that a coarser pane
is the fold of exactly one block. A store for which few large writes are better than many small ones is rolled up
patiently: the blocks of the finest level that an hour has brought are put together when it is over, and so is a day;
blocks of days, which hold 32 of them, are written over once in 8 days.
"""

from __future__ import annotations

from dataclasses import dataclass

SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

BASE = SECOND
"""Width of an open base pane, in ms."""
WIDTHS = (5 * SECOND, MINUTE, HOUR, DAY)
"""Width of a pane of each stored level, in ms."""
SPANS = (MINUTE, HOUR, DAY, 32 * DAY)
"""Width of a block of each stored level, in ms."""
LEVELS = range(len(WIDTHS))
PACKED = len(WIDTHS)
"""Stands for a level where a block is named: panes of the finest one, all of a metric within an hour that is over."""


def level_of(block: int) -> int:
    """The level whose panes a block has that is named with this number."""
    return 0 if block == PACKED else block


def width(block: int) -> int:
    """Width of the panes of a block that is named with this number, in ms."""
    return WIDTHS[level_of(block)]


def span(block: int) -> int:
    """Width of a block that is named with this number, in ms."""
    return HOUR if block == PACKED else SPANS[block]


def folded_at(level: int, patient: bool) -> int:
    """How much time has to be over, aligned, before a level's blocks are folded into the next one, in ms."""
    return (HOUR, DAY, 8 * DAY, SPANS[level])[level] if patient else SPANS[level]


def floor(time: int, width: int) -> int:
    """The start of the aligned slice that holds a time."""
    return time - time % width


def ceil(time: int, width: int) -> int:
    """The first aligned time at or after a time."""
    return -(-time // width) * width


@dataclass(frozen=True, slots=True)
class Retention:
    """How long each level keeps its panes, in ms, finest first; never shorter than the finer one's.

    patient: whether blocks are put together and folded an hour, a day, 8 days at a time. Until then a level keeps its
    panes whatever the retention is: a sample that went past them would be lost when their fold replaces its pane.
    """

    keep: tuple[int, ...] = (DAY, 30 * DAY, 400 * DAY, 3650 * DAY)
    patient: bool = False

    def horizon(self, level: int, watermark: int) -> int:
        """The start of the oldest block that a level still keeps."""
        passed = floor(watermark - self.keep[level], SPANS[level])
        return min(passed, floor(watermark, folded_at(level, True))) if self.patient else passed

    def next_change(self, level: int, watermark: int) -> int:
        """The first later watermark at which the horizon of a level may move."""
        passed = floor(watermark - self.keep[level], SPANS[level]) + SPANS[level] + self.keep[level]
        return min(passed, floor(watermark, MINUTE) + MINUTE) if self.patient else passed
