"""Metrics in JSON: one object, an array, or NDJSON lines, to columns.

Most rows repeat a series that was seen before, so the bytes of a row's tags (with its name and type) are looked up as
they came; only a miss decodes and checks them. The decoders, each tried where the one before it refuses the body: rows
with nothing but name, metric_type, value, tags and an integer timestamp; with unit and source as well; with all fields;
row by row, which finds what is wrong with which row.
"""

from __future__ import annotations

import math
from operator import attrgetter
from typing import Any, Literal, NamedTuple, TypeGuard

import msgspec
import numpy as np
from msgspec import Raw

from engine.model import (
    COUNTER,
    TEMPORALITIES,
    TYPES,
    UNSPECIFIED,
    Batch,
    Codes,
    Ints,
    pack_series_key,
    parse_series_key,
)
from server.limits import RowLimits
from server.wire.key_cache import Distinct, KeyCache, Known
from server.wire.labels import read_labels
from server.wire.rows import (
    MAX_ERRORS_READ,
    Refused,
    RowError,
    check_name,
    decode_singly,
    hash_id,
    parse_id,
    refused,
    row_time,
    with_contents,
    with_contents_of,
)
from server.wire.times import SECONDS_BELOW, parse_time

_ABSENT = -(1 << 63)
_NO_TAGS = Raw(b"{}")
_NOT_GIVEN = Raw(b"-")
"""No JSON, so that a unit alone and a source alone do not look the same."""


class _Bare(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A row of the usual members. What makes the series stays JSON: joined, it is the key of one look-up."""

    name: Raw
    metric_type: Literal["counter", "gauge", "histogram", "timer", "average", "sum"]
    value: float
    tags: Raw = _NO_TAGS
    timestamp: int = _ABSENT


class _Plain(_Bare, gc=False, forbid_unknown_fields=True):
    """With what else may make the series."""

    unit: Raw = _NOT_GIVEN
    source: Raw = _NOT_GIVEN


class _Row(msgspec.Struct, gc=False):
    name: str
    metric_type: str
    value: int | float
    tags: Raw = _NO_TAGS
    unit: str | None = None
    source: str | None = None
    timestamp: int | float | str | None = None
    id: str | int | None = None
    temporality: str | None = None


_REASONS = {
    "name": "bad_name",
    "metric_type": "bad_type",
    "value": "bad_value",
    "unit": "bad_name",
    "source": "bad_labels",
    "timestamp": "bad_timestamp",
    "id": "bad_id",
    "temporality": "bad_temporality",
}
_TYPE_CODES = {name: code for code, name in enumerate(TYPES)} | {"sum": COUNTER}

_bare_array = msgspec.json.Decoder(list[_Bare]).decode
_bare_lines = msgspec.json.Decoder(_Bare).decode_lines
_plain_array = msgspec.json.Decoder(list[_Plain]).decode
_plain_lines = msgspec.json.Decoder(_Plain).decode_lines
_row_array = msgspec.json.Decoder(list[_Row]).decode
_row_lines = msgspec.json.Decoder(_Row).decode_lines
_row = msgspec.json.Decoder(_Row).decode
_text = msgspec.json.Encoder().encode
_optional_text = msgspec.json.Decoder(str | None).decode
_join = b"".join
_value = attrgetter("value")
_timestamp = attrgetter("timestamp")


class Sample(NamedTuple):
    """One parsed metric object; `known` has its series key and the text of its answer."""

    known: Known
    value: int | float
    time: int
    id: bytes | None


class Rows(NamedTuple):
    """A parsed body: the good rows as columns, the refused ones, and how many there were of both."""

    batch: Batch
    errors: list[RowError]
    received: int
    unread: int = 0
    """Rows at the end that were refused unread, for too many before them were bad; not in `errors`."""


class MetricParser:
    """Turns bodies into columns. Keeps a bounded cache of the series it has seen; use it from one thread."""

    def __init__(self, limits: RowLimits | None = None) -> None:
        self._limits = limits or RowLimits()
        self._cache = KeyCache()
        self._distinct = Distinct()
        self._is_bare = True

    def single(self, body: bytes, arrival: int) -> Sample:
        """The metric of a JSON object that came at `arrival` ms. Refused with the reason; ApiError bad_json."""
        try:
            row = _row(body)
        except (ValueError, RecursionError) as error:
            raise refused(error, body, _REASONS) from error
        return self._sample(row, arrival)

    def many(self, body: bytes, arrival: int, lines: bool = False) -> Rows:
        """The rows of a JSON array, or of NDJSON `lines`. ApiError bad_json where an array is malformed."""
        try:
            plain = self._decode(body, lines)
            times = np.fromiter(map(_timestamp, plain), np.int64, len(plain))
            if not plain:
                return Rows(_empty(), [], 0)
            codes = self._codes(plain)
        except (ValueError, RecursionError, OverflowError, Refused):
            return self._general(body, arrival, lines)
        values = np.fromiter(map(_value, plain), np.float64, len(plain))
        if int(times.min()) < SECONDS_BELOW:
            absent = times == _ABSENT
            times = _to_ms(times)
            times[absent] = arrival
        if not self._in_reach(times, arrival):
            return self._general(body, arrival, lines)
        keys, lasting = self._cache.table(codes)
        if lasting:
            return Rows(Batch(keys, codes, values, times, whole=True), [], len(plain))
        return Rows(Batch(*self._distinct(keys, codes), values, times), [], len(plain))

    def _decode(self, body: bytes, lines: bool) -> list[_Plain] | list[_Bare]:
        """Rows of whichever of the two shapes holds all; the one that did the last time is tried first."""
        if self._is_bare:
            try:
                return _bare_lines(body) if lines else _bare_array(body)
            except ValueError:
                self._is_bare = False
                return _plain_lines(body) if lines else _plain_array(body)
        plain = _plain_lines(body) if lines else _plain_array(body)
        self._is_bare = not plain or plain[0].unit is plain[0].source is _NOT_GIVEN
        return plain

    def _codes(self, rows: list[_Plain] | list[_Bare]) -> Codes:
        """The cache's code of each row's series, good until the cache is used again."""
        hot = self._cache.hot
        try:
            if _all_plain(rows):
                codes = [hot[r.metric_type][_join((r.name, r.tags, r.unit, r.source))] for r in rows]
            else:
                codes = [hot[r.metric_type][_join((r.name, r.tags))] for r in rows]
            return np.fromiter(codes, np.int32, len(codes))
        except KeyError:
            codes = []
        hot = self._cache.follow()
        for row in rows:
            more = (row.unit, row.source) if isinstance(row, _Plain) else ()
            text = _join((row.name, row.tags, *more))
            try:
                code = hot[row.metric_type][text]
            except KeyError:
                name, unit, source = _text_of(row.name) or "", *map(_text_of, more or (_NOT_GIVEN, _NOT_GIVEN))
                key = self._check(name, row.metric_type, bytes(row.tags), unit, source, None)[0]
                code = self._cache.add_hot(row.metric_type, text, key)
            codes.append(code)
        return np.array(codes, np.int32)

    def _general(self, body: bytes, arrival: int, lines: bool) -> Rows:
        """Every field, then, where that fails, every row by itself."""
        contents: dict[int, Any] | None = None
        errors: list[RowError] = []
        try:
            found = list(enumerate(_row_lines(body) if lines else _row_array(body)))
        except (ValueError, RecursionError):
            found, contents, received = decode_singly(body, lines, _row, _REASONS, errors)
        else:
            received = len(found)
            if (whole := self._whole([row for _, row in found], arrival)) is not None:
                return whole
        index: dict[bytes, int] = {}
        codes: list[int] = []
        values: list[int | float] = []
        times: list[int] = []
        ids: dict[int, bytes] = {}
        for i, row in found:
            if len(errors) >= MAX_ERRORS_READ:
                break
            try:
                sample = self._sample(row, arrival)
            except Refused as error:
                errors.append(error.at(i))
                continue
            if sample.id is not None:
                ids[len(codes)] = sample.id
            codes.append(index.setdefault(sample.known.key, len(index)))
            values.append(sample.value)
            times.append(sample.time)
        errors = with_contents_of(errors, body, lines) if contents is None else with_contents(errors, contents)
        columns = np.array(codes, np.int32), np.array(values, np.float64), np.array(times, np.int64)
        return Rows(Batch(list(index), *columns, ids), errors, received, received - len(codes) - len(errors))

    def _whole(self, rows: list[_Row], arrival: int) -> Rows | None:
        """The rows as columns where every series is known and every row good; else None."""
        known = self._cache.known
        index: dict[bytes, int] = {}
        try:
            codes = [
                index.setdefault(
                    known[r.name, r.metric_type, bytes(r.tags), r.unit, r.source, r.temporality].key, len(index)
                )
                for r in rows
            ]
            values = np.array([r.value for r in rows], np.float64)
            times = np.array([arrival if r.timestamp is None else _time(r.timestamp) for r in rows], np.int64)
            ids = {i: hash_id(parse_id(r.id, "id"), b"metric") for i, r in enumerate(rows) if r.id is not None}
        except (KeyError, ValueError, OverflowError):
            return None
        if not rows or not np.isfinite(values).all() or not self._in_reach(times, arrival):
            return None
        return Rows(Batch(list(index), np.array(codes, np.int32), values, times, ids), [], len(rows))

    def _in_reach(self, times: Ints, arrival: int) -> bool:
        limits = self._limits
        return bool(times.max() <= arrival + limits.future and times.min() >= arrival - limits.metric_age)

    def _sample(self, row: _Row, arrival: int) -> Sample:
        value = row.value
        try:
            if not math.isfinite(value):
                raise Refused("bad_value", "value is no finite number", "value")
        except OverflowError:
            raise Refused("bad_value", "value is too large", "value") from None
        limits = self._limits
        time = arrival if row.timestamp is None else row_time(row.timestamp, arrival, limits.metric_age, limits)
        given = None if row.id is None else hash_id(parse_id(row.id, "id"), b"metric")
        return Sample(self._known(row), value, time, given)

    def _known(self, row: _Row) -> Known:
        lookup = (row.name, row.metric_type, bytes(row.tags), row.unit, row.source, row.temporality)
        known = self._cache.known.get(lookup)
        if known is None:
            key, labels = self._check(*lookup)
            series = parse_series_key(key)
            shown = labels.pop("source", None)
            known = Known(
                key,
                b',"name":%b,"metric_type":%b,"value":' % (_text(series.name), _text(TYPES[series.type])),
                b',"tags":%b,"unit":%b,"source":%b}' % (_text(labels), _text(series.unit or None), _text(shown)),
            )
            self._cache.add_known(lookup, known)
        return known

    def _check(
        self, name: str, metric_type: str, tags: bytes, unit: str | None, source: str | None, temporality: str | None
    ) -> tuple[bytes, dict[str, str]]:
        """The packed key and the labels of a series. Refused with the reason."""
        limits = self._limits
        check_name(name, "name", limits)
        type_code = _TYPE_CODES.get(metric_type)
        if type_code is None:
            raise Refused("bad_type", f"metric_type {metric_type[:40]!r} is none of {', '.join(TYPES)}", "metric_type")
        if unit:
            check_name(unit, "unit", limits)
        if temporality is not None and temporality not in TEMPORALITIES:
            fault = f"temporality {temporality[:40]!r} is neither delta nor cumulative"
            raise Refused("bad_temporality", fault, "temporality")
        labels = read_labels(tags)
        if source:
            labels["source"] = source
        if len(labels) > limits.labels:
            raise Refused("bad_labels", f"{len(labels)} labels; at most {limits.labels}", "tags")
        for label, value in labels.items():
            check_name(label, "a label name", limits, "bad_labels", "tags")
            if label.startswith("__"):
                raise Refused("bad_labels", f"label {label!r}: names that begin with __ are reserved", "tags")
            if len(value.encode()) > limits.label_bytes:
                raise Refused("too_long", f"label {label!r} has over {limits.label_bytes} bytes", "tags")
        code = UNSPECIFIED if temporality is None else TEMPORALITIES.index(temporality)
        return pack_series_key(name, type_code, code, unit or "", labels.items()), labels


def _all_plain(rows: list[_Plain] | list[_Bare]) -> TypeGuard[list[_Plain]]:
    return isinstance(rows[0], _Plain)


def _text_of(raw: Raw) -> str | None:
    """The text of a JSON string, None for null and for what is not given. Refused for anything else."""
    if raw is _NOT_GIVEN:
        return None
    try:
        text: str | None = _optional_text(raw)
    except ValueError as error:
        raise Refused("bad_name", str(error)) from None
    return text


def _time(value: int | float | str) -> int:
    return value if type(value) is int and value >= SECONDS_BELOW else parse_time(value)


def _to_ms(times: Ints) -> Ints:
    """Epoch seconds or ms as ms; what is far outside stays far outside."""
    return np.where(times < SECONDS_BELOW, np.maximum(times, -SECONDS_BELOW) * 1000, times)


def _empty() -> Batch:
    none: Ints = np.empty(0, np.int64)
    return Batch([], np.empty(0, np.int32), np.empty(0, np.float64), none)
