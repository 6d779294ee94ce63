"""The events of the SQLite store: written, listed, counted, and scanned for the values that queries ask for."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator, Sequence

from server.store import SCAN_CHUNK, SCAN_LIMIT, FieldValue, ScannedEvent, StoredEvent, TooManyRows
from server.store.fields import body_value, split_path
from server.store.sqlite_files import SqliteFiles

_COLUMNS = "position, row, time, type, user_id, session_id, body"
_OWN_COLUMN = {"event_type": "type", "user_id": "user_id", "session_id": "session_id"}
# Distinct types by stepping through the index, one look-up each, then a count along the index for each.
_COUNT_TYPES = """WITH RECURSIVE types (type) AS (
    SELECT min(type) FROM events
    UNION ALL
    SELECT (SELECT min(e.type) FROM events e WHERE e.type > t.type) FROM types t WHERE t.type IS NOT NULL)
    SELECT type, (SELECT count(*) FROM events e WHERE e.type = t.type AND e.time >= ? AND e.time < ?)
    FROM types t WHERE type IS NOT NULL"""
_MIN, _MAX = -(1 << 63), (1 << 63) - 1
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_ $:@-]+")


class SqliteEvents:
    """The part of SqliteStore that deals with events; the methods are those of server.store.Store."""

    def __init__(self, files: SqliteFiles) -> None:
        self._files = files

    @staticmethod
    def _put_events(db: sqlite3.Connection, events: list[StoredEvent]) -> None:
        # readable: SQLite's own opinion of the body, asked once, as its functions fail on what is no JSON to them
        db.executemany(
            f"INSERT OR IGNORE INTO events ({_COLUMNS}, readable) "
            "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, json_valid(CAST(?7 AS TEXT)))",
            events,
        )

    def events(
        self,
        type: str | None,
        start: int,
        end: int,
        *,
        user_id: str | None = None,
        limit: int | None = None,
        newest_first: bool = False,
        upto: tuple[int, int] | None = None,
        after: tuple[int, int, int] | None = None,
    ) -> list[StoredEvent]:
        source, parameters = _source(type, start, end, user_id, upto)
        if after is not None:
            source += f" AND (time, position, row) {'<' if newest_first else '>'} (?, ?, ?)"
            parameters += after
        order = "time DESC, position DESC, row DESC" if newest_first else "time, position, row"
        statement = f"SELECT {_COLUMNS} {source} ORDER BY {order} LIMIT ?"
        with self._files.reading() as db:
            rows = db.execute(statement, (*parameters, -1 if limit is None else limit)).fetchall()
        return list(map(StoredEvent._make, rows))

    def events_scan(
        self,
        type: str | None,
        start: int,
        end: int,
        fields: Sequence[str] = (),
        upto: tuple[int, int] | None = None,
        *,
        limit: int = SCAN_LIMIT,
    ) -> Iterator[list[ScannedEvent]]:
        source, parameters = _source(type, start, end, None, upto)
        columns = ["time", "user_id", "session_id", *(f"{_column(path)} AS value_{i}" for i, path in enumerate(fields))]
        with self._files.reading() as db:
            count = db.execute(f"SELECT count(*) {source}", parameters).fetchone()[0]
        if count > limit:
            raise TooManyRows(count, limit)
        return self._scan(f"SELECT {', '.join(columns)} {source} ORDER BY time, position, row", parameters)

    def _scan(self, statement: str, parameters: tuple[object, ...]) -> Iterator[list[ScannedEvent]]:
        with self._files.reading() as db:
            db.create_function("body_value", 2, _body_value, deterministic=True)
            cursor = db.execute(statement, parameters)
            while rows := cursor.fetchmany(SCAN_CHUNK):
                yield rows

    def event_types(self, start: int | None = None, end: int | None = None) -> dict[str, int]:
        bounds = (_MIN if start is None else start, _MAX if end is None else end)
        with self._files.reading() as db:
            return {type: count for type, count in db.execute(_COUNT_TYPES, bounds) if count}


def _source(
    type: str | None, start: int, end: int, user_id: str | None, upto: tuple[int, int] | None
) -> tuple[str, tuple[object, ...]]:
    """FROM and WHERE of the events asked for, with their parameters. The index is named: there are no statistics."""
    index = "events_by_user" if user_id is not None else "events_by_time" if type is None else "events_by_type"
    where = "time >= ? AND time < ?"
    parameters: tuple[object, ...] = (start, end)
    for column, wanted in (("type", type), ("user_id", user_id)):
        if wanted is not None:
            where += f" AND {column} = ?"
            parameters += (wanted,)
    if upto is not None:
        where += " AND (position, row) <= (?, ?)"
        parameters += upto
    return f"FROM events INDEXED BY {index} WHERE {where}", parameters


def _column(path: str) -> str:
    """The SQL that gives a field's value."""
    if path in _OWN_COLUMN:
        return _OWN_COLUMN[path]
    names = split_path(path)
    if all(map(_PLAIN_NAME.fullmatch, names)):
        body = "CAST(body AS TEXT)"
        place = "'$" + "".join(f'."{name}"' for name in names) + "'"
        value = f"json_extract({body}, {place})"
        truth = f"json_type({body}, {place})"
        value = f"CASE {truth} WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' ELSE {value} END"
    else:
        # a sender may have escaped these characters, and SQLite compares names as they are written
        quoted = json.dumps(names).replace("'", "''")
        value = f"body_value(body, '{quoted}')"
    return f"CASE WHEN readable THEN {value} END"


def _body_value(body: bytes, names: str) -> FieldValue:
    """The value at the end of a path, which is a JSON array of names."""
    return body_value(body, json.loads(names))
