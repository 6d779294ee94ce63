"""The server is killed while many clients post: what was acknowledged is there afterwards, and counts once.

A request in flight at the moment of the kill may have been taken or not; its client never heard. So the queried sum
must lie between what was acknowledged and that plus what was in flight. Each row has an id, which makes a repeat
harmless: once the clients have repeated what they got no answer to, count and sum must be exact.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import RedisServer, Streamgauge

CLIENTS = 6
ROUNDS = 3
SECONDS = 0.5
"""Load before each kill."""


class Client:
    """Posts samples over one connection until the server goes, and repeats what it got no answer to.

    acknowledged: id -> value of the samples the server has taken. One request in three is a batch.
    """

    def __init__(self, number: int) -> None:

        self.number = number
        self.acknowledged: dict[str, int] = {}
        self.open: dict[str, int] = {}
        self.faults: list[str] = []
        self.sent = 0

    def take(self, server: Streamgauge) -> None:
        """Post until the connection breaks or the server says that it shuts down."""
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        try:
            while True:
                if not self.open:
                    self._next()
                rows = [
                    {
                        "name": "load",
                        "metric_type": "counter",
                        "value": value,
                        "id": id,
                        "tags": {"client": str(self.number)},
                    }
                    for id, value in self.open.items()
                ]
                body = json.dumps(rows if len(rows) > 1 else rows[0])
                connection.request("POST", "/api/metrics", body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                text = answer.read()
                if answer.status == 503:
                    return
                if answer.status not in (201, 202):
                    self.faults.append(f"{answer.status} {text[:300]!r}")
                    return
                self.acknowledged |= self.open
                self.open = {}
        except (OSError, http.client.HTTPException):
            return
        finally:
            connection.close()

    def _next(self) -> None:
        rows = 20 if self.sent % 3 == 2 else 1
        for _ in range(rows):
            self.sent += 1
            self.open[f"{self.number}-{self.sent}"] = self.sent * 7 % 1000 + self.number


def load(server: Streamgauge, clients: list[Client], seconds: float, end: Any) -> None:
    """All clients post for some seconds; then `end()` ends the server under their hands."""
    threads = [threading.Thread(target=client.take, args=(server,)) for client in clients]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    end()
    for thread in threads:
        thread.join(15)
        assert not thread.is_alive()


def check(server: Streamgauge, clients: list[Client], exact: bool) -> None:
    """What was acknowledged is what is queried; between rounds what is open may have been taken, at the end not."""
    assert [client.faults for client in clients if client.faults] == []
    [row] = server.ask("metric:load", aggregation="sum", time_range="10m")["data"]
    ledger = server.call("GET", "/api/ledger")
    acknowledged = sum(len(client.acknowledged) for client in clients)
    least = sum(sum(client.acknowledged.values()) for client in clients)
    open_rows = sum(len(client.open) for client in clients)
    most = least + sum(sum(client.open.values()) for client in clients)
    assert acknowledged > 0
    if exact:
        assert (open_rows, row["count"], row["value"]) == (0, acknowledged, least)
    assert least <= row["value"] <= most
    assert acknowledged <= row["count"] <= acknowledged + open_rows
    assert ledger["accepted"] == row["count"]
    assert ledger["rejected"] == {}
    assert ledger["received"] == ledger["accepted"] + ledger["duplicate"]


def settle(server: Streamgauge, clients: list[Client]) -> None:
    """Each client repeats what it got no answer to."""
    for client in clients:
        if client.open:
            rows = [
                {"name": "load", "metric_type": "counter", "value": v, "id": i, "tags": {"client": str(client.number)}}
                for i, v in client.open.items()
            ]
            receipt = server.call("POST", "/api/metrics", rows, expect=202)
            assert receipt["accepted"] + receipt["duplicate"] == len(rows)
            client.acknowledged |= client.open
            client.open = {}


@pytest.fixture(params=["embedded", "redis"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Streamgauge]:
    """A server that takes a checkpoint each 0.2 s, so that kills hit before, in and after one; on either log."""
    settings: dict[str, object] = {"CHECKPOINT_INTERVAL": "0.2", "LATENESS": "1"}
    if request.param == "redis":
        shared: RedisServer = request.getfixturevalue("redis_server")
        settings["REDIS_URL"] = f"{shared.url}?stream=kill:{tmp_path.name}"
    server = Streamgauge(tmp_path, settings)
    server.start()
    yield server
    server.kill()


def test_kill_9_under_load_loses_nothing_and_counts_nothing_twice(server: Streamgauge) -> None:
    clients = [Client(number) for number in range(CLIENTS)]
    for round in range(ROUNDS):
        before = sum(len(client.acknowledged) for client in clients)
        load(server, clients, SECONDS + 0.13 * round, server.kill)
        assert sum(len(client.acknowledged) for client in clients) > before + 100, "hardly anything was posted"
        server.start()
        check(server, clients, exact=False)
    settle(server, clients)
    check(server, clients, exact=True)


def test_sigterm_under_load_ends_cleanly_and_loses_nothing(server: Streamgauge) -> None:
    clients = [Client(number) for number in range(CLIENTS)]
    codes: list[int] = []
    with server.listen("watcher") as watcher:
        load(server, clients, SECONDS, lambda: codes.append(server.stop()))
        assert watcher.until("reconnect")["after_ms"] > 0
    assert codes == [0]
    assert "Traceback" not in server.output
    server.start()
    check(server, clients, exact=False)
    settle(server, clients)
    check(server, clients, exact=True)


def test_sigterm_answers_what_is_in_flight(serve: Callable[..., Streamgauge]) -> None:
    """A body that arrives slowly while the server is asked to end is still taken, or refused with an answer."""
    server = serve()
    body = json.dumps({"name": "slow", "metric_type": "gauge", "value": 1}).encode()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.putrequest("POST", "/api/metrics")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body[:10])
    time.sleep(0.2)
    codes: list[int] = []
    stopper = threading.Thread(target=lambda: codes.append(server.stop()))
    stopper.start()
    time.sleep(0.3)
    connection.send(body[10:])
    status = connection.getresponse().status
    stopper.join()
    assert codes == [0]
    server.start()
    [row] = server.ask("metric:slow", aggregation="count")["data"]
    assert (status, row["value"]) in ((201, 1), (503, 0))
    assert server.stop() == 0
