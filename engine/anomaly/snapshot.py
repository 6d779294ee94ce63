"""A detector's state as bytes, and back.

Layout: magic, version (u16), number of series (u32), a CRC-32 of all that follows; a record for each series, oldest
first; then of each series its values, sums and distances, as many as it has. What is derived from the points alone,
such as where in its room a row of values begins, is not kept. Numbers are little-endian.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.anomaly.distance import stretches
from engine.anomaly.episodes import PAST
from engine.anomaly.history import REACH, TOO_LARGE
from engine.anomaly.rarity import MEMORY, STEEPEST
from engine.errors import BadCheckpoint

if TYPE_CHECKING:
    from engine.anomaly.detector import Detector

MAGIC, VERSION = b"SGAN", 1
_HEAD = struct.Struct("<4sHII")
_RECORD = np.dtype(
    [
        *((name, "<i8") for name in ("series", "points", "distances", "began", "alive", "loud", "episodes", "time")),
        *((name, "<f8") for name in ("score", "largest", "steepness")),
        ("begins", "<i8", (PAST,)), ("ends", "<i8", (PAST,)), ("peaks", "<f8", (PAST,)),
    ]
)  # fmt: skip


def save(detector: Detector) -> bytes:
    """The state of a detector."""
    rows = np.fromiter(detector.rows.values(), np.int64, len(detector.rows))
    histories, distances = detector.histories, detector.distances
    rarities, episodes = detector.rarities, detector.episodes
    records = np.zeros(len(rows), _RECORD)
    records["series"] = list(detector.rows)
    records["points"], records["distances"] = histories.counts[rows], rarities.counts[rows]
    records["began"], records["alive"] = episodes.began[rows], episodes.alive[rows]
    records["loud"], records["episodes"] = episodes.loud[rows], episodes.numbers[rows]
    records["time"] = detector.times[rows]
    records["score"], records["largest"] = detector.scores[rows], distances.largest[rows]
    records["steepness"] = rarities.steepness[rows]
    records["begins"], records["ends"] = episodes.begins[rows], episodes.ends[rows]
    records["peaks"] = episodes.peaks[rows]
    parts: list[bytes | memoryview] = [records.tobytes()]
    for row in rows.tolist():
        _, sums, held = _sizes(int(histories.counts[row]), int(rarities.counts[row]))
        parts.append(histories.newest(row).astype("<f8", copy=False).data)
        parts.append(distances.fading[row, :sums].astype("<f8", copy=False).data)
        parts.append(rarities.kept[row, :held].astype("<u2", copy=False).data)
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    return b"".join((_HEAD.pack(MAGIC, VERSION, len(rows), crc), *parts))


def restore(detector: Detector, data: bytes) -> None:
    """Puts a detector that is new where `save` was called. Raises BadCheckpoint, and then it is not to be used."""
    records, at = _records(data)
    for number, record in enumerate(records):
        points, count = int(record["points"]), int(record["distances"])
        sizes = _sizes(points, count)
        values = np.frombuffer(data, "<f8", sizes[0], at)
        sums = np.frombuffer(data, "<f8", sizes[1], at + 8 * sizes[0])
        held = np.frombuffer(data, "<u2", sizes[2], at + 8 * (sizes[0] + sizes[1]))
        at += _length(sizes)
        if number < detector.limit:
            _put(detector, record, values, sums, held)


def _put(
    detector: Detector,
    record: np.void,
    values: NDArray[np.float64],
    sums: NDArray[np.float64],
    held: NDArray[np.uint16],
) -> None:
    row = detector.add(int(record["series"]))
    detector.histories.put(row, int(record["points"]), values)
    detector.distances.fading[row, : len(sums)] = sums
    detector.distances.largest[row] = record["largest"]
    detector.rarities.kept[row, : len(held)] = held
    detector.rarities.counts[row], detector.rarities.steepness[row] = record["distances"], record["steepness"]
    detector.scores[row], detector.times[row] = record["score"], record["time"]
    episodes = detector.episodes
    episodes.began[row], episodes.alive[row] = record["began"], record["alive"]
    episodes.loud[row], episodes.numbers[row] = record["loud"], record["episodes"]
    episodes.begins[row], episodes.ends[row], episodes.peaks[row] = record["begins"], record["ends"], record["peaks"]


def _records(data: bytes) -> tuple[NDArray[np.void], int]:
    """The records, and where the rest begins, which has the length it should have."""
    if len(data) < _HEAD.size:
        raise BadCheckpoint("the anomaly detector's state is cut off")
    magic, version, number, crc = _HEAD.unpack_from(data)
    if magic != MAGIC or version != VERSION:
        raise BadCheckpoint(f"the anomaly detector's state has version {version}, not {VERSION}")
    begin = _HEAD.size + number * _RECORD.itemsize
    if len(data) < begin or zlib.crc32(memoryview(data)[_HEAD.size :]) != crc:
        raise BadCheckpoint("the anomaly detector's state is damaged")
    records = np.frombuffer(data, _RECORD, number, _HEAD.size)
    if not _possible(records):
        raise BadCheckpoint("the anomaly detector's state is not one that it can have")
    lengths = [_length(_sizes(points, count)) for points, count in records[["points", "distances"]].tolist()]
    if begin + sum(lengths) != len(data):
        raise BadCheckpoint("the anomaly detector's state has another length than it says")
    return records, begin


def _possible(records: NDArray[np.void]) -> bool:
    """Whether the numbers fit one another, so that nothing is read or written where it does not belong."""
    points, began, alive, loud = records["points"], records["began"], records["alive"], records["loud"]
    distances, episodes = records["distances"], records["episodes"]
    counts = (points >= 1) & (distances >= 0) & (distances <= points) & (episodes >= 0) & (episodes <= points)
    order = (began >= 0) & (began <= alive) & (alive <= loud) & (loud <= points)
    order &= (began > 0) == (episodes > 0)
    sizes = (records["largest"] >= 0) & (records["largest"] <= 2 * TOO_LARGE) & (records["score"] >= 0)
    sizes &= (records["steepness"] >= 0) & (records["steepness"] <= STEEPEST)
    return bool(len(np.unique(records["series"])) == len(records) and (counts & order & sizes).all())


def _sizes(points: int, distances: int) -> tuple[int, int, int]:
    """How many values, sums and distances a series keeps that has had so many points and distances."""
    return min(points, REACH), int(stretches(np.array([points]))[0]), min(distances, MEMORY)


def _length(sizes: tuple[int, int, int]) -> int:
    return 8 * (sizes[0] + sizes[1]) + 2 * sizes[2]
