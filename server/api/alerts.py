"""All routes of alerting, and the documents behind them."""

from __future__ import annotations

from starlette.routing import Route

from engine.aggregates import Registry
from server.api import alert_rules, alert_states, alert_templates, anomalies, incidents, notifications, silences
from server.api.alerting import Alerting, Channels
from server.api.documents import Documents
from server.api.saved_alerts import SavedAlerts
from server.auth import Gate
from server.questions import SavedQueries
from server.store import Store


class AlertDocuments:
    """The alerts, silences and templates that people have saved. queries: what alerts may rest on."""

    def __init__(self, store: Store, registry: Registry, queries: SavedQueries) -> None:
        self.alerts = SavedAlerts(store, registry, queries)
        self.silences = silences.SavedSilences(store)
        self.templates = alert_templates.SavedTemplates(store)

    def all(self) -> list[Documents]:
        """By kind."""
        return [self.alerts, self.silences, self.templates]


def routes(documents: AlertDocuments, alerting: Alerting, channels: Channels, gate: Gate) -> list[Route]:
    """The routes. Fixed names come before the ids that would match them too."""
    saved = documents.alerts
    answers = alert_rules.AlertAnswers(saved, alerting, channels)
    return [
        *alert_templates.routes(documents.templates, answers, gate),
        *alert_states.routes(saved, alerting, gate),
        *alert_rules.routes(answers, gate),
        *incidents.routes(saved, alerting, gate),
        *silences.routes(documents.silences, gate),
        *notifications.routes(saved, alerting, channels, gate),
        *anomalies.routes(saved, alerting, gate),
    ]
