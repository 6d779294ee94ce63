"""What lies in the store is damaged, or of another version: a start is refused with the way out, or nothing is lost."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from engine import checkpoint
from server.errors import ApiError
from server.subscribers import rollups
from tests.damage_support import Made, Refused, make, opened, recount, shown, write


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    """Data directories as kills and a stop left them."""
    return asyncio.run(make(tmp_path_factory.mktemp("made"), 11))


def sql(directory: Path, statement: str, *values: object) -> list[Any]:
    db = sqlite3.connect(directory / "streamgauge.db", isolation_level=None)
    try:
        return db.execute(statement, values).fetchall()
    finally:
        db.close()


def flip(directory: Path, table: str, column: str = "data", where: str = "1") -> None:
    """Changes one bit in the middle of the newest value of a column."""
    chosen = f"rowid = (SELECT max(rowid) FROM {table} WHERE {where})"
    [(value,)] = sql(directory, f"SELECT {column} FROM {table} WHERE {chosen}")
    changed = bytearray(value)
    changed[len(changed) // 2] ^= 4
    sql(directory, f"UPDATE {table} SET {column} = ? WHERE {chosen}", bytes(changed))


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE meta SET value = 99 WHERE key = 'schema_version'", "use the version of Streamgauge that wrote it"),
        ("UPDATE checkpoints SET version = 9", "release of Streamgauge that wrote it"),
        ("DELETE FROM checkpoint_parts", "estore the file from a backup, or move it away"),
        ("DELETE FROM series WHERE id = 2", "restore a backup, or move the store away"),
    ],
)
async def test_what_cannot_be_used_is_refused_with_the_way_out(
    made: dict[str, Made], tmp_path: Path, statement: str, said: str
) -> None:
    directory = made["killed"].copy(tmp_path / "data")
    sql(directory, statement)
    with pytest.raises(Refused, match=said):
        async with opened(directory):
            pass


@pytest.mark.parametrize("table", ["checkpoint_parts", "series"])
async def test_a_flipped_bit_is_noticed(made: dict[str, Made], tmp_path: Path, table: str) -> None:
    directory = made["killed"].copy(tmp_path / "data")
    flip(directory, table, "key" if table == "series" else "data")
    with pytest.raises(Refused, match=r"damaged.*backup"):
        async with opened(directory):
            pass


async def test_a_checkpoint_of_another_release_is_refused(
    made: dict[str, Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = made["killed"].copy(tmp_path / "data")
    monkeypatch.setattr(checkpoint, "VERSION", checkpoint.VERSION + 1)
    with pytest.raises(Refused, match=r"by another release\. Start the release that wrote it"):
        async with opened(directory):
            pass


async def test_a_damaged_checkpoint_over_a_sound_one_costs_nothing(made: dict[str, Made], tmp_path: Path) -> None:
    """A flush that brought nothing but state: the one before it and the log give the same again."""
    directory = made["killed"].copy(tmp_path / "data")
    async with opened(directory) as app:
        await app.rollups.flush()
        await app.rollups.flush()
    flip(directory, "checkpoint_parts")
    async with opened(directory) as app:
        assert await shown(app) == recount(made["killed"].entries[at] for at in sorted(made["killed"].entries))


async def test_a_damaged_block_stops_flushes_and_queries_but_not_the_server(
    made: dict[str, Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Late rows want a stored block that is damaged: they wait, in the log too, and count once it is whole again."""
    monkeypatch.setattr(rollups, "RETRY_SECONDS", 0.01)
    directory = made["stopped"].copy(tmp_path / "data")
    sound = sql(directory, "SELECT rowid, data FROM blocks")
    assert sound
    sql(directory, "UPDATE blocks SET data = substr(data, 2)")
    async with opened(directory) as app:
        await write(app, 20, random.Random(3))
        accepted = app.engine.ledger.accepted
        flushing = asyncio.create_task(app.rollups.flush())
        app.rollups._due.set()
        await asyncio.sleep(0.2)
        assert app.is_ready and not app._closing and app.rollups.flushes == 0
        with pytest.raises(ApiError, match="damaged in the store"):
            await shown(app)
        for rowid, data in sound:
            sql(directory, "UPDATE blocks SET data = ? WHERE rowid = ?", data, rowid)
        async with asyncio.timeout(20):
            await flushing
        assert sum((await shown(app)).samples.values()) == accepted
    async with opened(directory) as app:
        assert sum((await shown(app)).samples.values()) == accepted


async def test_damaged_keys_of_the_dedup_window_are_no_empty_window(made: dict[str, Made], tmp_path: Path) -> None:
    directory = made["killed"].copy(tmp_path / "data")
    sql(directory, "INSERT INTO dedup_chunks VALUES (1, 1, 7, NULL, x'00')")
    with pytest.raises(Refused, match=r"dedup chunk 1 .* is damaged; restore the file"):
        async with opened(directory):
            pass
