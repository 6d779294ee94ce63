"""A log read beside its owner: the entries that a follower gets, nothing changed, and who owns it; archives of it."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from server.log import (
    LogDamaged,
    Record,
    log_owner,
    open_archive,
    open_log,
    open_reader,
    set_log_aside,
    write_archive,
)

PAYLOADS = [f"entry {number}".encode() * number for number in range(1, 40)]


@pytest.fixture(params=["embedded", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a log that is not there yet."""
    if request.param == "embedded":
        return f"file://{tmp_path / 'log'}"
    shared = request.getfixturevalue("redis_server")
    return f"{shared.url}?stream=reader:{tmp_path.name}"


async def test_it_reads_what_was_appended_while_the_log_is_open(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.log.redis_reader.WATCH_SECONDS", 0.0)
    assert open_reader(url) is None and log_owner(url) == "" and set_log_aside(url, "old") == ""
    log = await open_log(url)
    positions = [await log.append(payload) for payload in PAYLOADS]
    reader = open_reader(url)
    assert reader is not None and reader.epoch == log.epoch and reader.first() == positions[0]
    assert list(reader.read(0)) == list(map(Record, positions, PAYLOADS))
    assert [found.position for found in reader.read(positions[9]) if isinstance(found, Record)] == positions[10:]
    assert not list(reader.read(positions[-1]))
    later = await log.append(b"later")
    assert list(reader.read(positions[-1])) == [Record(later, b"later")]
    if url.startswith("file:"):
        assert "pid" in log_owner(url)
    await log.close()
    reader.close()
    assert log_owner(url) == ""
    aside = set_log_aside(url, "old")
    assert aside.endswith(".old") and open_reader(url) is None


def test_an_archive_gives_back_what_was_written_or_says_that_it_is_damaged(tmp_path: Path) -> None:
    records = [Record(number * number, payload) for number, payload in enumerate(PAYLOADS, 1)]
    path = tmp_path / "archive"
    assert write_archive(path, "epoch1", records) == len(records)
    with pytest.raises(FileExistsError):
        write_archive(path, "epoch2", [])
    reader = open_archive(path)
    assert reader.epoch == "epoch1" and reader.first() == 1
    assert list(reader.read(0)) == records
    assert list(reader.read(25)) == records[5:]
    data = path.read_bytes()
    starts = {len(data) - sum(16 + len(record.payload) for record in records[at:]) for at in range(len(records) + 1)}
    for at in range(0, len(data), 61):
        path.write_bytes(data[:at] + struct.pack("B", data[at] ^ 4) + data[at + 1 :])
        with pytest.raises(LogDamaged, match=str(path)):
            list(open_archive(path).read(0))
        if at not in starts:
            path.write_bytes(data[:at])
            with pytest.raises(LogDamaged, match=str(path)):
                list(open_archive(path).read(0))
