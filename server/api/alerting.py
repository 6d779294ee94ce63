"""What the routes of alerts need of the parts that evaluate rules and tell people.

What the log knows (states, episodes, incidents, what was sent) they read in the engine's book, as every process has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from engine.rules.book import Book
from engine.rules.model import Episode, Group, Readings, Rule
from server.errors import ApiError


class Told(Protocol):
    """A message that a replay would have sent."""

    @property
    def at(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def channel(self) -> str: ...
    @property
    def incident(self) -> str: ...
    @property
    def firing(self) -> int: ...


class Replayed(Protocol):
    """What a rule would have done."""

    @property
    def episodes(self) -> Sequence[Episode]: ...
    @property
    def flaps(self) -> Mapping[Group, int]: ...
    @property
    def messages(self) -> Sequence[Told]: ...
    @property
    def evaluated(self) -> Sequence[tuple[int, int, int]]:
        """(start, end, resolution), ms."""


class Anomaly(NamedTuple):
    """How unusual a watched series is now. score: 0 for not at all; since: ms, None where it is not unusual."""

    alert: str
    group: Group
    score: float
    value: float | None
    since: int | None


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

    async def preview(self, rule: Rule, span: int) -> Replayed:
        """What a rule would have done over the last `span` ms. Raises EngineError and ApiError as a query does."""

    def anomalies(self) -> Sequence[Anomaly]:
        """The watched series, the most unusual first."""


class Channels(Protocol):
    """The channels that messages go by. Their names are as rules write them."""

    def problem(self, name: str) -> str | None:
        """Why nothing can be sent by a channel, such as a setting that is missing, as a sentence; None where it can."""

    def target(self, name: str) -> str:
        """Where its messages go, without secrets; "" where that is not known."""

    async def test(self, name: str) -> Mapping[str, str]:
        """Sends a test message; what the far side calls it. Raises server.notify.NotSent."""


class Unwatched:
    """Where nothing evaluates and nobody is told."""

    def __init__(self, book: Book) -> None:
        self.book = book

    def readings(self, rule_id: str) -> Readings | None:
        return None

    async def acknowledge(self, incident_id: str, who: str) -> None:
        raise ApiError("not_found", "nothing is evaluated here")

    async def snooze(self, incident_id: str, until: int, who: str) -> None:
        raise ApiError("not_found", "nothing is evaluated here")

    async def preview(self, rule: Rule, span: int) -> Any:
        raise ApiError("not_found", "nothing is evaluated here")

    def anomalies(self) -> Sequence[Anomaly]:
        return ()

    def problem(self, name: str) -> str | None:
        return f"{name} is not configured"

    def target(self, name: str) -> str:
        return ""

    async def test(self, name: str) -> Mapping[str, str]:
        raise ApiError("not_found", "nothing is sent from here")
