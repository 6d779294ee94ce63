"""Redis killed, paused, full, cut off and set back under a server that lives on: 503s meanwhile, nothing lost."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.campaign import START, Campaign
from tests.faults.numbers import LONG, by_size, pick, result
from tests.faults.proxy import Proxy
from tests.faults.senders import Load, under_load
from tests.support import RedisServer, Streamgauge, wait_until


class River:
    """A Redis and a server on it, each of the test's own, and senders that do not give up."""

    def __init__(
        self, directory: Path, name: str, *options: str, fsync: str = "always", redis: RedisServer | None = None,
        port: int = 0, **settings: object,
    ) -> None:  # fmt: skip
        """port: of a proxy, instead of that of Redis itself."""
        if redis is None:
            redis = RedisServer(directory / "redis", *options, fsync=fsync)
            redis.start()
        self.redis = redis
        self.server = Streamgauge(
            directory,
            {
                "CHECKPOINT_INTERVAL": "0.2", "LATENESS": "2", "DATA_DIR": directory / "data",
                "REDIS_URL": f"redis://127.0.0.1:{port or self.redis.port}/0", **settings,
            },
        )  # fmt: skip
        self.campaign = Campaign(name, [self.server], errors=True)
        self.campaign.begin()

    def load(self, act: object) -> None:
        """Does something while senders post, which repeat what is refused."""
        under_load(self.campaign.senders, act, patient=True)  # type: ignore[arg-type]

    def finish(self) -> None:
        """All that has no answer is repeated; then every number is right, before and after a kill of the server."""
        self.campaign.settle()
        if LONG:
            self.campaign.check()
        self.server.kill()
        self.campaign.begin()
        self.campaign.check(verify=LONG or self.redis.fsync != "always")
        slowest = max(sender.slowest for sender in self.campaign.senders)
        refusals = dict(self.campaign.refusals())
        refused = f"refused meanwhile: {refusals}, " if refusals else ""
        result(self.campaign.name, f"{refused}slowest answer {slowest:.1f} s; {self.campaign.figures()}")

    def close(self) -> None:
        self.server.kill()
        self.redis.kill()


@pytest.fixture
def rivers() -> Iterator[list[River]]:
    """What is put in here is ended afterwards."""
    made: list[River] = []
    yield made
    for river in made:
        river.close()


def test_killed_with_appendfsync_always(rivers: list[River], tmp_path: Path) -> None:
    river = River(tmp_path, "Redis killed, appendfsync always")
    rivers.append(river)
    rng = pick("redis kills")
    for _ in range(int(by_size(1, 12))):

        def kill(load: Load) -> None:
            load.wait(20)
            time.sleep(rng.random() * 0.3)
            river.redis.kill()
            time.sleep(rng.random() * 0.7)
            river.redis.start()
            load.wait(20)

        river.load(kill)
        river.campaign.kills += 1
    river.finish()


def test_set_back_as_after_a_power_loss(rivers: list[River], tmp_path: Path) -> None:
    river = River(tmp_path, "Redis set back, appendfsync everysec", fsync="everysec", CHECKPOINT_INTERVAL="600")
    rivers.append(river)
    rng = pick("redis losses")
    for _ in range(int(by_size(2, 12))):

        def lose(load: Load) -> None:
            load.wait(20)
            time.sleep(rng.random() * 0.3)
            river.redis.kill()
            cut(river.redis.directory, rng.random() * 0.8)
            river.redis.start()
            load.wait(20)

        river.load(lose)
        river.campaign.kills += 1
    assert "are put back" in river.server.output
    river.finish()


class Forgetful(Streamgauge):
    """A server that holds hardly anything of what it has read of Redis."""

    def command(self) -> list[str]:
        code = """import sys; from server.log.redis_held import Held; Held.__init__.__defaults__ = (10,)
from server.cli import main; sys.exit(main())"""
        return [sys.executable, "-c", code, "serve"]


def test_what_cannot_be_put_back_is_named(tmp_path: Path) -> None:
    redis = RedisServer(tmp_path / "redis", fsync="everysec")
    redis.start()
    server = Forgetful(tmp_path, {"CHECKPOINT_INTERVAL": "600", "REDIS_URL": redis.url})
    try:
        server.start()
        rows = [{"name": "n", "metric_type": "counter", "value": 1}] * 7
        for number in range(30):
            if number == 20:
                redis.kill()
                cut(redis.directory, 0.3)
                redis.start()
            server.call("POST", "/api/metrics", rows, expect=202)
        assert "not held any more" in server.output
        [row] = server.ask("metric:n", aggregation="count", time_range="1h")["data"]
        assert row["value"] == 210, "the server has counted them all"
        server.kill()
        server.start()
        [row] = server.ask("metric:n", aggregation="count", time_range="1h")["data"]
        found = server.run("verify", "--url", server.url)
        named = re.search(r"are not in the log: (\d+) rows", found.stdout)
        assert found.returncode == 1 and named is not None, found.stdout
        assert int(named[1]) == 210 - row["value"] > 0
        assert server.call("GET", "/api/ledger")["rejected"] == {}, "what came afterwards rests on nothing that is gone"
        result("Redis set back further than is held", f"{named[1]} of 210 rows lost by a kill, as verify says")
    finally:
        server.kill()
        redis.kill()


def test_answers_that_are_lost(rivers: list[River], tmp_path: Path) -> None:
    """What was appended without the server hearing of it is sent again, and skipped when it comes twice."""
    redis = RedisServer(tmp_path / "redis")
    redis.start()
    proxy = Proxy(redis.port, pick("lost answers"))
    try:
        river = River(tmp_path, "Redis answers lost", redis=redis, port=proxy.port)
        rivers.append(river)

        def lose(load: Load) -> None:
            load.wait(20)
            proxy.share = 0.03
            wait_until(lambda: proxy.cuts >= by_size(4, 200), 120, "lost answers")
            proxy.share = 0.0
            load.wait(20)

        river.load(lose)
        assert river.server.call("GET", "/api/ledger")["repeated"] > 0
        river.finish()
    finally:
        proxy.close()


def cut(directory: Path, share: float) -> None:
    """Takes a share of the append-only file off its end, as a power loss does with what was not synced."""
    [file] = directory.glob("appendonlydir/*.incr.aof")
    os.truncate(file, round(file.stat().st_size * (1 - share)))


def test_paused(rivers: list[River], tmp_path: Path) -> None:
    river = River(tmp_path, "Redis paused")
    rivers.append(river)

    def pause(load: Load) -> None:
        load.wait(20)
        child = river.redis.child
        assert child is not None
        child.send_signal(signal.SIGSTOP)
        time.sleep(by_size(3, 12))
        assert river.server.call("GET", "/health")
        river.server.ask("metric:f_delta", aggregation="sum")
        child.send_signal(signal.SIGCONT)
        load.wait(20)

    river.load(pause)
    river.finish()


def test_full(rivers: list[River], tmp_path: Path) -> None:
    river = River(tmp_path, "Redis full", "--maxmemory-policy", "noeviction", CHECKPOINT_INTERVAL="600")
    rivers.append(river)
    for _ in range(int(by_size(1, 5))):
        before = river.campaign.refusals()["log_full"]
        [used] = re.findall(rb"used_memory:(\d+)", river.redis.ask(b"INFO memory"))
        river.redis.ask(b"CONFIG SET maxmemory %d" % (int(used) + by_size(300_000, 600_000)))

        def fill(load: Load, before: int = before) -> None:
            wait_until(lambda: river.campaign.refusals()["log_full"] > before + 20, START, "a full Redis")
            assert river.server.call("GET", "/health")["status"] == "ok"
            river.redis.ask(b"CONFIG SET maxmemory 1gb")
            load.wait(20)

        river.load(fill)
    river.finish()
