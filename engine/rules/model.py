"""The words of alerting.

    rule      what to watch and whom to tell; people write it
    group     one combination of the rule's `group_by` labels; () where it has none
    reading   what a rule sees of one group at one moment
    alert     a rule and a group; its state is inactive, pending or firing
    edge      a change of an alert's state
    episode   an alert from firing to resolved
    incident  the episodes of one rule that overlap: one message on each channel, that changes

Times are int ms UTC, those of the log: nothing here reads a clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.matchers import Matcher
from engine.model import Floats, Labels
from engine.query.value import Query

Group = Labels

OK, WARNING, CRITICAL = 0, 1, 2
LEVELS = ("ok", "warning", "critical")

INACTIVE, PENDING, FIRING = "inactive", "pending", "firing"
STATUSES = (INACTIVE, PENDING, FIRING)

THRESHOLD, CHANGE, NO_DATA, ANOMALY = "threshold", "rate_of_change", "no_data", "anomaly"
KINDS = (THRESHOLD, ANOMALY, CHANGE, NO_DATA)
OPERATORS = (">", "<", ">=", "<=", "==", "!=")

CONDITION, SILENT, ERROR = 0, 1, 2
"""What made a reading: data, the lack of data, a query that failed."""
CAUSES = ("condition", "no_data", "error")

IGNORE, KEEP, FIRE = "ok", "keep", "fire"
"""What no data, or an error, means to a rule: nothing is wrong, nothing has changed, or it is wrong itself."""


@dataclass(frozen=True, slots=True)
class MuteTime:
    """When a rule tells nobody. days: of the week, 0 = Monday; begin, end: minutes of the day in `tz`; an end at or
    before the begin lies on the next day."""

    days: tuple[int, ...]
    begin: int
    end: int
    tz: str = "UTC"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule, checked.

    query: aggregation and range (the window, ms) and group_by; no step. each: every arriving value counts by itself,
    instead of an aggregation over a window (engine.rules.watch). critical, warning: thresholds, None for none; the
    recoveries are where a level is left again, None for the threshold itself. hold: `for`, ms; keep: ms that a firing
    alert goes on firing after its condition has ended. silence_after: ms without data that count as no data (None: a
    group that has had data and has none in its window). over: of a rate of change, ms back to the value compared with;
    relative: in percent of that. repeat, interval: ms between repeats, and at least between updates. listed: groups
    shown in a message; more are folded ("37 of 40"). max_groups: those beyond are not evaluated, and it is said.
    """

    id: str
    name: str
    kind: str
    query: Query
    each: bool = False
    op: str = ">"
    critical: float | None = None
    warning: float | None = None
    critical_recovery: float | None = None
    warning_recovery: float | None = None
    hold: int = 0
    keep: int = 0
    on_no_data: str = IGNORE
    on_error: str = KEEP
    silence_after: int | None = None
    over: int = 0
    relative: bool = False
    severity: str = ""
    labels: Labels = ()
    message: str = ""
    channels: tuple[str, ...] = ()
    repeat: int = 4 * 3_600_000
    interval: int = 30_000
    listed: int = 10
    max_groups: int = 1000
    inhibited_by: tuple[Matcher, ...] = ()
    mute: tuple[MuteTime, ...] = ()
    enabled: bool = True
    version: int = 1


@dataclass(slots=True)
class Readings:
    """What a rule sees at one moment, a row for each group that it knows or has known.

    values: nan for unknown; causes: int8, CONDITION, SILENT or ERROR. `over`: how many groups there are beyond
    `max_groups`; error: why the query failed, where it did.
    """

    at: int
    groups: list[Group]
    values: Floats
    causes: NDArray[np.int8]
    over: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """Where an alert stands. A value is None where it was unknown.

    status: inactive, pending, firing. level: the one it fires at; while pending, the highest one that has begun.
    cause: why (CONDITION, SILENT, ERROR); where it has just been resolved, what the reading was that did it.
    since: (ms since when the condition of WARNING has held, of CRITICAL), 0 for it does not; of a level that fires,
    since before it fired. clear: of a level that fires, ms since when its condition has not held, 0 for it does.
    fired: ms of the moment it began to fire, value: at that moment. peak, peak_at: the worst value while firing, and
    when it came. noted: ms of the newest edge. last: the value of the newest step.
    """

    status: str = INACTIVE
    level: int = OK
    cause: int = CONDITION
    since: tuple[int, int] = (0, 0)
    clear: tuple[int, int] = (0, 0)
    fired: int = 0
    value: float | None = None
    peak: float | None = None
    peak_at: int = 0
    noted: int = 0
    last: float | None = None


QUIET = State()
"""An alert of which there is nothing to say."""

BEGAN, CANCELLED, FIRED, CHANGED, RESOLVED, NOTED = "pending", "cancelled", "firing", "level", "resolved", "noted"
EDGES = (BEGAN, CANCELLED, FIRED, CHANGED, RESOLVED, NOTED)
"""inactive → pending, pending → inactive, → firing, firing at another level, firing → inactive; `noted`: the status is
the same, but what has to survive a restart is not (a condition that ended while firing goes on, a new peak)."""


class Edge(NamedTuple):
    """A change of state: of which group, what kind, when, and the state after it."""

    group: Group
    kind: str
    at: int
    state: State


@dataclass(frozen=True, slots=True)
class Silence:
    """Tells nobody of the alerts it matches in [start, end). matchers: on the alert's labels, which are those of its
    group, those of the rule, and `alert` (the rule's name), `alert_id` and `severity`."""

    id: str
    matchers: tuple[Matcher, ...]
    start: int
    end: int
    reason: str = ""
    author: str = ""


@dataclass(slots=True)
class Episode:
    """One alert from firing to resolved. why: how it ended: recovered, no data any more, rule deleted, disabled …"""

    id: str
    rule: str
    group: Group
    level: int
    since: int
    fired: int
    cause: int = CONDITION
    worst: int = OK
    value: float | None = None
    peak: float | None = None
    peak_at: int = 0
    resolved: int | None = None
    resolved_value: float | None = None
    why: str = ""


@dataclass(slots=True)
class Delivery:
    """How far one channel has been told of an incident.

    told: the revision last delivered, 0 for nothing yet; at: when, ms. ended: the last message has been delivered, or
    given up, or there is none to send. ids: what the far side calls the message, for changing it and answering to it.
    tries, retry, error: of the message that is being tried, how often, when again (ms), and what was wrong; held: why
    nothing is sent now.
    """

    told: int = 0
    at: int = 0
    ended: bool = False
    ids: dict[str, str] = field(default_factory=dict)
    tries: int = 0
    retry: int = 0
    error: str = ""
    held: str = ""


@dataclass(slots=True)
class Incident:
    """The overlapping episodes of a rule. revision counts what is worth telling; changes: the newest of those, as
    (revision, ms, group, kind of edge); episodes: firing ones, and those that ended in this incident, by group."""

    id: str
    rule: str
    opened: int
    closed: int | None = None
    revision: int = 0
    level: int = OK
    worst: int = OK
    episodes: dict[Group, Episode] = field(default_factory=dict)
    changes: list[tuple[int, int, Group, str]] = field(default_factory=list)
    deliveries: dict[str, Delivery] = field(default_factory=dict)
    fired: int = 0
    """Episodes that have begun in it."""
    acknowledged: str = ""
    """By whom; an acknowledged incident is not repeated."""
    snoozed: int = 0
    """ms until when nothing is told of it."""
    name: str = ""
    """Of its rule when it began, and, below, of what that watched: its end is told even where the rule is gone."""
    metric: str = ""

    @property
    def firing(self) -> list[Episode]:
        """The episodes that go on."""
        return [episode for episode in self.episodes.values() if episode.resolved is None]


class Look(NamedTuple):
    """How far the rules of a partition have been looked at.

    at: up to when, ms, all of them have been evaluated; position: the log position up to which all that had arrived was
    looked at then; since: since when, ms, nobody has been away, 0 for as long as anybody knows.
    """

    at: int = 0
    position: int = 0
    since: int = 0
