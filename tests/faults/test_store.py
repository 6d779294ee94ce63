"""A store that another process keeps locked: ingest and queries go on, its writes come later, nothing is lost."""

from __future__ import annotations

import sqlite3
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


def test_locked_for_a_while_and_for_too_long(tmp_path: Path) -> None:
    campaign = server_in(tmp_path, "store locked", STORE_STALL=by_size(3, 20))
    [server] = campaign.servers
    try:

        def lock(load: Load) -> None:
            load.wait(20)
            wait_until(lambda: stored(tmp_path) > 0, START, "a checkpoint")
            refused = campaign.refusals()["store_stalled"]
            held = Lock(tmp_path)
            try:
                before = stored(tmp_path)
                load.wait(20)  # rows pass while nothing can be stored
                asked(server)
                wait_until(lambda: campaign.refusals()["store_stalled"] > refused + 5, START, "refusals")
                asked(server)
                assert stored(tmp_path) == before
            finally:
                held.release()
            wait_until(lambda: stored(tmp_path) > before, START, "a checkpoint after the lock")
            load.wait(20)

        for _ in range(int(by_size(1, 4))):
            under_load(campaign.senders, lock, patient=True)
        campaign.settle()
        campaign.check()
        result(campaign.name, f"refused when it was too long: {dict(campaign.refusals())}; {campaign.figures()}")
    finally:
        server.kill()


def asked(server: Streamgauge) -> None:
    """Asserts that it lives and answers queries."""
    assert server.call("GET", "/health")["status"] == "ok"
    assert server.call("GET", "/ready")
    assert server.ask("metric:f_delta", aggregation="sum", time_range="1h")["data"][0]["count"]
