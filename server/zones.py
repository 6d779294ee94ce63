"""Time zones by name: the system's database, or that of the tzdata package where the system has none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from engine.errors import BadQuery

EXAMPLE = "Europe/Berlin"


@lru_cache(maxsize=1)  # it looks into every folder of the database
def names() -> frozenset[str]:
    """The names that can be asked for."""
    return frozenset(available_timezones())


@lru_cache(maxsize=1024)
def find(name: str) -> ZoneInfo:
    """The zone of an IANA name. Raises BadQuery, which names one like it where there is one."""
    if name in names():  # other files of the database are no zones, or count leap seconds
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, OSError, ValueError) as error:
            raise BadQuery(f"tz: the rules of {name!r} cannot be read: {error}") from None
    like = get_close_matches(name[:64], names(), 1, 0.75) or [EXAMPLE]
    raise BadQuery(f"tz: no such time zone {name[:64]!r}; IANA names such as {like[0]}")


def offset(name: str, moment: int) -> int:
    """ms that the clocks of a zone are ahead of UTC at a moment in ms. Raises BadQuery."""
    ahead = datetime.fromtimestamp(moment / 1000, UTC).astimezone(find(name)).utcoffset()
    return (ahead or timedelta(0)) // timedelta(milliseconds=1)
