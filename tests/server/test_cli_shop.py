"""The shop of the demo: the same moment is always the same, and its numbers fit together."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from server.cli.shop import TICK, Row, Shop

MOMENT = 1_800_000_123_456


def rows(shop: Shop, ticks: int) -> tuple[list[Row], list[Row]]:
    metrics: list[Row] = []
    events: list[Row] = []
    for _ in range(ticks):
        more, others = shop.tick()
        metrics += more
        events += others
    return metrics, events


def test_a_moment_is_the_same_whenever_the_shop_was_opened() -> None:
    early, late = Shop(3, 80, MOMENT - 700_000), Shop(3, 80, MOMENT)
    while early.now < late.now:
        early.tick()
    assert late.now == MOMENT - MOMENT % TICK
    found = [early.tick() for _ in range(500)]
    assert found == [late.tick() for _ in range(500)]
    assert any(events for _, events in found)


def test_another_seed_is_another_shop() -> None:
    assert rows(Shop(1, 80, MOMENT), 200) != rows(Shop(2, 80, MOMENT), 200)


@pytest.mark.parametrize("rate", [10, 60])
def test_the_rate_is_about_what_was_asked(rate: float) -> None:
    seconds = 900
    metrics, events = rows(Shop(1, rate, MOMENT), seconds * 1000 // TICK)
    assert 0.6 * rate < (len(metrics) + len(events)) / seconds < 1.4 * rate


def test_the_numbers_fit_together() -> None:
    shop = Shop(4, 60, MOMENT)
    metrics, events = rows(shop, 1200)
    begin, end = MOMENT - MOMENT % TICK, shop.now
    assert all(begin <= row["timestamp"] < end for row in (*metrics, *events))
    total = Counter[str]()
    for row in metrics:
        total[row["name"]] += row["value"]
    count = Counter(row["event_type"] for row in events)
    assert total["shop_visits"] == count["visit"] > count["product_viewed"] / 3
    assert total["shop_orders"] == count["order"] > 0
    assert total["shop_payments"] == count["payment_paid"] + count["payment_failed"]
    paid = sum(row["properties"]["amount"] for row in events if row["event_type"] == "payment_paid")
    assert total["shop_revenue"] == pytest.approx(paid)
    assert all(row["value"] >= 0 for row in metrics)
    of_one = [row["value"] for row in metrics if row["name"] == "shop_stock" and row["tags"]["product"] == "mug"]
    rises = sum(b > a for a, b in pairwise(of_one))
    assert rises == 1  # one delivery in ten minutes, and else it only falls
    units: dict[str, set[str]] = {}
    for row in metrics:
        units.setdefault(row["name"], set()).add(row.get("unit", ""))
    assert all(len(found) == 1 for found in units.values())
