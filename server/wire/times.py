"""Times on the wire: ISO 8601 or epoch numbers in, ISO 8601 UTC with milliseconds out. Inside, int ms."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

SECONDS_BELOW = 100_000_000_000
"""An epoch number below this is seconds, any other milliseconds."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_FIRST = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH) // _MILLISECOND
_LAST = (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC) - _EPOCH) // _MILLISECOND + 999


def parse_time(value: str | int | float) -> int:
    """Milliseconds of ISO 8601 text (without a zone: UTC) or of an epoch number; fractions are cut.

    ValueError where it is neither, or outside the years 1 to 9999.
    """
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value.strip())
        except ValueError:
            raise ValueError(f"{value[:80]!r} is no ISO 8601 time") from None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return (moment - _EPOCH) // _MILLISECOND
    if not -1e18 < value < 1e18:  # also false for NaN
        raise ValueError(f"{value!r:.80} is no epoch time")
    ms = int(value * 1000 if value < SECONDS_BELOW else value)
    if not _FIRST <= ms <= _LAST:
        raise ValueError(f"{value!r:.80} is no time of the years 1 to 9999")
    return ms


def format_time(ms: int) -> str:
    """`2024-01-01T12:00:00.000Z`. ValueError outside the years 1 to 9999."""
    second, rest = divmod(ms, 1000)
    return f"{_format_second(second)}.{rest:03d}Z"


@lru_cache(maxsize=256)  # answers to what has just arrived ask for the same second again and again
def _format_second(second: int) -> str:
    if not _FIRST <= second * 1000 <= _LAST:
        raise ValueError(f"{second} s is no time of the years 1 to 9999")
    return (_EPOCH + timedelta(seconds=second)).isoformat()[:19]


def duration(ms: int) -> str:
    """Milliseconds as people write them: 5s, 1m, 1h, 1d."""
    for unit, width in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if ms % width == 0:
            return f"{ms // width}{unit}"
    return f"{ms}ms"
