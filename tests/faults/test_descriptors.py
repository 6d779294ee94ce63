"""64 file descriptors, and more connections than that: the newest are refused, and nobody else notices."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from tests.faults.campaign import START, Campaign
from tests.faults.numbers import LONG, by_size, result
from tests.faults.senders import Load, under_load
from tests.faults.servers import PoorServer
from tests.support import wait_until

CONNECTIONS = 150


def test_more_connections_than_descriptors(tmp_path: Path) -> None:
    server = PoorServer(
        tmp_path,
        {
            "CHECKPOINT_INTERVAL": "0.2", "LATENESS": "2", "DATA_DIR": tmp_path / "data",
            "LOG_MAX_BYTES": "1 MiB",  # in files of an eighth, so that new ones are begun all the time
        },
    )  # fmt: skip
    campaign = Campaign("64 descriptors", [server], errors=True)
    refused = 0
    try:
        campaign.begin()
        segments = newest_segment(tmp_path)
        for _ in range(int(by_size(1, 8))):
            crowd: list[socket.socket] = []

            def come(load: Load, crowd: list[socket.socket] = crowd) -> None:
                load.wait(20)
                crowd += [socket.create_connection(("127.0.0.1", server.port), 10) for _ in range(CONNECTIONS)]
                load.wait(20)
                before = newest_segment(tmp_path)
                wait_until(lambda: newest_segment(tmp_path) > before, START, "a new segment among the crowd")
                load.wait(20)

            under_load(campaign.senders, come, patient=True)
            assert server.descriptors() < 64
            used = server.cpu_seconds()
            time.sleep(1.5)
            assert server.cpu_seconds() - used < 0.75, "it is busy with the crowd although nobody asks for anything"
            refused += sum(1 for one in crowd if is_refused(one))
            for one in crowd:
                one.close()
            wait_until(lambda: can_ask(server), START, "room for somebody new")
        assert refused >= CONNECTIONS - 64 and newest_segment(tmp_path) > segments
        campaign.settle()
        if LONG:
            campaign.check()
        server.kill()
        campaign.begin()
        campaign.check()
        result(campaign.name, f"{refused} connections refused; {campaign.figures()}")
    finally:
        server.kill()


def newest_segment(directory: Path) -> str:
    """The name of the newest file of the log."""
    return max(path.name for path in (directory / "data" / "log").glob("*.segment"))


def is_refused(one: socket.socket) -> bool:
    """Whether a connection was ended by the server."""
    one.settimeout(0.01)
    try:
        said = one.recv(4096)
    except TimeoutError:
        return False
    except OSError:
        return True
    assert said == b"" or said.startswith((b"HTTP/1.1 503", b"HTTP/1.1 408")), said
    return said == b"" or b"too_many_connections" in said


def can_ask(server: PoorServer) -> bool:
    """Whether a new connection is answered."""
    try:
        return server.request("GET", "/health")[0] == 200
    except OSError:
        return False
