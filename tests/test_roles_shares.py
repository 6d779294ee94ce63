"""Flushes of many metrics: the engines share the work, and whoever is killed meanwhile, each row is stored once."""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from pathlib import Path

from tests.dynamodb_support import Dynalite
from tests.faults.numbers import LONG, SEED
from tests.roles_support import Together
from tests.support import RedisServer, Streamgauge, wait_until

NAMES = [f"metric_{number}" for number in range(1_100)]
"""Enough for a flush to be shared."""
OLD = NAMES[:60]
"""Those that have rows of hours that are over, which are stored each in an item of its own."""
ROUNDS = 40 if LONG else 4
HOUR = 3600


def test_engines_share_large_flushes_and_any_may_die(
    redis_server: RedisServer, dynalite: Dynalite, tmp_path: Path
) -> None:
    together = Together(tmp_path, redis_server, dynalite.url, EVENT_BUFFER_SIZE=10)
    together.start()
    chance, sent = random.Random(SEED), Counter[str]()
    try:
        wait_until(lambda: all("holds" in engine.output for engine in together.engines), 20, "both holding a part")
        post(together.gateways[0], sent, NAMES, 0)
        for round in range(1, ROUNDS):
            post(together.gateways[round % 2], sent, OLD, round)
            victim = chance.choice(together.engines)
            time.sleep(chance.uniform(0, 2.5))  # before it has begun, in the midst of a share, or after it
            if round % 2:
                victim.kill()
                victim.start()
        round, until = ROUNDS, time.monotonic() + 60
        while not all(re.search("a share of flush .* is written", engine.output) for engine in together.engines):
            assert time.monotonic() < until, "both had the time to write a share"
            post(together.gateways[0], sent, OLD, round)
            round += 1
            time.sleep(1)
        for gateway in together.gateways:
            wait_until(lambda gateway=gateway: stored(gateway) == sent.total(), 60, "a flush that all share")  # type: ignore[misc]
            for name in OLD:
                (row,) = gateway.ask(f"metric:{name}", aggregation="sum", time_range="1d")["data"]
                assert row["value"] == sent[name], name
            ledger = gateway.call("GET", "/api/ledger")
            assert ledger["balanced"] and ledger["accepted"] == sum(sent.values())
        check(together.gateways[0])
        assert not any("Traceback" in process.output for process in together.processes)
    finally:
        together.kill()


def post(gateway: Streamgauge, sent: Counter[str], names: list[str], round: int) -> None:
    """A value of each metric, hours ago where there is a round, and what makes a flush due: of everything, as all of it
    lies far enough back to be closed."""
    closed = time.time() - 60
    rows = [
        {"name": name, "metric_type": "counter", "value": 1, "timestamp": closed - (at % 4 * HOUR if round else 0)}
        for at, name in enumerate(names)
    ]
    gateway.call("POST", "/api/metrics", rows, 202, Idempotency_Key=f"round {round}")
    sent.update(names)
    gateway.call("POST", "/api/events", [{"event_type": "flush"} for _ in range(12)], 202)


def stored(gateway: Streamgauge) -> int:
    """Samples in the store."""
    return int(gateway.call("GET", "/api/ledger")["in_panes"]["stored"])


def check(gateway: Streamgauge) -> None:
    """The recount of store and log agrees."""
    done = gateway.run("verify", "--url", gateway.url, seconds=120)
    assert done.returncode == 0, done.stdout + done.stderr
