"""What a process of Streamgauge is for, where one process is not enough.

    serve    all in one: the only one on its log and its store
    gateway  ingest, API, live screens; any number of them on one Redis stream and one DynamoDB store
    engine   holds its partitions of alerts and rollups; one of them owns the log, makes flushes count and trims it
"""

from __future__ import annotations

import os
import secrets
import socket
from typing import Literal

from server.config import ConfigError, Settings
from server.store import is_patient

Role = Literal["serve", "gateway", "engine"]
SERVE: Role = "serve"
GATEWAY: Role = "gateway"
ENGINE: Role = "engine"


def process_name(role: Role) -> str:
    """A name that no other process has."""
    return f"{role}-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


def check_role(role: Role, settings: Settings) -> None:
    """Raises ConfigError where the settings do not fit the role."""
    if role == SERVE:
        return
    if not settings.redis_url:
        raise ConfigError(
            f"`{role}` shares its log with other processes: set REDIS_URL, the same for all, or run `serve` without"
        )
    if not is_patient(settings.database):
        raise ConfigError(
            f"`{role}` shares its store with other processes, and sqlite:// is a file of one: set "
            "DATABASE_URL=dynamodb://region/prefix, the same for all, or run `serve`"
        )
    if not settings.enable_persistence:
        raise ConfigError(f"`{role}` keeps what it takes; ENABLE_PERSISTENCE=false is for `serve`")
