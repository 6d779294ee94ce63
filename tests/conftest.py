"""Fixtures that several test files share."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.bad_input_support import GOOD, LIMIT, check_ledger
from tests.cluster_support import RedisCluster
from tests.dynamodb_support import Dynalite, MotoServer
from tests.support import RedisServer, Streamgauge

LONG = (
    "conformance/test_lease", "faults/test_dynamodb", "conformance/test_store", "test_roles",
    "browser/test_alerts_page", "properties/test_recount", "test_roles_alerts", "conformance/test_log", "test_images",
    "server/test_hub_peers", "test_house", "test_damaged_streams", "test_api_alert_sinks", "test_openapi",
    "test_roles_shares", "test_roles_cluster", "conformance/test_log_cluster", "browser/test_docs", "faults/test_redis",
    "browser/test_live_page", "test_restore_crash", "conformance/test_dynamodb_client", "browser/test_access",
    "properties/test_calendar", "properties/test_recount_dense", "test_dying_parts", "faults/test_kills",
    "faults/test_together",
)  # fmt: skip
"""The files that take longest, the longest first: whoever comes last should not be alone for long."""


def pytest_configure() -> None:
    """The collector of cycles looks seldom: a run holds so much that its looks took most of the time of some tests."""
    gc.set_threshold(100_000, 50, 100)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The order in which files are handed out."""
    rank = {f"tests/{name}.py": place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.nodeid.partition("::")[0], len(LONG)))


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One Redis server (appendonly, everysec) for the whole run; a test takes a stream name of its own."""
    server = RedisServer(tmp_path_factory.mktemp("redis"), fsync="everysec")
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def redis_url(redis_server: RedisServer, tmp_path: Path) -> str:
    """URL of the shared Redis server, with a log stream of this test's own."""
    return f"{redis_server.url}?stream=test:{tmp_path.name}"


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """One Redis Cluster of three nodes for the whole run, whole again after each test."""
    cluster = RedisCluster(tmp_path_factory.mktemp("cluster"))
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.kill()


@pytest.fixture
def cluster_url(redis_cluster: RedisCluster, tmp_path: Path) -> str:
    """URL of the shared cluster, with a log stream of this test's own."""
    return f"{redis_cluster.url}&stream=test:{tmp_path.name}"


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MotoServer]:
    """One moto for the whole run, as DynamoDB; a test takes a prefix of its own."""
    server = MotoServer(tmp_path_factory.mktemp("moto"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def dynalite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dynalite]:
    """One dynalite for the whole run, as DynamoDB; a test takes a prefix of its own."""
    server = Dynalite(tmp_path_factory.mktemp("dynalite"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def tough_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Streamgauge]:
    """One server for all tests of bad input. At the end it must stop in order, without a traceback in its output."""
    settings = {"MAX_BODY_BYTES": LIMIT, "BODY_TIMEOUT": "1", "CHECKPOINT_INTERVAL": "0.5", "LATENESS": "1"}
    server = Streamgauge(tmp_path_factory.mktemp("bad"), settings)
    server.start()
    try:
        yield server
        assert server.stop() == 0
        assert "Traceback" not in server.output, server.output[-4000:]
    finally:
        server.kill()


@pytest.fixture
def lives_on(tough_server: Streamgauge) -> Iterator[None]:
    """After the test the server is still alive and takes a good POST, and its ledger adds up."""
    yield
    assert tough_server.child is not None and tough_server.child.poll() is None, tough_server.output[-4000:]
    assert tough_server.call("GET", "/health")["status"] == "ok"
    tough_server.call("POST", "/api/metrics", GOOD, expect=201)
    check_ledger(tough_server.call("GET", "/api/ledger"))


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Streamgauge]:
    """A server for the tests of what S4 promises; with aggregations of tests.plugins."""
    settings = {"PLUGINS": "tests.plugins:register", "MAX_QUERY_EXECUTION_TIME": "1", "MAX_QUERY_POINTS": "5000"}
    server = Streamgauge(tmp_path_factory.mktemp("api"), settings)
    server.start()
    yield server
    assert server.stop() == 0
    assert server.output.count("Traceback") == server.output.count("ZeroDivisionError: on purpose"), server.output


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Streamgauge]]:
    """Starts a server of this test's own with the settings given; it is killed at the end, whatever happens."""
    started: list[Streamgauge] = []

    def start(**settings: object) -> Streamgauge:
        started.append(Streamgauge(tmp_path, settings))
        started[-1].start()
        return started[-1]

    yield start
    for server in started:
        server.kill()
