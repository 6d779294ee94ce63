"""Slack's Web API as far as messages go, for tests: what it takes, what it refuses, and what stands in its channels."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

TOKEN = "xoxb-test"


class Slack:
    """A workspace with any channel but those in `unknown`."""

    def __init__(self) -> None:
        self.unknown = {"#nowhere"}
        self.messages: dict[str, dict[str, Any]] = {}
        """ts -> the message as it stands; `edits` counts its updates."""
        self.errors: deque[str] = deque()
        """What is answered to the next calls, in place of doing them; "" for doing it."""

    def channel(self, name: str) -> list[dict[str, Any]]:
        """The messages in a channel, in order, those of threads with `thread_ts`."""
        return [message for message in self.messages.values() if message["channel"] == channel_id(name)]

    def call(self, method: str, authorization: str, body: Any) -> dict[str, Any]:
        """The answer to a call."""
        error = self.errors.popleft() if self.errors else ""
        if authorization != f"Bearer {TOKEN}":
            error = "invalid_auth"
        elif not isinstance(body, dict) or body.get("channel") in self.unknown:
            error = "channel_not_found"
        elif blocks_fault(body.get("blocks", [])):
            error = error or "invalid_blocks"
        if error:
            return {"ok": False, "error": error}
        return {"chat.postMessage": self._post, "chat.update": self._update}[method](body)

    def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        ts = f"1769860800.{len(self.messages) + 1:06d}"
        if "thread_ts" in body and body["thread_ts"] not in self.messages:
            return {"ok": False, "error": "thread_not_found"}
        self.messages[ts] = {**body, "channel": channel_id(body["channel"]), "ts": ts, "edits": 0}
        return {"ok": True, "channel": self.messages[ts]["channel"], "ts": ts}

    def _update(self, body: dict[str, Any]) -> dict[str, Any]:
        old = self.messages.get(body["ts"])
        if old is None or old["channel"] != body["channel"]:
            return {"ok": False, "error": "message_not_found"}
        old |= {name: body[name] for name in ("text", "blocks", "metadata")} | {"edits": old["edits"] + 1}
        return {"ok": True, "channel": old["channel"], "ts": old["ts"]}


def channel_id(name: str) -> str:
    """What a channel of that name is called by Slack itself."""
    return name if name.startswith("C") else "C" + name.strip("#").upper()


def blocks_fault(blocks: list[dict[str, Any]]) -> str:
    """What Slack would not take in blocks, "" for nothing. https://docs.slack.dev/reference/block-kit/blocks"""
    if len(blocks) > 50:
        return f"{len(blocks)} blocks"
    limits = {"header": 150, "section": 3000, "context": 3000, "actions": 75}
    for block in blocks:
        if len(block.get("fields", [])) > 10 or len(block.get("elements", [])) > 10:
            return "more than 10 fields or elements"
        for text in texts_of(block):
            limit = 2000 if "fields" in block else limits[block["type"]]
            if not 0 < len(text["text"]) <= limit:
                return f"{len(text['text'])} characters in {block['type']}"
            if ("emoji" if text["type"] == "mrkdwn" else "verbatim") in text:
                return "a member of the other kind of text"
    total = sum(len(text["text"]) for block in blocks for text in texts_of(block))
    return f"{total} characters" if total > 12_000 else ""


def texts_of(block: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The text objects of a block."""
    if isinstance(block.get("text"), dict):
        yield block["text"]
    for part in [*block.get("fields", []), *block.get("elements", [])]:
        yield part["text"] if isinstance(part["text"], dict) else part
