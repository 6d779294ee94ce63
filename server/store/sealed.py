"""Stored values: compressed where that makes them smaller, and checked when they come back.

The checksum covers the value's place as well, so that a value which turns up under another key does not pass.
"""

from __future__ import annotations

import threading
import zlib
from typing import NamedTuple

import zstandard

COMPRESS_FROM = 256  # bytes; smaller values gain nothing
LEVEL = -5
"""A checkpoint is rewritten every few seconds: speed counts, not the last byte."""


class Sealed(NamedTuple):
    """A value as it is stored. size: bytes before compression, None where `data` is the value itself."""

    crc: int
    size: int | None
    data: bytes


class Damaged(ValueError):
    """The bytes are not those that were sealed at this place."""


class Sealer:
    """Seals and opens values; for any number of threads."""

    def __init__(self) -> None:
        self._local = threading.local()  # a codec serves one thread at a time

    def seal(self, place: str, value: bytes) -> Sealed:
        """The stored form of a value that will lie at a place."""
        if len(value) >= COMPRESS_FROM:
            packed = self._codecs()[0].compress(value)
            if len(packed) < len(value):
                return Sealed(checksum(place, packed), len(value), packed)
        return Sealed(checksum(place, value), None, value)

    def open(self, place: str, crc: int, size: int | None, data: bytes) -> bytes:
        """The value sealed at a place; Damaged where the bytes have changed."""
        if not isinstance(data, bytes) or checksum(place, data) != crc:
            raise Damaged(f"checksum of {place}")
        if size is None:
            return data
        try:
            value = self._codecs()[1].decompress(data, max_output_size=size)
        except zstandard.ZstdError as error:
            raise Damaged(f"compressed bytes of {place}: {error}") from error
        if len(value) != size:
            raise Damaged(f"length of {place}")
        return value

    def _codecs(self) -> tuple[zstandard.ZstdCompressor, zstandard.ZstdDecompressor]:
        codecs: tuple[zstandard.ZstdCompressor, zstandard.ZstdDecompressor] | None
        codecs = getattr(self._local, "codecs", None)
        if codecs is None:
            codecs = zstandard.ZstdCompressor(level=LEVEL), zstandard.ZstdDecompressor()
            self._local.codecs = codecs
        return codecs


def checksum(place: str, data: bytes) -> int:
    """CRC-32 of a place and of the bytes that lie there."""
    return zlib.crc32(data, zlib.crc32(place.encode()))
