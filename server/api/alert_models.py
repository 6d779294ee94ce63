"""The answers about alerts, as models."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from server.api.models import Time
from server.rule_bodies import AlertMembers, Duration, NewAlert

Value = int | float | None
Level = Literal["ok", "warning", "critical"]
Status = Literal["inactive", "pending", "firing"]
Cause = Literal["condition", "no_data", "error"]
Labels = dict[str, str]


class Alert(NewAlert):
    """A kept alert, and where it stands. All members of it that were not given are absent."""

    id: str
    created_at: Time
    updated_at: Time
    version: int = Field(description="1, and one more with each change")
    last_triggered: Time | None = Field(description="when it last fired, or was told again")
    state: Literal["inactive", "pending", "firing", "disabled"] = Field(description="of its groups, the worst")
    level: Level
    firing: int = Field(description="groups that fire")
    pending: int
    groups: int = Field(description="that are known")
    value: Value = Field(description="the newest; of several groups that of the worst")
    evaluated_at: Time | None
    error: str | None = Field(description="why it cannot be evaluated")
    warnings: list[str] = Field(description="such as a channel that is not configured")


class ChangedAlert(NewAlert):
    """Body of PUT /api/alerts/{id}: the whole alert, as it was read or without what the server adds."""

    id: Any = None
    created_at: Any = None
    updated_at: Any = None
    version: int | None = Field(None, strict=True, description="of the alert that was read; 409 unless the newest")
    last_triggered: Any = None
    state: Any = None
    level: Any = None
    firing: Any = None
    pending: Any = None
    groups: Any = None
    value: Any = None
    evaluated_at: Any = None
    error: Any = None
    warnings: Any = None


class PatchedAlert(AlertMembers):
    """Body of PATCH /api/alerts/{id}: the members that change; null takes one away."""

    version: int | None = Field(None, strict=True, description="of the alert that was read; 409 unless the newest")


class GroupState(BaseModel):
    """One group of an alert."""

    group: Labels
    status: Status
    level: Level
    cause: Cause
    since: Time | None = Field(description="since when the condition has held")
    fired_at: Time | None
    value: Value
    peak: Value
    peak_at: Time | None


class EpisodeOf(BaseModel):
    """A group from firing to resolved."""

    id: str
    group: Labels
    level: Level = Field(description="the last")
    worst: Level
    cause: Cause
    since: Time
    fired_at: Time
    resolved_at: Time | None
    duration: float = Field(description="seconds from firing to resolved, or to now")
    value_at_fire: Value
    peak: Value
    peak_at: Time | None
    value_at_resolve: Value
    why: str | None = Field(description="how it ended")


class Asked(BaseModel):
    """Body of POST /api/alerts/preview."""

    model_config = ConfigDict(extra="forbid")

    alert: NewAlert
    time_range: Duration = Field("7d", description="how far back")


class PreviewMessage(BaseModel):
    """A message that would have gone out."""

    at: Time
    kind: Literal["firing", "update", "repeat", "resolved"]
    channel: str
    incident: str
    level: Level
    firing: int
    groups: int


class Flaps(BaseModel):
    """How often a group fired for less than five minutes."""

    group: Labels
    count: int


class EvaluatedPart(BaseModel):
    """A part of the range and by what it was evaluated."""

    model_config = ConfigDict(populate_by_name=True)

    start: Time = Field(alias="from")
    end: Time = Field(alias="to")
    resolution: str = Field(examples=["5s", "1m"])


class PreviewOf(BaseModel):
    """What an alert would have done."""

    begin: Time | None = Field(description="from when on; later than asked for where that was too much")
    episodes: list[EpisodeOf] = Field(description="oldest first, at most 1000")
    total_episodes: int
    total_pending: int = Field(description="how often a group was pending and did not fire")
    flaps: list[Flaps] = Field(description="the groups that flapped, the worst first, at most 100")
    messages: list[PreviewMessage] = Field(description="oldest first, at most 1000")
    total_messages: int
    evaluated: list[EvaluatedPart]
    notes: list[str] = Field(description="where it is not what would have been, and why")
    took: float = Field(description="seconds")


class DeliveryOf(BaseModel):
    """How far one channel has been told of an incident."""

    channel: str
    status: Literal["waiting", "held", "retrying", "sent", "gave_up"]
    sent_at: Time | None
    tries: int
    retry_at: Time | None
    error: str | None
    held: str | None = Field(description="why nothing is sent now")


class IncidentOf(BaseModel):
    """The episodes of one alert that overlap: one message on each channel, that changes."""

    id: str
    alert_id: str
    alert: str = Field(description="its name; empty where it is gone")
    level: Level
    worst: Level
    opened_at: Time
    closed_at: Time | None
    firing: int
    total: int = Field(description="episodes that have begun in it")
    acknowledged_by: str | None
    snoozed_until: Time | None
    deliveries: list[DeliveryOf]


class Notification(BaseModel):
    """What became of one try to tell somebody."""

    at: Time
    alert_id: str
    alert: str
    incident_id: str
    channel: str
    kind: str = Field(description="firing, update, repeat or resolved; empty where it did not come to that")
    outcome: Literal["sent", "failed", "gave_up", "held"]
    reason: str
    message_id: str
    tries: int


class ChannelOf(BaseModel):
    """A way to tell people."""

    name: str
    kind: Literal["slack", "email", "webhook"]
    configured: bool
    problem: str | None = Field(description="why nothing can be sent by it")
    target: str = Field(description="where its messages go, without secrets")
    last_sent_at: Time | None
    last_error: str | None


class Sent(BaseModel):
    """The far side has taken a test message."""

    sent: Literal[True]
    ids: dict[str, str] = Field(description="what it calls the message")


class Stretch(BaseModel):
    """A stretch in which a series was unusual."""

    model_config = ConfigDict(populate_by_name=True)

    start: Time = Field(alias="from")
    end: Time | None = Field(alias="to", description="null while it goes on")
    peak: float


class AnomalyOf(BaseModel):
    """How unusual a watched series is now."""

    alert_id: str
    alert: str
    query_string: str = Field(examples=["metric:latency"])
    group: Labels
    score: float = Field(description="0 and up: 2 where one point in a hundred is as rare")
    anomalous: bool = Field(description="whether an episode goes on")
    since: Time | None = Field(description="when it began")
    peak: float = Field(description="its highest score; 0 without one")
    value: Value
    at: Time | None
    likely_from: Value = Field(description="with likely_to: between which values the most similar moments were")
    likely_to: Value
    typical_low: float = Field(description="the 5th percentile of the past")
    typical: float
    typical_high: float
    episodes: list[Stretch] = Field(description="newest first, at most 16")
