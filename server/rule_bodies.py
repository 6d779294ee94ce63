"""The members of an alert as people write them, one by one: shapes, lengths, durations.

What they mean together is decided by `server.rule_documents`. None stands for a member that is not given.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt

from engine.errors import BadQuery
from engine.query.value import MAX_GROUP_LABELS, parse_duration
from engine.rules.template import MAX_TEMPLATE
from server.questions import Number, QueryBody

MAX_MESSAGE = MAX_TEMPLATE
MAX_LABELS = 20
MAX_CHANNELS = 10
MAX_MUTES = 20
MAX_GROUPS = 10_000
MAX_LISTED = 30
MIN_BUDGET, MAX_BUDGET = 0.001, 10.0
"""False alarms per series and day."""
WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("must be finite")
    return value


def _duration(text: str) -> str:
    """Checks a duration that is not nothing."""
    try:
        parse_duration(text)
    except BadQuery as error:
        raise ValueError(str(error).removeprefix("time_range ")) from None
    return text


def _duration_or_none(text: str) -> str:
    return text if is_nothing(text) else _duration(text)


def is_nothing(text: str) -> bool:
    """Whether a duration is 0."""
    return _NOTHING.fullmatch(text.strip()) is not None


def _kind(value: Any) -> Any:
    return "rate_of_change" if value == "rate" else value


_NOTHING = re.compile(r"0{1,9}\s*[smhdw]?", re.ASCII)
_PATTERN = {"pattern": r"^\s*[0-9]{1,9}\s*[smhdw]\s*$"}
_OR_NONE = {"pattern": r"^\s*([0-9]{1,9}\s*[smhdw]|0{1,9})\s*$"}

Threshold = Annotated[Number, AfterValidator(_finite)]
Duration = Annotated[str, AfterValidator(_duration), Field(json_schema_extra=_PATTERN, max_length=40)]
"""Such as 30s or 5m."""
DurationOrNone = Annotated[str, AfterValidator(_duration_or_none), Field(json_schema_extra=_OR_NONE, max_length=40)]
"""The same, or 0s."""
Text = Annotated[str, Field(min_length=1, max_length=400)]
LabelName = Annotated[str, Field(min_length=1, max_length=200)]
LabelValue = Annotated[str, Field(max_length=1_000)]
TimeOfDay = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
Channel = Annotated[str, Field(min_length=1, max_length=500, examples=["slack", "email:ops@example.com"])]
Kind = Annotated[Literal["threshold", "anomaly", "rate_of_change", "no_data"], BeforeValidator(_kind)]
Operator = Literal[">", "<", "==", "!=", ">=", "<="]
Meaning = Literal["ok", "keep", "alert"]


class Mute(BaseModel):
    """When an alert tells nobody."""

    model_config = ConfigDict(extra="forbid")

    days: list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]] | None = Field(
        None, min_length=1, max_length=7, description="on which it begins; all where absent"
    )
    begin: TimeOfDay = Field(alias="from", examples=["22:00"])
    end: TimeOfDay = Field(alias="to", description="of the next day, unless later than `from`", examples=["06:00"])
    tz: str | None = Field(None, max_length=64, description="IANA time zone; UTC", examples=["Europe/Berlin"])


class _Given(BaseModel):
    model_config = ConfigDict(extra="forbid")

    def members(self) -> dict[str, Any]:
        """Those that were given, as JSON has them."""
        return self.model_dump(by_alias=True, exclude_none=True)

    def changes(self) -> dict[str, Any]:
        """The same, and None for those that were given as null."""
        return dict.fromkeys(self.model_dump(by_alias=True, exclude_unset=True)) | self.members()


class AlertOptions(_Given):
    """What can be said of an alert besides what it watches and which way."""

    aggregation: str | None = Field(
        None, max_length=200, description="as of a query; each arriving value counts by itself where there is none",
        examples=["average", "percentile_95"],
    )  # fmt: skip
    window: Duration | None = Field(None, description="what is aggregated, back from now; 5m", examples=["5m"])
    group_by: list[LabelName] | None = Field(
        None, max_length=MAX_GROUP_LABELS, description="labels; each of their combinations is an alert of its own"
    )
    warning: Threshold | None = Field(None, description="of level warning, before the threshold is reached")
    recovery: Threshold | None = Field(None, description="where the level of `threshold` is left again")
    warning_recovery: Threshold | None = None
    hold: DurationOrNone | None = Field(None, alias="for", description="how long it has to be so before it fires; 0s")
    keep_firing_for: DurationOrNone | None = Field(None, description="how long it fires on when it is no longer so; 0s")
    no_data: Meaning | None = Field(None, description="what no data mean: nothing is wrong, no change, or an alert")
    no_data_after: Duration | None = Field(None, description="how long there have to be none; the window where absent")
    on_error: Meaning | None = Field(None, description="what a query that fails means; keep")
    severity: Text | None = Field(None, examples=["critical"])
    labels: dict[LabelName, LabelValue] | None = Field(None, max_length=MAX_LABELS, examples=[{"team": "shop"}])
    message: str | None = Field(
        None, max_length=MAX_MESSAGE, description="a template: `{value}`, `{threshold}`, `{group}`, `{labels.host}`, …",
        examples=["{value} errors, more than {threshold}"],
    )  # fmt: skip
    notification_channels: list[Channel] | None = Field(
        None, max_length=MAX_CHANNELS, description="slack, email or webhook, each with `:` and a target where wanted"
    )
    repeat_interval: Duration | None = Field(None, description="after which it is told again while it goes on; 4h")
    update_interval: Duration | None = Field(None, description="at least between two messages of an incident; 30s")
    max_groups: Annotated[StrictInt, Field(ge=1, le=MAX_GROUPS)] | None = Field(None, description="evaluated; 1000")
    listed: Annotated[StrictInt, Field(ge=1, le=MAX_LISTED)] | None = Field(None, description="groups in a message; 10")
    inhibited_by: str | None = Field(
        None, max_length=4_000, description="matchers of other alerts: while one fires, nothing is told of this one",
        examples=['{severity="critical"}'],
    )  # fmt: skip
    mute: list[Mute] | None = Field(None, max_length=MAX_MUTES, description="when nothing is told of it")


class AlertMembers(AlertOptions):
    """What can be said of an alert. A member that is not known is refused: what it asks for would not happen."""

    name: Text | None = Field(None, examples=["High error rate"])
    enabled: StrictBool | None = None
    alert_type: Kind | None = Field(None, description="threshold where absent; `rate` is rate_of_change")
    metric_name: Text | None = Field(None, description="what to watch: this, or `query`, or `query_id`")
    query: QueryBody | None = Field(None, description="a query without a step, whose range ends now")
    query_id: Text | None = Field(None, description="a saved query of that kind")
    filters: dict[str, Any] | None = Field(None, description="as of a query", max_length=MAX_LABELS)
    condition: Operator | None = Field(None, description="> where absent")
    threshold: Threshold | None = Field(None, description="of level critical; of warning where that is the severity")
    change_over: Duration | None = Field(None, description="of rate_of_change: back to what the value is compared with")
    relative: StrictBool | None = Field(None, description="of rate_of_change: in percent of that")
    budget: Annotated[Threshold, Field(ge=MIN_BUDGET, le=MAX_BUDGET)] | None = Field(
        None, description="of anomaly: false alarms per series and day that are put up with; 0.2"
    )


class NewAlert(AlertMembers):
    """Body of POST /api/alerts. A member that is not known is refused: what it asks for would not happen."""

    name: Text = Field(examples=["High error rate"])


class Template(AlertOptions):
    """What an alert can be made of. Further members are those of an alert."""

    condition: str = Field(
        max_length=4_000, description="metric:name, label matchers if wanted, an operator, a number",
        examples=["metric:api_errors_total > 100"],
    )  # fmt: skip
    description: str | None = Field(None, max_length=1_000)
