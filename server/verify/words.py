"""Series, levels and times as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

from engine.model import TYPES, parse_series_key

_LEVELS = ("5 s", "1 min", "1 h", "1 day")


def level_name(level: int) -> str:
    """The width of a level's panes."""
    return _LEVELS[level]


def series_name(key: bytes) -> str:
    """A packed series key, such as `orders{shop="berlin"} (counter)`."""
    try:
        parsed = parse_series_key(key)
    except ValueError:
        return repr(key)
    labels = ", ".join(f'{name}="{value}"' for name, value in parsed.labels)
    return f"{parsed.name}{{{labels}}} ({TYPES[parsed.type]})"


def time_of(ms: int) -> str:
    """A time in UTC, to the second."""
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"{ms} ms"


def times_of(start: int, length: int) -> str:
    """A stretch of time."""
    return f"{time_of(start)} to {time_of(start + length)}"
