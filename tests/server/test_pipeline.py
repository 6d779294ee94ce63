"""The pipeline's own book-keeping: entries say how many rows of their writer came before them."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import numpy as np
import pytest

from engine.engine import Engine
from engine.model import Batch, Entry, Event
from server.backlog import Backlog
from server.log import LogFull, LogUnavailable, open_log
from server.pipeline import Pipeline
from server.wire.entry import unpack_entry
from tests.engine_support import T0


def rows(number: int) -> Batch:
    return Batch([b"gun\xff" + b"x"], np.zeros(number, np.int32), np.zeros(number), np.full(number, T0))


async def away(payload: bytes, attachment: object | None = None, note: bytes = b"") -> int:
    raise LogUnavailable("nobody answers")


async def test_what_the_log_refused_is_not_among_the_rows_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await open_log(f"file://{tmp_path}", max_bytes=20_000)
    engine = Engine()
    pipeline = Pipeline(log, engine, Backlog(engine, 60, 1 << 30))
    running = asyncio.create_task(pipeline.run())
    await pipeline.caught_up()
    for number in (3, 0, 7):
        await pipeline.submit(Entry(T0, batch=rows(number), rejected={"bad_json": 2}))
    with pytest.raises(LogFull):
        await pipeline.submit(Entry(T0, batch=rows(2000)))
    with monkeypatch.context() as patched:
        patched.setattr(log, "append", away)
        with pytest.raises(LogUnavailable):
            await pipeline.submit(Entry(T0, batch=rows(40)))
    several = [Entry(T0, batch=rows(5)), Entry(T0, events=[Event(T0, "e", None, None, b"{}")]), Entry(T0)]
    await asyncio.gather(*map(pipeline.submit, several))
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running

    found = []
    async with contextlib.aclosing(log.follow(0)) as records:
        async for some in records:
            found += [unpack_entry(record.payload) for record in some]
            break
    await log.close()
    assert [entry.rows for entry in found] == [5, 2, 9, 5, 1, 0]
    assert [entry.written for entry in found] == [0, 5, 7, 16, 21, 22]
    assert {entry.epoch for entry in found} == {pipeline.writer}
