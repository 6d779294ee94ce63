"""From what the log says of alerts to all who are connected: `alert_triggered` and `alert_resolved`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from engine.engine import Delivery
from engine.rules.book import Book, News
from engine.rules.model import RESOLVED
from server.wire.alert_messages import alert_resolved, alert_triggered
from server.wire.messages import encode

MAX_AT_ONCE = 50
"""Messages of one entry of the log; how many more there would be is said by one `dropped`."""


class Shown(NamedTuple):
    """An alert for readers: its document as it is answered, and the name of what it watches."""

    document: dict[str, Any]
    metric: str


class AlertNews:
    """tell: sends to all who are connected; is_heard: whether anybody is; shown: of a rule, by its id."""

    def __init__(
        self, book: Book, tell: Callable[[bytes], None], is_heard: Callable[[], bool], shown: Callable[[str], Shown]
    ) -> None:
        self._book, self._tell, self._is_heard, self._shown = book, tell, is_heard, shown

    def applied(self, delivery: Delivery) -> None:
        """Sees every entry."""
        news = self._book.news if delivery.marks else []
        if not news or not self._is_heard():
            return
        shown = {rule: self._shown(rule) for rule in {each.incident.rule for each in news[:MAX_AT_ONCE]}}
        for each in news[:MAX_AT_ONCE]:
            self._tell(_message(shown[each.incident.rule], each))
        if len(news) > MAX_AT_ONCE:
            self._tell(encode({"type": "dropped", "count": len(news) - MAX_AT_ONCE}))


def _message(alert: Shown, news: News) -> bytes:
    if news.kind == RESOLVED:
        return alert_resolved(*alert, news.episode, news.incident.id)
    return alert_triggered(*alert, news.episode, news.incident.id, news.at)
