"""Codings of the columns of a tight block: of those that suit measurements, the one that takes the fewest bytes.

    steps     integers as differences to the one before
    above     integers as differences to another column: what happens just after the beginning of its pane
    stamped   log positions of Redis (milliseconds above 20 bits) as differences to a column of times
    decimal   floats that people have written with a few decimals, as integers in steps
    shuffled  other floats, their bytes sorted by place

Numbers are zigzagged, cut to the bytes that the largest needs, sorted by place (so that zeros stand together), and
compressed. Everything is exact: what does not come back to the last bit is coded in another way.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

RAW, ZSTD, CONSTANT, SAME, STEPS, ABOVE, STAMPED, DECIMAL, SHUFFLED = range(9)
_LEVEL = 6
_DECIMALS = range(7)
_EXACT = float(1 << 53)
_SEQUENCE_BITS = 20
_COMPRESSED = 0x80
_INT = struct.Struct("<q")
_MAX_BYTES = 1 << 30
"""A compressed column may not claim more than this when unpacked."""

Column = NDArray[Any]
Bases = Mapping[int, Column]
"""The columns of the block that are coded already, by number."""


def pack(array: Column, done: Bases, above: int | None, times: int | None) -> tuple[int, bytes]:
    """(coding, bytes) of a column. above, times: numbers of columns that it may be close to."""
    if len(array) and (array.strides == (0,) or ((array == array[0]).all() and not _has_two_zeros(array))):
        return CONSTANT, np.ascontiguousarray(array[:1]).tobytes()
    for number, other in done.items():
        if other.dtype == array.dtype and len(other) == len(array) and other.tobytes() == array.tobytes():
            return SAME, bytes((number,))
    found = [(RAW, np.ascontiguousarray(array).tobytes())]
    if array.dtype.kind == "f":
        decimal = _decimal(array)
        found.append((DECIMAL, decimal) if decimal is not None else (SHUFFLED, _planes(array.view(np.uint64))))
    elif array.dtype.itemsize > 1:
        wide = array.astype(np.int64)
        found.append((STEPS, _steps(wide)))
        if above is not None and len(done[above]) == len(array):
            found.append((ABOVE, bytes((above,)) + _planes(_zigzag(wide - done[above]))))
        if times is not None and len(done[times]) == len(array):
            found.append((STAMPED, bytes((times,)) + _stamped(wide, done[times])))
    else:
        found.append((ZSTD, _compressed(found[0][1])))
    return min(found, key=lambda each: len(each[1]))


def unpack(coding: int, data: bytes, count: int, dtype: np.dtype[Any], column: Callable[[int], Column]) -> Column:
    """The inverse of `pack`. column: gives another column of the block by its number. Raises ValueError."""
    if count * dtype.itemsize > _MAX_BYTES:
        raise ValueError(f"a column of {count} elements")
    if coding == SAME:
        return column(data[0])
    if coding == CONSTANT:
        return np.broadcast_to(np.frombuffer(data, dtype)[0], count)
    if coding == RAW:
        return np.frombuffer(data, dtype, count)
    if coding == ZSTD:
        return np.frombuffer(_decompressed(data, count * dtype.itemsize), dtype, count)
    if coding == STEPS:
        return _of_steps(data, count).astype(dtype)
    if coding == ABOVE:
        return (column(data[0]) + _unzigzag(_of_planes(data[1:], count)[0])).astype(dtype)
    if coding == STAMPED:
        return _of_stamped(data[1:], column(data[0]), count).astype(dtype)
    if coding == DECIMAL:
        return np.asarray(_of_steps(data[1:], count) / 10.0 ** data[0])
    if coding == SHUFFLED:
        return _of_planes(data, count)[0].view(np.float64)
    raise ValueError(f"the unknown coding {coding}")


def _has_two_zeros(array: Column) -> bool:
    """Whether some of these equal numbers are 0 and some -0."""
    return bool(array.dtype.kind == "f" and array[0] == 0 and np.unique(np.signbit(array)).size > 1)


def _decimal(array: Column) -> bytes | None:
    """Floats as integers of the fewest decimals that give each of them back, None where there are none."""
    with np.errstate(all="ignore"):
        for decimals in _DECIMALS:
            scaled = np.rint(array * 10.0**decimals)
            if not (np.abs(scaled) < _EXACT).all():
                return None
            if (scaled / 10.0**decimals).tobytes() == array.tobytes():
                whole = scaled.astype(np.int64)
                # -0 is no integer
                same = (whole / 10.0**decimals).tobytes() == array.tobytes()
                return bytes((decimals,)) + _steps(whole) if same else None
    return None


def _steps(array: NDArray[np.int64]) -> bytes:
    if not len(array):
        return b""
    return _INT.pack(int(array[0])) + _planes(_zigzag(np.diff(array)))


def _of_steps(data: bytes, count: int) -> NDArray[np.int64]:
    if not count:
        return np.empty(0, np.int64)
    steps = _unzigzag(_of_planes(data[_INT.size :], count - 1)[0])
    found = np.empty(count, np.int64)
    found[0] = _INT.unpack_from(data)[0]
    np.cumsum(steps, out=found[1:])
    found[1:] += found[0]
    return found


def _stamped(array: NDArray[np.int64], times: Column) -> bytes:
    after = _zigzag((array >> _SEQUENCE_BITS) - times)
    return _planes(after) + _planes((array & ((1 << _SEQUENCE_BITS) - 1)).astype(np.uint64))


def _of_stamped(data: bytes, times: Column, count: int) -> NDArray[np.int64]:
    after, used = _of_planes(data, count)
    sequences, _ = _of_planes(data[used:], count)
    found: NDArray[np.int64] = ((times + _unzigzag(after)) << _SEQUENCE_BITS) | sequences.astype(np.int64)
    return found


def _zigzag(array: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Numbers of either sign as ones that are small where those are."""
    return ((array << 1) ^ (array >> 63)).view(np.uint64)


def _unzigzag(array: NDArray[np.uint64]) -> NDArray[np.int64]:
    half = (array >> np.uint64(1)).view(np.int64)
    return half ^ -((array & np.uint64(1)).view(np.int64))


def _planes(array: NDArray[np.uint64]) -> bytes:
    """How many bytes each number keeps, how many there are in all, and those bytes, the lowest of all numbers first."""
    most = int(array.max()) if len(array) else 0
    width = max(1, (most.bit_length() + 7) // 8)
    data = np.ascontiguousarray(array.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :width].T).tobytes()
    packed = _compressed(data)
    if len(packed) < len(data):
        return struct.pack("<BI", width | _COMPRESSED, len(packed)) + packed
    return struct.pack("<BI", width, len(data)) + data


def _of_planes(data: bytes, count: int) -> tuple[NDArray[np.uint64], int]:
    """(the numbers, how many bytes of `data` they took)."""
    head, length = struct.unpack_from("<BI", data)
    width = head & ~_COMPRESSED
    if not 1 <= width <= 8 or count * 8 > _MAX_BYTES:
        raise ValueError(f"{count} numbers of {width} bytes")
    end = struct.calcsize("<BI") + length
    held = data[struct.calcsize("<BI") : end]
    held = _decompressed(held, count * width) if head & _COMPRESSED else held
    found = np.zeros((count, 8), np.uint8)
    found[:, :width] = np.frombuffer(held, np.uint8, count * width).reshape(width, count).T
    return found.view("<u8").reshape(-1), end


def _compressed(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=_LEVEL, write_content_size=False).compress(data)


def _decompressed(data: bytes, size: int) -> bytes:
    try:
        if zstandard.frame_content_size(data) not in (-1, size):  # what it claims would be allocated
            raise ValueError(f"compressed bytes of another length than {size}")
        found = zstandard.ZstdDecompressor().decompress(data, max_output_size=max(size, 1))
    except zstandard.ZstdError as error:
        raise ValueError(f"compressed bytes: {error}") from error
    if len(found) != size:
        raise ValueError(f"{len(found)} bytes where {size} should be")
    return found
