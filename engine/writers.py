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

    def takes(self, entry: Entry) -> bool:
        """Whether the entry is new; it is remembered then."""
        epoch, last = entry.epoch, self._last
        if not epoch:
            return True
        if entry.sequence <= last.get(epoch, 0):
            return False
        last.pop(epoch, None)
        last[epoch] = entry.sequence
        if len(last) > MAX_WRITERS:
            del last[next(iter(last))]
        return True

    def state(self) -> dict[int, int]:
        """epoch -> sequence, a copy."""
        return dict(self._last)

    def restore(self, state: dict[int, int]) -> None:
        """Takes what `state` gave."""
        self._last = dict(state)
