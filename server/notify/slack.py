"""Slack. By bot token an incident is one message that changes in place, and what has changed is told in its thread; by
incoming webhook, which gives no id of a message, each is a new one.

https://docs.slack.dev/reference/methods/chat.postMessage, https://docs.slack.dev/reference/methods/chat.update
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from engine.rules.model import LEVELS
from server.notify import REPEAT, UPDATE, Message, NotSent
from server.notify.over_http import Answer, Caller, check
from server.notify.slack_blocks import blocks, fallback, reply, reply_blocks
from server.notify.words import plain

_LATER = {"ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout"}
_GONE = {
    *("message_not_found", "thread_not_found", "cant_update_message", "edit_window_closed", "cannot_reply_to_message"),
    *("channel_not_found", "is_archived", "not_in_channel"),
}
"""The message to be changed cannot be (any more), or lies where the bot may not write any more: there is a new one."""
_UNSHOWN = {"invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "msg_too_long"}
"""Slack does not take the blocks: somebody is told all the same, by the text."""
_HINTS = {
    "invalid_auth": "SLACK_BOT_TOKEN is not known to Slack",
    "token_revoked": "SLACK_BOT_TOKEN has been revoked",
    "missing_scope": "the bot needs the scope chat:write",
    "channel_not_found": "no such channel, or a private one that the bot has not been invited to",
    "not_in_channel": "invite the bot to the channel",
    "is_archived": "the channel is archived",
}


class _Declined(NotSent):
    """Slack's `ok: false`. error: its word for why."""

    def __init__(self, error: str, after: float | None) -> None:
        hint = _HINTS.get(error, "")
        reason = f"Slack says {plain(error, 100)}" + (f": {hint}" if hint else "")
        super().__init__(reason, again=error in _LATER, after=after)
        self.error = error


class SlackBot:
    """A channel of Slack, by bot token. target: #name or id; base: the address of the Web API.

    ids: `ts` and `channel` of the message, and the `level` it was told at. The message is changed before its thread is
    answered, and changing it twice is the same as once: a try that ends between the two repeats nothing people see.
    """

    kind = "slack"

    def __init__(self, name: str, caller: Caller, token: str, target: str, base: str) -> None:
        self.name, self._caller, self._token, self._target = name, caller, token, target
        self._base = base.rstrip("/")

    async def send(self, message: Message, ids: Mapping[str, str]) -> dict[str, str]:
        """See Channel.send."""
        if not ids.get("ts"):
            return await self._post(message)
        place = {"channel": ids["channel"], "ts": ids["ts"]}
        try:
            await self._call("chat.update", {**_said(message), **place})
            if message.changes or message.kind != UPDATE:
                await self._answer(message, ids)
        except _Declined as error:
            if error.error not in _GONE:
                raise
            return await self._post(message)
        return {**ids, "level": message.level}

    async def close(self) -> None:
        """The connections are others' too."""

    async def _post(self, message: Message) -> dict[str, str]:
        unfolded = {"unfurl_links": False, "unfurl_media": False}
        done = await self._call("chat.postMessage", {**_said(message), **unfolded, "channel": self._target})
        place = str(done.get("channel", self._target))
        return {"ts": str(done.get("ts", "")), "channel": place, "level": message.level}

    async def _answer(self, message: Message, ids: Mapping[str, str]) -> None:
        """In the thread; what people have to see although they do not follow it, in the channel too."""
        worse = _rank(message.level) > _rank(ids.get("level", ""))
        thread = {
            "channel": ids["channel"], "thread_ts": ids["ts"], "text": reply(message), "blocks": reply_blocks(message),
            "reply_broadcast": message.kind == REPEAT or worse, "metadata": _metadata(message), "parse": "none",
        }  # fmt: skip
        await self._call("chat.postMessage", thread)

    async def _call(self, method: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json; charset=utf-8"}
        answer = await self._caller.call("POST", f"{self._base}/{method}", _json(body), headers)
        check(answer, "Slack")
        done = _decoded(answer)
        if done.get("ok") is True:
            return done
        error = str(done.get("error", "nothing"))
        if error in _UNSHOWN and body["blocks"]:
            return await self._call(method, {**body, "blocks": []})
        raise _Declined(error, answer.after)


class SlackHook:
    """Slack's channel behind an incoming webhook. https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks"""

    kind = "slack"

    def __init__(self, name: str, caller: Caller, url: str) -> None:
        self.name, self._caller, self._url = name, caller, url

    async def send(self, message: Message, ids: Mapping[str, str]) -> dict[str, str]:
        """See Channel.send; there are no ids."""
        answer = await self._call(message, blocks(message, changes=True))
        if answer.status == 400 and answer.text.strip() in _UNSHOWN:
            answer = await self._call(message, [])
        check(answer, "Slack's webhook")
        return {}

    async def close(self) -> None:
        """The connections are others' too."""

    async def _call(self, message: Message, shown: list[dict[str, Any]]) -> Answer:
        body = {"text": fallback(message), **({"blocks": shown} if shown else {})}
        return await self._caller.call("POST", self._url, _json(body), {"Content-Type": "application/json"})


def _said(message: Message) -> dict[str, Any]:
    return {
        "text": fallback(message), "blocks": blocks(message), "metadata": _metadata(message), "parse": "none",
    }  # fmt: skip


def _metadata(message: Message) -> dict[str, Any]:
    """By which a repeat can be told. https://docs.slack.dev/messaging/message-metadata"""
    payload = {"id": message.id, "incident": message.incident, "kind": message.kind}
    return {"event_type": "streamgauge_alert", "event_payload": payload}


def _decoded(answer: Answer) -> dict[str, Any]:
    try:
        done = json.loads(answer.text)
    except ValueError:
        done = None
    if not isinstance(done, dict):
        raise NotSent("Slack's answer is not what its Web API answers", unknown=True)
    return done


def _json(body: dict[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


def _rank(level: str) -> int:
    return LEVELS.index(level) if level in LEVELS else len(LEVELS)
