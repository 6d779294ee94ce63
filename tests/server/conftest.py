"""Fixtures of the tests of the server's parts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import Streamgauge


@pytest.fixture(scope="session")
def cli_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Streamgauge]:
    """One server for all tests of the command line; a test takes names of its own."""
    server = Streamgauge(tmp_path_factory.mktemp("cli"))
    server.start()
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.output, server.output[-4000:]


@pytest.fixture
def url(cli_server: Streamgauge, monkeypatch: pytest.MonkeyPatch) -> str:
    """Its address, which the commands find in the environment."""
    monkeypatch.setenv("STREAMGAUGE_URL", cli_server.url)
    monkeypatch.delenv("STREAMGAUGE_KEY", raising=False)
    return cli_server.url
