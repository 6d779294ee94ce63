"""The ledger: what came in and what became of it.

received = accepted + events + duplicate + the sum over reasons of rejected. late, late_total, squeezed and folded are
attributes of accepted rows; expired rows were accepted and are older than every retention.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Ledger:
    """Counts of rows, from the log alone.

    received: all rows that came, metrics and events, a body that could not be read counting as one.
    late: before the entry's stamp minus LATENESS. late_total: late running totals, which do not count in `increase`.
    squeezed: running totals whose open pane was closed early for lack of memory; they do not count in `increase`.
    folded: went to an __other__ series. repeated: log entries appended twice and skipped. rejected: by reason; one of
    them is the engine's own, lost_series: the entry that says which series a number means is not in the log any more.
    """

    received: int = 0
    accepted: int = 0
    events: int = 0
    duplicate: int = 0
    late: int = 0
    late_total: int = 0
    squeezed: int = 0
    folded: int = 0
    expired: int = 0
    repeated: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    @property
    def balanced(self) -> bool:
        """Whether what became of the rows adds up to what came."""
        return self.received == self.accepted + self.events + self.duplicate + self.rejected.total()

    def as_dict(self) -> dict[str, Any]:
        """The counts by name."""
        counts = {name: getattr(self, name) for name in self.__slots__ if name != "rejected"}
        return {**counts, "rejected": dict(sorted(self.rejected.items()))}

    @classmethod
    def of_dict(cls, counts: dict[str, Any]) -> Ledger:
        """The inverse of `as_dict`."""
        known = {name: counts[name] for name in cls.__slots__ if name != "rejected" and name in counts}
        return cls(**known, rejected=Counter(counts.get("rejected", {})))
