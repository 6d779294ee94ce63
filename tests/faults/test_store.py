"""A store that another process keeps locked: ingest and queries go on, its writes come later, nothing is lost."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from tests.faults.campaign import START, Campaign
from tests.faults.numbers import by_size, result
from tests.faults.senders import Load, under_load
from tests.support import Streamgauge, wait_until


def stored(directory: Path) -> int:
    """The position up to which the store holds everything."""
    with sqlite3.connect(f"file:{directory / 'data' / 'streamgauge.db'}?mode=ro", uri=True) as db:
        return int(db.execute("SELECT coalesce(max(position), 0) FROM checkpoints").fetchone()[0])


class Lock:
    """SQLite's write lock, held by this process."""

    def __init__(self, directory: Path) -> None:
        self._db = sqlite3.connect(directory / "data" / "streamgauge.db", timeout=60, isolation_level=None)
        self._db.execute("BEGIN IMMEDIATE")

    def release(self) -> None:
        """Lets the server write again."""
        self._db.execute("ROLLBACK")
        self._db.close()


def server_in(directory: Path, name: str, **settings: object) -> Campaign:
    """A server that takes checkpoints all the time."""
    own = {"CHECKPOINT_INTERVAL": "0.2", "LATENESS": "2", "DATA_DIR": directory / "data", **settings}
    campaign = Campaign(name, [Streamgauge(directory, own)], errors=True)
    campaign.begin()
    return campaign


def test_locked_for_a_while(tmp_path: Path) -> None:
    campaign = server_in(tmp_path, "store locked")
    [server] = campaign.servers
    try:

        def lock(load: Load) -> None:
            load.wait(20)
            wait_until(lambda: stored(tmp_path) > 0, START, "a checkpoint")
            held = Lock(tmp_path)
            try:
                before, until = stored(tmp_path), time.monotonic() + by_size(2, 40)
                while time.monotonic() < until:
                    load.wait(10)
                    assert server.ask("metric:f_delta", aggregation="sum", time_range="1h")["data"][0]["count"]
                    assert server.call("GET", "/ready")
                assert stored(tmp_path) == before
            finally:
                held.release()
            wait_until(lambda: stored(tmp_path) > before, START, "a checkpoint after the lock")
            load.wait(20)

        under_load(campaign.senders, lock, patient=True)
        campaign.settle()
        campaign.check()
        result(campaign.name, campaign.figures())
    finally:
        server.kill()
