"""Log entries as bytes.

    0   u8   version: 1, or 2 where the codes are numbers of a table (see engine.tables)
    1   u8   1 where the entry has a batch, else 0
    2   u16  0
    4   u32  rows of the batch
    8   i64  stamp, ms
    16  u64  writer epoch
    24  u64  sequence
    32  u32  distinct series keys
    36  u32  bytes of the joined keys
    40  i64[rows] times, f64[rows] values, i32[rows] codes
        version 2: u32 id of the table, i32[keys] the number of each key
        the keys, joined by 0xFD (which occurs in no key: it is no byte of UTF-8)
        the rest in MessagePack, nothing where all of it is empty: [ids, events, requests, rejected, sketched]

Little-endian. The columns are read in place; they begin at a multiple of 8, so they are aligned where the payload is.
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.model import Batch, Entry, Event, KeyedRequest, Table

VERSION = 1
NUMBERED = 2
MAX_NUMBER = 1 << 24
_HEAD = struct.Struct("<BBHIqQQII")
_TABLE = struct.Struct("<I")
_KEY = b"\xfd"


class _Rest(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    ids: dict[int, bytes]
    events: list[Event]
    requests: list[KeyedRequest]
    rejected: dict[str, int]
    sketched: list[str]


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
    version = VERSION
    try:
        if batch is not None and batch.table is not None:
            version = NUMBERED
            if len(batch.table.numbers) != len(keys):
                raise ValueError("not every key of the batch has a number")
            columns += [memoryview(_TABLE.pack(batch.table.id)), _column(batch.table.numbers, "<i4")]
        head = _HEAD.pack(
            version, batch is not None, 0, rows, entry.stamp, entry.epoch, entry.sequence, len(keys), len(blob)
        )
    except struct.error as error:
        raise ValueError(f"a number of the entry is out of range: {error}") from error
    rest = b""
    if ids or entry.events or entry.requests or entry.rejected or entry.sketched:
        rest = _encode(_Rest(ids, entry.events, entry.requests, entry.rejected, entry.sketched))
    return b"".join((head, *columns, blob, rest))


def _column(values: NDArray[Any], dtype: str) -> memoryview:
    return np.ascontiguousarray(values, dtype).data


def unpack_entry(payload: bytes | bytearray | memoryview) -> Entry:
    """The entry of a payload; its columns are read-only views of the payload. ValueError for anything else."""
    if len(payload) < _HEAD.size:
        raise ValueError(f"entry of {len(payload)} bytes is cut off")
    version, has_batch, zero, rows, stamp, epoch, sequence, key_count, key_bytes = _HEAD.unpack_from(payload)
    if version not in (VERSION, NUMBERED):
        raise ValueError(f"entry of version {version}; this program reads versions {VERSION} and {NUMBERED}")
    end = _HEAD.size + 20 * rows + key_bytes
    if version == NUMBERED:
        end += _TABLE.size + 4 * key_count
    if len(payload) < end:
        raise ValueError(f"entry of {len(payload)} bytes is cut off; its head says at least {end}")
    if has_batch > 1 or zero or (not has_batch and (rows or key_count or key_bytes or version == NUMBERED)):
        raise ValueError("the head of the entry contradicts itself")
    entry = Entry(stamp, epoch, sequence)
    ids: dict[int, bytes] = {}
    if len(payload) > end:
        ids = _unpack_rest(entry, memoryview(payload)[end:], rows)
    if has_batch:
        entry.batch = _unpack_batch(payload, version, rows, key_count, key_bytes)
        entry.batch.ids = ids
    elif ids:
        raise ValueError("an entry without a batch has ids of rows")
    return entry


def _unpack_batch(
    payload: bytes | bytearray | memoryview, version: int, rows: int, key_count: int, key_bytes: int
) -> Batch:
    at = _HEAD.size
    times = np.frombuffer(payload, "<i8", rows, at)
    values = np.frombuffer(payload, "<f8", rows, at + 8 * rows)
    codes = np.frombuffer(payload, "<i4", rows, at + 16 * rows)
    at += 20 * rows
    table = None
    if version == NUMBERED:
        (number,) = _TABLE.unpack_from(payload, at)
        table = Table(number, np.frombuffer(payload, "<i4", key_count, at + _TABLE.size))
        at += _TABLE.size + 4 * key_count
    keys = bytes(payload[at : at + key_bytes]).split(_KEY) if key_count else []
    if len(keys) != key_count or (not key_count and key_bytes):
        raise ValueError(f"entry with {len(keys)} series keys where its head says {key_count}")
    # Negative codes are huge as unsigned ones, so one comparison does for both ends.
    if rows and int(codes.view(np.uint32).max()) >= (key_count if table is None else MAX_NUMBER):
        raise ValueError("a row of the entry names a series key that is not there")
    if table is not None and (not table.id or int(table.numbers.view(np.uint32).max(initial=0)) >= MAX_NUMBER):
        raise ValueError("the entry gives a series key a number that is none")
    return Batch(keys, codes, values, times, table=table)


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
    entry.events, entry.requests = parts.events, parts.requests
    entry.rejected, entry.sketched = parts.rejected, parts.sketched
    return parts.ids
