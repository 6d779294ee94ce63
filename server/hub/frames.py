"""WebSocket frames from server to client (RFC 6455, section 5.2): unmasked, never fragmented, never compressed."""

from __future__ import annotations

from collections.abc import Iterator

TEXT, PING = 0x1, 0x9
_FINAL = 0x80

ID_LENGTH = 20
"""Characters of every subscription id, so that a frame can be built before the id is known."""


def _header(opcode: int, length: int) -> bytes:
    if length < 126:
        return bytes((_FINAL | opcode, length))
    if length < 65_536:
        return bytes((_FINAL | opcode, 126)) + length.to_bytes(2, "big")
    return bytes((_FINAL | opcode, 127)) + length.to_bytes(8, "big")


def text_frame(payload: bytes) -> bytes:
    """One text message as one frame; the payload is UTF-8."""
    return _header(TEXT, len(payload)) + payload


def ping_frame(payload: bytes = b"") -> bytes:
    """A ping; at most 125 bytes of payload."""
    return _header(PING, len(payload)) + payload


class Spliced:
    """A text frame with a hole for a subscription id: `head + id + tail` is the frame, `tail` is shared by all."""

    __slots__ = ("head", "length", "tail")

    def __init__(self, before: bytes, after: bytes) -> None:
        self.head = _header(TEXT, len(before) + ID_LENGTH + len(after)) + before
        self.tail = after
        self.length = len(self.head) + ID_LENGTH + len(after)


def payloads(frames: bytes) -> Iterator[tuple[int, bytes]]:
    """(opcode, payload) of each of the frames, all built by this module."""
    at = 0
    while at < len(frames):
        opcode, length = frames[at] & 0x0F, frames[at + 1]
        at += 2
        if length >= 126:
            size = 2 if length == 126 else 8
            length = int.from_bytes(frames[at : at + size], "big")
            at += size
        yield opcode, frames[at : at + length]
        at += length
