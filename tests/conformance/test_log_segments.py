"""The embedded log against its disk: torn tails, damage, a full disk, syncing, one writer at a time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.log import LogDamaged, LogUnavailable, open_log, segments
from server.log.end_mark import End, known_end
from server.log.segment_file import HEADER_BYTES, RECORD, pack_header
from server.log.segments import SegmentLog
from tests.conformance.log_support import held, read
from tests.support import ROOT


async def fill(directory: Path, payloads: list[bytes], segment_bytes: int = 64 << 20) -> None:
    log = await SegmentLog.open(directory, segment_bytes=segment_bytes)
    for payload in payloads:
        await log.append(payload)
    await log.close()


def files(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.segment"))


async def reopened(directory: Path) -> list[bytes]:
    """What the log holds after a start; it must also take one more record and find it again."""
    log = await SegmentLog.open(directory)
    try:
        before = await held(log)
        at = await log.append(b"one more")
        assert at == len(before) + 1
        assert await held(log) == [*before, b"one more"]
        return before
    finally:
        await log.close()


async def known_to_be_short(directory: Path, reached: int) -> bool:
    """Whether the log knows that entries up to `reached` are missing at its end, and takes no more."""
    log = await SegmentLog.open(directory)
    try:
        assert (await log.last(), log.reached) == (reached - 1, reached)
        with pytest.raises(LogUnavailable, match="lost its end"):
            await log.append(b"x")
        with pytest.raises(LogDamaged, match=f"ends with entry {reached - 1}, but had reached entry {reached}"):
            await log.start_after(reached - 1)
        return True
    finally:
        await log.close()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=5),
    wreck=st.sampled_from(["cut", "zeros", "noise", "flip"]),
    seed=st.integers(0, 1 << 30),
)
def test_a_torn_tail_is_cut_at_every_byte_of_the_last_record(
    tmp_path: Path, sizes: list[int], wreck: str, seed: int
) -> None:
    chance = random.Random(seed)
    payloads = [chance.randbytes(size) for size in sizes]
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    shutil.rmtree(whole, ignore_errors=True)
    asyncio.run(fill(whole, payloads))
    data = files(whole)[0].read_bytes()
    tail = RECORD.size + sizes[-1]
    for kept in range(tail):
        place = len(data) - tail + kept
        end = {
            "cut": b"",
            "zeros": bytes(tail - kept),
            "noise": chance.randbytes(tail - kept),
            "flip": bytes([data[place] ^ 0x40]) + data[place + 1 :],
        }[wreck]
        if end == data[place:]:  # zeros in place of zeros: nothing is torn
            continue
        shutil.rmtree(torn, ignore_errors=True)
        shutil.copytree(whole, torn)
        files(torn)[0].write_bytes(data[:place] + end)
        assert asyncio.run(known_to_be_short(torn, len(payloads))), "it was written whole, and the log knows"
        assert files(torn)[0].read_bytes() == data[:place] + end, "what is damaged is left as it was found"
        (torn / "end").unlink()  # as if the append had never come to its end
        assert asyncio.run(reopened(torn)) == payloads[:-1], (kept, wreck)


@pytest.mark.parametrize("flip", range(0, 3 * (RECORD.size + 20), 5))
async def test_damage_before_the_last_record_is_never_skipped(tmp_path: Path, flip: int) -> None:
    await fill(tmp_path, [bytes([65 + i]) * 20 for i in range(5)])
    path = files(tmp_path)[0]
    data = bytearray(path.read_bytes())
    data[HEADER_BYTES + flip] ^= 0x10
    path.write_bytes(data)
    bad = flip // (RECORD.size + 20) + 1
    place = HEADER_BYTES + (bad - 1) * (RECORD.size + 20)
    log = await SegmentLog.open(tmp_path)
    for after in range(5):
        if after >= bad:
            assert [r.payload[0] for r in await read(log, after, 5)] == [65 + i for i in range(after, 5)]
            continue
        with pytest.raises(LogDamaged, match=rf"{path} at byte {place}: "):
            await read(log, after, 5)
    assert path.read_bytes() == data, "a damaged file is left as it was found"
    await log.close()


async def test_damage_in_an_older_segment_shows_when_it_is_followed(tmp_path: Path) -> None:
    await fill(tmp_path, [b"x" * 100] * 60, segment_bytes=1000)
    older = files(tmp_path)[2]
    sound = older.read_bytes()
    for wreck in (sound[:300] + b"!" + sound[301:], sound[:-20], sound[: -(RECORD.size + 100)], sound[:HEADER_BYTES]):
        older.write_bytes(wreck)
        log = await SegmentLog.open(tmp_path)
        with pytest.raises(LogDamaged, match=str(older)):
            await read(log, 0, 60)
        assert len(await read(log, 40, 60)) == 20
        await log.close()
    older.unlink()
    log = await SegmentLog.open(tmp_path)
    with pytest.raises(LogDamaged, match=str(files(tmp_path)[1])):
        await read(log, 0, 60)
    await log.close()


async def test_damage_behind_the_place_where_one_starts_does_not_matter(tmp_path: Path) -> None:
    await fill(tmp_path, [b"x" * 100] * 60, segment_bytes=1000)
    older = files(tmp_path)[2]
    first, sound = int(older.stem), older.read_bytes()
    for wreck in (sound[:300] + b"!" + sound[301:], sound[:200] + bytes(150) + sound[350:], sound[:156] + sound[272:]):
        older.write_bytes(wreck)
        log = await SegmentLog.open(tmp_path)
        with pytest.raises(LogDamaged, match=str(older)):
            await read(log, first - 1, 60)
        assert len(await read(log, first + 4, 60)) == 60 - first - 4
        await log.close()


async def test_what_was_synced_must_be_there_after_a_power_loss(tmp_path: Path) -> None:
    log = await SegmentLog.open(tmp_path, fsync="60000")
    await log.append(b"synced", None, b"note of it")
    await log.sync()
    await log.append(b"not yet", None, b"another")
    await log.close()
    mark = bytearray((tmp_path / "end").read_bytes())
    log = await SegmentLog.open(tmp_path)
    await log.close()
    path = files(tmp_path)[0]
    path.write_bytes(path.read_bytes()[:HEADER_BYTES])
    log = await SegmentLog.open(tmp_path)
    assert (await log.last(), log.reached) == (0, 2)
    await log.close()
    mark[24:60] = b"another boot of the machine".ljust(36, b"-")
    mark[60:64] = struct.pack("<I", zlib.crc32(mark[:60]))
    mark[256:320] = bytes(64) if struct.unpack_from("<Q", mark, 256)[0] == 2 else mark[256:320]
    (tmp_path / "end").write_bytes(mark)
    assert known_end(tmp_path, log.epoch) == (1, b"note of it".ljust(32, b"\0"))
    assert known_end(tmp_path, "another") == End()
    for junk in (b"", b"junk" * 100, bytes(400)):
        (tmp_path / "end").write_bytes(junk)
        assert known_end(tmp_path, log.epoch) == End()


async def test_a_log_that_lost_its_files_is_no_new_log(tmp_path: Path) -> None:
    await fill(tmp_path, [b"x"] * 3)
    files(tmp_path)[0].unlink()
    with pytest.raises(LogDamaged, match="lost all its files; it had reached entry 3"):
        await SegmentLog.open(tmp_path)


async def test_a_bad_header_names_the_file(tmp_path: Path) -> None:
    await fill(tmp_path, [b"x"])
    path = files(tmp_path)[0]
    sound = path.read_bytes()
    newer = bytearray(pack_header("abc", 1))
    for wreck, why in ((b"JUNK" + sound[4:], "start"), (sound[:20] + b"?" + sound[21:], "checksum"), (newer, "")):
        path.write_bytes(bytes(wreck))
        if why:
            with pytest.raises(LogDamaged, match=f"{path} .*{why}"):
                await SegmentLog.open(tmp_path)
    await fill(tmp_path, [b"x"])
    path.rename(path.with_name(path.name.replace("1", "7")))
    with pytest.raises(LogDamaged, match="starts with position 1"):
        await SegmentLog.open(tmp_path)


async def test_segments_of_two_logs_do_not_mix(tmp_path: Path) -> None:
    await fill(tmp_path, [b"x" * 100] * 30, segment_bytes=1000)
    first = files(tmp_path)[0]
    first.write_bytes(pack_header("other", 1) + first.read_bytes()[HEADER_BYTES:])
    with pytest.raises(LogDamaged, match="different logs"):
        await SegmentLog.open(tmp_path)


@pytest.mark.parametrize("left", [b"", b"SGLG", bytes(HEADER_BYTES), bytes(5000)])
async def test_a_segment_whose_header_never_came_is_removed(tmp_path: Path, left: bytes) -> None:
    await fill(tmp_path, [b"x" * 100] * 3)
    (tmp_path / f"{4:020d}.segment").write_bytes(left)
    assert await reopened(tmp_path) == [b"x" * 100] * 3


async def test_only_one_process_may_hold_a_log(tmp_path: Path) -> None:
    log = await SegmentLog.open(tmp_path)
    with pytest.raises(LogUnavailable, match=f"in use by another process .pid {os.getpid()}."):
        await SegmentLog.open(tmp_path)
    script = "import asyncio,sys; from server.log import open_log; asyncio.run(open_log(sys.argv[1]))"
    command = [sys.executable, "-c", script, tmp_path.as_uri()]
    child = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stderr=subprocess.PIPE)
    assert b"in use by another process" in (await child.communicate())[1] and child.returncode == 1
    await log.close()
    await (await SegmentLog.open(tmp_path)).close()


async def test_an_unusable_directory_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LogUnavailable, match="cannot be used"):
        await open_log((tmp_path / "file" / "log").as_uri())
    for fsync in ("0", "soon", "-1", ""):
        with pytest.raises(ValueError, match="LOG_FSYNC"):
            await open_log(tmp_path.as_uri(), fsync=fsync)
    with pytest.raises(ValueError, match="file://"):
        await open_log("kafka://somewhere")


async def test_a_full_disk_leaves_no_part_of_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = await SegmentLog.open(tmp_path)
    await log.append(b"before")
    real = os.writev

    def half(file: int, parts: tuple[bytes, bytes]) -> int:
        return real(file, (parts[0], parts[1][:50]))

    def none(file: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", half)
        patch.setattr(os, "write", none)
        with pytest.raises(LogUnavailable, match="No space left"):
            await log.append(b"x" * 100)
    assert await log.append(b"after") == 2
    assert await held(log) == [b"before", b"after"]
    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", half)
        assert await log.append(b"y" * 100) == 3  # a short write alone is no error
    await log.close()
    assert await reopened(tmp_path) == [b"before", b"after", b"y" * 100]


async def test_a_part_that_cannot_be_cut_stops_all_appends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = await SegmentLog.open(tmp_path)
    await log.append(b"before")
    real = os.writev

    def broken(*_: object) -> int:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", lambda file, parts: real(file, (parts[0],)))
        patch.setattr(os, "write", broken)
        patch.setattr(os, "ftruncate", broken)
        with pytest.raises(LogUnavailable, match="Input/output"):
            await log.append(b"x" * 100)
    with pytest.raises(LogUnavailable, match="cannot be cut off"):
        await log.append(b"after")
    assert await held(log) == [b"before"]
    await log.close()
    assert await reopened(tmp_path) == [b"before"]


async def test_always_syncs_before_the_answer_and_shares_syncs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    real = os.fdatasync

    def sync(file: int) -> None:
        size = os.fstat(file).st_size
        real(file)
        synced.append(size)

    monkeypatch.setattr(os, "fdatasync", sync)
    log = await SegmentLog.open(tmp_path, fsync="always")
    for i in range(5):
        await log.append(b"x" * 84)
        assert synced[-1] == HEADER_BYTES + (i + 1) * 100
    before = len(synced)
    await asyncio.gather(*(log.append(b"x" * 84) for _ in range(200)))
    assert synced[-1] == HEADER_BYTES + 205 * 100 and len(synced) - before <= 3
    assert "nothing that was acknowledged" in log.mode
    await log.close()


async def test_the_disk_is_synced_in_the_background(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    log = await SegmentLog.open(tmp_path, fsync="20")
    assert "20 ms" in log.mode
    await log.append(b"x")
    assert not synced
    await asyncio.sleep(0.1)
    assert len(synced) == 1
    await asyncio.sleep(0.1)
    assert len(synced) == 1, "nothing new, nothing to sync"
    await log.append(b"x")
    await log.sync()
    assert len(synced) == 2
    await log.append(b"x")
    await log.close()
    assert len(synced) == 3


@pytest.mark.parametrize("fsync", ["10", "always"])
async def test_a_failed_sync_refuses_what_follows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fsync: str) -> None:
    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    log = await SegmentLog.open(tmp_path, fsync=fsync)
    await log.append(b"x")
    monkeypatch.setattr(os, "fdatasync", broken)
    with pytest.raises(LogUnavailable, match="writing to disk failed"):
        await log.append(b"y")
        await log.sync()
    with pytest.raises(LogUnavailable, match="writing to disk failed"):
        await log.append(b"z")
    await log.close()


async def test_a_follower_that_falls_behind_reads_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "HAND_OVER_BYTES", 3000)
    monkeypatch.setattr(segments, "BATCH_BYTES", 2000)
    log = await SegmentLog.open(tmp_path, segment_bytes=10_000)
    things = [object() for _ in range(300)]
    found: list[tuple[bytes, object]] = []
    async with asyncio.timeout(10), contextlib.aclosing(log.follow(0)) as batches:
        await log.append(b"0" * 100, things[0])
        sent = 1
        async for batch in batches:
            assert sum(len(r.payload) for r in batch) <= 2100
            found += [(r.payload, r.attachment) for r in batch]
            assert log._followers[0]._bytes <= 3000
            if len(found) == 300:
                break
            for _ in range(random.choice((0, 1, 5, 60)) if found[-1] and sent - len(found) > 0 else 7):
                if sent < 300:
                    await log.append(b"%d" % (sent % 10) * 100, things[sent])
                    sent += 1
    assert [payload for payload, _ in found] == [b"%d" % (i % 10) * 100 for i in range(300)]
    assert all(a is b for (_, a), b in zip(found, things, strict=True))
    assert not log._attachments and not log._followers
    await log.close()


async def test_trimming_deletes_whole_files_while_somebody_reads(tmp_path: Path) -> None:
    log = await SegmentLog.open(tmp_path, segment_bytes=1000)
    for _ in range(200):
        last = await log.append(b"x" * 100)
    assert len(files(tmp_path)) > 20
    assert sum(path.stat().st_size for path in files(tmp_path)) == log.size()
    async with contextlib.aclosing(log.follow(0)) as batches:
        seen = (await anext(batches))[-1].position
        await log.trim(150)
        assert await log.first() in range(140, 152)
        while seen < last:
            batch = await anext(batches)
            assert batch[0].position in (seen + 1, await log.first())
            seen = batch[-1].position
    assert sum(path.stat().st_size for path in files(tmp_path)) == log.size()
    await log.close()


async def test_following_beyond_the_end_is_refused(tmp_path: Path) -> None:
    log = await SegmentLog.open(tmp_path)
    await log.append(b"x")
    with pytest.raises(LogDamaged, match="ends at 1"):
        await anext(log.follow(2))
    await log.close()
