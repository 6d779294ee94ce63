"""Junk on a WebSocket ends, at most, its own connection; and one who never reads holds up nobody."""

from __future__ import annotations

import json
import socket
import struct
import time
from pathlib import Path

import pytest

from tests.bad_input_support import GOOD, exchange, frame, upgraded
from tests.support import Streamgauge

pytestmark = pytest.mark.usefixtures("lives_on")


@pytest.mark.parametrize(
    "sent",
    [
        frame(1, b"{}", masked=False),
        frame(1, b"{}", reserved=4),
        frame(3, b"x"),
        frame(9, b"x" * 126),
        frame(0, b"x"),
        frame(1, b"a", final=False) + frame(1, b"b"),
        frame(1, b"\xff\xfe"),
        frame(8, b"\x00"),
        frame(8, struct.pack(">H", 5)),
        b"\x81\xff" + struct.pack(">Q", 1 << 62) + bytes(4),
        b"\x00" * 5000,
        b"GET / HTTP/1.1\r\n\r\n",
        frame(1, b"x" * 2_000_000),
    ],
    ids=lambda sent: f"{sent[:6].hex()}_{len(sent)}",
)
def test_junk_frames_end_only_their_connection(tough_server: Streamgauge, sent: bytes) -> None:
    with tough_server.listen("bystander") as bystander, upgraded(tough_server) as rude:
        try:
            rude.sendall(sent)
            rude.settimeout(3)
            while rude.recv(65536):
                pass
        except TimeoutError:
            raise AssertionError("the connection stays open after a protocol error") from None
        except ConnectionError:
            pass
        tough_server.call("POST", "/api/metrics", GOOD, expect=201)
        bystander.until("new_metric")


def test_fragments_are_joined_whatever_lies_between(tough_server: Streamgauge) -> None:
    with upgraded(tough_server) as client:
        for byte in (b'{"ty', b'pe":', b' "pi', b'ng"}'):
            final = byte.endswith(b"}")
            client.sendall(frame(1 if byte.startswith(b"{") else 0, byte, final=final) + frame(9, b"?"))
            time.sleep(0.02)
        client.settimeout(3)
        answer = b""
        while b'{"type":"pong"}' not in answer:
            answer += client.recv(65536)
        assert b"\x8a\x01?" in answer


def test_handshakes_that_are_none(tough_server: Streamgauge) -> None:
    for head in (
        "",
        "Upgrade: websocket\r\n",
        "Upgrade: websocket\r\nConnection: Upgrade\r\n",
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 99\r\n",
    ):
        answer = exchange(tough_server, f"GET /ws/a HTTP/1.1\r\nHost: localhost\r\n{head}\r\n".encode(), seconds=1)
        assert answer[9:10] == b"4", answer[:200]


def test_a_client_that_never_reads_holds_up_nobody(tough_server: Streamgauge) -> None:
    def memory() -> int:
        assert tough_server.child is not None
        return int(Path(f"/proc/{tough_server.child.pid}/statm").read_text().split()[1]) * 4096

    stuck = upgraded(tough_server, "stuck")
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    wide = {"query_string": "metric:wide", "aggregation": "sum", "group_by": ["k"]}
    for number in range(20):
        stuck.sendall(
            frame(1, json.dumps({"type": "subscribe", "query": wide | {"time_range": f"{number + 1}m"}}).encode())
        )
    rows = [{"name": "wide", "metric_type": "counter", "value": 1, "tags": {"k": str(n)}} for n in range(500)]
    with tough_server.listen("reader", "?firehose=0") as reader:
        reader.subscribe(query=wide)
        before, slowest = 0, 0.0
        for number in range(1, 26):
            began = time.monotonic()
            tough_server.call("POST", "/api/metrics", rows, expect=202)
            reader.until("realtime_update", lambda message: message["data"] and message["data"][0]["value"] == number)  # noqa: B023
            slowest = max(slowest, time.monotonic() - began)
            before = before or memory()
        assert slowest < 2
        assert memory() - before < 60 << 20
    stuck.close()
