"""The bounds of what one row may hold, taken from the settings."""

from __future__ import annotations

from dataclasses import dataclass

from server.config import Settings

FUTURE = 10 * 60_000
"""Milliseconds a row may be ahead of its arrival."""

MAX_ID = 1024
"""Characters of a row's id, a user id, a session id or an Idempotency-Key."""


@dataclass(frozen=True, slots=True)
class RowLimits:
    """What a row may hold; lengths in characters unless said otherwise, times in ms."""

    labels: int = 32
    name: int = 200
    label_bytes: int = 1024
    depth: int = 16
    metric_age: int = 3650 * 86_400_000
    """A sample older than this is refused: no resolution is kept that long."""
    event_age: int = 86_400_000
    """An event older than this is refused."""
    future: int = FUTURE

    @classmethod
    def of(cls, settings: Settings) -> RowLimits:
        """The limits these settings ask for."""
        return cls(
            labels=settings.max_labels,
            name=settings.max_name_length,
            label_bytes=settings.max_label_length,
            depth=settings.max_depth,
            metric_age=settings.longest_retention,
            event_age=round(settings.data_retention_hours * 3_600_000),
        )
