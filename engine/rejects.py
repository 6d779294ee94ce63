"""The newest rows that were refused at the edge, bounded in number and in bytes.

They ride in the log, so what is kept is a function of it: a restart has the same. They are held packed, as they are
written to checkpoints, so that the bound in bytes is what they cost; who asks for them pays for the unpacking.
"""

from __future__ import annotations

import json
import struct
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from engine.errors import BadCheckpoint
from engine.model import Reject

MAX_BYTES = 4 << 20
_HEAD = struct.Struct("<qqIII")
_OVERHEAD = 64
"""Bytes of memory that one costs besides its own."""


class Kept(NamedTuple):
    """A refused row and its place in the log: the entry's position, the number among its refused rows, its stamp."""

    position: int
    number: int
    stamp: int
    reject: Reject


class Rejects:
    """A ring of refused rows; the oldest go first."""

    def __init__(self, most: int, max_bytes: int = MAX_BYTES) -> None:
        self._most, self._max_bytes = most, max_bytes
        self._packed: deque[bytes] = deque()
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self._packed)

    def add(self, position: int, stamp: int, rejects: Sequence[Reject]) -> None:
        """Takes the refused rows of one entry, in their order."""
        for number, reject in enumerate(rejects if self._most else ()):
            self._add(_pack(Kept(position, number, stamp, reject)))

    def newest_first(self) -> Iterator[Kept]:
        """What is kept now; not to be held while entries are applied."""
        return map(_unpack, reversed(self._packed))

    def save(self) -> bytes:
        """All of it as bytes, for a checkpoint."""
        return b"".join(self._packed)

    def restore(self, data: bytes) -> None:
        """Takes what `save` gave, as far as it fits. Raises BadCheckpoint."""
        self._packed.clear()
        self.nbytes = at = 0
        try:
            while at < len(data):
                *_, head, content = _HEAD.unpack_from(data, at)
                end = at + _HEAD.size + head + content
                _unpack(data[at:end])
                self._add(data[at:end])
                at = end
        except (struct.error, ValueError, TypeError) as error:
            raise BadCheckpoint(f"the refused rows of the checkpoint cannot be read: {error}") from error

    def _add(self, packed: bytes) -> None:
        self._packed.append(packed)
        self.nbytes += len(packed) + _OVERHEAD
        while self._packed and (len(self._packed) > self._most or self.nbytes > self._max_bytes):
            self.nbytes -= len(self._packed.popleft()) + _OVERHEAD


def _pack(kept: Kept) -> bytes:
    kind, row, reason, message, field, content, cut, origin = kept.reject
    known = None if origin is None else origin.hex()
    head = json.dumps((kind, row, reason, message, field, cut, known), separators=(",", ":")).encode()
    return _HEAD.pack(kept.position, kept.stamp, kept.number, len(head), len(content)) + head + content


def _unpack(packed: bytes) -> Kept:
    position, stamp, number, head, content = _HEAD.unpack_from(packed)
    if len(packed) != _HEAD.size + head + content:
        raise ValueError("a refused row is cut off")
    kind, row, reason, message, field, cut, known = json.loads(packed[_HEAD.size : _HEAD.size + head])
    origin = None if known is None else bytes.fromhex(known)
    reject = Reject(kind, row, reason, message, field, packed[_HEAD.size + head :], cut, origin)
    return Kept(position, number, stamp, reject)
