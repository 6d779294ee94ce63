"""The saved alerts: documents, and the rules that they are read into, each once."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from engine.aggregates import Registry
from engine.errors import EngineError
from engine.rules.book import Book
from engine.rules.model import CHANGE, THRESHOLD, Readings, Rule
from server.api import alert_views as views
from server.api.documents import Documents
from server.api.http import as_api_error
from server.errors import ApiError
from server.questions import SavedQueries
from server.rule_documents import parse_rule
from server.store import Store
from server.wire.times import format_time

logger = logging.getLogger("streamgauge.alerts")

KIND = "alert"
MAX_SAVED = 10_000
MAX_BYTES = 32 * 1024
"""Of one alert as JSON; with MAX_SAVED it bounds what is held in memory."""
_OWN = ("id", "created_at", "updated_at", "version")


class SavedAlerts(Documents):
    """The saved alerts. registry, queries: what their queries rest on."""

    def __init__(self, store: Store, registry: Registry, queries: SavedQueries) -> None:
        super().__init__(store, KIND, MAX_SAVED, MAX_BYTES)
        self._registry, self._queries = registry, queries
        self._rules: dict[str, Rule] = {}
        self._faults: dict[str, str] = {}
        self._by_query: dict[str, str] = {}
        """Alert -> the saved query that it rests on."""

    async def open(self) -> None:
        """Reads what is stored, after the queries have been."""
        await super().open()
        for id in self._documents:
            self._read(id)
            if id in self._faults:
                logger.warning("alert %s cannot be evaluated: %s", id, self._faults[id])

    def rules(self) -> Mapping[str, Rule]:
        """The rules by id, each the same object until its alert changes. Those that cannot be read are left out."""
        for id in list(self._by_query):
            self._look_again(id)
        return self._rules

    def fault(self, alert_id: str) -> str | None:
        """Why an alert is no rule any more, as where its saved query is gone."""
        self._look_again(alert_id)
        return self._faults.get(alert_id)

    def shown(self, document: dict[str, Any], book: Book, readings: Readings | None) -> dict[str, Any]:
        """A document, and where its alert stands. readings: of its newest evaluation, where that is known."""
        whole = _completed(document)
        now = views.standing(book, readings, whole)
        return {**whole, **now, "error": self.fault(document["id"]) or now["error"]}

    def _look_again(self, id: str) -> None:
        """Whether the query of an alert is still there, or there again."""
        if id in self._by_query and (self._queries.document(self._by_query[id]) is None) == (id in self._rules):
            self._read(id)

    def _notice(self, id: str) -> None:
        self._read(id)
        super()._notice(id)

    def _read(self, id: str) -> None:
        for of_alerts in (self._rules, self._faults, self._by_query):
            of_alerts.pop(id, None)
        document = self._documents.get(id)
        if document is None:
            return
        if "query_id" in document:
            self._by_query[id] = document["query_id"]
        try:
            self._rules[id] = self.rule(document)
        except (ApiError, EngineError) as error:
            self._faults[id] = as_api_error(error).message

    def rule(self, document: Mapping[str, Any]) -> Rule:
        """The rule of a document or of a body. Raises ApiError and BadQuery."""
        return parse_rule(document, self._registry, self._queries)

    def name(self, alert_id: str) -> str:
        """What an alert is called; "" where there is none."""
        return str(self._documents.get(alert_id, {}).get("name", ""))

    async def save(self, members: dict[str, Any]) -> dict[str, Any]:
        """Saves an alert for good and returns it. Raises ApiError, and BadQuery, for one that cannot be."""
        self.rule(members)
        now = _now()
        return await self.add({"created_at": now, "updated_at": now, "version": 1, **members})

    async def change(self, alert_id: str, members: dict[str, Any], known: int | None, whole: bool) -> dict[str, Any]:
        """Replaces an alert (whole), or some of its members, for good. known: the version that it rests on.

        Raises ApiError and BadQuery for an alert that cannot be, not_found, and conflict when it has been changed.
        """

        def changed(before: dict[str, Any]) -> dict[str, Any]:
            version = before.get("version", 1)
            if known not in (None, version):
                message = "somebody has changed this alert since it was read; read it again before changing it"
                raise ApiError("conflict", message, details={"version": version})
            kept = {} if whole else _given(before)
            after = {name: value for name, value in {**kept, **members}.items() if value is not None}
            if members.keys() != {"enabled"}:  # what can no longer be read can still be switched off
                self.rule(after)
            if after == _given(before):
                return before
            own = {"id": alert_id, "created_at": before["created_at"], "updated_at": _now(), "version": version + 1}
            return {**own, **after}

        return await self.update(alert_id, changed)


def _now() -> str:
    return format_time(time.time_ns() // 1_000_000)


def _given(document: dict[str, Any]) -> dict[str, Any]:
    """What people have said of an alert."""
    return {name: value for name, value in document.items() if name not in (*_OWN, "last_triggered")}


def _completed(document: Mapping[str, Any]) -> dict[str, Any]:
    """A document with what it means where nothing is said, and older ones lack."""
    kind = document.get("alert_type", THRESHOLD)
    compared = {"condition": ">"} if kind in (THRESHOLD, CHANGE) else {}
    meant = {"enabled": True, "alert_type": kind, **compared, "notification_channels": []}
    return {**meant, "updated_at": document["created_at"], "version": 1, **document}
