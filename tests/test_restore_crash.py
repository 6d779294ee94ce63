"""A restore that is killed between any two of its renames: refused to be served, and done by running it again."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from server import backup
from server.backup import Manifest
from server.half_restored import NAME
from server.store import open_snapshot
from tests.forks import run_process
from tests.support import RedisServer, Streamgauge
from tests.test_backup import check_start, made_under_load, quiet
from tests.test_damaged_logs import run_command
from tests.verify_support import LIVES, settings_of

DYING = """
import os, signal, sys
left, rename = int(sys.argv.pop(1)), os.rename

def dying(*names, **more):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    rename(*names, **more)

os.rename = dying
from server.log.redis_reader import RedisReader
RedisReader.owner = lambda self: ""
from server.cli import main
sys.exit(main())
"""
MOST = 12
"""Renames of a restore, or more."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """A backup and its manifest."""
    folder = tmp_path_factory.mktemp("backup")
    manifest, _ = made_under_load(folder)
    return folder / "backup", manifest


def old_data(folder: Path, **more: object) -> Streamgauge:
    """A server that was killed, with a row of its own, and a WAL beside its store."""
    server = Streamgauge(folder, {**LIVES, **more})
    server.start()
    try:
        server.call("POST", "/api/metrics", [{"name": "old", "metric_type": "counter", "value": 7}], expect=202)
        server.call("POST", "/api/dashboards", {"name": "old dashboard"}, expect=201)
    finally:
        server.kill()
    assert (folder / "data" / "streamgauge.db-wal").stat().st_size
    return server


def killed_restore(server: Streamgauge, directory: Path, renames: int) -> bool:
    """Restores over the server's data and is killed before it renames once more; whether it was."""
    command = [sys.executable, "-c", DYING, str(renames), "restore", str(directory), "--replace"]
    done = run_process(command, server.environment())
    assert done.returncode in (0, -9), done.stderr
    return done.returncode == -9


def check_refused(server: Streamgauge, directory: Path, thorough: bool) -> None:
    """What is there is served by nobody, and the sentence says what to do."""
    for command in ("serve", "repair", "backup") if thorough else ("serve",):
        done = run_command(server, command, *([str(server.directory / "copy")] if command == "backup" else []))
        assert done.returncode == 2 and "was broken off" in done.stderr and str(directory) in done.stderr, done.stderr
    assert not (server.directory / "copy").exists()


def test_killed_between_the_renames(made: tuple[Path, Manifest], tmp_path: Path) -> None:
    server = old_data(tmp_path / "old")
    data = server.directory / "data"
    shutil.copytree(data, tmp_path / "kept")
    for renames in range(MOST):
        shutil.rmtree(data)
        shutil.copytree(tmp_path / "kept", data)
        if not killed_restore(server, made[0], renames):
            break
        check_refused(server, made[0], thorough=renames == 1)
        backup.restore(settings_of(data), made[0], True, quiet)
        old = [path for path in data.glob("streamgauge.db.before-*") if not path.name.endswith(("-wal", "-shm"))]
        assert sum(b"old dashboard" in path.read_bytes() for path in old) == 1, "what was there is there in one piece"
        assert sum(b"old" in segment.read_bytes() for segment in data.glob("log.before-*/*.segment")) == 1
        check_start(server.directory, made[1])
    assert 4 <= renames < MOST, "it was killed before the log's, before the store's, and before each was put back"
    assert not (data / NAME).exists()
    check_start(server.directory, made[1])


def test_killed_between_the_renames_with_the_log_on_redis(
    made: tuple[Path, Manifest], tmp_path: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.log.redis_reader.WATCH_SECONDS", 0.1)  # nobody appends any more
    for renames in range(MOST):
        url = f"{redis_server.url}?stream=crash:{tmp_path.name}:{renames}"
        server = old_data(tmp_path / str(renames), REDIS_URL=url)
        if not killed_restore(server, made[0], renames):
            break
        if renames == 0:
            check_refused(server, made[0], thorough=False)
        backup.restore(settings_of(server.directory / "data", REDIS_URL=url), made[0], True, quiet)
        check_start(server.directory, made[1], REDIS_URL=url)
    assert 2 <= renames < MOST, "it was killed before the store's, and before its copy was put in its place"
    check_start(server.directory, made[1], REDIS_URL=url)


def test_what_is_beside_a_store_that_is_gone_does_not_pass_for_that_of_the_next(
    made: tuple[Path, Manifest], tmp_path: Path
) -> None:
    server = old_data(tmp_path / "old")
    data = server.directory / "data"
    os.unlink(data / "streamgauge.db")
    backup.restore(settings_of(data), made[0], True, quiet)
    assert list(data.glob("streamgauge.db-wal.before-*"))
    check_start(server.directory, made[1])
    snapshot = open_snapshot(f"sqlite:///{data}/streamgauge.db")
    assert snapshot is not None
    snapshot.close()
