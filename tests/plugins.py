"""Aggregations that tests register with PLUGINS=tests.plugins:register."""

from __future__ import annotations

import time
from typing import Any

from engine.aggregates import Registry


def register(registry: Registry) -> None:
    """Registers all of them."""
    registry.register_aggregation("value_range", value_range)
    registry.register_aggregation("broken", broken)
    registry.register_aggregation("slow", slow)


def register_twice(registry: Registry) -> None:
    """Takes a name that is taken."""
    registry.register_aggregation("sum", value_range)


def value_range(values: list[float], params: dict[str, Any]) -> float:
    """Largest minus smallest value, times params["scale"]."""
    return (max(values) - min(values)) * float(params.get("scale", 1))


def broken(values: list[float], params: dict[str, Any]) -> float:
    """Fails."""
    raise ZeroDivisionError("on purpose")


def slow(values: list[float], params: dict[str, Any]) -> float:
    """Takes longer than the tests allow."""
    time.sleep(2.0)
    return 0.0
