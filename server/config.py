"""Settings: from the environment and `.env`, each read first as STREAMGAUGE_<NAME>, then as <NAME>.

The descriptions below are the text of the README's table of settings.
"""

from __future__ import annotations

import difflib
import os
import re
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

from dotenv import dotenv_values
from pydantic import AliasChoices, AliasGenerator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from server.setting_kinds import (
    Hours,
    MailAddresses,
    MailSender,
    MailServer,
    Networks,
    Retention,
    Seconds,
    SecretUrl,
    Size,
    WebUrl,
    parse_api_keys,
)
from server.store import Aws, dynamodb_place

PREFIX = "STREAMGAUGE_"
CLIENT_VARIABLES = ("STREAMGAUGE_URL", "STREAMGAUGE_KEY")
"""The client commands read these, the server does not; they are no misspelt settings."""
OLDER_NAMES = {"aws_access_key_id": "AWS_ACCESS_KEY", "aws_secret_access_key": "AWS_SECRET_KEY"}
"""Setting -> the name by which older installations know it; read where the setting itself is empty."""
_HOUR, _DAY = 3_600_000, 86_400_000


class ConfigError(Exception):
    """A setting that cannot be used; the message is a sentence that names it and repeats no secret."""


def _names(field: str) -> AliasChoices:
    """The variables that a setting is read from, the first that is set wins."""
    names = [field.upper(), *filter(None, [OLDER_NAMES.get(field)])]
    return AliasChoices(*(start + name for name in names for start in (PREFIX, "")))


class Settings(BaseSettings):
    """All settings. Attribute names are the environment's in lower case."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        populate_by_name=True,
        hide_input_in_errors=True,
        validate_default=False,  # a retention's default is in ms already, a bare number from outside in seconds
        alias_generator=AliasGenerator(validation_alias=_names),
    )

    host: str = Field("127.0.0.1", description="Address to listen on; another than loopback needs API_KEYS or AUTH=off")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one")
    data_dir: Path = Field(Path("./data"), description="Folder of the embedded log and of the SQLite file")
    redis_url: str = Field(
        "", repr=False, description="Log on Redis Streams (redis://, rediss://, unix://); empty = embedded log"
    )
    database_url: str = Field(
        "",
        repr=False,
        description="Store, sqlite:///path or dynamodb://region/prefix; empty = streamgauge.db in DATA_DIR",
    )
    create_tables: bool = Field(False, description="Make the tables in DynamoDB that are missing")
    aws_endpoint_url: str = Field("", description="Address of DynamoDB; empty = that of AWS in the region")
    aws_access_key_id: SecretStr = Field(
        SecretStr(""),
        description="Key of AWS (or AWS_ACCESS_KEY); without one the standard ways are tried: profile, machine's role",
    )
    aws_secret_access_key: SecretStr = Field(SecretStr(""), description="Secret of that key (or AWS_SECRET_KEY)")
    aws_session_token: SecretStr = Field(SecretStr(""), description="Token, where the key is a temporary one")
    enable_persistence: bool = Field(True, description="false: nothing is kept across a restart")
    lateness: Seconds = Field(
        60, ge=0, le=86_400, description="Seconds the watermark stays behind arrival; an older sample is late"
    )
    log_fsync: str = Field(
        "200", description="Milliseconds between flushes of the embedded log to the disk, or `always`"
    )
    log_max_bytes: Size = Field(8 << 30, ge=1 << 20, description="Size at which the log refuses more (503)")
    pane_memory: Size = Field(
        256 << 20, ge=1 << 20, description="Memory for open panes of 1 s; beyond it the oldest are folded to 5 s early"
    )
    retention_5s: Retention = Field(_DAY, description="How long panes of 5 s are kept")
    retention_1min: Retention = Field(30 * _DAY, description="How long panes of 1 min are kept")
    retention_1h: Retention = Field(400 * _DAY, description="How long panes of 1 h are kept")
    retention_1d: Retention = Field(3650 * _DAY, description="How long panes of 1 day are kept")
    data_retention_hours: Hours = Field(24, gt=0, description="Hours events are kept")
    metric_buffer_size: int = Field(10_000, ge=1, description="Newest raw samples kept in memory")
    event_buffer_size: int = Field(
        10_000, ge=1, description="Events held in memory before they are written to the store"
    )
    api_keys: SecretStr = Field(
        SecretStr(""),
        description="Keys as `scope:key` or `scope+scope:key`, with commas between; scopes ingest, read, admin; "
        "`sha256=<hex>` may stand for a key (`streamgauge keys new`)",
    )
    auth: Literal["on", "off"] = Field("on", description="off: no keys are asked for, whatever the address")
    allowed_origins: str = Field("", description="Origins of other sites that may call, with commas between; * = all")
    firehose_rate: int = Field(
        20, ge=0, le=10_000, description="new_metric, and as many new_event, per second and connection"
    )
    websocket_heartbeat_interval: Seconds = Field(
        30, gt=0, description="Seconds between pings; two missed end the connection"
    )
    max_websocket_connections: int = Field(1000, ge=0, description="WebSocket connections; more get 503")
    max_subscriptions: int = Field(500, ge=0, description="Subscriptions per connection")
    max_message_bytes: Size = Field(65_536, ge=256, description="Bytes of one WebSocket message from a client")
    max_message_rate: int = Field(50, ge=1, description="WebSocket messages from a client, per second and connection")
    max_query_execution_time: Seconds = Field(30, gt=0, description="Seconds a query may take")
    max_query_series: int = Field(20_000, ge=1, description="Series a query may read")
    max_query_points: int = Field(200_000, ge=1, description="Points a query may answer")
    plugins: str = Field("", description="module:function that registers aggregations, with commas between")
    log_level: Literal["debug", "info", "warning", "error", "critical"] = Field(
        "info", description="Least severe level logged"
    )
    log_format: Literal["text", "json"] = Field("text", description="Log lines as `text` or as `json`, one object each")
    enable_query_logging: bool = Field(True, description="Log each query that is asked: its text, cost and rows")
    metrics_log_interval: Seconds = Field(60, ge=0, description="Seconds between summary lines in the log; 0 = none")
    self_metrics: bool = Field(True, description="Send the server's own numbers as series streamgauge_…")
    self_metrics_interval: Seconds = Field(10, ge=0.1, description="Seconds between two readings of them")
    max_body_bytes: Size = Field(16 << 20, ge=1024, description="Bytes of a request body, decoded")
    body_timeout: Seconds = Field(10, gt=0, description="Seconds a request body may take to arrive")
    max_series: int = Field(1_000_000, ge=1, description="Series in total; more fold into one labelled __other__")
    max_series_per_name: int = Field(
        50_000, ge=1, description="Series per metric name; more fold into one labelled __other__"
    )
    max_labels: int = Field(32, ge=1, le=1000, description="Labels of a series")
    max_name_length: int = Field(
        200, ge=1, le=10_000, description="Characters of a metric name, event type, label name or unit"
    )
    max_label_length: Size = Field(1024, ge=1, le=65_536, description="Bytes of a label value")
    max_depth: int = Field(16, ge=1, le=100, description="Levels of nesting in the properties and metadata of an event")
    dedup_keys: int = Field(1_000_000, ge=0, description="Idempotency keys and row ids remembered")
    dedup_hours: Hours = Field(24, gt=0, description="Hours they are remembered")
    max_rejects: int = Field(
        1000, ge=0, le=100_000, description="Refused rows kept to be looked at and sent again; 0 = none"
    )
    store_stall: Seconds = Field(
        3600, gt=0, description="Seconds the store may stand still before rows are refused (503)"
    )
    store_backlog: Size = Field(
        512 << 20, ge=1 << 20, description="Memory for what waits for a store that stands still; beyond it 503"
    )
    checkpoint_interval: Seconds = Field(10, gt=0, description="Seconds between checkpoints")
    drain_seconds: Seconds = Field(5, ge=0, description="Seconds over which connections are sent away at shutdown")

    slack_bot_token: SecretStr = Field(
        SecretStr(""), description="Slack by bot token, scope chat:write: one message an incident, changed in place"
    )
    slack_channel: str = Field("", description="Slack channel of the channel `slack`, such as #ops, or its id")
    slack_webhook_url: SecretUrl = Field(
        SecretStr(""), description="Slack by incoming webhook instead: a new message each time"
    )
    slack_api_url: WebUrl = Field("https://slack.com/api", description="Address of Slack's Web API")
    smtp_url: MailServer = Field(
        SecretStr(""),
        description="Mail server, smtp://user:password@host:port or smtps://…; STARTTLS is used where it is offered, "
        "`?starttls=required` insists on it, `?starttls=off` does without",
    )
    alert_email_from: MailSender = Field(
        "", description="Sender of mails, `Name <a@example.com>` or an address; empty = the user of SMTP_URL"
    )
    alert_email_to: MailAddresses = Field("", description="Recipients of the channel `email`, with commas between")
    alert_webhook_url: SecretUrl = Field(SecretStr(""), description="URL of the channel `webhook`")
    alert_webhook_secret: SecretStr = Field(
        SecretStr(""), description="Signs what webhooks get: HMAC-SHA256 in Streamgauge-Signature"
    )
    alert_networks: Networks = Field(
        "", description="Private networks that webhooks may reach besides all public ones, CIDRs with commas between"
    )
    alert_flood: int = Field(20, ge=1, description="Messages per channel and minute")
    anomaly_series: int = Field(1000, ge=1, description="Series that rules of type anomaly may watch, all together")
    public_url: WebUrl = Field("", description="Address of the page as people reach it, for the links in messages")
    heartbeat_url: SecretUrl = Field(
        SecretStr(""), description="URL to GET while all parts are well, for a service that notices when that ends"
    )
    heartbeat_interval: Seconds = Field(60, ge=1, description="Seconds between two of those")

    @field_validator("log_level", "log_format", "auth", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.strip().lower() if isinstance(value, str) else value

    @field_validator("log_fsync")
    @classmethod
    def _check_fsync(cls, value: str) -> str:
        value = value.strip().lower()
        if value != "always" and not (value.isdecimal() and 1 <= int(value) <= 60_000):
            raise ValueError("must be `always` or milliseconds from 1 to 60000")
        return value

    @field_validator("redis_url")
    @classmethod
    def _check_redis(cls, value: str) -> str:
        if value and not value.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must start with redis://, rediss:// or unix://")
        return value

    @field_validator("database_url")
    @classmethod
    def _check_database(cls, value: str) -> str:
        if value.startswith("dynamodb:"):
            dynamodb_place(value)
        elif value and (not value.startswith("sqlite:///") or value == "sqlite:///"):
            raise ValueError("must be sqlite:///path or dynamodb://region/prefix")
        return value

    @field_validator("aws_endpoint_url")
    @classmethod
    def _check_endpoint(cls, value: str) -> str:
        value = value.strip().rstrip("/")
        if value and not re.fullmatch(r"https?://(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?", value):
            raise ValueError("must be http:// or https://, a host, and a port if wanted, such as http://localhost:8000")
        return value

    @field_validator("api_keys")
    @classmethod
    def _check_keys(cls, value: SecretStr) -> SecretStr:
        parse_api_keys(value.get_secret_value())
        return value

    @property
    def database(self) -> str:
        """URL of the store in force."""
        return self.database_url or f"sqlite:///{self.data_dir / 'streamgauge.db'}"

    @property
    def log(self) -> str:
        """URL of the log in force."""
        return self.redis_url or f"file://{(self.data_dir / 'log').absolute()}"

    @property
    def aws(self) -> Aws:
        """How to reach DynamoDB."""
        return Aws(
            endpoint=self.aws_endpoint_url,
            access_key=self.aws_access_key_id.get_secret_value().strip(),
            secret_key=self.aws_secret_access_key.get_secret_value().strip(),
            session_token=self.aws_session_token.get_secret_value().strip(),
            create_tables=self.create_tables,
        )

    @property
    def origins(self) -> frozenset[str]:
        """The allowed origins, without a trailing slash; may hold "*"."""
        return frozenset(filter(None, (part.strip().rstrip("/").lower() for part in self.allowed_origins.split(","))))

    @property
    def retentions(self) -> tuple[int, ...]:
        """Milliseconds that each level is kept, the finest first; a coarser one never less than a finer one."""
        return tuple(accumulate((self.retention_5s, self.retention_1min, self.retention_1h, self.retention_1d), max))

    @property
    def longest_retention(self) -> int:
        """Milliseconds; a sample older than this is refused."""
        return self.retentions[-1]

    @property
    def event_retention(self) -> int:
        """Milliseconds that events are kept."""
        return int(self.data_retention_hours * _HOUR)


_SECRET = {
    *("api_keys", "redis_url", "database_url"),
    *("aws_access_key_id", "aws_secret_access_key", "aws_session_token", "aws_endpoint_url"),
    *("slack_bot_token", "slack_webhook_url", "smtp_url", "alert_webhook_url", "alert_webhook_secret", "heartbeat_url"),
}


def load_settings(**overrides: Any) -> Settings:
    """The settings of this process; keyword arguments (lower-case names) win. ConfigError with one line per fault."""
    file = Path(str(overrides.get("_env_file", ".env") or "/dev/null"))
    written = dotenv_values(file) if file.is_file() else {}
    faults = [_unknown(name) for name in sorted({*os.environ, *written}) if _is_unknown(name)]
    given = [PREFIX + name.upper() for name in overrides if not name.startswith("_")]
    faults += [_unknown(name) for name in given if _is_unknown(name)]
    if faults:
        raise ConfigError("\n".join(faults))
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        raise ConfigError("\n".join(_fault(fault) for fault in error.errors(include_url=False))) from None
    if settings.database.startswith("dynamodb:") and bool(settings.aws.access_key) != bool(settings.aws.secret_key):
        raise ConfigError("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together: set both, or neither")
    return settings


def _is_unknown(name: str) -> bool:
    upper = name.upper()
    bare = upper.removeprefix(PREFIX)
    known = upper in CLIENT_VARIABLES or bare.lower() in Settings.model_fields or bare in OLDER_NAMES.values()
    return upper.startswith(PREFIX) and not known


def _unknown(name: str) -> str:
    known = [PREFIX + field.upper() for field in Settings.model_fields]
    near = difflib.get_close_matches(name.upper(), known, 1)
    return f"{name} is no setting" + (f"; did you mean {near[0]}?" if near else "; see the README's table of settings")


def _fault(fault: Any) -> str:
    name = str(fault["loc"][0]).removeprefix(PREFIX).upper() if fault["loc"] else "?"
    message = str(fault["msg"]).removeprefix("Value error, ")
    shown = "" if name.lower() in _SECRET else f" (it is {str(fault['input'])[:100]!r})"
    return f"{name} (or {PREFIX}{name}): {message}{shown}"
