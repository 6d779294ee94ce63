"""Stored blocks: panes as separately compressed columns, so that a query unpacks only the columns it reads.

Layout: magic, version (u8), rows (u32), columns (u8); then per column its number (u8), type (u8), encoding (u8),
elements (u32) and bytes (u32), and the bytes. A column that repeats one value, or another column, costs a few bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from engine.panes import STATE, Panes
from engine.sketches.columns import PARTS, of_parts
from server.store import StoreDamaged

MAGIC = b"SGB"
VERSION = 1
_HEAD = struct.Struct("<3sBIB")
_COLUMN = struct.Struct("<BBBII")
COLUMNS = ("series", "start", *STATE, *(f"sketch/{name}" for name in PARTS))
_NUMBER = {name: number for number, name in enumerate(COLUMNS)}
_TYPES = ("<i1", "<i4", "<i8", "<f8")
_RAW, _ZSTD, _CONSTANT, _SAME = range(4)
_SMALL = 64
_LEVEL = 1
# A compressed column may not claim more than this when unpacked.
_MAX_COLUMN = 1 << 30


def encode(panes: Panes) -> bytes:
    """The bytes of a block. Thread-safe."""
    arrays: dict[str, NDArray[Any]] = {"series": panes.series, "start": panes.start, **panes.state}
    if panes.sketches is not None:
        arrays |= {f"sketch/{name}": getattr(panes.sketches, name) for name in PARTS}
    compressor = zstandard.ZstdCompressor(level=_LEVEL)
    parts = [_HEAD.pack(MAGIC, VERSION, len(panes), len(arrays))]
    done: list[tuple[int, NDArray[Any]]] = []
    for name, array in arrays.items():
        encoding, data = _encode_column(array, done, compressor)
        done.append((_NUMBER[name], array))
        parts.append(
            _COLUMN.pack(
                _NUMBER[name], _TYPES.index(array.dtype.str.replace("|", "<")), encoding, len(array), len(data)
            )
        )
        parts.append(data)
    return b"".join(parts)


def _encode_column(
    array: NDArray[Any], done: list[tuple[int, NDArray[Any]]], compressor: zstandard.ZstdCompressor
) -> tuple[int, bytes]:
    if len(array) and (array.strides == (0,) or (array == array[0]).all()):
        return _CONSTANT, array[:1].tobytes()
    for number, other in done:
        if other.dtype == array.dtype and len(other) == len(array) and np.array_equal(other, array):
            return _SAME, bytes((number,))
    data = np.ascontiguousarray(array)
    return (_RAW, data.tobytes()) if data.nbytes < _SMALL else (_ZSTD, compressor.compress(data.data))


class Block:
    """A stored block whose columns are unpacked when first asked for."""

    __slots__ = ("_arrays", "_places", "data", "generation", "rows")

    def __init__(self, data: bytes, generation: int = 0) -> None:
        self.data, self.generation = data, generation
        self._arrays: dict[str, NDArray[Any]] = {}
        self._places: dict[str, tuple[int, int, int, int, int]] = {}
        try:
            magic, version, self.rows, columns = _HEAD.unpack_from(data)
            if magic != MAGIC or version != VERSION:
                raise StoreDamaged(f"a stored block has version {version}; this release reads {VERSION}")
            at = _HEAD.size
            for _ in range(columns):
                number, dtype, encoding, count, length = _COLUMN.unpack_from(data, at)
                at += _COLUMN.size
                self._places[COLUMNS[number]] = (dtype, encoding, count, at, length)
                at += length
        except (struct.error, IndexError) as error:
            raise StoreDamaged(f"a stored block cannot be read: {error}") from error

    @property
    def nbytes(self) -> int:
        """Memory held by the block and what is unpacked of it."""
        return len(self.data) + sum(array.nbytes for array in self._arrays.values())

    def panes(self, need: Collection[str]) -> Panes:
        """The panes with the state columns in `need`, and their sketches when "sketch" is in it."""
        state = {name: self._column(name) for name in STATE if name in need}
        sketches = None
        if "sketch" in need:
            sketches = of_parts({name: self._column(f"sketch/{name}") for name in PARTS})
        return Panes(self._column("series"), self._column("start"), state, sketches)

    def _column(self, name: str) -> NDArray[Any]:
        known = self._arrays.get(name)
        if known is None:
            known = self._arrays[name] = self._decode(name)
        return known

    def _decode(self, name: str) -> NDArray[Any]:
        dtype, encoding, count, at, length = self._places[name]
        data = self.data[at : at + length]
        kind = np.dtype(_TYPES[dtype])
        if encoding == _SAME:
            return self._column(COLUMNS[data[0]])
        if encoding == _CONSTANT:
            return np.broadcast_to(np.frombuffer(data, kind)[0], count)
        if encoding == _ZSTD:
            if count * kind.itemsize > _MAX_COLUMN:
                raise StoreDamaged(f"column {name} of a stored block claims {count} elements")
            data = zstandard.ZstdDecompressor().decompress(data, max_output_size=count * kind.itemsize)
        return np.frombuffer(data, kind, count)


def samples_of(data: bytes) -> int:
    """How many samples the panes of a block hold. Raises StoreDamaged."""
    return Block(data).panes({"count"}).samples
