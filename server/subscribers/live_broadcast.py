"""From the pipeline to those who watch: the firehose of raw rows, and which live queries an entry touches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from engine.engine import Delivery, Engine
from engine.model import Flags
from server.hub import Arrivals, Hub
from server.subscribers.live import Live
from server.wire.answers import as_raw, metric_row
from server.wire.messages import encode
from server.wire.receipts import event_json


class Broadcast:
    """Tells the hub and the live queries of each entry; rows are encoded only when somebody gets them."""

    def __init__(self, engine: Engine, hub: Hub, live: Live) -> None:
        self.engine, self.hub, self.live = engine, hub, live

    def applied(self, delivery: Delivery) -> None:
        """Sees every entry."""
        names: set[tuple[str, str]] = set()
        if len(delivery.series):
            if self.live.watching:
                names.update(("metric", name) for name in self._touched(delivery))
            own = self.engine.catalogue.own[delivery.series] if self.engine.catalogue.any_own else None
            if own is None or not own.any():
                self.hub.firehose(self._metrics(delivery))
            else:
                self.hub.firehose(self._metrics(_part(delivery, ~own)))
                self.hub.firehose(self._metrics(_part(delivery, own), own=True))
        if delivery.events:
            names.update(("event", event.type) for _, event in delivery.events)
            self.hub.firehose(self._events(delivery))
        self.live.applied(names, delivery.position, delivery.stamp)

    def _touched(self, delivery: Delivery) -> list[str]:
        catalogue = self.engine.catalogue
        numbers = catalogue.name_numbers[delivery.series]
        flags = np.zeros(len(catalogue.by_number), np.bool_)
        flags[numbers] = True
        return [catalogue.by_number[number].name for number in np.flatnonzero(flags).tolist()]

    def _metrics(self, delivery: Delivery, own: bool = False) -> Arrivals:
        offset = self.live.questions.offset(delivery.position)

        def message(i: int) -> bytes:
            series, time = int(delivery.series[i]), int(delivery.times[i])
            id = f"metric_{offset}_{int(delivery.rows[i])}"
            row = metric_row(self.engine.catalogue, series, time, float(delivery.values[i]), id)
            return encode({"type": "new_metric", "metric": row, "offset": offset})

        keys = cast(Sequence[int], delivery.series)  # an array serves as one
        return Arrivals("metric", delivery.position, len(delivery.series), keys, message, own)

    def _events(self, delivery: Delivery) -> Arrivals:
        offset = self.live.questions.offset(delivery.position)

        def message(i: int) -> bytes:
            row, event = delivery.events[i]
            raw = as_raw(event_json(event, offset, row))
            return encode({"type": "new_event", "event": raw, "offset": offset})

        # Events have no series: none replaces another.
        keys = [(delivery.position, row) for row, _ in delivery.events]
        return Arrivals("event", delivery.position, len(delivery.events), keys, message)


def _part(delivery: Delivery, chosen: Flags) -> Delivery:
    """Some of the samples of a delivery."""
    columns = (delivery.series[chosen], delivery.rows[chosen], delivery.times[chosen], delivery.values[chosen])
    return Delivery(delivery.position, delivery.stamp, *columns)
