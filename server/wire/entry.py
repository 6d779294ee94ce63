"""Log entries as bytes.

    0   u8   version (1)
    1   u8   1 where the entry has a batch, else 0
    2   u16  0
    4   u32  rows of the batch
    8   i64  stamp, ms
    16  u64  writer epoch
    24  u64  sequence
    32  u32  distinct series keys
    36  u32  bytes of the joined keys
    40  i64[rows] times, f64[rows] values, i32[rows] codes
        the keys, joined by 0xFD (which occurs in no key: it is no byte of UTF-8)
        the rest in MessagePack, nothing where all of it is empty: [ids, events, requests, rejected, sketched]

Little-endian. The columns are read in place; they begin at a multiple of 8, so they are aligned where the payload is.
"""

from __future__ import annotations

import struct

import msgspec
import numpy as np

from engine.model import Batch, Entry, Event, KeyedRequest

VERSION = 1
_HEAD = struct.Struct("<BBHIqQQII")
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
    rows, keys, columns, ids = 0, [], b"", {}
    blob = b""
    if batch is not None:
        rows, keys, ids = len(batch), batch.keys, batch.ids
        blob = _KEY.join(keys)
        if keys and blob.count(_KEY) != len(keys) - 1:
            raise ValueError("a series key holds the byte 0xFD")
        columns = (
            batch.times.astype("<i8", copy=False).tobytes()
            + batch.values.astype("<f8", copy=False).tobytes()
            + batch.codes.astype("<i4", copy=False).tobytes()
        )
        if len(columns) != 20 * rows:
            raise ValueError("the columns of the batch differ in length")
    try:
        head = _HEAD.pack(
            VERSION, batch is not None, 0, rows, entry.stamp, entry.epoch, entry.sequence, len(keys), len(blob)
        )
    except struct.error as error:
        raise ValueError(f"a number of the entry is out of range: {error}") from error
    if not (ids or entry.events or entry.requests or entry.rejected or entry.sketched):
        return head + columns + blob
    return head + columns + blob + _encode(_Rest(ids, entry.events, entry.requests, entry.rejected, entry.sketched))


def unpack_entry(payload: bytes | bytearray | memoryview) -> Entry:
    """The entry of a payload; its columns are read-only views of the payload. ValueError for anything else."""
    if len(payload) < _HEAD.size:
        raise ValueError(f"entry of {len(payload)} bytes is cut off")
    version, has_batch, zero, rows, stamp, epoch, sequence, key_count, key_bytes = _HEAD.unpack_from(payload)
    if version != VERSION:
        raise ValueError(f"entry of version {version}; this program reads version {VERSION}")
    end = _HEAD.size + 20 * rows + key_bytes
    if len(payload) < end:
        raise ValueError(f"entry of {len(payload)} bytes is cut off; its head says at least {end}")
    if has_batch > 1 or zero or (not has_batch and (rows or key_count or key_bytes)):
        raise ValueError("the head of the entry contradicts itself")
    entry = Entry(stamp, epoch, sequence)
    ids: dict[int, bytes] = {}
    if len(payload) > end:
        ids = _unpack_rest(entry, memoryview(payload)[end:], rows)
    if has_batch:
        entry.batch = _unpack_batch(payload, rows, key_count, key_bytes)
        entry.batch.ids = ids
    elif ids:
        raise ValueError("an entry without a batch has ids of rows")
    return entry


def _unpack_batch(payload: bytes | bytearray | memoryview, rows: int, key_count: int, key_bytes: int) -> Batch:
    at = _HEAD.size
    times = np.frombuffer(payload, "<i8", rows, at)
    values = np.frombuffer(payload, "<f8", rows, at + 8 * rows)
    codes = np.frombuffer(payload, "<i4", rows, at + 16 * rows)
    at += 20 * rows
    keys = bytes(payload[at : at + key_bytes]).split(_KEY) if key_count else []
    if len(keys) != key_count or (not key_count and key_bytes):
        raise ValueError(f"entry with {len(keys)} series keys where its head says {key_count}")
    # Negative codes are huge as unsigned ones, so one comparison does for both ends.
    if rows and int(codes.view(np.uint32).max()) >= key_count:
        raise ValueError("a row of the entry names a series key that is not there")
    return Batch(keys, codes, values, times)


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
