"""A log that can take nothing any more, for whatever reason, ends the process in order; a new one has all of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import RedisServer, Streamgauge, wait_until

WRITER = """
from server.log.redis_streams import RedisLog
settle = RedisLog._settle

def broken(self, items, replies):
    if any(b"poison" in (item.payload or b"") for item in items):
        raise ZeroDivisionError("of unknown cause")
    settle(self, items, replies)

RedisLog._settle = broken
"""
DISK = """
import os
from pathlib import Path
sync = os.fdatasync

def broken(file):
    if Path("{broken}").exists():
        raise OSError(5, "Input/output error")
    sync(file)

os.fdatasync = broken
"""
SYNCER = """
from pathlib import Path
from server.log.end_mark import EndMark
synced = EndMark.synced

def broken(self, end):
    if Path("{broken}").exists():
        raise ZeroDivisionError("of unknown cause")
    synced(self, end)

EndMark.synced = broken
"""
THREAD = """
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
submit = ThreadPoolExecutor.submit

def broken(self, *work):
    if self._thread_name_prefix == "log-sync" and Path("{broken}").exists():
        raise RuntimeError("can't start new thread")
    return submit(self, *work)

ThreadPoolExecutor.submit = broken
"""


class Doomed(Streamgauge):
    """A server with a part that can be made to die."""

    patch = ""

    def command(self) -> list[str]:
        broken = str(self.directory / "broken")
        code = self.patch.replace("{broken}", broken) + "import sys; from server.cli import main; sys.exit(main())"
        return [sys.executable, "-c", code, "serve"]

    def send(self, name: str) -> int:
        """The status of a post of one row."""
        return self.request("POST", "/api/metrics", [{"name": name, "metric_type": "counter", "value": 1}])[0]

    def ends(self) -> int:
        """Waits for its end; the exit code."""
        child = self.child
        assert child is not None
        wait_until(lambda: child.poll() is not None, 30, "the end of the process")
        return self.stop()


@pytest.fixture
def doomed(tmp_path: Path) -> Iterator[Doomed]:
    made = Doomed(tmp_path)
    yield made
    made.kill()


def test_a_writer_to_redis_that_dies_ends_the_process(doomed: Doomed, redis_server: RedisServer) -> None:
    doomed.settings["REDIS_URL"] = f"{redis_server.url}?stream=dying:{doomed.directory.name}"
    doomed.patch = WRITER
    doomed.start()
    assert [doomed.send("n") for _ in range(20)] == [202] * 20
    assert doomed.send("poison") == 503
    assert doomed.ends() == 1
    assert "the log's writer died" in doomed.output and "pipeline died, the server ends" in doomed.output
    again(doomed)
    assert doomed.ask("metric:poison", aggregation="count")["data"][0]["count"] <= 1


@pytest.mark.parametrize("patch", [DISK, SYNCER, THREAD], ids=["disk", "callback", "thread"])
@pytest.mark.parametrize("fsync", ["50", "always"])
def test_an_embedded_log_that_cannot_sync_any_more_ends_the_process(doomed: Doomed, patch: str, fsync: str) -> None:
    doomed.settings["LOG_FSYNC"] = fsync
    doomed.patch = patch
    doomed.start()
    assert [doomed.send("n") for _ in range(20)] == [202] * 20
    (doomed.directory / "broken").touch()
    assert doomed.send("last") in (202, 503)
    assert doomed.ends() == 1
    assert "no more appends" in doomed.output and "pipeline died, the server ends" in doomed.output
    again(doomed)


def again(doomed: Doomed) -> None:
    """A supervisor starts it again: all that was acknowledged is there, and more is taken."""
    doomed.patch = ""
    doomed.start()
    assert doomed.ask("metric:n", aggregation="sum")["data"][0]["value"] == 20
    assert doomed.send("n") == 202
    assert doomed.call("GET", "/api/ledger")["balanced"] is True
