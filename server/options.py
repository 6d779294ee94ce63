"""What the parts are set up with, from the settings."""

from __future__ import annotations

import importlib

from engine.aggregates import Registry
from engine.dedup import Bound
from engine.engine import Options
from engine.levels import Retention
from server.config import ConfigError, Settings
from server.hub import Limits as HubLimits
from server.store import is_patient


def engine_options(settings: Settings, *, shared: bool = False) -> Options:
    """The engine's options. shared: whether other processes follow the same log (see engine.flushes)."""
    return Options(
        lateness=int(settings.lateness * 1000),
        retention=Retention(settings.retentions, is_patient(settings.database)),
        max_series=settings.max_series,
        max_series_per_name=settings.max_series_per_name,
        pane_memory=settings.pane_memory,
        raw_samples=settings.metric_buffer_size,
        dedup=Bound(settings.dedup_keys, int(settings.dedup_hours * 3_600_000)),
        max_rejects=settings.max_rejects,
        shared=shared,
    )


def hub_limits(settings: Settings) -> HubLimits:
    """The hub's limits."""
    return HubLimits(
        connections=settings.max_websocket_connections,
        subscriptions=settings.max_subscriptions,
        message_bytes=settings.max_message_bytes,
        message_rate=settings.max_message_rate,
        firehose_rate=settings.firehose_rate,
        heartbeat=settings.websocket_heartbeat_interval,
    )


def load_plugins(names: str, registry: Registry) -> None:
    """Calls each `module:function` with the registry. Raises ConfigError that names the one that fails."""
    for name in filter(None, (part.strip() for part in names.split(","))):
        module, colon, function = name.partition(":")
        try:
            if not colon:
                raise ValueError("write module:function")
            getattr(importlib.import_module(module), function)(registry)
        except Exception as error:
            raise ConfigError(f"PLUGINS: {name!r} cannot be loaded: {error}") from error
