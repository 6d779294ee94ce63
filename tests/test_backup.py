"""A backup that is made while rows come in holds all that was acknowledged before it, and nothing that was not sent.

It is made on both logs and put back on both; a server that starts from it has the totals of the manifest.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from server import backup
from server.backup import BackupError, Manifest
from server.cli import main
from tests.support import RedisServer, Streamgauge, free_port
from tests.verify_support import LIVES, Load, settings_of, verify


def quiet(_: str) -> None:
    """Progress that nobody looks at."""


class Running(threading.Thread):
    """A load that goes on until it is stopped. answered, asked: rows whose requests were answered, were sent."""

    def __init__(self, load: Load) -> None:
        super().__init__()
        self.load = load
        self.answered = 0
        self._stop_it = threading.Event()
        self.fault: BaseException | None = None

    def run(self) -> None:
        try:
            while not self._stop_it.is_set():
                self.load.post(1)
                self.answered = self.load.sent
        except BaseException as error:
            self.fault = error

    def stop(self) -> None:
        """Returns when the last request is answered."""
        self._stop_it.set()
        self.join(30)
        assert self.fault is None, self.fault


def made_under_load(folder: Path, **more: object) -> tuple[Manifest, Load]:
    """A backup in folder/backup of a server that takes checkpoints meanwhile, and the whole load."""
    server = Streamgauge(folder, {**LIVES, "CHECKPOINT_INTERVAL": "0.2", **more})
    server.start()
    try:
        load = Load(server, random.Random(3))
        load.post(20)
        running = Running(load)
        running.start()
        time.sleep(0.7)
        before = running.answered
        made = backup.take(settings_of(folder / "data", **more), folder / "backup", quiet)
        running.stop()
        assert before <= made.ledger["received"] <= load.sent
        assert made.differences == []
        server.stop()
    finally:
        server.kill()
    return made, load


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """The folder of a backup of an embedded log, not to be changed, and its manifest."""
    folder = tmp_path_factory.mktemp("backup")
    manifest, _ = made_under_load(folder)
    return folder / "backup", manifest


def check_start(folder: Path, made: Manifest, **more: object) -> None:
    """A server that starts from what was restored has the totals of the manifest, and goes on from there."""
    server = Streamgauge(folder, {**LIVES, "CHECKPOINT_INTERVAL": "0.2", **more})
    server.start()
    try:
        found = server.call("GET", "/api/ledger")
        assert {name: found[name] for name in made.ledger} == made.ledger
        assert found["offset"].partition("-")[0] != made.offset.partition("-")[0], "old offsets mean nothing here"
        server.call("POST", "/api/metrics", [{"name": "more", "metric_type": "gauge", "value": 1}] * 5, expect=202)
        report = verify(folder / "data", lambda: server.call("GET", "/api/ledger"), **more)
        assert report.code == 0, report.as_dict()
        assert report.total["accepted"] == made.ledger["accepted"] + 5
    finally:
        server.kill()


def test_a_backup_under_load_restores_to_its_manifest(made: tuple[Path, Manifest], tmp_path: Path) -> None:
    directory, manifest = made
    report = backup.rehearse(directory, settings_of(tmp_path / "unused"), quiet)
    assert report.code == 0, report.as_dict()
    done = backup.restore(settings_of(tmp_path / "data"), directory, False, quiet)
    assert done.manifest == manifest and done.aside == []
    check_start(tmp_path, manifest)


def test_the_same_from_redis_to_redis_and_to_the_embedded_log(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = [f"{redis_server.url}?stream=backup:{tmp_path.name}:{number}" for number in range(2)]
    with Redis.from_url(redis_server.url, protocol=2) as redis:
        manifest, _ = made_under_load(tmp_path / "here", REDIS_URL=urls[0])
        cursors = redis.hgetall(f"backup:{tmp_path.name}:0:cursors")
        assert list(cursors) == [b"engine"], "no cursor but the server's"
    assert backup.rehearse(tmp_path / "here" / "backup", settings_of(tmp_path / "unused"), quiet).code == 0
    backup.restore(settings_of(tmp_path / "data"), tmp_path / "here" / "backup", False, quiet)
    check_start(tmp_path, manifest)
    there = settings_of(tmp_path / "there", REDIS_URL=urls[1])
    backup.restore(there, tmp_path / "here" / "backup", False, quiet)
    report = verify(tmp_path / "there", REDIS_URL=urls[1])
    assert report.code == 0 and {name: report.total[name] for name in manifest.ledger} == manifest.ledger
    monkeypatch.setattr("server.log.redis_reader.WATCH_SECONDS", 0.1)  # nobody appends any more
    with pytest.raises(BackupError, match="there are data already"):
        settings = settings_of(tmp_path / "fresh", REDIS_URL=urls[1])
        backup.restore(settings, tmp_path / "here" / "backup", False, quiet)


def test_an_embedded_log_goes_to_redis(
    made: tuple[Path, Manifest], redis_server: RedisServer, tmp_path: Path
) -> None:
    url = f"{redis_server.url}?stream=moved:{tmp_path.name}"
    backup.restore(settings_of(tmp_path / "data", REDIS_URL=url), made[0], False, quiet)
    check_start(tmp_path, made[1], REDIS_URL=url)


@pytest.fixture
def own(made: tuple[Path, Manifest], tmp_path: Path) -> Iterator[Path]:
    """A copy of the backup that may be changed."""
    copy = tmp_path / "own"
    copy.mkdir()
    for path in made[0].iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    yield copy


@pytest.mark.parametrize("name", ["store.db", "entries.log"])
def test_a_changed_file_is_refused(own: Path, tmp_path: Path, name: str) -> None:
    data = bytearray((own / name).read_bytes())
    data[len(data) // 2] ^= 1
    (own / name).write_bytes(data)
    with pytest.raises(BackupError, match="SHA-256"):
        backup.restore(settings_of(tmp_path / "data"), own, False, quiet)
    (own / name).write_bytes(data[:-1])
    with pytest.raises(BackupError, match="bytes, the manifest says"):
        backup.rehearse(own, settings_of(tmp_path / "data"), quiet)
    (own / name).unlink()
    with pytest.raises(BackupError, match="cannot be read"):
        backup.rehearse(own, settings_of(tmp_path / "data"), quiet)
    assert not (tmp_path / "data").exists()


def test_a_manifest_with_other_totals_differs(own: Path, tmp_path: Path) -> None:
    found: dict[str, Any] = json.loads((own / "manifest.json").read_text())
    found["ledger"]["accepted"] += 1
    (own / "manifest.json").write_text(json.dumps(found))
    report = backup.rehearse(own, settings_of(tmp_path / "data"), quiet)
    assert report.code == 1
    assert [difference.kind for difference in report.differences] == ["manifest"]
    (own / "manifest.json").write_text('{"format": 99}')
    with pytest.raises(BackupError, match="a format"):
        backup.rehearse(own, settings_of(tmp_path / "data"), quiet)


def test_data_are_renamed_only_when_asked_and_never_under_a_server(
    made: tuple[Path, Manifest], tmp_path: Path
) -> None:
    server = Streamgauge(tmp_path, LIVES)
    server.start()
    try:
        server.call("POST", "/api/metrics", [{"name": "old", "metric_type": "gauge", "value": 1}], expect=202)
        with pytest.raises(BackupError, match="stop it first"):
            backup.restore(settings_of(tmp_path / "data"), made[0], True, quiet)
        server.stop()
    finally:
        server.kill()
    with pytest.raises(BackupError, match="--replace"):
        backup.restore(settings_of(tmp_path / "data"), made[0], False, quiet)
    done = backup.restore(settings_of(tmp_path / "data"), made[0], True, quiet)
    assert len(done.aside) == 2 and all(Path(name).exists() for name in done.aside)
    assert verify(tmp_path / "data").total["received"] == made[1].ledger["received"]


def test_the_commands_say_what_they_did(
    made: tuple[Path, Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in {**LIVES, "DATA_DIR": "data", "PORT": free_port()}.items():
        monkeypatch.setenv(f"STREAMGAUGE_{name}", str(value))
    accepted = f"{made[1].ledger['accepted']:,} rows"
    assert main(["restore", str(made[0])]) == 0
    assert f"restored {accepted}" in capsys.readouterr().out
    assert main(["restore", str(made[0])]) == 2
    assert "--replace renames them" in capsys.readouterr().err
    assert main(["backup", "copy"]) == 0
    assert accepted in capsys.readouterr().out
    assert main(["verify", "--backup", "copy"]) == 0
    assert "Everything agrees" in capsys.readouterr().out
    (tmp_path / "copy" / "store.db").write_bytes(b"")
    assert main(["verify", "--backup", "copy"]) == 2
    assert "store.db has 0 bytes" in capsys.readouterr().err


def test_a_backup_never_overwrites(made: tuple[Path, Manifest], tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="not empty"):
        backup.take(settings_of(tmp_path / "data"), made[0], quiet)
    with pytest.raises(BackupError, match="there is no log"):
        backup.take(settings_of(tmp_path / "data"), tmp_path / "new", quiet)
    assert not (tmp_path / "new").exists()
    (tmp_path / "new.partial" / "mine").mkdir(parents=True)
    with pytest.raises(BackupError, match="in the way"):
        backup.take(settings_of(tmp_path / "data"), tmp_path / "new", quiet)
    assert (tmp_path / "new.partial" / "mine").exists()
