"""Data to verify: a random load on a real server, and what a tamperer does to the data it leaves."""

from __future__ import annotations

import random
import shutil
import sqlite3
import struct
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from engine import checkpoint
from engine.panes import ALL
from server.config import Settings, load_settings
from server.store.sealed import Sealer, checksum
from server.verify import verify_settings
from server.verify.report import Report
from server.wire.blocks import Block, encode
from tests.support import Streamgauge

HEADER = 36
"""Bytes before the first record of a segment."""
HOUR = 3600


@dataclass
class Load:
    """Posts random requests, and counts what the receipts say."""

    server: Streamgauge
    random: random.Random
    ledger: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    ids: list[str] = field(default_factory=list)
    keyed: list[tuple[str, list[dict[str, Any]]]] = field(default_factory=list)

    def post(self, requests: int) -> None:
        """Some requests: batches with repeats and bad rows, events, keys used again, bodies that are no JSON."""
        for _ in range(requests):
            kind = self.random.random()
            if kind < 0.1:
                self.server.call("POST", "/api/metrics", b"{no json", expect=400)
                self._count({"rejected": 1})
            elif kind < 0.3:
                self._send("/api/events", [self._event() for _ in range(self.random.randint(1, 8))])
            elif kind < 0.45 and self.keyed:
                key, rows = self.random.choice(self.keyed)
                self._send("/api/metrics", rows, Idempotency_Key=key)
            elif kind < 0.6:
                self.keyed.append((f"key {len(self.keyed)} {self.random.random()}", [self._row() for _ in range(4)]))
                self._send("/api/metrics", self.keyed[-1][1], Idempotency_Key=self.keyed[-1][0])
            else:
                self._send("/api/metrics", [self._row() for _ in range(self.random.randint(1, 40))])

    def _send(self, path: str, rows: list[dict[str, Any]], **headers: str) -> None:
        status, receipt = self.server.request(
            "POST", path, rows, {name.replace("_", "-"): value for name, value in headers.items()}
        )
        assert status in (202, 422), (status, receipt)
        if status == 422:
            self._count({"rejected": len(rows)})
            return
        assert isinstance(receipt, dict)
        counted = {name: receipt[name] for name in ("accepted", "duplicate", "rejected")}
        if path == "/api/events":
            counted["events"] = counted.pop("accepted")
        self._count(counted)

    def _count(self, counts: dict[str, int]) -> None:
        self.ledger.update(counts)
        self.sent += sum(counts.values())

    def _row(self) -> dict[str, Any]:
        pick = self.random
        kind = pick.choice(("counter", "gauge", "histogram", "timer"))
        row: dict[str, Any] = {
            "name": pick.choice(("orders", "load", "latency")),
            "metric_type": kind,
            "value": pick.choice((pick.randint(0, 1000), pick.uniform(0, 1e6))),
            "tags": {"shop": str(pick.randint(0, 5))},
        }
        if pick.random() < 0.4:
            row["timestamp"] = time.time() - pick.choice((5, 90, HOUR / 2, 3 * HOUR, 30 * HOUR)) * pick.random()
        if pick.random() < 0.3:
            row["id"] = self._id()
        if pick.random() < 0.05:
            del row["value"]
        return row

    def _event(self) -> dict[str, Any]:
        event: dict[str, Any] = {"event_type": self.random.choice(("login", "buy")), "properties": {"n": self.sent}}
        if self.random.random() < 0.3:
            event["id"] = self._id()
        if self.random.random() < 0.1:
            event["event_type"] = ""
        return event

    def _id(self) -> str:
        if self.ids and self.random.random() < 0.5:
            return self.random.choice(self.ids[-50:])
        self.ids.append(f"id {len(self.ids)} {self.random.random()}")
        return self.ids[-1]

    def check(self, total: dict[str, Any]) -> None:
        """Asserts a ledger: it counts what the receipts said, neither more nor less."""
        found = {name: total[name] for name in ("accepted", "events", "duplicate")}
        found["rejected"] = sum(total["rejected"].values())
        assert found == {name: self.ledger[name] for name in found}
        assert total["received"] == self.sent


LIVES: dict[str, object] = {"LATENESS": "1", "RETENTION_5S": "2h", "RETENTION_1MIN": "10h", "DEDUP_KEYS": "200"}
"""Settings of both lives of the server: old rows go to several levels at once, and ids are forgotten."""


def settings_of(folder: Path, **more: object) -> Settings:
    """The same as the server reads them."""
    wanted = {name.lower(): value for name, value in {**LIVES, **more}.items()}
    return load_settings(_env_file=None, data_dir=folder, **wanted)


def verify(folder: Path, ask: Callable[[], dict[str, Any] | None] = lambda: None, **more: object) -> Report:
    """What `streamgauge verify` finds."""
    return verify_settings(settings_of(folder, **more), ask, lambda _: None)


def two_lives(folder: Path, seed: int, watch: Callable[[Streamgauge, Load], None], **more: object) -> Load:
    """A server that takes checkpoints all the time and ends in order, then one that takes none and is killed.

    watch: called at both times while the server runs.
    """
    server = Streamgauge(folder, {**LIVES, "CHECKPOINT_INTERVAL": "0.2", **more})
    load = Load(server, random.Random(seed))
    server.start()
    try:
        for _ in range(4):
            load.post(15)
            time.sleep(0.15)
        watch(server, load)
        assert server.stop() == 0
        server.settings["CHECKPOINT_INTERVAL"] = "3600"
        server.start()
        load.post(30)
        watch(server, load)
    finally:
        server.kill()
    return load


# What a tamperer does. Each keeps every checksum right, and removes what would give it away too easily.


class Tampered:
    """The data of a folder, to be changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "streamgauge.db"

    def sql(self, statement: str, *values: object) -> list[Any]:
        """Runs one statement on the store."""
        db = sqlite3.connect(self.database, isolation_level=None)
        try:
            return db.execute(statement, values).fetchall()
        finally:
            db.close()

    def change_block(self, level: int, column: str) -> None:
        """Adds 1 to the first pane of the level's oldest block."""
        start, name, generation, data = self.sql(
            "SELECT start, name, generation, data FROM blocks WHERE level = ? ORDER BY start LIMIT 1", level
        )[0]
        panes = Block(data).panes(ALL)
        panes.state[column] = panes.state[column].copy()
        panes.state[column][0] += 1
        packed = encode(panes)
        crc = checksum(f"block {level} {start} {name} of generation {generation}", packed)
        self.sql(
            "UPDATE blocks SET data = ?, crc = ? WHERE level = ? AND start = ? AND name = ?",
            packed, crc, level, start, name,
        )  # fmt: skip

    def delete_block(self, level: int) -> None:
        """Deletes the level's newest block."""
        self.sql(
            "DELETE FROM blocks WHERE rowid = (SELECT rowid FROM blocks WHERE level = ? ORDER BY start DESC LIMIT 1)",
            level,
        )

    def delete_event(self) -> None:
        """Deletes one event."""
        position, row = self.sql("SELECT position, row FROM events LIMIT 1")[0]
        self.sql("DELETE FROM events WHERE position = ? AND row = ?", position, row)

    def change_checkpoint(self, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
        """Changes the header and arrays of the newest checkpoint."""
        generation, position, parts = self.sql(
            "SELECT generation, position, parts FROM checkpoints ORDER BY generation DESC LIMIT 1"
        )[0]
        sealer = Sealer()

        def place(number: int) -> str:
            return f"part {number} of {parts} of checkpoint {generation} at {position}"

        stored = self.sql(
            "SELECT crc, size, data FROM checkpoint_parts WHERE generation = ? ORDER BY number", generation
        )
        whole = b"".join(sealer.open(place(number), *row) for number, row in enumerate(stored))
        header, arrays = checkpoint.decode(whole)
        change(header, arrays)
        data = checkpoint.encode(header, arrays)
        size = -(-len(data) // parts)
        for number in range(parts):
            sealed = sealer.seal(place(number), data[number * size : (number + 1) * size])
            self.sql(
                "UPDATE checkpoint_parts SET crc = ?, size = ?, data = ? WHERE generation = ? AND number = ?",
                *sealed, generation, number,
            )  # fmt: skip

    @property
    def position(self) -> int:
        """Of the newest checkpoint."""
        return int(self.sql("SELECT max(position) FROM checkpoints")[0][0])

    def change_log(self, change: Callable[[list[bytes]], None], renumber: bool = True) -> None:
        """Changes the payloads after the checkpoint, in the newest segment; without renumber, positions stay."""
        path = sorted((self.folder / "log").glob("*.segment"))[-1]
        data = path.read_bytes()
        records = list(_records(data))
        before = [record for record in records if record[0] <= self.position]
        after = {payload: position for position, payload in records if position > self.position}
        payloads = list(after)
        assert len(payloads) == len(records) - len(before) > 10
        change(payloads)
        out = data[: HEADER] + b"".join(_pack(*record) for record in before)
        for number, payload in enumerate(payloads):
            out += _pack(self.position + 1 + number if renumber else after[payload], payload)
        path.write_bytes(out)
        (self.folder / "log" / "end").unlink(missing_ok=True)  # it would tell that the log once reached further


def _records(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = HEADER
    while at < len(data):
        length, _, position = struct.unpack_from("<IIQ", data, at)
        yield position, data[at + 16 : at + 16 + length]
        at += 16 + length


def _pack(position: int, payload: bytes) -> bytes:
    sealed = zlib.crc32(payload, zlib.crc32(struct.pack("<QI", position, len(payload))))
    return struct.pack("<IIQ", len(payload), sealed, position) + payload


def with_rows(payloads: list[bytes], least: int = 1) -> int:
    """The number of an entry in the middle that holds at least so many samples."""
    sizes = np.array([struct.unpack_from("<I", payload, 4)[0] for payload in payloads])
    found = np.flatnonzero(sizes >= least)
    return int(found[len(found) // 2])


def copied(folder: Path, into: Path) -> Tampered:
    """A copy of the data of a folder, for one tamperer."""
    shutil.copytree(folder, into)
    return Tampered(into)
