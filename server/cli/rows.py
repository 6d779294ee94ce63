"""Rows of a file or a stream: NDJSON, JSON (an array, or objects one after another) and CSV with a header."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from server.cli.command import Fault

FORMATS = ("ndjson", "json", "csv")
_ENDINGS = {".ndjson": "ndjson", ".jsonl": "ndjson", ".json": "json", ".csv": "csv"}
_FIELDS = {"name", "metric_type", "value", "unit", "source", "timestamp", "temporality", "id"}
_EVENT_FIELDS = {"event_type", "user_id", "session_id", "timestamp", "id"}
_CHUNK = 1 << 16
_NUMBER = re.compile(r"-?(0|[1-9]\d{0,300})(\.\d+)?([eE][+-]?\d{1,5})?", re.ASCII)


class Row(NamedTuple):
    """One row as it will be sent. `place` says where it stood; `text` is one line of JSON."""

    place: str
    text: bytes
    is_event: bool


class BadRow(NamedTuple):
    """One row that cannot even be sent."""

    place: str
    message: str


class Unreadable(Fault):
    """The source cannot be read to its end; the rows before are good."""


class Source:
    """The file at `path` ("-" is standard input); `.gz` is decompressed. Fault where it cannot be opened.

    defaults: members that rows get where they do not have them; those of `tags` are merged.
    """

    def __init__(self, path: str, format: str | None = None, defaults: Mapping[str, Any] | None = None) -> None:
        self.name = "standard input" if path == "-" else path
        self.size = 0
        """Bytes; 0 where that is not known."""
        try:
            # Not sys.stdin: Python could not end while a thread waits in it.
            self._raw: BinaryIO = open(0 if path == "-" else path, "rb", closefd=path != "-")  # noqa: SIM115
            if path != "-":
                self.size = Path(path).stat().st_size
        except OSError as error:
            raise Fault(f"{path} cannot be read: {error.strerror or error}.") from None
        plain = path.removesuffix(".gz")
        self.waits = path == "-"
        """Whether the next row may be a long time coming."""
        self._data = io.BufferedReader(gzip.GzipFile(fileobj=self._raw)) if plain != path else self._raw
        self._format = format or _ENDINGS.get(Path(plain).suffix.lower())
        self._defaults = dict(defaults or {})

    @property
    def read(self) -> float:
        """The part of the file that has been read, 0 to 1."""
        return min(1.0, self._raw.tell() / self.size) if self.size else 0.0

    def rows(self) -> Iterator[Row | BadRow]:
        """Every row. Unreadable where the file is not what it seems to be."""
        try:
            first = self._first_byte()
            format = self._format or {b"[": "json", b"{": "ndjson"}.get(first, "csv")
            if first:
                yield from {"ndjson": self._lines, "json": self._values, "csv": self._table}[format]()
        except UnicodeDecodeError as error:
            raise Unreadable(f"{self.name} is not UTF-8 text ({error.reason}).") from None
        except (OSError, EOFError) as error:
            raise Unreadable(f"{self.name} cannot be read to its end: {error}.") from None

    def close(self) -> None:
        """Closes the file."""
        self._data.close()

    def _first_byte(self) -> bytes:
        if not hasattr(self._data, "peek"):
            return b"{"
        return bytes(self._data.peek(64)).removeprefix(codecs.BOM_UTF8).lstrip()[:1]

    def _lines(self) -> Iterator[Row | BadRow]:
        for number, line in enumerate(self._data, 1):
            text = (line.removeprefix(codecs.BOM_UTF8) if number == 1 else line).strip()
            if not text:
                continue
            place = f"line {number}"
            try:
                value = json.loads(text)
            except (ValueError, RecursionError) as error:
                yield BadRow(place, f"no JSON: {error}")
            else:
                yield self._row(place, value, text)

    def _values(self) -> Iterator[Row | BadRow]:
        """The values of an array, or values one after another, without holding the whole text."""
        decoder, reader = json.JSONDecoder(), codecs.getreader("utf-8-sig")(self._data)
        text, at, number, done, opened = "", 0, 0, False, False
        while True:
            while at < len(text) and (text[at].isspace() or text[at] in (",]" if opened else "[")):
                opened = opened or text[at] == "["
                at += 1
            try:
                if at == len(text):
                    raise ValueError("nothing more")
                value, end = decoder.raw_decode(text, at)
                if end == len(text) and not done:
                    raise ValueError("it may go on")
            except RecursionError:
                raise Unreadable(f"{self.name}: value {number + 1} is nested too deeply.") from None
            except ValueError as error:
                if done:
                    if at < len(text):
                        raise Unreadable(f"{self.name}: value {number + 1} is no JSON: {error}.") from None
                    return
                more = reader.read(max(_CHUNK, len(text) - at))  # doubling keeps a long value from costing its square
                done = not more
                text, at = text[at:] + more, 0
                continue
            at = end
            number += 1
            yield self._row(f"value {number}", value, None)

    def _table(self) -> Iterator[Row | BadRow]:
        text = io.TextIOWrapper(self._data, "utf-8-sig", newline="")
        table = csv.reader(text)
        try:
            header = [column.strip() for column in next(table, [])]
            header = [{"type": "metric_type", "time": "timestamp"}.get(name, name) for name in header]
            events = "event_type" in header
            needed = {"event_type"} if events else {"name", "metric_type", "value"} - self._defaults.keys()
            if missing := sorted(needed - set(header)):
                raise Unreadable(
                    f"{self.name}: the first line names the columns, and {', '.join(missing)} is missing. "
                    "Columns without a meaning of their own are labels."
                )
            for cells in table:
                place = f"line {table.line_num}"
                if not cells:
                    continue
                if len(cells) > len(header):
                    yield BadRow(place, f"{len(cells)} cells under {len(header)} columns")
                else:
                    value = _from_cells(dict(zip(header, cells, strict=False)), events)
                    yield self._row(place, value, None)
        except csv.Error as error:
            raise Unreadable(f"{self.name}, line {table.line_num}: no CSV: {error}.") from None
        finally:
            text.detach()

    def _row(self, place: str, value: Any, text: bytes | None) -> Row | BadRow:
        if not isinstance(value, dict):
            return BadRow(place, "a row is a JSON object")
        is_event = "event_type" in value and "metric_type" not in value
        if self._defaults and not is_event:
            tags = {**self._defaults.get("tags", {}), **(value.get("tags") or {})}
            value, text = {**self._defaults, **value} | ({"tags": tags} if tags else {}), None
        return Row(place, text if text is not None else json.dumps(value, separators=(",", ":")).encode(), is_event)


def number_of(text: str) -> int | float | str:
    """The number that a text is; the text where it is none, so that the server can say so."""
    if _NUMBER.fullmatch(text) is None:
        return text
    value: int | float = json.loads(text)
    return value if isinstance(value, int) or math.isfinite(value) else text


def _from_cells(cells: Mapping[str, str], is_event: bool) -> dict[str, Any]:
    """The row that a line of a table is; empty cells are absent."""
    own = _EVENT_FIELDS if is_event else _FIELDS
    row: dict[str, Any] = {name: cell for name, cell in cells.items() if name in own and cell != ""}
    rest = {name: cell for name, cell in cells.items() if name and name not in own and cell != ""}
    if rest:
        row["properties" if is_event else "tags"] = (
            {name: number_of(cell) for name, cell in rest.items()} if is_event else rest
        )
    for name in ("value", "timestamp"):
        if name in row:
            row[name] = number_of(row[name])
    return row
