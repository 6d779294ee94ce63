"""Who has appended what: an entry that its writer appended twice counts once."""

from __future__ import annotations

from engine.model import Entry

MAX_WRITERS = 1000
"""Writers remembered: a writer's entries can come twice only while its appends are in flight."""


class Writers:
    """The last sequence of each writer, the one heard last at the end. Entries without an epoch are always new."""

    def __init__(self) -> None:
        self._last: dict[int, int] = {}

    def has(self, entry: Entry) -> bool:
        """Whether the entry, or a later one of its writer, has been remembered."""
        return bool(entry.epoch) and entry.sequence <= self._last.get(entry.epoch, 0)

    def remember(self, entry: Entry) -> None:
        """The entry is applied."""
        if not entry.epoch:
            return
        self._last.pop(entry.epoch, None)
        self._last[entry.epoch] = entry.sequence
        if len(self._last) > MAX_WRITERS:
            del self._last[next(iter(self._last))]

    def state(self) -> dict[int, int]:
        """epoch -> sequence, a copy."""
        return dict(self._last)

    def restore(self, state: dict[int, int]) -> None:
        """Takes what `state` gave."""
        self._last = dict(state)
