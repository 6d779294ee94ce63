"""The score of the Numenta Anomaly Benchmark.

Source: Lavin and Ahmad, "Evaluating real-time anomaly detection algorithms", 2015.

A window around each labelled anomaly gives credit once, for its earliest detection, more the earlier it is; every
detection outside costs, less if it comes soon after a window. The first 15 % of a series are not scored. 0 is a
detector that says nothing, 100 finds every window at its first point and says nothing else.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from engine.model import Flags, Floats, Ints


class Profile(NamedTuple):
    """What a missed window and a false alarm cost."""

    missed: float
    false: float


PROFILES = {"standard": Profile(1.0, 0.11), "low FP": Profile(1.0, 0.22), "low FN": Profile(2.0, 0.11)}
LABELS = ("windows.json", "labels/combined_windows.json")
UNSCORED, MOST_UNSCORED = 0.15, 750


@dataclass(frozen=True)
class Labelled:
    """One file. worth: of a detection at each point; window: which one it lies in, -1 for none; scored: whether it
    counts at all."""

    name: str
    times: Ints
    values: Floats
    worth: Floats
    window: Ints
    windows: int
    scored: Flags

    @property
    def days(self) -> float:
        """How long it is."""
        return float(self.times[-1] - self.times[0]) / 86_400_000


class Tally(NamedTuple):
    """What the detections in a file come to: credit for windows found, costs of false alarms (at 1 each, negative), and
    how many of both."""

    credit: float
    found: int
    windows: int
    costs: float
    false: int


def load(folder: Path) -> list[Labelled]:
    """The files in a checkout of the benchmark, or a part of one: data/GROUP/FILE.csv and the windows."""
    labels = next((folder / name for name in LABELS if (folder / name).exists()), None)
    if labels is None:
        raise FileNotFoundError(f"{folder} has neither {' nor '.join(LABELS)}")
    named: dict[str, list[list[str]]] = json.loads(labels.read_text())
    paths = {name: folder / "data" / name for name in named}
    return [labelled(name, path, named[name]) for name, path in paths.items() if path.exists()]


def labelled(name: str, path: Path, windows: list[list[str]]) -> Labelled:
    """One file with its windows, each a pair of times."""
    with path.open(newline="") as lines:
        rows = list(csv.reader(lines))[1:]
    times = [milliseconds(row[0]) for row in rows]
    first = {time: place for place, time in reversed(list(enumerate(times)))}
    spans = [(first[milliseconds(begin)], first[milliseconds(end)]) for begin, end in windows]
    worth, window = worths(len(times), spans)
    scored = np.arange(len(times)) >= min(math.floor(UNSCORED * len(times)), MOST_UNSCORED)
    values = np.array([float(row[1]) for row in rows])
    return Labelled(name, np.array(times), values, worth, window, len(spans), scored)


def milliseconds(text: str) -> int:
    """A time without a zone as ms."""
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def worths(points: int, spans: Sequence[tuple[int, int]]) -> tuple[Floats, Ints]:
    """What a detection at each point is worth, and which window the point is in (-1: none). spans: the first and the
    last point of each window."""
    worth, window = np.full(points, -1.0), np.full(points, -1)
    for number, (begin, end) in enumerate(spans):
        inside, until = end - begin + 1, spans[number + 1][0] if number + 1 < len(spans) else points
        for at in range(begin, end + 1):
            worth[at], window[at] = sigmoid((at - end - 1) / inside) / sigmoid(-1.0), number
        for at in range(end + 1, until):
            worth[at] = sigmoid((at - end) / (inside - 1))
    return worth, window


def sigmoid(x: float) -> float:
    """From 1 long before the end of a window to -1 long after it."""
    return -1.0 if x > 3 else 2 / (1 + math.exp(5 * x)) - 1


def tally(file: Labelled, detected: Flags) -> Tally:
    """What the detections in a file come to."""
    at = np.flatnonzero(detected & file.scored)
    inside = file.window[at] >= 0
    best: dict[int, float] = {}
    for place in at[inside].tolist():
        window = int(file.window[place])
        best[window] = max(best.get(window, -1.0), float(file.worth[place]))
    false = at[~inside]
    return Tally(sum(best.values()), len(best), file.windows, float(file.worth[false].sum()), len(false))


def score(tallies: Sequence[Tally], profile: Profile) -> float:
    """The score of detections in several files."""
    windows = sum(one.windows for one in tallies)
    missed = windows - sum(one.found for one in tallies)
    gained = sum(one.credit + profile.false * one.costs for one in tallies) - profile.missed * missed
    return 100 * (gained + profile.missed * windows) / (windows * (1 + profile.missed))
