"""How well and how fast anomalies are found: `python -m tests.benchmarks.anomaly FOLDER`.

FOLDER is a checkout of the Numenta Anomaly Benchmark (https://github.com/numenta/NAB), or has the same layout. One
setting goes for all files, the one in engine/anomaly. The held-out lines choose the threshold on a random half of the
files and score the other half with it. --scores FOLDER writes the score of each detection, 0 elsewhere, a file for
each, for another scorer.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from engine.anomaly import ROW_BYTES, THRESHOLD, Detector, alarms_per_day, threshold_for
from engine.anomaly.episodes import Episodes
from engine.model import Flags, Floats
from tests.benchmarks.nab import PROFILES, Labelled, Tally, load, score, tally
from tests.benchmarks.table import HEADER, Figure, line, render

TARGETS = {"standard": 66.0, "low FP": 58.0}
HELD_OUT = {"standard": 60.0, "low FP": 52.0}
THRESHOLDS = tuple(round(1.2 + 0.05 * step, 2) for step in range(23))
DRAWS = 50
BUDGETS = (0.2, 0.02)
MOST_TIME, MOST_MEMORY = 40.0, 64 * 1024


def observe(files: Sequence[Labelled]) -> tuple[list[Floats], float]:
    """The scores of all points, the files side by side as the server's series are; and the CPU µs that a point took."""
    detector = Detector(len(files))
    scores = [np.zeros(len(file.values)) for file in files]
    points, began = 0, time.process_time()
    for at in range(max(len(file.values) for file in files)):
        numbers = np.array([number for number, file in enumerate(files) if at < len(file.values)])
        values = np.array([files[number].values[at] for number in numbers.tolist()])
        for number, found in zip(numbers.tolist(), detector.observe(numbers, values, at).scores.tolist(), strict=True):
            scores[number][at] = found
        points += len(numbers)
    return scores, (time.process_time() - began) / points * 1e6


def detections(scores: Sequence[Floats], threshold: float) -> list[Flags]:
    """Where episodes begin, with a threshold."""
    episodes, rows = Episodes(len(scores), threshold), np.arange(len(scores))
    lengths = np.array([len(one) for one in scores])
    longest = int(lengths.max())
    table = np.array([np.pad(one, (0, longest - len(one))) for one in scores])
    began = np.zeros((len(scores), longest), np.bool_)
    for at in range(longest):
        here = rows[lengths > at]
        began[here, at] = episodes.step(here, np.full(len(here), at + 1), table[here, at], at)
    return [flags[:length] for flags, length in zip(began, lengths.tolist(), strict=True)]


def halves(tallies: dict[float, list[Tally]]) -> dict[str, Floats]:
    """Scores of random halves, with the threshold that is the best for the rest. tallies: by threshold and file."""
    random = np.random.default_rng(1)
    files = len(next(iter(tallies.values())))
    found: dict[str, list[float]] = {name: [] for name in PROFILES}
    for _ in range(DRAWS):
        order = random.permutation(files).tolist()
        for tuned, held in ((order[: files // 2], order[files // 2 :]), (order[files // 2 :], order[: files // 2])):
            if not all(any(tallies[THRESHOLDS[0]][at].windows for at in half) for half in (tuned, held)):
                continue
            for name, profile in PROFILES.items():
                best = max(tallies, key=lambda level: score([tallies[level][at] for at in tuned], profile))
                found[name].append(score([tallies[best][at] for at in held], profile))
    return {name: np.array(scores) for name, scores in found.items()}


def quality(files: Sequence[Labelled], scores: Sequence[Floats]) -> Iterator[Figure]:
    """Scores with the threshold as it is, held-out scores, and false alarms."""
    tallies = {
        level: [tally(*pair) for pair in zip(files, detections(scores, level), strict=True)]
        for level in (THRESHOLD, *THRESHOLDS)
    }
    ours = tallies[THRESHOLD]
    found, windows, false = (sum(one[at] for one in ours) for at in (1, 2, 4))
    for name, profile in PROFILES.items():
        note = f"{found} of {windows} windows, {false} false alarms" if name == "standard" else ""
        yield Figure(
            f"{name}, threshold {THRESHOLD}", score(ours, profile), "of 100", TARGETS.get(name), True, note=note
        )
    for name, held in halves({level: tallies[level] for level in THRESHOLDS}).items():
        note = f"standard deviation {held.std():.1f}, worst {held.min():.1f}"
        yield Figure(f"{name}, held-out halves", float(held.mean()), "of 100", HELD_OUT.get(name), True, note=note)
    days = sum(file.days for file in files)
    per_day = sum(len(file.values) for file in files) / days
    yield Figure(
        f"false alarms, threshold {THRESHOLD}", false / days, "per series-day", alarms_per_day(THRESHOLD, per_day)
    )
    for budget in BUDGETS:
        level = threshold_for(budget, per_day)
        paged = [tally(*pair) for pair in zip(files, detections(scores, level), strict=True)]
        note = f"{sum(one.found for one in paged)} of {windows} windows are found"
        alarms = sum(one.false for one in paged) / days
        yield Figure(
            f"false alarms, budget {budget} (threshold {level:.2f})", alarms, "per series-day", budget, note=note
        )


def main(arguments: list[str] | None = None) -> int:
    """Prints the table; 1 where a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.anomaly", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scores", type=Path, help="write the scores of the detections into this folder")
    chosen = parser.parse_args(arguments)
    files = load(chosen.folder)
    if not any(file.windows for file in files):
        parser.error("no labelled files there")
    scores, taken = observe(files)
    print(f"{len(files)} files, {sum(len(file.values) for file in files):,} points")
    print(line(HEADER))
    figures = [
        *quality(files, scores),
        Figure("time", taken, "µs per point", MOST_TIME),
        Figure("memory", ROW_BYTES, "bytes per series", MOST_MEMORY),
    ]
    for figure in figures:
        print(render(figure))
    if chosen.scores:
        for file, found, began in zip(files, scores, detections(scores, THRESHOLD), strict=True):
            path = chosen.scores / file.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(map(str, np.where(began, found, 0.0).tolist())) + "\n")
    missed = sum(figure.holds is False for figure in figures)
    return min(missed, 1)


if __name__ == "__main__":
    raise SystemExit(main())
