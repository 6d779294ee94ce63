"""Live queries over a local midnight: each update is what a query at the same offset and `at` gives, to the last bit.

An engine, a store and the live queries are put together here, so that the stamps are the test's.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from engine.aggregates import Registry
from engine.engine import Engine, Options
from engine.levels import DAY, Retention
from engine.model import Event, format_offset
from engine.query.plan import Limits
from engine.query.value import Query
from server.answers import Answers
from server.questions import SavedQueries
from server.store import open_store
from server.subscribers.live import Live
from server.wire.messages import encode
from tests.engine_support import KEYS, NAME, entry
from tests.server.hub_support import eventually
from tests.server.test_live import Reader

MIDNIGHT = int(datetime(2026, 5, 31, 18, 15, tzinfo=UTC).timestamp() * 1000)
"""In Asia/Kathmandu, where a week and a month begin with it."""
LONG = Retention((DAY, 100 * DAY, 400 * DAY, 3650 * DAY))
"""Minutes, without which a quarter of an hour would be rounded, are kept for all that is asked here."""


class River:
    """What the pipeline does with an entry, as far as live queries see it."""

    def __init__(self, path: Path) -> None:
        self.engine, self.registry = Engine(Options(lateness=20_000, retention=LONG)), Registry()
        self.store = open_store(f"sqlite:///{path}/store.db")
        saved = SavedQueries(self.store, self.registry)
        limits = Limits()
        self.answers = Answers(
            self.engine, self.store, self.registry, saved, lambda position: format_offset("e", position), limits, 30,
            self._asked,
        )  # fmt: skip
        self.live = Live(self.answers)

    async def _asked(self, query: Query) -> None: ...

    def apply(self, stamp: int, *values: float) -> None:
        """An entry of samples and, where there are any, an event, all at the stamp."""
        rows = [(key, stamp, value) for value in values for key in KEYS[:4]]
        events = [Event(stamp, "sale", None, None, b'{"properties": {"n": 2}}', None)] if values else []
        position = self.engine.position + 1
        self.engine.apply(entry(stamp, rows, events=events), position)
        self.live.applied({("metric", NAME), ("event", "sale")} if values else set(), position, stamp)


@pytest.fixture
async def river(tmp_path: Path) -> AsyncIterator[River]:
    river = River(tmp_path)
    yield river
    await river.live.close()
    river.store.close()


QUERIES: list[dict[str, Any]] = [
    {"aggregation": "sum", "step": "1d", "time_range": "3d"},
    {"aggregation": "last", "step": "1w", "time_range": "14d", "group_by": ["host"]},
    {"aggregation": "rate", "step": "1mo", "time_range": "60d"},
    {"aggregation": "median", "step": "1d", "time_range": "this_month"},
    {"aggregation": "sum", "time_range": "today"},
    {"aggregation": "sum", "time_range": "yesterday"},
    {"aggregation": "sum", "time_range": "last_month", "step": "1mo"},
    {"aggregation": "sum", "step": "1d", "from": MIDNIGHT - DAY, "to": MIDNIGHT},
    {"aggregation": "sum", "step": "1d", "time_range": "3d", "format": "columns"},
    {"query_string": "event:sale", "aggregation": "sum", "field": "n", "step": "1d", "time_range": "3d"},
    {"query_string": "event:sale", "aggregation": "count", "time_range": "today"},
]


@pytest.mark.parametrize("query", QUERIES, ids=str)
async def test_over_a_midnight(river: River, query: dict[str, Any]) -> None:
    body = {"query_string": f"metric:{NAME}", "tz": "Asia/Kathmandu", **query}
    river.apply(MIDNIGHT - 7 * DAY, 0.3)
    river.apply(MIDNIGHT - 4000, 0.1, 0.7)
    reader = Reader(river.live, None).subscribe(body)
    await reader.next(1)
    before = reader.messages[-1]["data"]
    for stamp in (MIDNIGHT - 1000, MIDNIGHT - 1):
        river.apply(stamp)
    await asyncio.sleep(0.05)
    assert len(reader.messages) == 1, "nothing changed yet"
    river.apply(MIDNIGHT)
    await eventually(lambda: reader.messages[-1]["data"] != before)
    assert reader.messages[-1]["at"] == "2026-05-31T18:15:00.000Z"
    for number in range(3):
        river.apply(MIDNIGHT + 1 + 3000 * number, 0.1 * number)
        offset = format_offset("e", river.engine.position)
        await eventually(lambda: reader.messages[-1]["offset"] == offset)  # noqa: B023
        update = reader.messages[-1]
        fresh = Answers(
            river.engine, river.store, river.registry, river.answers.queries, river.answers.offset,
            river.answers.limits, 30, river._asked,
        )  # fmt: skip
        answer = await fresh.answer(fresh.parse(body | {"at": update["at"]}))
        assert answer.total > 0
        assert json.loads(encode(answer.rows)) == update["data"]


async def test_only_the_step_that_is_not_over_is_partial(river: River) -> None:
    river.apply(MIDNIGHT - 4000, 1.0)
    reader = Reader(river.live, None).subscribe(
        {"query_string": f"metric:{NAME}", "tz": "Asia/Kathmandu", "aggregation": "sum", "step": "1d",
         "time_range": "2d"}
    )  # fmt: skip
    assert [row.get("partial", False) for row in (await reader.next(1))["data"]] == [False, True]
    days = [row["time"] for row in reader.messages[0]["data"]]
    river.apply(MIDNIGHT)
    update = await reader.next(2)
    assert [row["time"] for row in update["data"]] == [days[1], "2026-05-31T18:15:00.000Z"]
    assert [row.get("partial", False) for row in update["data"]] == [False, True]
    assert [row["value"] for row in update["data"]] == [4, 0]
