"""A shop that never was: its visitors, carts, orders, payments, pages and stock.

The same seed, rate and moment give the same rows, whenever the simulation was started; so sending a moment twice, with
its key, counts once.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterator
from typing import Any

TICK = 500
"""Milliseconds of one step."""
ROWS_PER_VISIT = 8.75
"""Metrics and events that a visit brings about, on the average; measured."""
ROWS_PER_TICK = 0.9
"""Those that come whatever happens: the gauges."""

_COUNTRIES = (("DE", 46), ("FR", 21), ("NL", 14), ("AT", 11), ("PL", 8))
_CHANNELS = (("search", 44), ("direct", 25), ("social", 17), ("newsletter", 14))
_DEVICES = (("phone", 58), ("desktop", 34), ("tablet", 8))
_METHODS = (("card", 48), ("paypal", 32), ("invoice", 20))
_PRODUCTS = (("mug", 14.9, 30), ("poster", 24.0, 22), ("shirt", 29.0, 20), ("lamp", 79.0, 9), ("chair", 189.0, 4))
_ORDERS_PER_VISIT = 0.215
_LATENCY = {"/": 28, "/product": 42, "/cart": 55, "/checkout": 95, "/api/pay": 210}
"""Median milliseconds by route."""
_RESTOCK = 600_000
"""Milliseconds between deliveries of goods."""
_LONGEST_VISIT = 240_000
"""Milliseconds after which nothing of a visit is left."""
_INCIDENT, _EVERY = 45_000, 13 * 60_000
"""The payment provider is slow for so long, once in so long."""

Row = dict[str, Any]
_Step = tuple[int, int, str, dict[str, Any]]
"""What happens when: time in ms, a number that breaks ties, what, and the visit."""


class Shop:
    """The shop from `start` (ms) on; `rate` is about the rows per second at an ordinary hour."""

    def __init__(self, seed: int, rate: float, start: int) -> None:
        self._seed = seed
        self._visits = max(0.01, (rate - ROWS_PER_TICK * 1000 / TICK) / ROWS_PER_VISIT) * TICK / 1000
        self._steps: list[_Step] = []
        self._number = 0
        orders = self._visits * _RESTOCK / TICK * _ORDERS_PER_VISIT / sum(weight for _, _, weight in _PRODUCTS)
        self._full = {product: 8 + round(1.2 * orders * weight) for product, _, weight in _PRODUCTS}
        """What lies in store after a delivery; by the next one most of it is sold."""
        self._stock = dict(self._full)
        self._inside: dict[str, int] = {}
        self.now = start - start % _RESTOCK - _LONGEST_VISIT
        """The beginning of the next tick, ms."""
        start -= start % TICK
        while self.now < start:  # what is on its way by then began earlier
            self.tick()

    def tick(self) -> tuple[list[Row], list[Row]]:
        """(metrics, events) of the next TICK milliseconds."""
        begin, end = self.now, self.now + TICK
        self.now = end
        if begin % _RESTOCK == 0:
            self._stock = dict(self._full)
        chance = random.Random(f"{self._seed}:{begin}")
        metrics: list[Row] = []
        events: list[Row] = []
        for _ in range(_poisson(chance, self._visits * _traffic(begin))):
            self._arrive(begin + chance.randrange(TICK), chance)
        while self._steps and self._steps[0][0] < end:
            at, _, what, visit = heapq.heappop(self._steps)
            getattr(self, f"_{what}")(at, visit, metrics, events)
        if begin % 5_000 == 0:
            metrics += self._levels(begin, chance)
        return metrics, events

    def _levels(self, at: int, chance: random.Random) -> Iterator[Row]:
        """The gauges, every 5 s."""
        self._inside = {visitor: left for visitor, left in self._inside.items() if left > at}
        yield _metric(at, "shop_visitors", "gauge", len(self._inside))
        for product, left in self._stock.items():
            yield _metric(at, "shop_stock", "gauge", max(0, left), "pieces", product=product)
        for number in range(3):
            base = 22 + 30 * _traffic(at) * (1 + 0.15 * number) + 4 * math.sin(at / 31_000 + number)
            yield _metric(
                at, "server_cpu", "gauge", round(base + chance.gauss(0, 2.5), 1), "%", host=f"web-{number + 1}"
            )

    def _later(self, at: int, what: str, visit: dict[str, Any]) -> None:
        self._number += 1
        heapq.heappush(self._steps, (at, self._number, what, visit))

    def _arrive(self, at: int, chance: random.Random) -> None:
        visit = {
            "chance": random.Random(chance.getrandbits(64)),
            "user": f"u{int(chance.paretovariate(0.7) * 3) % 4000:04d}",
            "session": f"s{chance.getrandbits(40):010x}",
            "country": _pick(chance, _COUNTRIES),
            "channel": _pick(chance, _CHANNELS),
            "device": _pick(chance, _DEVICES),
            "until": at + _LONGEST_VISIT // 2,
            "cart": [],
        }
        self._inside[visit["session"]] = at + 20_000 + chance.randrange(70_000)
        self._later(at, "enter", visit)

    def _request(self, at: int, route: str, visit: dict[str, Any], metrics: list[Row], slow: float = 1.0) -> None:
        chance: random.Random = visit["chance"]
        took = _LATENCY[route] * slow * (0.8 + 0.4 * _traffic(at)) * math.exp(chance.gauss(0, 0.38))
        status = "500" if chance.random() < 0.004 else "200"
        metrics.append(_metric(at, "http_request_duration", "timer", round(took, 2), "ms", route=route, status=status))

    def _enter(self, at: int, visit: dict[str, Any], metrics: list[Row], events: list[Row]) -> None:
        chance: random.Random = visit["chance"]
        country, channel = visit["country"], visit["channel"]
        metrics.append(_delta(at, "shop_visits", 1, channel=channel, country=country))
        self._request(at, "/", visit, metrics)
        events.append(_event(at, "visit", visit, channel=channel, country=country, device=visit["device"]))
        if chance.random() < 0.71:
            self._later(at + 800 + chance.randrange(9_000), "look", visit)

    def _look(self, at: int, visit: dict[str, Any], metrics: list[Row], events: list[Row]) -> None:
        chance: random.Random = visit["chance"]
        product, price = _product(chance)
        self._request(at, "/product", visit, metrics)
        events.append(_event(at, "product_viewed", visit, product=product, price=price))
        if chance.random() < 0.34:
            self._later(at + 2_000 + chance.randrange(15_000), "put", visit | {"product": product, "price": price})
        elif chance.random() < 0.55 and at < visit["until"]:
            self._later(at + 1_500 + chance.randrange(14_000), "look", visit)

    def _put(self, at: int, visit: dict[str, Any], metrics: list[Row], events: list[Row]) -> None:
        chance: random.Random = visit["chance"]
        visit["cart"].append(visit["price"])
        self._request(at, "/cart", visit, metrics)
        metrics.append(_delta(at, "shop_carts", 1, country=visit["country"], device=visit["device"]))
        events.append(_event(at, "added_to_cart", visit, product=visit["product"], amount=visit["price"]))
        buys = {"phone": 0.43, "desktop": 0.58, "tablet": 0.5}[visit["device"]]
        if chance.random() < buys:
            self._later(at + 4_000 + chance.randrange(25_000), "order", visit)
        elif chance.random() < 0.5 and at < visit["until"]:
            self._later(at + 2_000 + chance.randrange(10_000), "look", visit)

    def _order(self, at: int, visit: dict[str, Any], metrics: list[Row], events: list[Row]) -> None:
        chance: random.Random = visit["chance"]
        amount = round(sum(visit["cart"]) + (0 if sum(visit["cart"]) > 60 else 4.9), 2)
        self._request(at, "/checkout", visit, metrics)
        metrics.append(_delta(at, "shop_orders", 1, country=visit["country"], product=visit["product"]))
        metrics.append(_metric(at, "shop_basket", "histogram", amount, "EUR", country=visit["country"]))
        events.append(_event(at, "order", visit, product=visit["product"], amount=amount, items=len(visit["cart"])))
        self._stock[visit["product"]] -= 1
        self._later(at + 600 + chance.randrange(2_500), "pay", visit | {"amount": amount})

    def _pay(self, at: int, visit: dict[str, Any], metrics: list[Row], events: list[Row]) -> None:
        chance: random.Random = visit["chance"]
        method = _pick(chance, _METHODS)
        trouble = at % _EVERY < _INCIDENT and method != "invoice"
        self._request(at, "/api/pay", visit, metrics, 6.0 if trouble else 1.0)
        failed = chance.random() < (0.38 if trouble else 0.03)
        result = "failed" if failed else "paid"
        metrics.append(_delta(at, "shop_payments", 1, method=method, result=result))
        events.append(_event(at, f"payment_{result}", visit, method=method, amount=visit["amount"]))
        if not failed:
            metrics.append(_delta(at, "shop_revenue", visit["amount"], "EUR", country=visit["country"], method=method))
            if chance.random() < 0.3:
                self._later(at + 10_000 + chance.randrange(30_000), "rate", visit)

    def _rate(self, at: int, visit: dict[str, Any], metrics: list[Row], events: list[Row]) -> None:
        stars = _pick(visit["chance"], ((5, 48), (4, 30), (3, 12), (2, 6), (1, 4)))
        metrics.append(_metric(at, "shop_rating", "average", stars, "stars", product=visit["product"]))
        events.append(_event(at, "rated", visit, product=visit["product"], stars=stars))


def _traffic(at: int) -> float:
    """How busy it is, about 1: two slow waves and one quick."""
    minutes = at / 60_000
    return (
        1
        + 0.3 * math.sin(minutes / 17)
        + 0.16 * math.sin(minutes / 3.3 + 1)
        + 0.08 * math.sin(minutes * 2 * math.pi / 1.3)
    )


def _metric(at: int, name: str, type: str, value: float, unit: str = "", **tags: str) -> Row:
    row: Row = {"name": name, "metric_type": type, "value": value, "timestamp": at, "tags": tags}
    return row | {"unit": unit} if unit else row


def _delta(at: int, name: str, value: float, unit: str = "", **tags: str) -> Row:
    return _metric(at, name, "counter", value, unit, **tags) | {"temporality": "delta"}


def _event(at: int, type: str, visit: dict[str, Any], **properties: Any) -> Row:
    who = {"user_id": visit["user"], "session_id": visit["session"]}
    return {"event_type": type, "timestamp": at, **who, "properties": properties}


def _pick(chance: random.Random, choices: tuple[tuple[Any, int], ...]) -> Any:
    return chance.choices([choice for choice, _ in choices], [weight for _, weight in choices])[0]


def _product(chance: random.Random) -> tuple[str, float]:
    name, price, _ = chance.choices(_PRODUCTS, [weight for _, _, weight in _PRODUCTS])[0]
    return name, price


def _poisson(chance: random.Random, mean: float) -> int:
    """How many of something come where `mean` come on the average."""
    if mean > 50:
        return max(0, round(chance.gauss(mean, math.sqrt(mean))))
    number, product, floor = 0, chance.random(), math.exp(-mean)
    while product > floor:
        number += 1
        product *= chance.random()
    return number
