"""What a series costs in DynamoDB stays below what is promised. Set stamps and seeds: the same units each time."""

from __future__ import annotations

import secrets

import pytest

from engine.levels import HOUR, MINUTE
from tests.cost_support import GAUGES, HISTOGRAMS, Kind, River, Tallying
from tests.dynamodb_support import Dynalite, aws_at

HOURS = 3
SHARED = 1_000
"""Series over which a flush's own items are spread."""


@pytest.mark.parametrize(
    ("kind", "names", "per_name", "limit"), [(GAUGES, 8, 1, 0.1), (GAUGES, 2, 10, 0.06), (HISTOGRAMS, 3, 1, 0.3)]
)
def test_units_of_a_series_and_minute(dynalite: Dynalite, kind: Kind, names: int, per_name: int, limit: float) -> None:
    client = Tallying.at(aws_at(dynalite.url), f"t{secrets.token_hex(6)}")
    with River(client, names, per_name, kind) as river:
        river.flow(0, HOURS * HOUR + 2 * MINUTE)
        blocks, rest = client.units("blocks/4", "blocks/1"), client.units("state", "blocks/index")
        assert river.rollups.flushes == 2 + HOURS, "one at the beginning, one per hour that is over"
        items = names * (HOURS + 1)  # the hour that the last samples are in has none yet, the one before the first has
        assert client.written["blocks/4"].items <= items and client.written["blocks/1"].items <= items
        counted = client.usage.snapshot()
        assert sum(counts.write_units for counts in counted.values()) == blocks + rest, "nothing else is written"
        assert blocks / river.series / (HOURS * 60) + rest / SHARED / (HOURS * 60) < limit
        assert river.engine.balanced
