"""Series as servers have them, and faults to put into them; and the anomaly detector in the plainest words."""

from __future__ import annotations

import math

import numpy as np

from engine.anomaly import Detector
from engine.anomaly.distance import FADE, FEWEST, FORGETS, GROWTH, LEAD, LEAST, NEAREST, NOTHING
from engine.anomaly.history import NEAR, REFERENCES, WIDTH
from engine.anomaly.rarity import MEMORY, size, steps
from engine.model import Flags, Floats

DAY = 288
"""Points: one in 5 minutes."""


def quiet(kind: str, points: int, seed: int) -> Floats:
    """A series in which nothing happens."""
    random = np.random.default_rng(seed)
    time, noise = np.arange(points), random.normal(size=points)
    daily = np.sin(2 * np.pi * time / DAY + seed)
    if kind == "noise":
        return 10 + noise
    if kind == "daily":
        return 50 + 20 * daily + noise
    if kind == "trend":
        return 100 + time * 0.01 + 5 * daily + noise
    if kind == "drift":
        return 20 + np.convolve(random.normal(size=points + 400), 0.98 ** np.arange(400), "valid")[:points]
    if kind == "counts":
        return random.poisson(30 + 20 * daily).astype(float)
    if kind == "skewed":
        return np.exp(noise)
    if kind == "jobs":
        busy = (time % 97 < 12) ^ (random.random(points) < 0.002)
        return 5 + 40 * busy + noise
    if kind == "square":
        return np.where(time % DAY < DAY // 3, 80.0, 20.0)
    if kind == "flat":
        return np.full(points, 42.0)
    assert kind == "rate", kind
    return np.full(points, 60.0) + 0.1 * random.integers(0, 2, size=points)


NOISY = ("noise", "daily", "trend", "drift", "counts", "skewed", "jobs")
REGULAR = ("square", "flat", "rate")


def broken(series: Floats, fault: str, at: int) -> Floats:
    """The series with a fault that begins at a point."""
    found = series.copy()
    height = max(float(np.ptp(series[:at])), 1.0)
    if fault == "spike":
        found[at : at + 3] += 2 * height
    elif fault == "higher":
        found[at : at + 150] += 1.5 * height
    elif fault == "lower":
        found[at : at + 150] -= 1.5 * height
    elif fault == "wild":
        found[at : at + 80] += height * np.random.default_rng(at).normal(size=len(found[at : at + 80]))
    else:
        assert fault == "climb", fault
        found[at : at + 150] += np.linspace(0, 3 * height, 150)[: len(found[at : at + 150])]
    return found


FAULTS = ("spike", "higher", "lower", "wild", "climb")


def alarms(table: Floats, detector: Detector | None = None, since: int = 0) -> tuple[Floats, Flags]:
    """Scores and begins of episodes, a row for each series of the table. since: the time of its first point."""
    detector = Detector(len(table)) if detector is None else detector
    names = np.arange(len(table))
    verdicts = [detector.observe(names, column, since + at) for at, column in enumerate(table.T)]
    return np.array([one.scores for one in verdicts]).T, np.array([one.began for one in verdicts]).T


def plain_distances(values: Floats) -> list[float | None]:
    """The distances of one series, from all of its values at each point."""
    sums: Floats = np.zeros(REFERENCES)
    kept, largest = math.exp(-1 / FADE), 0.0
    found: list[float | None] = []
    for at in range(len(values)):
        past = values[: at + 1][::-1][NEAR:]
        known = min(len(past) // WIDTH, REFERENCES)
        stretches = past[: known * WIDTH].reshape(known, WIDTH)
        differences = np.abs(stretches - values[at]).min(axis=1)
        most = float(differences.max()) if known else 0.0
        bound = GROWTH * (largest or abs(float(values[at - 1]))) or math.inf
        largest = max(largest * FORGETS, min(most, bound))
        sums[:known] = np.maximum(sums[:known] * kept + np.minimum(differences, bound), NOTHING)
        usable = min(len(past) // WIDTH - LEAD, REFERENCES)
        if usable < FEWEST:
            found.append(None)
            continue
        nearest = sum(sorted(sums[:usable].tolist())[:NEAREST])
        found.append(nearest if nearest > max(LEAST * largest, NEAREST * NOTHING) else 0.0)
    return found


def plain_scores(distances: list[float | None]) -> list[float]:
    """Their scores, without what is added beyond the largest."""
    past: list[float] = []
    found = []
    for distance in distances:
        if distance is None:
            found.append(0.0)
            continue
        rounded = size(int(steps(np.array([distance]))[0]))
        held = past[-MEMORY:]
        found.append(math.log10((1 + len(held)) / (1 + sum(one >= rounded for one in held))))
        past.append(rounded)
    return found
