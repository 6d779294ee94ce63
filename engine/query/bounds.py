"""When a query looks: its range and steps, in ms, and the number of the step that a moment lies in."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from engine.errors import BadTimeRange
from engine.model import Floats, Ints
from engine.query.calendar import Calendar
from engine.query.value import Query


@dataclass(frozen=True, slots=True)
class Bounds:
    """When a query looks: [start, end) in ms, aligned to the resolution.

    Steps of one length have a step, those of uneven length have edges, and one value over the range has neither.
    """

    start: int
    end: int
    step: int | None
    resolution: int
    finest: int
    """The level of that resolution."""
    calendar: Calendar | None = None
    """The one in force where the steps are days, weeks or months: that of the query as nearly as panes are kept."""
    edges: Ints | None = field(default=None, compare=False)  # start, end and calendar determine them
    over: int | None = None
    """Of a calendar's steps, how many are over as of the moment of asking."""
    exact_from: int | None = None
    """Where edges had to be rounded: the earliest start of a range in which they would not be."""

    @property
    def stepped(self) -> bool:
        """Whether it is a time series."""
        return self.step is not None or self.edges is not None

    @property
    def steps(self) -> int:
        if self.edges is not None:
            return len(self.edges) - 1
        return 1 if self.step is None else (self.end - self.start) // self.step

    @property
    def times(self) -> Ints:
        """When each step begins."""
        if self.edges is not None:
            return self.edges[:-1]
        return self.start + np.arange(self.steps) * (self.step or 0)

    def number(self, moments: Ints) -> Ints:
        """The number of the step that each moment lies in, 0 in a range without steps."""
        if self.edges is not None:
            return np.searchsorted(self.edges, moments, "right") - 1
        return moments * 0 if self.step is None else (moments - self.start) // self.step

    def seconds(self, keys: Ints) -> float | Floats:
        """Seconds that each value covers. keys: group x steps + number of the step."""
        if self.edges is not None:
            return np.asarray(np.diff(self.edges)[keys % self.steps] / 1000)
        return (self.step or self.end - self.start) / 1000

    def next_edge(self, at: int) -> int | None:
        """When the next step of a calendar is over, after a moment; None where all are, or there is no calendar."""
        if self.calendar is None or at >= self.end:
            return None
        following = int(self.number(np.array([at]))[0]) + 1
        return self.start if following < 1 else int(self.times[following]) if following < self.steps else self.end


def asked(query: Query, at: int) -> tuple[int | None, int]:
    """(start, end) as a query has them, the start None where the range counts back. Raises BadTimeRange."""
    start, end = (query.start, query.end) if query.period is None else query.period.at(at)
    last = at + 1 if end is None else end
    if start is not None and start >= last:
        raise BadTimeRange("the range ends before it starts: `from` must be earlier than `to`, or than now")
    return start, last


def steps_over(start: int, end: int, step: int, at: int) -> int:
    """How many steps of one length are over as of a moment."""
    return max(0, min(at, end) - start) // step


def edges_over(edges: Ints, at: int) -> int:
    """How many of the steps between edges are over as of a moment."""
    return max(0, int(np.searchsorted(edges, at, "right")) - 1)
