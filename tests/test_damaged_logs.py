"""Whatever befalls the files of a log: a start has every acknowledged row, or it is refused with what is missing.

The logs are written by the real pipeline, with known rows; each is damaged at random, and the server (without its
sockets, a few times with them) is started on it.
"""

from __future__ import annotations

import asyncio
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.damage import all_losses
from server.log import Good, scan_segments
from server.log import segments as segment_log
from server.log.segment_file import HEADER_BYTES, file_name, pack_header
from tests.damage_support import Made, Refused, make, opened, recount, shown

Wreck = Callable[[list[Path], float, float, random.Random], None]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    """The same log after a kill, before and after a checkpoint and after a restart, and after a stop in order."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segment_log, "SEGMENT_BYTES", 4096)
        return asyncio.run(make(tmp_path_factory.mktemp("made"), 5))


def bytes_of(change: Callable[[bytes, int, random.Random], bytes]) -> Wreck:
    """A wreck that changes the bytes of one file at some place."""

    def wreck(files: list[Path], where: float, place: float, chance: random.Random) -> None:
        path = files[int(where * len(files))]
        data = path.read_bytes()
        path.write_bytes(change(data, int(place * len(data)), chance))

    return wreck


def _flip(data: bytes, at: int, chance: random.Random) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]


def _zero(data: bytes, at: int, chance: random.Random) -> bytes:
    end = min(len(data), at + chance.randint(1, 600))
    return data[:at] + bytes(end - at) + data[end:]


def _gone(files: list[Path], where: float, place: float, chance: random.Random) -> None:
    files[int(where * len(files))].unlink()


def _renamed(files: list[Path], where: float, place: float, chance: random.Random) -> None:
    path = files[int(where * len(files))]
    path.rename(path.with_name(file_name(chance.choice((3, 999_999)))))


def _copied(files: list[Path], where: float, place: float, chance: random.Random) -> None:
    path = files[int(where * len(files))]
    shutil.copy(path, path.with_name(file_name(chance.choice((3, 999_999)))))


def _joined(files: list[Path], where: float, place: float, chance: random.Random) -> None:
    path, other = files[int(where * len(files))], files[int(place * len(files))]
    path.write_bytes(path.read_bytes() + other.read_bytes())


def _foreign(files: list[Path], where: float, place: float, chance: random.Random) -> None:
    path = files[int(where * len(files))]
    path.write_bytes(pack_header("another", int(path.stem)) + path.read_bytes()[HEADER_BYTES:])


def _swapped(files: list[Path], where: float, place: float, chance: random.Random) -> None:
    path = files[int(where * len(files))]
    inside = [one for one in scan_segments(path.parent) if isinstance(one, Good) and one.path == path]
    at = int(place * max(1, len(inside) - 1))
    data, pair = path.read_bytes(), inside[at : at + 2]
    if len(pair) == 2:
        first, second = pair
        path.write_bytes(data[: first.start] + data[second.start : second.end] + data[first.start : first.end]
                         + data[second.end :])  # fmt: skip


def _replayed(files: list[Path], where: float, place: float, chance: random.Random) -> None:
    data = files[int(where * len(files))].read_bytes()[HEADER_BYTES:]
    files[-1].write_bytes(files[-1].read_bytes() + data)


def _all_gone(files: list[Path], where: float, place: float, chance: random.Random) -> None:
    shutil.rmtree(files[0].parent)


WRECKS: dict[str, Wreck] = {
    "flipped bit": bytes_of(_flip),
    "zeros in the middle": bytes_of(_zero),
    "zeros to the end": bytes_of(lambda data, at, chance: data[:at] + bytes(len(data) - at)),
    "noise": bytes_of(lambda data, at, chance: data[:at] + chance.randbytes(40) + data[at + 40 :]),
    "cut short": bytes_of(lambda data, at, chance: data[:at]),
    "cut out": bytes_of(lambda data, at, chance: data[:at] + data[at + chance.randint(1, 900) :]),
    "put in": bytes_of(lambda data, at, chance: data[:at] + chance.randbytes(30) + data[at:]),
    "zeros behind": bytes_of(lambda data, at, chance: data + bytes(4096)),
    "file gone": _gone,
    "file renamed": _renamed,
    "file copied": _copied,
    "files joined": _joined,
    "file of another log": _foreign,
    "records swapped": _swapped,
    "records repeated at the end": _replayed,
    "all gone": _all_gone,
}


async def outcome(directory: Path, made: Made) -> str:
    """Starts on a damaged directory and checks the promise: "started", or the sentence of the refusal."""
    try:
        async with opened(directory) as app:
            assert await shown(app) == recount(made.entries[at] for at in sorted(made.entries))
            return "started"
    except Refused as refused:
        check_sentence(refused, directory, made)
        return refused.sentence


def check_sentence(refused: Refused, directory: Path, made: Made) -> None:
    """It names place, entries and rows, and the number of rows is true."""
    text = refused.sentence
    assert str(directory) in text or "epoch" in text, text
    assert "row" in text or "no entry is missing" in text, text
    assert "streamgauge repair" in text and "backup" in text, text
    held = {one.position for one in scan_segments(directory / "log") if isinstance(one, Good)}
    lost = {at: entry.rows for at, entry in made.entries.items() if at > refused.position and at not in held}
    found = list(all_losses(directory / "log", refused.position))
    assert sum(loss.least for loss in found) <= sum(lost.values()), (text, lost)
    if all(loss.most is not None for loss in found) and "unknown number" not in text:
        assert sum(lost.values()) <= sum(loss.most or 0 for loss in found), (text, lost)
    for first, last in re.findall(r"entries (\d+) to (\d+) are missing", text):
        assert {at for at in range(int(first), int(last) + 1) if at in made.entries} <= lost.keys(), text


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    which=st.sampled_from(["killed early", "killed", "killed twice", "stopped"]),
    kind=st.sampled_from(sorted(WRECKS)),
    where=st.floats(0, 1, exclude_max=True),
    place=st.floats(0, 1, exclude_max=True),
    seed=st.integers(0, 1 << 20),
)
def test_every_row_is_there_or_the_start_is_refused(
    made: dict[str, Made], tmp_path: Path, which: str, kind: str, where: float, place: float, seed: int
) -> None:
    directory = made[which].copy(tmp_path / "data")
    WRECKS[kind](sorted((directory / "log").glob("*.segment")), where, place, random.Random(seed))
    asyncio.run(outcome(directory, made[which]))
