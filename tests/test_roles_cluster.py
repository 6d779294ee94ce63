"""Gateways and engines whole on a Redis Cluster: the slot of their log moves, and whoever owned it dies."""

from __future__ import annotations

from pathlib import Path

from engine.terms import PARTITIONS
from tests.cluster_support import RedisCluster
from tests.dynamodb_support import MotoServer
from tests.roles_support import Together, owner_of
from tests.support import Streamgauge, wait_until


def test_one_system_on_a_cluster(redis_cluster: RedisCluster, moto: MotoServer, tmp_path: Path) -> None:
    together = Together(tmp_path, redis_cluster, moto.url)
    together.start()
    one, other = together.gateways
    try:
        wait_until(lambda: together.held() == [PARTITIONS // 2] * 2, 20, "both engines holding their part")
        post(one, 1)
        before = redis_cluster.owner(tag(together))
        redis_cluster.move(tag(together))
        assert redis_cluster.owner(tag(together)) is not before
        with other.listen("me") as screen:
            _, first = screen.subscribe(query={"query_string": "metric:a", "aggregation": "sum", "time_range": "1h"})
            assert first["data"][0]["value"] == 1
            post(one, 2)
            screen.until("realtime_update", lambda update: update["data"][0]["value"] == 3)
        owner = owner_of(together.engines)
        assert owner is not None
        owner.kill()
        wait_until(lambda: together.held() == [PARTITIONS], 10, "the other engine holding all")
        post(other, 4)
        other.call("POST", "/api/events", [{"event_type": "e"} for _ in range(10_001)], 202)  # a flush is due
        wait_until(lambda: all(each["flush"] > 1 for each in together.listed()), 20, "a flush that all know of")
        for gateway in together.gateways:
            (row,) = gateway.ask("metric:a", aggregation="sum", time_range="1h")["data"]
            assert row["value"] == 7 and gateway.call("GET", "/api/ledger")["balanced"]
        checked = one.run("verify", "--url", one.url)
        assert checked.returncode == 0, checked.stdout + checked.stderr
        assert not any("Traceback" in process.output for process in together.processes)
    finally:
        together.kill()


def tag(together: Together) -> str:
    """A key in the slot of their log."""
    return f"{{{together.stream}}}"


def post(gateway: Streamgauge, value: float) -> None:
    gateway.call("POST", "/api/metrics", [{"name": "a", "metric_type": "counter", "value": value}], 202)
