"""Whatever befalls the files of a log: a start has every acknowledged row, or it is refused with what is missing.

The logs are written by the real pipeline, with known rows; each is damaged at random, and the server (without its
sockets, a few times with them) is started on it.
"""

from __future__ import annotations

import asyncio
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.cli import main
from server.damage import all_losses
from server.log import Good, Hole, recovered_strays, scan_segments
from server.log import segments as segment_log
from server.log.segment_file import HEADER_BYTES, file_name, pack_header
from server.wire.entry import unpack_entry
from tests.damage_support import Made, Refused, make, opened, recount, shown, write
from tests.support import Streamgauge

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


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


def repair(directory: Path, *arguments: str) -> int:
    """`streamgauge repair` on a data directory; its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STREAMGAUGE_DATA_DIR", str(directory))
        return main(["repair", *arguments])


async def check_repaired(directory: Path, made: Made, held: set[int], after: int) -> None:
    """Every sound row counts once, what was lost is counted as rejected, and the sum is no more than there was."""
    async with opened(directory) as app:
        got = await shown(app)
        left = [made.entries[at] for at in sorted(made.entries) if at in held or at <= after]
        wanted = recount(left)
        lost = got.rejected.pop("damaged", 0)
        assert got == wanted
        assert lost <= sum(entry.rows for at, entry in made.entries.items() if at not in held and at > after)
        assert app.engine.ledger.received == sum(entry.rows for entry in left) + lost
        await write(app, 3, random.Random(1))
    async with opened(directory):
        pass


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    which=st.sampled_from(["killed early", "killed", "killed twice", "stopped"]),
    kind=st.sampled_from(sorted(WRECKS)),
    where=st.floats(0, 1, exclude_max=True),
    place=st.floats(0, 1, exclude_max=True),
    seed=st.integers(0, 1 << 20),
)
def test_after_a_repair_every_sound_row_counts_once(
    made: dict[str, Made], tmp_path: Path, which: str, kind: str, where: float, place: float, seed: int
) -> None:
    of, directory = made[which], made[which].copy(tmp_path / "data")
    WRECKS[kind](sorted((directory / "log").glob("*.segment")), where, place, random.Random(seed))
    damaged = {path.name: path.read_bytes() for path in (directory / "log").glob("*.segment")}
    held = {one.position for one in scan_segments(directory / "log") if isinstance(one, Good)}
    for one in scan_segments(directory / "log"):
        held |= strays(one) if isinstance(one, Hole) and one.strays is not None else set()
    code = repair(directory)
    assert code in (0, 1)
    assert damaged == {path.name: path.read_bytes() for path in (directory / "log").glob("*.segment")} or code == 0
    if code == 1:
        assert repair(directory, "--yes") == 0
        [*aside] = directory.glob("damaged-*")
        now = {path.name: path.read_bytes() for path in (directory / "log").glob("*.segment")}
        changed = {name for name, data in damaged.items() if not now.get(name, b"").startswith(data)}
        kept = {path.name: path.read_bytes() for folder in aside for path in folder.glob("*.segment")}
        assert all(kept[name] == damaged[name] for name in changed), "nothing is deleted"
    asyncio.run(check_repaired(directory, of, held, of.checkpoint))
    assert repair(directory) == 0, "there is nothing left to repair"


def strays(hole: Hole) -> set[int]:
    """Positions of the sound records in a hole."""
    return set(recovered_strays([hole, Hole(hole.path, 0, 0, 1, 1 << 40, "")]))


def test_real_processes_refuse_repair_and_serve(serve: Callable[..., Streamgauge]) -> None:
    server = serve(LATENESS="1", CHECKPOINT_INTERVAL="3600")
    for number in range(20):
        rows = [{"name": "load", "metric_type": "counter", "value": 1}] * (number + 1)
        server.call("POST", "/api/metrics", rows, expect=202)
    server.kill()
    log = server.directory / "data" / "log"
    good = [one for one in scan_segments(log) if isinstance(one, Good) and unpack_entry(one.payload).batch is not None]
    broken = good[7]
    data = bytearray(broken.path.read_bytes())
    data[broken.start + 20 : broken.start + 60] = bytes(40)
    broken.path.write_bytes(data)
    done = run_command(server, "serve")
    assert done.returncode != 0 and "Traceback" not in done.stderr
    said = f"{broken.path} has bytes that are no sound record, bytes {broken.start} to {broken.end}: entry "
    said += f"{broken.position} is missing, with 8 rows. Restore a backup, or run `streamgauge repair`"
    assert said in done.stderr
    assert "8 rows are lost" in run_command(server, "repair", "--yes").stdout
    server.start()
    ledger = server.call("GET", "/api/ledger")
    assert (ledger["accepted"], ledger["rejected"]) == (202, {"damaged": 8}) and ledger["received"] == 210
    assert "stop it first" in run_command(server, "repair", "--yes").stderr
    server.kill()
    end = max(log.glob("*.segment"))
    end.write_bytes(end.read_bytes()[:-30])
    done = run_command(server, "serve")
    assert done.returncode != 0 and "missing, with" in done.stderr and "Traceback" not in done.stderr


def run_command(server: Streamgauge, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command with the server's settings, to its end."""
    return server.run(*arguments)
