"""A stream on Redis that has entries of others, or lacks some of its own: reading past that, and mending it."""

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
    """The entries of a stream above a position; those of others, and where some were deleted, as holes.

    Their byte places are 0. Of what was deleted Redis tells the newest entry only.
    """
    reader = RedisReader.open(url)
    if reader is None:
        return
    place = Path(reader.place)
    try:
        ends, lost = reader.ends(), reader.lost()
        deleted = "lacks entries that somebody has deleted, and others before them perhaps"
        while found := reader.entries(after, _COUNT):
            for name, fields in found:
                position = parse_id(name)
                if after < ends.deleted < position:
                    yield Hole(place, 0, 0, after + 1, ends.deleted, deleted, vague=True)
                after = position
                if b"e" in fields:
                    yield Good(place, 0, 0, after, fields[b"e"])
                else:
                    yield Hole(place, 0, 0, after, after, "has an entry that is none of Streamgauge's")
        if after < ends.deleted:
            yield Hole(place, 0, 0, after + 1, ends.last, deleted, vague=True)
        elif max(after, lost) < ends.last:
            why = f"ends with entry {after}, but had reached entry {ends.last}"
            yield Hole(place, 0, 0, after + 1, ends.last, why, vague=True)
    finally:
        reader.close()


def mend(url: str, aside: Path, positions: list[int], filler: bytes) -> None:
    """Deletes those entries that are there of a stream that nobody writes to, after writing them to a file.

    filler: an entry to be appended, so that the stream does not end before what was deleted. Raises LogUnavailable.
    """
    reader = RedisReader.open(url)
    if reader is None:
        return
    try:
        there: list[str] = []
        for position in positions:
            for name, fields in reader.entries(position - 1, 1):
                if parse_id(name) != position:
                    continue
                if not there:
                    aside.mkdir(parents=True)
                there.append(format_id(position))
                with (aside / "entries.ndjson").open("a") as file:
                    file.write(json.dumps({"id": text(name), "fields": _readable(fields)}) + "\n")
        reader.replace(there, filler)
    finally:
        reader.close()


def _readable(fields: dict[bytes, Any]) -> dict[str, str]:
    return {name.decode("latin-1"): bytes(value).decode("latin-1") for name, value in fields.items()}
