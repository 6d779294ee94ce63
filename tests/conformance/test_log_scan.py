"""Reading a damaged log: every record that is whole is found, every one that is not lies in a hole."""

from __future__ import annotations

import asyncio
import random
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.log import Good, Hole, scan_segments
from server.log.segment_file import HEADER_BYTES, file_name, pack_header
from server.log.segments import SegmentLog

Original = dict[int, Good]


async def fill(directory: Path, payloads: list[bytes], segment_bytes: int) -> None:
    log = await SegmentLog.open(directory, segment_bytes=segment_bytes)
    for payload in payloads:
        await log.append(payload)
    await log.close()


def made(directory: Path, seed: int, count: int = 40) -> Original:
    """A new log of small segments: position -> record."""
    shutil.rmtree(directory, ignore_errors=True)
    chance = random.Random(seed)
    # small numbers, such as entries are full of, look like positions
    payloads = [bytes(chance.choices((0, 0, 1, 2, 7, 200), k=chance.randint(1, 90))) for _ in range(count)]
    asyncio.run(fill(directory, payloads, 600))
    found = list(scan_segments(directory))
    assert [f.payload for f in found if isinstance(f, Good)] == payloads and len(found) == count
    return {f.position: f for f in found if isinstance(f, Good)}


def files(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.segment"))


def scanned(directory: Path, original: Original) -> tuple[set[int], list[Hole]]:
    """(positions found, holes); checks what must hold whatever was done to the files."""
    before = {path: path.read_bytes() for path in files(directory)}
    found = list(scan_segments(directory))
    assert before == {path: path.read_bytes() for path in files(directory)}, "reading changes nothing"
    good = [f for f in found if isinstance(f, Good)]
    holes = [f for f in found if isinstance(f, Hole)]
    assert [f.position for f in good] == sorted({f.position for f in good})
    assert all(f.payload == original[f.position].payload for f in good)
    named = {p for hole in holes for p in range(hole.first, hole.last + 1)}
    assert not named & {f.position for f in good}
    last = max([0, *named, *(f.position for f in good)])
    first = min([last + 1, *named, *(f.position for f in good)])
    assert {p for p in original if first <= p <= last} == named | {f.position for f in good}
    assert sum(hole.torn for hole in holes) <= 1 and not any(hole.torn for hole in holes[:-1])
    return {f.position for f in good}, holes


def wreck(data: bytes, kind: str, at: int, length: int, chance: random.Random) -> bytes:
    """The bytes of a file after something befell `length` of them."""
    middle = data[at : at + length]
    changed = {
        "flip": bytes([middle[0] ^ 1 << chance.randrange(8)]) + middle[1:],
        "zeros": bytes(len(middle)),
        "noise": chance.randbytes(len(middle)),
        "out": b"",
        "in": chance.randbytes(length) + middle,
        "twice": middle + middle,
    }
    return data[:at] if kind == "cut" else data[:at] + changed[kind] + data[at + length :]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 5),
    kinds=st.lists(st.sampled_from(["flip", "zeros", "noise", "out", "in", "twice", "cut"]), min_size=1, max_size=3),
    places=st.lists(st.floats(0, 1, exclude_max=True), min_size=6, max_size=6),
    length=st.integers(1, 300),
)
def test_what_the_damage_left_whole_is_found(
    tmp_path: Path, seed: int, kinds: list[str], places: list[float], length: int
) -> None:
    original = made(tmp_path / "log", seed)
    chance = random.Random(seed)
    touched = set[int]()
    for kind, where, place in zip(kinds, places[::2], places[1::2], strict=False):
        path = files(tmp_path / "log")[int(where * len(files(tmp_path / "log")))]
        data = path.read_bytes()
        if not data:
            continue
        at = int(place * len(data))
        path.write_bytes(wreck(data, kind, at, length, chance))
        # where bytes have moved before, places are no longer known: then all from there on may be hit
        end = at + length if len(kinds) == 1 and kind != "cut" else 1 << 30
        begin = at if len(kinds) == 1 else 0
        touched |= {p for p, r in original.items() if r.path == path and r.start < end and r.end > begin}
    good, holes = scanned(tmp_path / "log", original)
    assert good >= original.keys() - touched
    assert good == original.keys() or holes
    assert good | {p for hole in holes for p in range(hole.first, hole.last + 1)} == original.keys()


def test_a_file_that_is_gone_renamed_copied_or_foreign(tmp_path: Path) -> None:
    original = made(tmp_path / "log", 1)
    older, middle = files(tmp_path / "log")[1:3]
    inside = {p for p, r in original.items() if r.path == middle}
    sound = middle.read_bytes()

    middle.unlink()
    good, [hole] = scanned(tmp_path / "log", original)
    assert good == original.keys() - inside and (hole.path, hole.first, hole.last) == (older, min(inside), max(inside))

    renamed = middle.with_name(file_name(7_000_000))
    renamed.write_bytes(sound)
    good, [hole] = scanned(tmp_path / "log", original)
    assert good == original.keys() and hole.path == renamed and not hole.missing and "wrong name" in hole.why

    middle.write_bytes(sound)
    good, [hole] = scanned(tmp_path / "log", original)
    assert good == original.keys() and hole.path == renamed and hole.strays == (min(inside), max(inside))
    renamed.unlink()

    middle.write_bytes(pack_header("other", min(inside)) + sound[HEADER_BYTES:])
    good, holes = scanned(tmp_path / "log", original)
    assert good == original.keys() - inside and "another log" in holes[0].why + holes[1].why
    assert sum(hole.missing for hole in holes) == len(inside)


def test_files_joined_and_records_that_changed_places(tmp_path: Path) -> None:
    original = made(tmp_path / "log", 2)
    first, second = files(tmp_path / "log")[:2]
    sound = first.read_bytes()
    first.write_bytes(sound + second.read_bytes())
    good, holes = scanned(tmp_path / "log", original)
    assert good == original.keys() and not any(hole.missing for hole in holes)
    one, two, three, _ = list(original.values())[:4]
    swapped = (sound[: two.start], sound[three.start : three.end], sound[two.start : two.end], sound[three.end :])
    first.write_bytes(b"".join(swapped))
    good, holes = scanned(tmp_path / "log", original)
    assert good == original.keys() - {2} and [hole.strays for hole in holes] == [None, (2, 2)]
    assert one.end == two.start


@pytest.mark.parametrize("left", [b"", b"SGLG", bytes(HEADER_BYTES), bytes(5000)])
def test_an_end_as_a_crash_leaves_it_is_torn(tmp_path: Path, left: bytes) -> None:
    original = made(tmp_path / "log", 3)
    (tmp_path / "log" / file_name(len(original) + 1)).write_bytes(left)
    good, [hole] = scanned(tmp_path / "log", original)
    assert good == original.keys() and hole.torn and not hole.missing
    newest = list(original.values())[-1]
    (tmp_path / "log" / file_name(len(original) + 1)).unlink()
    data = newest.path.read_bytes()
    for end in (data[newest.start : -1], bytes(100), b"\x07" * 9):
        newest.path.write_bytes(data[: newest.start] + end)
        good, [hole] = scanned(tmp_path / "log", original)
        assert len(good) == len(original) - 1 and not hole.torn, "the log knows that it had more"
        assert (hole.first, hole.last) == (newest.position, newest.position)
        mark = (tmp_path / "log" / "end").rename(tmp_path / "end")
        good, [hole] = scanned(tmp_path / "log", original)
        assert len(good) == len(original) - 1 and hole.torn and not hole.missing
        assert (hole.start, hole.end) == (newest.start, newest.start + len(end))
        mark.rename(tmp_path / "log" / "end")
    newest.path.write_bytes(data[: newest.start])
    good, [hole] = scanned(tmp_path / "log", original)
    assert (hole.start, hole.end, hole.first, hole.last) == (newest.start, newest.start, len(original), len(original))


def test_files_before_a_position_are_left_out_and_nothing_is_nothing(tmp_path: Path) -> None:
    original = made(tmp_path / "log", 4)
    third = files(tmp_path / "log")[2]
    start = int(third.stem)
    files(tmp_path / "log")[0].write_bytes(b"wrecked")
    found = [f.position for f in scan_segments(tmp_path / "log", after=start) if isinstance(f, Good)]
    assert found == list(range(start, len(original) + 1))
    assert list(scan_segments(tmp_path / "nowhere")) == []


async def test_a_log_that_was_trimmed_to_its_end_has_no_hole(tmp_path: Path) -> None:
    log = await SegmentLog.open(tmp_path, segment_bytes=600)
    for _ in range(30):
        last = await log.append(b"x" * 50)
    await log.trim(last)
    await log.close()
    assert await asyncio.to_thread(lambda: list(scan_segments(tmp_path))) == []
