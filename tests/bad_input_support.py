"""What the tests of bad input share: requests and frames written by hand."""

from __future__ import annotations

import socket
import struct
import time
from typing import Any

from tests.support import Streamgauge, lasting

LIMIT = 200_000
"""MAX_BODY_BYTES of the server they talk to."""
GOOD = {"name": "good", "metric_type": "gauge", "value": 1}


def check_ledger(ledger: dict[str, Any]) -> None:
    """What became of the rows adds up to what came, and so does where the accepted samples are."""
    rejected = sum(ledger["rejected"].values())
    assert ledger["received"] == ledger["accepted"] + ledger["events"] + ledger["duplicate"] + rejected
    assert ledger["accepted"] == sum(ledger["in_panes"].values()) + ledger["expired"]
    assert ledger["balanced"] is True


def exchange(server: Streamgauge, *parts: bytes, pause: float = 0.0, seconds: float = 5.0) -> bytes:
    """The answer, or what there is of it when the connection ends; parts are sent with pauses between them."""
    answer = b""
    with socket.create_connection(("127.0.0.1", server.port), seconds) as connection:
        try:
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)
            while not is_whole(answer) and (part := connection.recv(65536)):
                answer += part
        except (TimeoutError, ConnectionError):
            pass
    return answer


def is_whole(answer: bytes) -> bool:
    """Whether an HTTP answer has come with all of its body."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return bool(lengths) and len(body) >= int(lengths[0])


def frame(opcode: int, payload: bytes, final: bool = True, masked: bool = True, reserved: int = 0) -> bytes:
    """A frame as a client sends it, well-formed or not."""
    head = bytes([(0x80 if final else 0) | reserved << 4 | opcode])
    mask = 0x80 if masked else 0
    size = len(payload)
    if size < 126:
        length = bytes([mask | size])
    elif size <= 0xFFFF:
        length = bytes([mask | 126]) + struct.pack(">H", size)
    else:
        length = bytes([mask | 127]) + struct.pack(">Q", size)
    return head + length + (bytes(4) if masked else b"") + payload


def upgraded(server: Streamgauge, client_id: str = "rude") -> socket.socket:
    """A bare socket after the handshake."""
    connection = socket.create_connection(("127.0.0.1", server.port), 5)
    connection.sendall(
        f"GET /ws/{client_id}?firehose=0 HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    answer = b""
    while b'"hello"' not in answer:
        part = connection.recv(65536)
        assert part, answer
        answer += part
    return connection


def check_survives_a_kill(server: Streamgauge) -> dict[str, int]:
    """Kills the server and starts it: its ledger stays what it was. Gives the refused rows, by reason."""
    before = lasting(server.call("GET", "/api/ledger"))
    server.kill()
    server.start()
    assert lasting(server.call("GET", "/api/ledger")) == before
    rejected: dict[str, int] = before["rejected"]
    return rejected
