"""The benchmark of the anomaly detector: what a detection is worth, and that the command runs on files like NAB's."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from engine.model import Floats
from tests.benchmarks.anomaly import main
from tests.benchmarks.nab import PROFILES, Labelled, load, score, tally
from tests.engine.anomaly_support import broken, quiet

BEGIN = datetime(2024, 5, 1)


def checkout(folder: Path, files: dict[str, tuple[Floats, list[tuple[int, int]]]]) -> Path:
    """A folder like a checkout of the benchmark; windows as first and last points."""
    for name, (values, _) in files.items():
        path = folder / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [f"{BEGIN + timedelta(minutes=5 * at)},{value}" for at, value in enumerate(values.tolist())]
        path.write_text("\n".join(["timestamp,value", *rows]) + "\n")
    spans = {
        name: [[str(BEGIN + timedelta(minutes=5 * at)) for at in span] for span in windows]
        for name, (_, windows) in files.items()
    }
    (folder / "windows.json").write_text(json.dumps(spans))
    return folder


def of(file: Labelled, points: list[int]) -> dict[str, float]:
    """What detections at these points score."""
    detected = np.zeros(len(file.values), np.bool_)
    detected[points] = True
    return {name: score([tally(file, detected)], profile) for name, profile in PROFILES.items()}


def test_what_detections_are_worth(tmp_path: Path) -> None:
    [file] = load(checkout(tmp_path, {"a/b.csv": (np.zeros(1000), [(400, 499), (700, 799)])}))
    assert of(file, []) == {"standard": 0, "low FP": 0, "low FN": 0}
    assert of(file, [400, 700])["standard"] == pytest.approx(100)
    assert of(file, [400, 450, 700, 799])["standard"] == pytest.approx(100), "only the earliest in a window counts"
    assert of(file, [10, 149, 400, 700])["standard"] == pytest.approx(100), "the first 15 % are not scored"
    assert of(file, [200, 400, 700])["standard"] == pytest.approx(100 * (4 - 0.11) / 4)
    assert of(file, [200, 400, 700])["low FP"] == pytest.approx(100 * (4 - 0.22) / 4)
    assert of(file, [400])["standard"] == pytest.approx(50)
    assert of(file, [400])["low FN"] == pytest.approx(50)
    early, late, after = (of(file, [at, 700])["standard"] for at in (410, 495, 501))
    assert 100 > early > late > 50 > after > of(file, [600, 700])["standard"]


def test_the_command_prints_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {
        f"kind/{kind}.csv": (broken(quiet(kind, 1300, 2), "higher", 1000), [(990, 1120)])
        for kind in ("daily", "noise", "flat")
    }
    files["kind/quiet.csv"] = quiet("counts", 1300, 2), []
    assert main([str(checkout(tmp_path, files)), "--scores", str(tmp_path / "scores")]) in (0, 1)
    table = capsys.readouterr().out
    assert "3 of 3 windows" in table
    written = [float(line) for line in (tmp_path / "scores/kind/daily.csv").read_text().split()]
    assert len(written) == 1300
    assert max(written[1000:1060]) > 1
