"""Read this first. It follows one sample the whole way down the river, with a kill -9 at the end:

    POST ─▶ log ─▶ engine ─▶ query
                     ├─────▶ WebSocket
                     └─────▶ SQLite        ... kill -9, start again, and it is all still there

Every step looks at the real thing: HTTP from a socket, bytes from the files, messages from a WebSocket.
"""

from __future__ import annotations

import sqlite3
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest

from engine.engine import Engine
from engine.model import Entry, parse_series_key
from server.wire.blocks import Block
from server.wire.entry import unpack_entry
from tests.support import Streamgauge, lasting, position, wait_until

SAMPLE = {
    "name": "river_level",
    "metric_type": "gauge",
    "value": 3.25,
    "tags": {"station": "north", "bank": "left"},
    "unit": "m",
    "source": "buoy_7",
}


@pytest.fixture
def river(tmp_path: Path) -> Any:
    """A server whose panes close after 1 s and are flushed each 0.3 s, so that nobody waits for the store."""
    server = Streamgauge(tmp_path, {"LATENESS": "1", "CHECKPOINT_INTERVAL": "0.3"})
    server.start()
    yield server
    server.kill()


def test_one_sample_all_the_way(river: Streamgauge) -> None:
    # Somebody watches, before there is anything to see: all new rows, and one question in particular.
    with river.listen("dashboard") as screen:
        _, nothing = screen.subscribe(query={"query_string": "metric:river_level", "aggregation": "last"})
        assert nothing["data"] == [{"value": None, "count": 0}]

        # The POST. The answer is the stored metric: what was sent, with an id and the time it came.
        stored = river.call("POST", "/api/metrics", SAMPLE, expect=201)
        assert {name: stored[name] for name in SAMPLE} == SAMPLE
        assert stored["timestamp"].endswith("Z")
        offset, row = stored["id"].removeprefix("metric_").rsplit("_", 1)
        assert row == "0"

        # Its bytes are in the log, at the position that the id names.
        [entry] = [entry for at, entry in log_of(river) if at == position(offset)]
        assert entry.batch is not None
        key = parse_series_key(entry.batch.keys[0])
        assert (key.name, key.unit) == ("river_level", "m")
        assert dict(key.labels) == {"station": "north", "bank": "left", "source": "buoy_7"}
        assert entry.batch.values.tolist() == [3.25]

        # The engine is a function of the log: a new one, given the same bytes, comes to the same end.
        engine = Engine()
        for at, each in log_of(river):
            engine.apply(each, at)
        ledger = river.call("GET", "/api/ledger")
        assert (engine.ledger.accepted, engine.ledger.received) == (ledger["accepted"], ledger["received"]) == (1, 1)

        # A query sees it, and says as of where in the log.
        answer = river.ask("metric:river_level", aggregation="sum", group_by=["station"])
        [found] = answer["data"]
        assert found == {"group": "north", "labels": {"station": "north"}, "value": 3.25, "count": 1}
        assert position(answer["offset"]) >= position(offset)

        # The screen has it: the row itself under the same id, and the new answer to its question.
        assert screen.until("new_metric")["metric"] == stored
        covers = position(offset)
        if not any(m["type"] == "realtime_update" and m["data"][0]["count"] for m in screen.seen):
            screen.until("realtime_update", lambda message: position(message["offset"]) >= covers)
        [update] = [m for m in screen.seen if m["type"] == "realtime_update" and m["data"][0]["count"]][-1:]
        assert update["data"] == [{"value": 3.25, "count": 1}]

    # Its pane closes and is written to SQLite.
    wait_until(lambda: bool(panes_of(river, 0)), 30, "a flush of the 5 s pane")
    [pane] = panes_of(river, 0)
    assert pane == {"count": 1, "sum": 3.25, "min": 3.25, "max": 3.25}

    # kill -9. What starts again is the same river: same answer, same row, same counts, nothing twice.
    river.kill()
    river.start()
    answer = river.ask("metric:river_level", aggregation="sum", group_by=["station"])
    assert answer["data"] == [found]
    assert river.call("GET", "/api/metrics?limit=5") == [stored]
    after = river.call("GET", "/api/ledger")
    assert lasting(after) == lasting(ledger) and after["balanced"]

    # And it flows on.
    river.call("POST", "/api/metrics", {**SAMPLE, "value": 3.5}, expect=201)
    [found] = river.ask("metric:river_level", aggregation="average")["data"]
    assert found == {"value": 3.375, "count": 2}


def log_of(server: Streamgauge) -> list[tuple[int, Entry]]:
    """(position, entry) of all that the embedded log holds, read from its files without the server's help."""
    found = []
    for path in sorted((server.directory / "data" / "log").glob("*.segment")):
        data = path.read_bytes()
        magic, version, _, first = struct.unpack_from("<4sI16sQ", data)
        assert (magic, version) == (b"SGLG", 1)
        at = struct.calcsize("<4sI16sQ") + 4
        while at < len(data):
            length, crc, place = struct.unpack_from("<IIQ", data, at)
            payload = data[at + 16 : at + 16 + length]
            assert zlib.crc32(payload, zlib.crc32(struct.pack("<QI", place, length))) == crc
            assert place >= first
            found.append((place, unpack_entry(payload)))
            at += 16 + length
    return found


def panes_of(server: Streamgauge, level: int) -> list[dict[str, float]]:
    """The panes of river_level that SQLite holds at a level."""
    with sqlite3.connect(f"file:{server.directory / 'data' / 'streamgauge.db'}?mode=ro", uri=True) as database:
        rows = database.execute(
            "SELECT generation, data FROM blocks WHERE level = ? AND name = 'river_level'", (level,)
        )
        blocks = [Block(data, generation) for generation, data in rows.fetchall()]
    database.close()
    needed = ("count", "sum", "min", "max")
    panes = [block.panes(frozenset(needed)) for block in blocks]
    return [{name: part.state[name][i].item() for name in needed} for part in panes for i in range(len(part))]
