"""Times and encoded bodies on the wire."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from datetime import UTC, datetime

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from server.errors import ApiError
from server.wire.content import decode_body
from server.wire.times import format_time, parse_time

YEAR_1, YEAR_9999 = -62_135_596_800_000, 253_402_300_799_999


@given(st.integers(YEAR_1, YEAR_9999))
@settings(deadline=None)
def test_parse_undoes_format(ms: int) -> None:
    assert parse_time(format_time(ms)) == ms


@given(st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.timezones()))
@settings(deadline=None)
def test_any_iso_time_with_its_offset(moment: datetime) -> None:
    if moment.utcoffset().total_seconds() % 60 == 0:  # type: ignore[union-attr]
        expected = (moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000
        assert abs(parse_time(moment.isoformat()) - expected) < 1.001


@pytest.mark.parametrize(
    ("given_time", "ms"),
    [
        ("2024-01-01T12:00:00", 1_704_110_400_000),  # naive = UTC
        ("2024-01-01T12:00:00Z", 1_704_110_400_000),
        ("2024-01-01T14:00:00.250+02:00", 1_704_110_400_250),
        ("2024-01-01", 1_704_067_200_000),
        (1_704_110_400, 1_704_110_400_000),  # seconds
        (1_704_110_400.25, 1_704_110_400_250),
        (1_704_110_400_250, 1_704_110_400_250),  # milliseconds
        (99_999_999_999, 99_999_999_999_000),
        (100_000_000_000, 100_000_000_000),
        (0, 0),
    ],
)
def test_times(given_time: str | float, ms: int) -> None:
    assert parse_time(given_time) == ms


@pytest.mark.parametrize("wrong", ["", "yesterday", "2024-13-01", float("nan"), float("inf"), 1e300, -1e300, 10**30])
def test_what_is_no_time(wrong: str | float) -> None:
    with pytest.raises(ValueError):
        parse_time(wrong)


def deflate_raw(body: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(body) + stream.flush()


def zstd(body: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(body)


ENCODERS = {
    "gzip": gzip.compress,
    "GZip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "deflate ": deflate_raw,
    "zstd": zstd,
    "gzip, zstd": lambda body: zstd(gzip.compress(body)),
    "identity": lambda body: body,
}


@pytest.mark.parametrize("encoding", ENCODERS)
@pytest.mark.parametrize("body", [b"", b"[1,2]", b"abc" * 100_000], ids=len)
def test_each_encoding_is_undone(encoding: str, body: bytes) -> None:
    assert decode_body(ENCODERS[encoding](body), encoding, 300_000) == body


@pytest.mark.parametrize("encode", [gzip.compress, zstd])
def test_parts_that_follow_one_another(encode: object) -> None:
    body = encode(b"[1,") + encode(b"2]")  # type: ignore[operator]
    assert decode_body(body, "zstd" if encode is zstd else "gzip", 100) == b"[1,2]"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "deflate ", "zstd"])
def test_the_limit_holds_while_decoding(encoding: str) -> None:
    bomb = ENCODERS[encoding](b"0" * (64 << 20))
    tracemalloc.start()
    with pytest.raises(ApiError) as caught:
        decode_body(bomb, encoding, 1 << 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.code == "body_too_large"
    assert peak < 20 << 20
    assert decode_body(ENCODERS[encoding](b"0" * (1 << 20)), encoding, 1 << 20)
    with pytest.raises(ApiError):
        decode_body(ENCODERS[encoding](b"0" * ((1 << 20) + 1)), encoding, 1 << 20)


def test_many_small_parts_share_one_limit() -> None:
    with pytest.raises(ApiError):
        decode_body(gzip.compress(b"0" * 60) * 2, "gzip", 100)
    with pytest.raises(ApiError):
        decode_body(zstd(b"0" * 60) * 2, "zstd", 100)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "deflate ", "zstd"])
def test_a_body_that_is_cut_off_or_damaged(encoding: str) -> None:
    body = ENCODERS[encoding](bytes(range(256)) * 8)
    for end in range(1, len(body)):
        with pytest.raises(ApiError) as caught:
            decode_body(body[:end], encoding, 1 << 20)
        assert caught.value.code == "bad_request"
    with pytest.raises(ApiError):
        decode_body(b"[1,2]", encoding, 100)


@given(st.binary(max_size=200), st.sampled_from(["gzip", "deflate", "zstd"]))
@settings(deadline=None)
def test_hostile_bytes(body: bytes, encoding: str) -> None:
    try:
        assert len(decode_body(body, encoding, 1000)) <= 1000
    except ApiError as error:
        assert error.code in ("bad_request", "body_too_large")


@pytest.mark.parametrize("encoding", ["br", "snappy", "gzip, br", "gzip, gzip, gzip", "é"])
def test_an_unknown_encoding(encoding: str) -> None:
    with pytest.raises(ApiError) as caught:
        decode_body(b"x", encoding, 100)
    assert caught.value.status == 415
