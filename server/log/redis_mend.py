"""A stream on Redis with entries that do not belong there: reading past them, and taking them out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from server.log.redis_names import format_id, parse_id, text
from server.log.redis_reader import RedisReader
from server.log.scan import Good, Hole

_COUNT = 256


def scan(url: str, after: int) -> Iterator[Good | Hole]:
    """The entries of a stream above a position; those of others as holes. Their byte places are 0."""
    reader = RedisReader.open(url)
    if reader is None:
        return
    place = Path(reader.place)
    try:
        while found := reader.entries(after, _COUNT):
            for name, fields in found:
                after = parse_id(name)
                if b"e" in fields:
                    yield Good(place, 0, 0, after, fields[b"e"])
                else:
                    yield Hole(place, 0, 0, after, after, "has an entry that is none of Streamgauge's")
    finally:
        reader.close()


def take_out(url: str, aside: Path, positions: list[int]) -> None:
    """Deletes entries of a stream that nobody writes to, after writing them to a file. Raises LogUnavailable."""
    reader = RedisReader.open(url)
    if reader is None:
        return
    try:
        aside.mkdir(parents=True)
        with (aside / "entries.ndjson").open("x") as file:
            for position in positions:
                for name, fields in reader.entries(position - 1, 1):
                    file.write(json.dumps({"id": text(name), "fields": _readable(fields)}) + "\n")
        for position in positions:
            reader.delete(format_id(position))
    finally:
        reader.close()


def _readable(fields: dict[bytes, Any]) -> dict[str, str]:
    return {name.decode("latin-1"): bytes(value).decode("latin-1") for name, value in fields.items()}
