"""`streamgauge verify` agrees with every server that was left alone, and with none that was tampered with.

One server with a random load is looked at while it runs and after kill -9, on both logs. Then what it leaves is changed
in one place at a time, with every checksum made right again: each change must be found, and named.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from server.cli import main
from server.store import open_store
from server.verify.report import Unchecked
from tests.support import RedisServer, Streamgauge
from tests.verify_support import LIVES, Load, Tampered, copied, two_lives, verify, with_rows


def look(server: Streamgauge, load: Load, **more: object) -> None:
    """A server that runs agrees with its store, its log and the receipts."""
    report = verify(server.directory / "data", lambda: server.call("GET", "/api/ledger"), **more)
    assert report.code == 0, report.as_dict()
    assert report.server is not None
    load.check(report.total)


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Load]:
    """The data of a server that was killed, and its load; not to be changed."""
    folder = tmp_path_factory.mktemp("verify")
    load = two_lives(folder, 1, look)
    return folder / "data", load


def test_what_was_killed_agrees_and_is_not_changed_by_looking(left: tuple[Path, Load], tmp_path: Path) -> None:
    folder, load = left
    tampered = copied(folder, tmp_path / "data")
    before = {path: path.read_bytes() for path in tampered.folder.rglob("*") if path.is_file()}
    report = verify(tampered.folder)
    assert report.code == 0, report.as_dict()
    assert report.entries > 20
    levels = {place.name: place.rows for place in report.places}
    assert min(levels["5 s"], levels["1 min"], levels["1 h"]) > 0, "old rows lie at several levels"
    load.check(report.total)
    assert all(path.read_bytes() == data for path, data in before.items() if not path.name.endswith("-shm"))


def test_the_command_prints_the_balance_and_says_by_its_exit_code_whether_it_holds(
    left: tuple[Path, Load], tmp_path: Path
) -> None:
    tampered = copied(left[0], tmp_path / "data")
    server = Streamgauge(tmp_path, LIVES)

    def run(*arguments: str) -> tuple[int, str]:
        done = server.run("verify", *arguments)
        return done.returncode, done.stdout + done.stderr

    code, text = run()
    assert code == 0, text
    assert "Everything agrees" in text
    accepted = f"{left[1].ledger['accepted']:,}"
    assert [line for line in text.splitlines() if line.split()[:1] == ["accepted"] and accepted in line.split()], text
    tampered.delete_event()
    code, text = run("--json")
    assert code == 1, text
    assert json.loads(text)["differences"][0]["kind"] == "events"
    with pytest.raises(Unchecked, match="neither a log nor a store"):
        verify(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def forget_rows(header: dict[str, Any], arrays: dict[str, Any]) -> None:
    header["ledger"]["accepted"] -= 3


def shift_reasons(header: dict[str, Any], arrays: dict[str, Any]) -> None:
    header["ledger"]["duplicate"] += 1


def forge(payloads: list[bytes]) -> None:
    """An entry that is not its writer's, with the number of the next one."""
    at = with_rows(payloads[:-2])
    forged = bytearray(payloads[at])
    forged[24:32] = payloads[at + 1][24:32]
    payloads.insert(at + 1, bytes(forged))


def spoil(payloads: list[bytes]) -> None:
    """One sample counts for another value."""
    at = with_rows(payloads)
    payloads[at] = payloads[at][:-1]


TAMPERING: dict[str, tuple[Callable[[Tampered], None], str, str]] = {
    "a count in a block of 5 s": (lambda t: t.change_block(0, "count"), "fold", "5 s"),
    "a count in a block of 1 min": (lambda t: t.change_block(1, "count"), "series_rows", "rows in panes"),
    "a count in a block of 1 h": (lambda t: t.change_block(2, "count"), "fold", "1 h"),
    "a sum in a block of 1 min": (lambda t: t.change_block(1, "sum"), "series_rows", "sum"),
    "a least value in a block": (lambda t: t.change_block(0, "min"), "fold", "min"),
    "the newest block of 5 s gone": (lambda t: t.delete_block(0), "accepted", "too few"),
    "a block of 1 min gone": (lambda t: t.delete_block(1), "fold", "no rows"),
    "an event gone": (lambda t: t.delete_event(), "events", "events are stored"),
    "fewer rows in the checkpoint's ledger": (lambda t: t.change_checkpoint(forget_rows), "accepted", "too many"),
    "another balance in its ledger": (lambda t: t.change_checkpoint(shift_reasons), "balance", "adds up to"),
    "an entry gone": (lambda t: t.change_log(lambda p: p.pop(with_rows(p, 5))), "missing_rows", "not in the log"),
    "an entry added": (lambda t: t.change_log(forge), "forged", "not its own"),
    "the beginning gone": (lambda t: t.change_log(lambda p: p.__delitem__(slice(9))), "missing_rows", "not in the log"),
}  # fmt: skip


@pytest.mark.parametrize("what", TAMPERING)
def test_tampering_is_found(left: tuple[Path, Load], tmp_path: Path, what: str) -> None:
    tampered = copied(left[0], tmp_path / "data")
    tamper, kind, text = TAMPERING[what]
    tamper(tampered)
    report = verify(tampered.folder)
    assert report.code == 1, report.as_dict()
    named = [found.text for found in report.differences if found.kind == kind]
    assert any(text in found for found in named), report.differences


def test_a_record_cut_out_is_damage_that_is_named(left: tuple[Path, Load], tmp_path: Path) -> None:
    tampered = copied(left[0], tmp_path / "data")
    tampered.change_log(lambda payloads: payloads.pop(with_rows(payloads)), renumber=False)
    report = verify(tampered.folder)
    assert report.code == 2
    assert ".segment " in report.damage[0] and "is missing (1)" in report.damage[0]


def test_what_a_repair_counted_as_lost_is_no_difference(
    left: tuple[Path, Load], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tampered = copied(left[0], tmp_path / "data")
    tampered.change_log(lambda payloads: payloads.pop(with_rows(payloads, 5)), renumber=False)
    lost = verify(tampered.folder).missing_rows
    assert lost >= 5
    monkeypatch.chdir(tmp_path)
    for name, value in {**LIVES, "DATA_DIR": "data"}.items():
        monkeypatch.setenv(f"STREAMGAUGE_{name}", str(value))
    assert main(["repair", "--yes"]) == 0, capsys.readouterr()
    report = verify(tampered.folder)
    assert report.code == 0, report.as_dict()
    assert report.total["rejected"]["damaged"] == lost
    assert f"{lost:,} rows" in report.notes[0]


def test_a_lost_end_is_damage_that_is_named(left: tuple[Path, Load], tmp_path: Path) -> None:
    tampered = copied(left[0], tmp_path / "data")
    mark = (tampered.folder / "log" / "end").read_bytes()
    tampered.change_log(lambda payloads: payloads.__delitem__(slice(-2, None)))
    (tampered.folder / "log" / "end").write_bytes(mark)
    report = verify(tampered.folder)
    assert report.code == 2
    assert "are missing (2)" in report.damage[0]


def test_a_block_that_fails_its_checksum_is_named(left: tuple[Path, Load], tmp_path: Path) -> None:
    tampered = copied(left[0], tmp_path / "data")
    tampered.sql("UPDATE blocks SET crc = crc + 1 WHERE level = 0 AND rowid = (SELECT max(rowid) FROM blocks)")
    tampered.sql("UPDATE blocks SET crc = crc + 1 WHERE rowid = (SELECT max(rowid) FROM blocks WHERE level = 0)")
    report = verify(tampered.folder)
    assert report.code == 2
    assert "is damaged" in report.damage[0] and "level 0" in report.damage[0]


def test_what_retention_lets_go_of_is_no_difference(left: tuple[Path, Load], tmp_path: Path) -> None:
    tampered = copied(left[0], tmp_path / "data")
    header: dict[str, Any] = {}
    tampered.change_checkpoint(lambda found, _: header.update(found))
    store = open_store(f"sqlite:///{tampered.database}")
    gone = [store.expire(level, min(header["horizons"][level], header["rolled"][level])) for level in (0, 1, 2)]
    events = store.expire_events(header["stamp"])
    store.close()
    assert events > 0
    report = verify(tampered.folder)
    assert report.code == 0, (gone, report.as_dict())
    assert report.events["let_go"] == events


def test_the_same_on_redis(redis_server: RedisServer, tmp_path: Path) -> None:
    url = f"{redis_server.url}?stream=verify:{tmp_path.name}"
    load = two_lives(tmp_path, 2, lambda server, load: look(server, load, REDIS_URL=url), REDIS_URL=url)
    report = verify(tmp_path / "data", REDIS_URL=url)
    assert report.code == 0, report.as_dict()
    load.check(report.total)
    with Redis.from_url(redis_server.url, protocol=2) as redis:
        sealed = f"{report.position >> 20}-{report.position & (1 << 20) - 1}"
        entries: Any = redis.xrange(f"verify:{tmp_path.name}", f"({sealed}")
        payloads = [fields[b"e"] for _, fields in entries]
        redis.xdel(f"verify:{tmp_path.name}", entries[with_rows(payloads, 5)][0])
    report = verify(tmp_path / "data", REDIS_URL=url)
    assert report.code == 1
    assert report.missing_rows >= 5
