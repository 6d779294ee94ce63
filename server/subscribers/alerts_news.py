"""From what the log says of alerts to all who are connected: `alert_triggered` and `alert_resolved`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from engine.engine import Delivery
from engine.model import Mark
from engine.rules.book import ALERT, Book, edges_of
from engine.rules.model import CHANGED, FIRED, RESOLVED
from server.wire.alert_messages import alert_resolved, alert_triggered
from server.wire.messages import encode

MAX_AT_ONCE = 50
"""Messages of one entry of the log; how many more there would be is said by one `dropped`."""


class Shown(NamedTuple):
    """An alert for readers: its document as it is answered, and the name of what it watches."""

    document: dict[str, Any]
    metric: str


class AlertNews:
    """tell: sends to all who are connected; is_heard: whether anybody is; shown: of a rule, None where it is gone."""

    def __init__(
        self, book: Book, tell: Callable[[bytes], None], is_heard: Callable[[], bool],
        shown: Callable[[str], Shown | None],
    ) -> None:  # fmt: skip
        self._book, self._tell, self._is_heard, self._shown = book, tell, is_heard, shown

    def applied(self, delivery: Delivery) -> None:
        """Sees every entry."""
        if not delivery.marks or not self._is_heard():
            return
        told = [news for mark in delivery.marks if mark.kind == ALERT for news in self._news(mark)]
        for message in told[:MAX_AT_ONCE]:
            self._tell(message)
        if len(told) > MAX_AT_ONCE:
            self._tell(encode({"type": "dropped", "count": len(told) - MAX_AT_ONCE}))

    def _news(self, mark: Mark) -> Iterator[bytes]:
        changes = [(rule, edge) for rule, edge in edges_of(mark) if edge.kind in (FIRED, CHANGED, RESOLVED)]
        if changes:
            rule = changes[0][0]  # a mark is of one rule
            incident, shown = self._book.newest(rule), self._shown(rule)
            for _, edge in changes:
                episode = incident.episodes.get(edge.group) if incident is not None else None
                if shown is None or incident is None or episode is None:
                    continue
                if edge.kind == RESOLVED:
                    yield alert_resolved(*shown, episode, incident.id)
                else:
                    yield alert_triggered(*shown, episode, incident.id, edge.at)
        yield from self._repeats(mark)

    def _repeats(self, mark: Mark) -> Iterator[bytes]:
        """An incident that somebody was told of again."""
        if '"kind":"repeat"' not in mark.text:
            return
        told = json.loads(mark.text)
        incident = self._book.find(told["incident"]) if told["do"] == "sent" else None
        shown = self._shown(incident.rule) if incident is not None else None
        if incident is not None and shown is not None:
            yield from (alert_triggered(*shown, episode, incident.id, told["at"]) for episode in incident.firing[:1])

