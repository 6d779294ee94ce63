"""Log entries: what goes in comes out, and nothing else is taken for an entry."""

from __future__ import annotations

import struct

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.model import (
    MAX_REJECT_BYTES,
    REJECT_KINDS,
    Batch,
    Entry,
    Event,
    KeyedRequest,
    Mark,
    Reject,
    Table,
    pack_series_key,
)
from server.wire.entry import MAX_NUMBER, pack_entry, unpack_entry

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
UINT64 = st.integers(0, (1 << 64) - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
HASH = st.binary(min_size=16, max_size=16)
KEYS = st.builds(
    pack_series_key,
    TEXT,
    st.integers(0, 4),
    st.integers(0, 2),
    TEXT,
    st.dictionaries(TEXT, TEXT, max_size=3).map(lambda labels: list(labels.items())),
)
EVENTS = st.builds(Event, INT64, TEXT, st.none() | TEXT, st.none() | TEXT, st.binary(max_size=40), st.none() | HASH)

REJECTS = st.builds(
    Reject, st.sampled_from(REJECT_KINDS), st.none() | st.integers(0, 1 << 40), TEXT, TEXT, st.none() | TEXT,
    st.binary(max_size=40), st.booleans(), st.none() | HASH,
)  # fmt: skip


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    keys = draw(st.lists(KEYS, min_size=1, max_size=5, unique=True))
    rows = draw(st.lists(st.tuples(st.integers(0, len(keys) - 1), st.floats(), INT64), max_size=20))
    ids = draw(st.dictionaries(st.integers(0, len(rows) - 1), HASH, max_size=5)) if rows else {}
    table, number = None, draw(st.integers(0, 1 << 20))
    if draw(st.booleans()):
        table = Table(draw(st.integers(1, 1 << 31)), np.arange(number, number + len(keys), dtype=np.int32))
    return Batch(
        keys,
        np.array([row[0] + (number if table else 0) for row in rows], np.int32),
        np.array([row[1] for row in rows], np.float64),
        np.array([row[2] for row in rows], np.int64),
        ids,
        table,
    )


MARKS = st.builds(
    Mark, TEXT, st.integers(0, 1 << 60), st.integers(0, 1 << 60),
    st.lists(INT64, max_size=4).map(tuple), TEXT,
)  # fmt: skip


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    batch = draw(st.none() | batches())
    events = draw(st.lists(EVENTS, max_size=4))
    rows = 0 if batch is None else len(batch)

    def span(size: int) -> tuple[int, int]:
        first = draw(st.integers(0, size))
        return first, draw(st.integers(first, size))

    requests = [
        KeyedRequest(draw(HASH), draw(st.binary(min_size=8, max_size=8)), span(rows), span(len(events)))
        for _ in range(draw(st.integers(0, 2)))
    ]
    rejected = draw(st.dictionaries(TEXT, st.integers(0, 1 << 40), max_size=3))
    return Entry(
        draw(INT64), draw(UINT64), draw(UINT64), batch, events, requests, rejected, draw(st.lists(TEXT, max_size=3)),
        draw(st.lists(REJECTS, max_size=3)), draw(UINT64), draw(st.lists(MARKS, max_size=2)),
    )  # fmt: skip


def same(a: Entry, b: Entry) -> bool:
    """Equal, NaN by NaN and -0.0 by -0.0."""
    heads = [
        (e.stamp, e.epoch, e.sequence, e.events, e.requests, e.rejected, e.sketched, e.rejects, e.written, e.marks)
        for e in (a, b)
    ]
    if heads[0] != heads[1] or a.rows != b.rows or (a.batch is None) != (b.batch is None):
        return False
    if a.batch is None or b.batch is None:
        return True
    columns = [(e.codes.tobytes(), e.values.tobytes(), e.times.tobytes(), e.keys, e.ids) for e in (a.batch, b.batch)]
    tables = [e.table and (e.table.id, e.table.numbers.tobytes()) for e in (a.batch, b.batch)]
    return columns[0] == columns[1] and tables[0] == tables[1]


@given(entries())
@settings(deadline=None)
def test_unpack_gives_back_what_was_packed(entry: Entry) -> None:
    packed = pack_entry(entry)
    assert same(unpack_entry(packed), entry)
    assert same(unpack_entry(memoryview(b"x" + packed)[1:]), entry)  # wherever in memory it lies
    assert pack_entry(unpack_entry(packed)) == packed


@given(entries(), st.data())
@settings(deadline=None)
def test_a_cut_off_entry_is_refused(entry: Entry, data: st.DataObject) -> None:
    packed = pack_entry(entry)
    end = data.draw(st.integers(0, len(packed) - 1))
    try:
        found = unpack_entry(packed[:end])
    except ValueError:
        return
    # Only the part after the columns may be absent as a whole, and then there is nothing of it in the entry.
    assert not (found.events or found.requests or found.rejected or found.sketched or found.rejects or found.marks)
    assert packed[:end] == pack_entry(found)


@given(entries(), st.data())
@settings(deadline=None)
def test_a_damaged_entry_is_refused_or_read_as_a_sound_one(entry: Entry, data: st.DataObject) -> None:
    packed = bytearray(pack_entry(entry))
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    check_sound(bytes(packed))


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_hostile_bytes_are_refused_or_read_as_a_sound_entry(payload: bytes) -> None:
    check_sound(payload)
    check_sound(b"\x01\x01\x00\x00" + payload)
    check_sound(b"\x02\x01\x00\x00" + payload)
    check_sound(b"\x03\x01\x00\x00" + payload)
    check_sound(b"\x03\x03\x00\x00" + payload)


def check_sound(payload: bytes) -> None:
    try:
        entry = unpack_entry(payload)
    except ValueError:
        return
    if entry.batch is not None and len(entry.batch):
        table = entry.batch.table
        assert entry.batch.codes.min() >= 0
        assert entry.batch.codes.max() < (len(entry.batch.keys) if table is None else MAX_NUMBER)
        assert table is None or len(table.numbers) == len(entry.batch.keys)
        assert len(entry.batch.values) == len(entry.batch.times) == len(entry.batch)
        assert all(0 <= row < len(entry.batch) for row in entry.batch.ids)


@given(entries())
@settings(deadline=None)
def test_entries_of_versions_before_are_read(entry: Entry) -> None:
    """Versions 1 and 2 had no `written`, no rejected rows and no marks; the second said by its number what is a flag
    now."""
    entry.rejects, entry.marks, entry.written = [], [], None
    packed = pack_entry(entry)
    numbered = entry.batch is not None and entry.batch.table is not None
    _, _, _, *middle, _ = struct.unpack_from("<BBHIqQQIIQ", packed)
    old = struct.pack("<BBHIqQQII", 2 if numbered else 1, entry.batch is not None, 0, *middle) + packed[48:]
    if rest := _rest(entry):
        at = len(old) - len(rest)
        old = old[:at] + b"\x95" + old[at + 1 : -2]
    assert same(unpack_entry(old), entry)


def _rest(entry: Entry) -> bytes:
    ids = entry.batch.ids if entry.batch is not None else {}
    rest = [ids, entry.events, entry.requests, entry.rejected, entry.sketched, entry.rejects, entry.marks]
    return msgspec.msgpack.encode(rest) if any(rest) else b""


def test_an_entry_knows_its_rows() -> None:
    batch = Batch([b"cua"], np.zeros(3, np.int32), np.zeros(3), np.zeros(3, np.int64))
    entry = Entry(1, batch=batch, events=[Event(1, "e", None, None, b"{}")], rejected={"bad_json": 2, "future": 5})
    assert entry.rows == 11
    assert Entry(1).rows == 0


def test_entries_from_before_there_were_marks_are_read() -> None:
    entry = Entry(1, rejected={"bad_json": 2})
    packed = pack_entry(entry)
    rest = _rest(entry)
    older = packed[: -len(rest)] + b"\x96" + rest[1:-1]
    assert same(unpack_entry(older), entry)


def test_a_tick_is_small() -> None:
    assert len(pack_entry(Entry(1_700_000_000_000, 5, 6))) < 64


def test_another_version_is_named() -> None:
    with pytest.raises(ValueError, match="version 9"):
        unpack_entry(b"\x09" + pack_entry(Entry(1))[1:])


def test_what_cannot_be_packed_is_refused() -> None:
    batch = Batch([b"cua\xfdb"], np.zeros(1, np.int32), np.zeros(1), np.zeros(1, np.int64))
    with pytest.raises(ValueError, match="0xFD"):
        pack_entry(Entry(1, batch=batch))
    with pytest.raises(ValueError, match="differ in length"):
        pack_entry(Entry(1, batch=Batch([b"cua"], np.zeros(1, np.int32), np.zeros(2), np.zeros(1, np.int64))))
    with pytest.raises(ValueError, match="out of range"):
        pack_entry(Entry(1 << 63))


@pytest.mark.parametrize(
    "reject",
    [
        Reject("row", 0, "bad_json", "", None, b"", False),
        Reject("metric", 0, "bad_json", "", None, bytes(MAX_REJECT_BYTES + 1), True),
        Reject("metric", 0, "bad_json", "", None, b"", False, b"short"),
    ],
    ids=["kind", "size", "origin"],
)
def test_a_rejected_row_that_is_none_is_refused(reject: Reject) -> None:
    with pytest.raises(ValueError, match="rejected row"):
        unpack_entry(pack_entry(Entry(1, rejects=[reject])))


@pytest.mark.parametrize("rows", [1, 32, 33])
@pytest.mark.parametrize("code", [-1, 2, (1 << 31) - 1, MAX_NUMBER])
@pytest.mark.parametrize("numbered", [False, True])
def test_a_code_beyond_the_keys_or_below_0_is_refused_in_long_and_short_entries(
    rows: int, code: int, numbered: bool
) -> None:
    codes, table = np.zeros(rows, np.int32), Table(1, np.array([0, 1], np.int32)) if numbered else None
    codes[rows // 2] = code
    batch = Batch([b"cu\xffa", b"cu\xffb"], codes, np.zeros(rows), np.zeros(rows, np.int64), table=table)
    payload = pack_entry(Entry(1, batch=batch))
    if numbered and code == 2:  # one that an earlier entry may have explained
        assert unpack_entry(payload).batch is not None
        return
    with pytest.raises(ValueError, match="names a series key that is not there"):
        unpack_entry(payload)
