"""The resolutions panes are kept at: 5 s, 1 min, 1 h and 1 day, above the open base panes of 1 s.

A block holds one level's panes of one metric for just the span of one pane of the next level, so that a coarser pane
is the fold of exactly one block.
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


def floor(time: int, width: int) -> int:
    """The start of the aligned slice that holds a time."""
    return time - time % width


def ceil(time: int, width: int) -> int:
    """The first aligned time at or after a time."""
    return -(-time // width) * width


@dataclass(frozen=True, slots=True)
class Retention:
    """How long each level keeps its panes, in ms, finest first; never shorter than the finer one's."""

    keep: tuple[int, ...] = (DAY, 30 * DAY, 400 * DAY, 3650 * DAY)

    def horizon(self, level: int, watermark: int) -> int:
        """The start of the oldest block that a level still keeps."""
        return floor(watermark - self.keep[level], SPANS[level])
