"""What the routes of alerts need of the parts that evaluate rules and tell people.

What the log knows (states, episodes, incidents, what was sent) they read in the engine's book, as every process has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from engine import anomaly
from engine.anomaly import Standing
from engine.query.value import Name
from engine.rules.book import Book
from engine.rules.model import Group, Readings, Rule
from server.preview import Preview


class Anomaly(NamedTuple):
    """How unusual a watched series is now, and when it has been, newest first; about: what its rule watches."""

    alert: str
    about: Name
    group: Group
    standing: Standing
    episodes: Sequence[anomaly.Episode]


class Alerting(Protocol):
    """The rules as they are evaluated."""

    @property
    def book(self) -> Book:
        """Where all alerts stand."""

    def readings(self, rule_id: str) -> Readings | None:
        """What the newest evaluation of a rule has seen; None where this process has not evaluated it."""

    async def acknowledge(self, incident_id: str, who: str) -> None:
        """An open incident is not repeated any more, and who has seen it is known."""

    async def snooze(self, incident_id: str, until: int, who: str) -> None:
        """Nothing is told of an incident until then, ms; 0 ends that."""

    async def preview(self, rule: Rule, span: int) -> Preview:
        """What a rule would have done over the last `span` ms. Raises EngineError and ApiError as a query does."""

    async def anomalies(self, most: int) -> Sequence[Anomaly]:
        """The watched series, the most unusual first; of those that other processes watch what they tell. Raises
        ApiError where they cannot be asked."""


class Channels(Protocol):
    """The channels that messages go by. Their names are as rules write them."""

    def problem(self, name: str) -> str | None:
        """Why nothing can be sent by a channel, such as a setting that is missing, as a sentence; None where it can."""

    def target(self, name: str) -> str:
        """Where its messages go, without secrets; "" where that is not known."""

    async def test(self, name: str) -> Mapping[str, str]:
        """Sends a test message; what the far side calls it. Raises server.notify.NotSent."""
