"""Fixtures that several test files share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import RedisServer


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
