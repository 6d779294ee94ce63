"""SIGTERM under load, with slow clients, open WebSockets and a checkpoint under way: nothing is lost."""

from __future__ import annotations

import http.client
import json
import threading
import time
from pathlib import Path

from tests.faults.campaign import Campaign
from tests.faults.numbers import LONG, by_size, pick, result
from tests.faults.senders import Load, under_load
from tests.support import Listener, Streamgauge

PATIENCE = 60.0
"""Seconds a stop may take on a slow machine; the long campaign, which is run alone, holds it to what is promised."""
PROMISED = 10.0
WATCHERS = 10


def test_sigterm_under_load(tmp_path: Path) -> None:
    settings: dict[str, object] = {"CHECKPOINT_INTERVAL": "0.2", "LATENESS": "2", "DATA_DIR": tmp_path / "data"}
    server = Streamgauge(tmp_path, settings if LONG else settings | {"DRAIN_SECONDS": 1})
    campaign = Campaign("SIGTERM", [server], errors=True)
    rng = pick("stops")
    slowest, statuses = 0.0, []
    try:
        campaign.begin()
        for _ in range(int(by_size(1, 12))):
            watchers = [server.listen(f"watcher{number}") for number in range(WATCHERS)]
            for watcher in watchers[::2]:  # the others never read again
                watcher.send(type="subscribe", query={"query_string": "metric:f_sum", "aggregation": "sum"})
            dawdler = Dawdler(server)

            def stop(load: Load, dawdler: Dawdler = dawdler) -> None:
                nonlocal slowest
                load.wait(20)
                time.sleep(rng.random() * 0.5)
                dawdler.begin()
                begun = time.monotonic()
                assert server.stop(PATIENCE) == 0
                slowest = max(slowest, time.monotonic() - begun)

            under_load(campaign.senders, stop)
            assert hint(watchers[1]) > 0
            statuses.append(dawdler.end())
            for watcher in watchers:
                watcher.socket.close(timeout=1)
            campaign.begin()
            campaign.account.metrics += statuses[-1] == 201
            campaign.settle()
            campaign.check()
        assert not LONG or slowest <= PROMISED
        stops = f"{len(statuses)} stops with exit code 0, the slowest in {slowest:.1f} s"
        result(campaign.name, f"{stops}; {campaign.figures()}")
    finally:
        server.kill()


def hint(watcher: Listener) -> int:
    """After how many ms the server asks a watcher to come back."""
    after: int = watcher.until("reconnect")["after_ms"]
    return after


class Dawdler:
    """A client that sends its body a byte at a time."""

    def __init__(self, server: Streamgauge) -> None:
        self._body = json.dumps({"name": "f_slow", "metric_type": "gauge", "value": 1}).encode()
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        self._thread = threading.Thread(target=self._dawdle, daemon=True)
        self._status = 0

    def begin(self) -> None:
        """Sends the head and goes on in the background."""
        self._connection.putrequest("POST", "/api/metrics")
        self._connection.putheader("Content-Length", str(len(self._body)))
        self._connection.endheaders(self._body[:1])
        self._thread.start()

    def _dawdle(self) -> None:
        try:
            for at in range(1, len(self._body)):
                time.sleep(0.01)
                self._connection.send(self._body[at : at + 1])
            self._status = self._connection.getresponse().status
        except (OSError, http.client.HTTPException):
            self._status = -1

    def end(self) -> int:
        """The status it was answered with, 201 or a refusal; -1 where the connection was cut."""
        self._thread.join(PATIENCE)
        self._connection.close()
        assert self._status in (201, 503, -1), self._status
        return self._status
