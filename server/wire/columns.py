"""Codings of the columns of a tight block: of those that suit measurements, the one that takes the fewest bytes.

    steps     integers as differences to the one before
    above     integers as differences to another column: what happens just after the beginning of its pane
    stamped   log positions of Redis (milliseconds above 20 bits) as differences to a column of times
    decimal   floats that people have written with a few decimals, as integers in steps
    loose     the same where one says nothing about the next: not in steps
    shuffled  other floats, their bytes sorted by place
    near      numbers that are known but for a last bit, as differences to those (see server.wire.predictions)

Numbers are zigzagged, cut to the bytes that the largest needs, sorted by place (so that zeros stand together), and
compressed; or cut to its bits, of which only the highest are compressed. Everything is exact: what does not come back
to the last bit is coded in another way.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

RAW, ZSTD, CONSTANT, SAME, STEPS, ABOVE, STAMPED, DECIMAL, SHUFFLED, LOOSE, NEAR = range(11)
_LEVEL = 6
_DECIMALS = range(7)
_EXACT = float(1 << 53)
_SEQUENCE_BITS = 20
_COMPRESSED, _SPLIT = 0x80, 0x40
_INT = struct.Struct("<q")
_MAX_BYTES = 1 << 30
"""A compressed column may not claim more than this when unpacked."""

Column = NDArray[Any]
Bases = Mapping[int, Column]
"""The columns of the block that are coded already, by number."""


def pack(
    array: Column, done: Bases, above: int | None, times: int | None, predicted: Column | None = None
) -> tuple[int, bytes]:
    """(coding, bytes) of a column. above, times: numbers of columns that it may be close to; predicted: what it is."""
    if len(array) and (array.strides == (0,) or ((array == array[0]).all() and not _has_two_zeros(array))):
        return CONSTANT, np.ascontiguousarray(array[:1]).tobytes()
    for number, other in done.items():
        if other.dtype == array.dtype and len(other) == len(array) and other.tobytes() == array.tobytes():
            return SAME, bytes((number,))
    found = [(RAW, np.ascontiguousarray(array).tobytes())]
    if array.dtype.kind == "f":
        decimal = _decimal(array)
        if decimal is None:
            found.append((SHUFFLED, _planes(np.ascontiguousarray(array).view(np.uint64))))
        else:
            decimals, whole = decimal
            found += [(DECIMAL, bytes((decimals,)) + _steps(whole)), (LOOSE, bytes((decimals,)) + _loose(whole))]
    elif array.dtype.itemsize > 1:
        wide = array.astype(np.int64)
        found.append((STEPS, _steps(wide)))
        if above is not None and len(done[above]) == len(array):
            found.append((ABOVE, bytes((above,)) + _planes(_zigzag(wide - done[above]))))
        if times is not None and len(done[times]) == len(array):
            found.append((STAMPED, bytes((times,)) + _stamped(wide, done[times])))
    else:
        found.append((ZSTD, _compressed(found[0][1])))
    if predicted is not None:
        found.append((NEAR, _planes(_zigzag(_bits(array) - _bits(predicted)))))
    return min(found, key=lambda each: len(each[1]))


def unpack(
    coding: int, data: bytes, count: int, dtype: np.dtype[Any], column: Callable[[int], Column],
    predicted: Callable[[], Column] | None = None,
) -> Column:  # fmt: skip
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
    if coding == LOOSE:
        return np.asarray(_of_loose(data[1:], count) / 10.0 ** data[0])
    if coding == NEAR and predicted is not None and dtype.itemsize == 8:
        return (_bits(predicted()) + _unzigzag(_of_planes(data, count)[0])).view(dtype)
    raise ValueError(f"the unknown coding {coding}")


def _has_two_zeros(array: Column) -> bool:
    """Whether some of these equal numbers are 0 and some -0."""
    return bool(array.dtype.kind == "f" and array[0] == 0 and np.unique(np.signbit(array)).size > 1)


def _decimal(array: Column) -> tuple[int, NDArray[np.int64]] | None:
    """Floats as integers of the fewest decimals that give each of them back: (decimals, integers). None without."""
    with np.errstate(all="ignore"):
        for decimals in _DECIMALS:
            scaled = np.rint(array * 10.0**decimals)
            if not (np.abs(scaled) < _EXACT).all():
                return None
            if (scaled / 10.0**decimals).tobytes() == array.tobytes():
                whole = scaled.astype(np.int64)
                # -0 is no integer
                same = (whole / 10.0**decimals).tobytes() == array.tobytes()
                return (decimals, whole) if same else None
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


def _loose(array: NDArray[np.int64]) -> bytes:
    """Integers as what they are above the least of them."""
    least = int(array.min()) if len(array) else 0
    return _INT.pack(least) + _planes((array - least).view(np.uint64))


def _of_loose(data: bytes, count: int) -> NDArray[np.int64]:
    above: NDArray[np.int64] = _of_planes(data[_INT.size :], count)[0].view(np.int64)
    return above + int(_INT.unpack_from(data)[0])


def _bits(array: Column) -> NDArray[np.int64]:
    """The bits of 8-byte numbers as integers."""
    return np.ascontiguousarray(array).view(np.int64)


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
    """How the numbers are laid out, how many bytes that takes, and those bytes: whatever takes fewest.

    In planes, the lowest bytes of all numbers first; or split into the bits that are as good as random, close together,
    and the highest 8, which compress.
    """
    bits = int(array.max()).bit_length() if len(array) else 0
    width = max(1, (bits + 7) // 8)
    found = [(width, _bytes_of(array)[:, :width].T.tobytes())]
    found.append((width | _COMPRESSED, _compressed(found[0][1])))
    if bits > 8:
        low = np.packbits(_bits_of(array)[:, : bits - 8], bitorder="little").tobytes()
        found.append((bits | _SPLIT, low + _compressed((array >> np.uint64(bits - 8)).astype(np.uint8).tobytes())))
    head, data = min(found, key=lambda each: len(each[1]))
    return struct.pack("<BI", head, len(data)) + data


def _of_planes(data: bytes, count: int) -> tuple[NDArray[np.uint64], int]:
    """(the numbers, how many bytes of `data` they took)."""
    head, length = struct.unpack_from("<BI", data)
    size = head & ~(_COMPRESSED | _SPLIT)
    if not 1 <= size <= 64 or count * 8 > _MAX_BYTES:
        raise ValueError(f"{count} numbers of {size} bytes or bits")
    end = struct.calcsize("<BI") + length
    held = data[struct.calcsize("<BI") : end]
    found = np.zeros((count, 8), np.uint8)
    if head & _SPLIT:
        return _of_split(held, count, size - 8), end
    held = _decompressed(held, count * size) if head & _COMPRESSED else held
    found[:, :size] = np.frombuffer(held, np.uint8, count * size).reshape(size, count).T
    return found.view("<u8").reshape(-1), end


def _of_split(data: bytes, count: int, low: int) -> NDArray[np.uint64]:
    """Numbers of `low` bits that lie close together and of 8 that are compressed."""
    if low < 1:
        raise ValueError(f"{low} bits")
    packed = (count * low + 7) // 8
    bits = np.zeros((count, 64), np.uint8)
    held = np.frombuffer(data, np.uint8, packed)
    bits[:, :low] = np.unpackbits(held, count=count * low, bitorder="little").reshape(count, low)
    found = np.packbits(bits, axis=1, bitorder="little").view("<u8").reshape(-1)
    high = np.frombuffer(_decompressed(data[packed:], count), np.uint8)
    return np.asarray(found | (high.astype(np.uint64) << np.uint64(low)))


def _bytes_of(array: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """The 8 bytes of each number, the lowest first."""
    return np.ascontiguousarray(array.astype("<u8")).view(np.uint8).reshape(-1, 8)


def _bits_of(array: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """The 64 bits of each number, the lowest first."""
    return np.unpackbits(_bytes_of(array), axis=1, bitorder="little")


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
