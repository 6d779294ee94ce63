"""Stored blocks: panes as separately compressed columns, so that a query unpacks only the columns it reads.

Layout: magic, version (u8), rows (u32), columns (u8); then per column its number (u8), type (u8), coding (u8),
elements (u32) and bytes (u32), and the bytes. A column that repeats one value, or another column, costs a few bytes.

A tight block (version 2) is for stores that bill bytes: its columns are coded by server.wire.columns, and say less of
themselves: number (u8), type and coding (4 bits each), elements and bytes in 7 bits a byte, lowest first. Sketches come
before the state, which can mostly be worked out from them.
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
from server.wire import columns as codings
from server.wire.columns import CONSTANT, RAW, SAME, ZSTD
from server.wire.predictions import PREDICTED, Predictions, divide

MAGIC = b"SGB"
VERSION, TIGHT = 1, 2
_HEAD = struct.Struct("<3sBIB")
_COLUMN = struct.Struct("<BBBII")
COLUMNS = ("series", "start", *STATE, *(f"sketch/{name}" for name in PARTS))
_NUMBER = {name: number for number, name in enumerate(COLUMNS)}
_TYPES = ("<i1", "<i4", "<i8", "<f8")
_ABOVE = {"first_time": "start", "last_time": "first_time", "sketch/bucket_ptr": "sketch/value_ptr"}
_TIMES = {"first_position": "first_time", "last_position": "last_time"}
"""Which other column a column is close to."""
_SMALL = 64
_LEVEL = 1


def encode(panes: Panes, *, tight: bool = False) -> bytes:
    """The bytes of a block; tight: as few as can be. Thread-safe."""
    arrays: dict[str, NDArray[Any]] = {"series": panes.series, "start": panes.start, **panes.state}
    if panes.sketches is not None:
        arrays |= {f"sketch/{name}": getattr(panes.sketches, name) for name in PARTS}
    if tight:
        return _encode_tight(arrays, len(panes))
    compressor = zstandard.ZstdCompressor(level=_LEVEL)
    parts = [_HEAD.pack(MAGIC, VERSION, len(panes), len(arrays))]
    done: list[tuple[int, NDArray[Any]]] = []
    for name, array in arrays.items():
        coding, data = _encode_column(array, done, compressor)
        done.append((_NUMBER[name], array))
        parts.append(_COLUMN.pack(_NUMBER[name], _type_of(array), coding, len(array), len(data)))
        parts.append(data)
    return b"".join(parts)


def _encode_tight(arrays: dict[str, NDArray[Any]], rows: int) -> bytes:
    parts = [_HEAD.pack(MAGIC, TIGHT, rows, len(arrays))]
    done: dict[int, NDArray[Any]] = {}
    predictions = None
    sketched = tuple(arrays[f"sketch/{part}"] for part in ("value_ptr", "values") if f"sketch/{part}" in arrays)
    if sketched and divide(*sketched):
        predictions = Predictions(*sketched)
    for name, array in sorted(arrays.items(), key=lambda each: each[0] in STATE):
        above, times = (_NUMBER[other[name]] if name in other else None for other in (_ABOVE, _TIMES))
        predicted = predictions[name] if predictions is not None and name in PREDICTED else None
        coding, data = codings.pack(array, done, above, times, predicted)
        done[_NUMBER[name]] = array
        parts.append(bytes((_NUMBER[name], _type_of(array) << 4 | coding)) + _short(len(array)) + _short(len(data)))
        parts.append(data)
    return b"".join(parts)


def _type_of(array: NDArray[Any]) -> int:
    return _TYPES.index(array.dtype.str.replace("|", "<"))


def _short(number: int) -> bytes:
    """7 bits a byte, the lowest first; all but the last byte have their highest bit set."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*found, number))


def _read_short(data: bytes, at: int) -> tuple[int, int]:
    """(number, where it ends). Raises IndexError."""
    number = shift = 0
    while data[at] & 0x80:
        number |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return number | data[at] << shift, at + 1


def _encode_column(
    array: NDArray[Any], done: list[tuple[int, NDArray[Any]]], compressor: zstandard.ZstdCompressor
) -> tuple[int, bytes]:
    if len(array) and (array.strides == (0,) or (array == array[0]).all()):
        return CONSTANT, array[:1].tobytes()
    for number, other in done:
        if other.dtype == array.dtype and len(other) == len(array) and np.array_equal(other, array):
            return SAME, bytes((number,))
    data = np.ascontiguousarray(array)
    return (RAW, data.tobytes()) if data.nbytes < _SMALL else (ZSTD, compressor.compress(data.data))


class Block:
    """A stored block whose columns are unpacked when first asked for."""

    __slots__ = ("_arrays", "_places", "_predictions", "data", "generation", "rows")

    def __init__(self, data: bytes, generation: int = 0) -> None:
        self.data, self.generation = data, generation
        self._arrays: dict[str, NDArray[Any]] = {}
        self._places: dict[str, tuple[int, int, int, int, int]] = {}
        self._predictions: Predictions | None = None
        try:
            magic, version, self.rows, columns = _HEAD.unpack_from(data)
            if magic != MAGIC or version not in (VERSION, TIGHT):
                raise StoreDamaged(f"a stored block has version {version}; this release reads {VERSION} and {TIGHT}")
            at = _HEAD.size
            for _ in range(columns):
                number, dtype, coding, count, length, at = _read_column(data, at, version)
                self._places[COLUMNS[number]] = (dtype, coding, count, at, length)
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
        try:
            dtype, coding, count, at, length = self._places[name]
            data = self.data[at : at + length]
            return codings.unpack(
                coding, data, count, np.dtype(_TYPES[dtype]), lambda number: self._before(number, at),
                lambda: self._predicted(name, at),
            )  # fmt: skip
        except (ValueError, IndexError, KeyError, OverflowError, struct.error) as error:
            raise StoreDamaged(f"column {name} of a stored block cannot be read: {error}") from error

    def _before(self, number: int, at: int) -> NDArray[Any]:
        """A column that another one rests on, which begins at `at`."""
        if self._places[COLUMNS[number]][3] >= at:
            raise ValueError("it rests on one that comes later")
        return self._column(COLUMNS[number])

    def _predicted(self, name: str, at: int) -> NDArray[Any]:
        if self._predictions is None:
            pointers, values = (self._before(_NUMBER[f"sketch/{part}"], at) for part in ("value_ptr", "values"))
            self._predictions = Predictions(pointers, values)
        return self._predictions[name]


def _read_column(data: bytes, at: int, version: int) -> tuple[int, int, int, int, int, int]:
    """(number, type, coding, elements, bytes, where the bytes begin) of a column."""
    if version == VERSION:
        return *_COLUMN.unpack_from(data, at), at + _COLUMN.size
    number, kind = data[at], data[at + 1]
    count, at = _read_short(data, at + 2)
    length, at = _read_short(data, at)
    return number, kind >> 4, kind & 0xF, count, length, at


def samples_of(data: bytes) -> int:
    """How many samples the panes of a block hold. Raises StoreDamaged."""
    return Block(data).panes({"count"}).samples
