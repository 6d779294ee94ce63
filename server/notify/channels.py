"""The channels that rules may name, as the settings make them.

    slack, slack:#channel               SLACK_BOT_TOKEN with SLACK_CHANNEL, or SLACK_WEBHOOK_URL for `slack` alone
    email, email:someone@example.com    SMTP_URL, ALERT_EMAIL_FROM; ALERT_EMAIL_TO for `email`
    webhook, webhook:https://…          ALERT_WEBHOOK_URL for `webhook`; ALERT_WEBHOOK_SECRET signs

Webhooks reach public addresses, and those of ALERT_NETWORKS: whoever may write a rule may name one. ALERT_WEBHOOK_URL
is no exception, so that one rule holds for all that is called a webhook. Slack and the mail server are named by the
operator alone, and may be anywhere.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from server.config import Settings
from server.notify import Channel
from server.notify.places import (
    SmtpPlace,
    mail_address,
    mail_addresses,
    mail_sender,
    networks,
    smtp_place,
    web_url,
    without_secrets,
)

if TYPE_CHECKING:
    from server.notify.over_http import Caller

KINDS = ("slack", "email", "webhook")
MAX_TARGETS = 256
"""Channels that are kept ready; more are made anew when they are used."""
MAX_NAME = 2000
"""Characters of a channel's name."""


class Listed(NamedTuple):
    """A channel for readers. target: where its messages go, without secrets; problem: why nothing can go there."""

    name: str
    kind: str
    configured: bool
    target: str
    problem: str


class Channels:
    """All channels. Made by `open_channels`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ready: OrderedDict[str, Channel] = OrderedDict()
        self._callers: dict[bool, Caller] = {}

    def find(self, name: str) -> Channel | None:
        """The channel of a name; None where it has a `problem`."""
        if self.problem(name) is not None:
            return None
        channel = self._ready.get(name) or self._make(name)
        self._ready[name] = channel
        self._ready.move_to_end(name)
        if len(self._ready) > MAX_TARGETS:
            self._ready.popitem(last=False)  # holds nothing: connections are the callers'
        return channel

    def problem(self, name: str) -> str | None:
        """Why a name cannot be used, as a sentence that says what to set or write; None for it can."""
        kind, colon, target = name.partition(":")
        if kind not in KINDS or (colon and not target) or len(name) > MAX_NAME:
            return (
                f"{name[:80]!r} is no channel: write slack, slack:#channel, email, email:someone@example.com, webhook "
                "or webhook:https://…"
            )
        return {"slack": self._slack_problem, "email": self._mail_problem, "webhook": self._web_problem}[kind](target)

    def listed(self, names: Iterable[str] = KINDS) -> list[Listed]:
        """The channels of some names, each once; of all kinds by default."""
        found = []
        for name in dict.fromkeys(names):
            problem = self.problem(name)
            target = "" if problem else self._target(name)
            found.append(Listed(name, name.partition(":")[0], problem is None, target, problem or ""))
        return found

    async def close(self) -> None:
        """Lets go of connections."""
        self._ready.clear()
        while self._callers:
            await self._callers.popitem()[1].close()

    def _slack_problem(self, target: str) -> str | None:
        token, hook = self._secret("slack_bot_token"), self._secret("slack_webhook_url")
        if target and not token:
            return "slack:… needs SLACK_BOT_TOKEN: an incoming webhook has a channel of its own"
        if target:
            return None if len(target) <= 100 and target.isprintable() else "slack:… takes a #channel or its id"
        if hook or (token and self._settings.slack_channel):
            return None
        needs = "SLACK_CHANNEL" if token else "SLACK_BOT_TOKEN and SLACK_CHANNEL, or SLACK_WEBHOOK_URL"
        return f"slack is not configured: set {needs}"

    def _mail_problem(self, target: str) -> str | None:
        needs = {
            "SMTP_URL": not self._secret("smtp_url"),
            "ALERT_EMAIL_FROM": not self._sender()[1],
            "ALERT_EMAIL_TO": not (target or self._settings.alert_email_to),
        }
        if missing := [name for name, is_missing in needs.items() if is_missing]:
            return f"email is not configured: set {' and '.join(missing)}"
        if target:
            try:
                mail_address(target)
            except ValueError as error:
                return f"email:{target[:80]} {error}"
        return None

    def _web_problem(self, target: str) -> str | None:
        if not target:
            url = self._secret("alert_webhook_url")
            return None if url else "webhook is not configured: set ALERT_WEBHOOK_URL"
        try:
            url = web_url(target)
        except ValueError as error:
            return f"webhook:{target[:80]} {error}"
        if "@" in urlsplit(url).netloc:
            return "webhook:… cannot hold a user and password: rules are read by others; set ALERT_WEBHOOK_URL"
        return None

    def _make(self, name: str) -> Channel:
        """A channel without a problem. What they are made of is imported here: aiohttp takes 13 MB, and most servers
        tell nobody anything."""
        from server.notify.mail import Mail
        from server.notify.slack import SlackBot, SlackHook
        from server.notify.webhook import Webhook

        kind, _, target = name.partition(":")
        given = self._settings
        if kind == "email":
            recipients = (mail_address(target),) if target else mail_addresses(given.alert_email_to)
            return Mail(name, self._server(), self._sender(), recipients)
        if kind == "webhook":
            url = target or self._secret("alert_webhook_url")
            return Webhook(name, self._caller(guarded=True), url, self._secret("alert_webhook_secret"))
        caller, token = self._caller(guarded=False), self._secret("slack_bot_token")
        if token and (place := target or given.slack_channel):
            return SlackBot(name, caller, token, place, given.slack_api_url)
        return SlackHook(name, caller, self._secret("slack_webhook_url"))

    def _caller(self, guarded: bool) -> Caller:
        from server.notify.over_http import Caller

        if guarded not in self._callers:
            self._callers[guarded] = Caller(networks(self._settings.alert_networks) if guarded else None)
        return self._callers[guarded]

    def _target(self, name: str) -> str:
        kind, _, target = name.partition(":")
        given = self._settings
        if kind == "email":
            return f"{target or given.alert_email_to} by {self._server()}"
        if kind == "webhook":
            return without_secrets(target or self._secret("alert_webhook_url"))
        if self._secret("slack_bot_token") and (place := target or given.slack_channel):
            return place
        return without_secrets(self._secret("slack_webhook_url"))

    def _server(self) -> SmtpPlace:
        return smtp_place(self._secret("smtp_url"))

    def _sender(self) -> tuple[str, str]:
        """ALERT_EMAIL_FROM, else who logs in at the mail server, where that is an address."""
        if self._settings.alert_email_from:
            return mail_sender(self._settings.alert_email_from)
        try:
            return "Streamgauge", mail_address(self._server().user)
        except ValueError:
            return "", ""

    def _secret(self, setting: str) -> str:
        return str(getattr(self._settings, setting).get_secret_value()).strip()


def open_channels(settings: Settings) -> Channels:
    """The channels of these settings."""
    return Channels(settings)
