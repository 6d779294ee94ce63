"""Log entries as bytes.

    0   u8   version: 3
    1   u8   1 where the entry has a batch, 2 more where its codes are numbers of a table (see engine.tables)
    2   u16  0
    4   u32  rows of the batch
    8   i64  stamp, ms
    16  u64  writer epoch
    24  u64  sequence
    32  u32  distinct series keys
    36  u32  bytes of the joined keys
    40  u64  rows that this writer had handed to the log before
    48  i64[rows] times, f64[rows] values, i32[rows] codes
        numbered: u32 id of the table, i32[keys] the number of each key
        the keys, joined by 0xFD (which occurs in no key: it is no byte of UTF-8)
        the rest in MessagePack, nothing where all of it is empty:
        [ids, events, requests, rejected, sketched, rejects, marks]

Little-endian. The columns are read in place; they begin at a multiple of 8, so they are aligned where the payload is.
Versions 1 and 2 are read too: their head ends after 40 bytes, byte 1 is 0 or 1, the rest lacks rejects, and version 2
is numbered.
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.model import MAX_REJECT_BYTES, REJECT_KINDS, Batch, Codes, Entry, Event, KeyedRequest, Mark, Reject, Table

VERSION = 3
_SPELT, _NUMBERED = 1, 2  # versions before
_HAS_BATCH, _IS_NUMBERED = 1, 2
MAX_NUMBER = 1 << 24
_OLD_HEAD = struct.Struct("<BBHIqQQII")
_HEAD = struct.Struct("<BBHIqQQIIQ")
_TABLE = struct.Struct("<I")
_KEY = b"\xfd"
_FEW = [struct.Struct(f"<{rows}I").unpack_from for rows in range(33)]
"""So few codes Python reads faster than numpy finds the highest of them."""


class _Rest(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    ids: dict[int, bytes]
    events: list[Event]
    requests: list[KeyedRequest]
    rejected: dict[str, int]
    sketched: list[str]
    rejects: list[Reject] = []
    marks: list[Mark] = []


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Rest).decode
_HASH_BYTES = 16
_BODY_HASH_BYTES = 8


def pack_entry(entry: Entry) -> bytes:
    """The bytes of an entry; `unpack_entry` gives it back. ValueError where a key holds 0xFD or a number is too big."""
    batch = entry.batch
    rows, keys, ids = 0, [], {}
    columns: list[memoryview] = []
    blob = b""
    if batch is not None:
        rows, keys, ids = len(batch), batch.keys, batch.ids
        blob = _KEY.join(keys)
        # numpy counts ten times as fast as bytes.count
        if keys and np.count_nonzero(np.frombuffer(blob, np.uint8) == _KEY[0]) != len(keys) - 1:
            raise ValueError("a series key holds the byte 0xFD")
        if not len(batch.times) == len(batch.values) == rows:
            raise ValueError("the columns of the batch differ in length")
        columns = [_column(batch.times, "<i8"), _column(batch.values, "<f8"), _column(batch.codes, "<i4")]
    flags = 0 if batch is None else _HAS_BATCH
    try:
        if batch is not None and batch.table is not None:
            flags |= _IS_NUMBERED
            if len(batch.table.numbers) != len(keys):
                raise ValueError("not every key of the batch has a number")
            columns += [memoryview(_TABLE.pack(batch.table.id)), _column(batch.table.numbers, "<i4")]
        head = _HEAD.pack(
            VERSION, flags, 0, rows, entry.stamp, entry.epoch, entry.sequence, len(keys), len(blob), entry.written or 0
        )
    except struct.error as error:
        raise ValueError(f"a number of the entry is out of range: {error}") from error
    more = entry.events, entry.requests, entry.rejected, entry.sketched, entry.rejects, entry.marks
    rest = _encode(_Rest(ids, *more)) if ids or any(more) else b""
    return b"".join((head, *columns, blob, rest))


def _column(values: NDArray[Any], dtype: str) -> memoryview:
    return np.ascontiguousarray(values, dtype).data


def unpack_entry(payload: bytes | bytearray | memoryview) -> Entry:
    """The entry of a payload; its columns are read-only views of the payload. ValueError for anything else.

    A replay does this for each entry, however small, so it is written to be cheap: few calls, no objects on the way.
    """
    size = len(payload)
    version = payload[0] if size else VERSION
    if version == VERSION and size >= _HEAD.size:
        _, flags, zero, rows, stamp, epoch, sequence, keys, key_bytes, written = _HEAD.unpack_from(payload)
        has_batch, numbered, at = bool(flags & _HAS_BATCH), bool(flags & _IS_NUMBERED), _HEAD.size
        known = flags <= _HAS_BATCH | _IS_NUMBERED
    elif version in (_SPELT, _NUMBERED) and size >= _OLD_HEAD.size:
        _, flags, zero, rows, stamp, epoch, sequence, keys, key_bytes = _OLD_HEAD.unpack_from(payload)
        has_batch, numbered, at = bool(flags), version == _NUMBERED, _OLD_HEAD.size
        known, written = flags <= _HAS_BATCH, None
    elif version in (_SPELT, _NUMBERED, VERSION):
        raise ValueError(f"entry of {size} bytes is cut off")
    else:
        raise ValueError(f"entry of version {version}; this program reads versions 1 to {VERSION}")
    if not known or zero or (not has_batch and (rows or keys or key_bytes or numbered)):
        raise ValueError("the head of the entry contradicts itself")
    end = at + 20 * rows + key_bytes + (_TABLE.size + 4 * keys if numbered else 0)
    if size < end:
        raise ValueError(f"entry of {size} bytes is cut off; its head says at least {end}")
    batch = _unpack_batch(payload, at, rows, keys, key_bytes, numbered) if has_batch else None
    entry = Entry(stamp, epoch, sequence, batch, written=written)
    if size > end:
        ids = _unpack_rest(entry, memoryview(payload)[end:], rows)
        if batch is not None:
            batch.ids = ids
        elif ids:
            raise ValueError("an entry without a batch has ids of rows")
    return entry


def _unpack_batch(
    payload: bytes | bytearray | memoryview, at: int, rows: int, keys: int, key_bytes: int, numbered: bool
) -> Batch:
    """at: where the columns begin."""
    times = np.frombuffer(payload, "<i8", rows, at)
    values = np.frombuffer(payload, "<f8", rows, at + 8 * rows)
    codes = np.frombuffer(payload, "<i4", rows, at + 16 * rows)
    # A negative code is a huge one, so that one comparison does for both ends.
    highest = max(_FEW[rows](payload, at + 16 * rows)) if 0 < rows < len(_FEW) else _highest(codes)
    at += 20 * rows
    table = None
    if numbered:
        table = Table(_TABLE.unpack_from(payload, at)[0], np.frombuffer(payload, "<i4", keys, at + _TABLE.size))
        at += _TABLE.size + 4 * keys
        if not table.id or (keys and _highest(table.numbers) >= MAX_NUMBER):
            raise ValueError("the entry gives a series key a number that is none")
    spelt = bytes(payload[at : at + key_bytes]).split(_KEY) if keys else []
    if len(spelt) != keys or (not keys and key_bytes):
        raise ValueError(f"entry with {len(spelt)} series keys where its head says {keys}")
    if rows and highest >= (keys if table is None else MAX_NUMBER):
        raise ValueError("a row of the entry names a series key that is not there")
    return Batch(spelt, codes, values, times, {}, table)


def _highest(codes: Codes) -> int:
    return int(codes.view(np.uint32).max(initial=0))


def _unpack_rest(entry: Entry, rest: memoryview, rows: int) -> dict[int, bytes]:
    try:
        parts = _decode(rest)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError(f"the end of the entry is damaged: {error}") from error
    if any(not 0 <= row < rows or len(value) != _HASH_BYTES for row, value in parts.ids.items()):
        raise ValueError("the entry has an id for a row that is not there, or one of a wrong length")
    if any(event.id is not None and len(event.id) != _HASH_BYTES for event in parts.events):
        raise ValueError("the entry has an event with an id of a wrong length")
    for request in parts.requests:
        if len(request.key) != _HASH_BYTES or len(request.body) != _BODY_HASH_BYTES:
            raise ValueError("the entry has a keyed request with a hash of a wrong length")
        for (first, last), size in ((request.metrics, rows), (request.events, len(parts.events))):
            if not 0 <= first <= last <= size:
                raise ValueError("the entry has a keyed request with rows that are not there")
    for reject in parts.rejects:
        origin = len(reject.origin or bytes(_HASH_BYTES))
        if reject.kind not in REJECT_KINDS or len(reject.content) > MAX_REJECT_BYTES or origin != _HASH_BYTES:
            raise ValueError("the entry has a rejected row that is none")
    if any(count < 0 for count in parts.rejected.values()):
        raise ValueError("the entry counts rejected rows below 0")
    entry.events, entry.requests = parts.events, parts.requests
    entry.rejected, entry.sketched, entry.rejects = parts.rejected, parts.sketched, parts.rejects
    entry.marks = parts.marks
    return parts.ids
