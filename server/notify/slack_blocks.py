"""What a message looks like in Slack: Block Kit blocks, and the text that stands for them in notifications. Pure.

What others have written (labels, titles, the rule's text, names) stands in objects of plain text, or between backticks,
where Slack finds no markup; and everywhere `<` is broken or escaped, so that no mention and no link is made of it.
https://docs.slack.dev/reference/block-kit/blocks, https://docs.slack.dev/messaging/formatting-message-text
"""

from __future__ import annotations

import re
from typing import Any

from engine.rules.template import cut
from server.notify import Message
from server.notify.words import facts, folded, heading, is_link, lines, plain, prose, reach, sign, sparkline

Block = dict[str, Any]

MAX_SECTION, MAX_HEADER = 3000, 150
"""Slack's limits. Besides, a message has 50 blocks at most, and fails when these have about 13,000 characters."""
_LINES, _TEXT, _CHANGES, _CONDITION, _URL = 4500, 1500, 1000, 150, 2000
"""Characters of the parts: together below that, even where all has to be escaped."""
_NOBODY = "\u2060"
"""A word joiner, which is not seen: what it breaks is a mention or a link no more."""
_LIKE = str.maketrans("*_~`", "∗ˍ∼ʼ")
_MENTION = re.compile(r"@(?=channel|here|everyone)", re.IGNORECASE)


def blocks(message: Message, *, changes: bool = False) -> list[Block]:
    """The blocks. changes: with what has changed since the message before, where no thread says it."""
    found: list[Block] = [{"type": "header", "text": _plain(f"{sign(message)} {heading(message)}", MAX_HEADER)}]
    if told := facts(message):
        found.append({"type": "section", "fields": [_field(name, text) for name, text in told[:10]]})
    if text := prose(message.text, _TEXT):
        found.append({"type": "section", "text": _plain(text, _TEXT)})
    if changes and (text := _changes(message)):
        found.append({"type": "section", "text": _plain(text, _CHANGES)})
    found += [{"type": "section", "text": _mrkdwn(part)} for part in _groups(message)]
    if bars := sparkline(message):
        found.append({"type": "context", "elements": [_mrkdwn(f"`{bars}` {calm(reach(message))}")]})
    if message.acknowledged:
        known = f"Acknowledged by {plain(message.acknowledged, 100)}"
        found.append({"type": "context", "elements": [_plain(known, 150)]})
    if is_link(message.link) and len(message.link) <= _URL:
        button = {
            "type": "button", "text": _plain("Open the view", 75), "url": message.link, "action_id": "open_view",
        }  # fmt: skip
        found.append({"type": "actions", "elements": [button]})
    return found


def fallback(message: Message) -> str:
    """The text of notifications, and of the message where its blocks cannot be shown; escaped."""
    said = {name: text for name, text in facts(message) if name in ("Value", "Threshold", "Firing")}
    parts = [f"{name.lower()}: {text}" for name, text in said.items()] or [plain(message.text, 300)]
    return escape(f"{sign(message)} {heading(message)} ({'; '.join(parts)})")


def reply(message: Message) -> str:
    """What is said in the thread of the first message; plain text."""
    first = f"{sign(message)} {heading(message)}"
    value = "".join(f"{name}: {text}" for name, text in facts(message)[:1])
    return cut(literal("\n".join(filter(None, [first, value, _changes(message)]))), MAX_SECTION)


def reply_blocks(message: Message) -> list[Block]:
    """`reply` as blocks: text alone would be read as markup."""
    return [{"type": "section", "text": {"type": "plain_text", "text": reply(message), "emoji": False}}]


def escape(text: str) -> str:
    """Text for an object of markup: none of the sequences that mean something to Slack is left."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MENTION.sub("@" + _NOBODY, escaped)


def literal(text: str) -> str:
    """Text for an object of plain text, in which mentions and links would mean nothing; broken all the same."""
    return _MENTION.sub("@" + _NOBODY, text.replace("<", "<" + _NOBODY))


def calm(text: str) -> str:
    """Text for an object of markup in which nothing is bold or struck: what would do that is replaced by its like."""
    return escape(text).translate(_LIKE)


def code(text: str) -> str:
    """Text between backticks, in which nothing is bold or struck either; "" of nothing."""
    return f"`{escape(text.replace('`', 'ʼ'))}`" if text else ""


def _groups(message: Message) -> list[str]:
    """The lines of the groups, as texts for sections; those that do not fit are counted."""
    parts, shown, used = [""], 0, 0
    for line in lines(message):
        text = f"{line.sign} {code(line.name)} {calm(line.said)}\n"
        if used + len(text) > _LINES:
            break
        if len(parts[-1]) + len(text) > MAX_SECTION - 100:  # room for what is folded
            parts.append("")
        parts[-1] += text
        shown, used = shown + 1, used + len(text)
    if shown and (more := folded(message, shown)):
        parts[-1] += f"… {more}"
    return [part.rstrip() for part in parts if part]


def _changes(message: Message) -> str:
    return cut("\n".join(f"• {plain(change, 300)}" for change in message.changes[:20]), _CHANGES)


def _field(name: str, text: str) -> Block:
    shown = code(cut(text, _CONDITION)) if name == "Condition" else calm(text)
    return _mrkdwn(f"*{name}*\n{shown}")


def _plain(text: str, limit: int) -> Block:
    return {"type": "plain_text", "text": cut(literal(text), limit), "emoji": False}


def _mrkdwn(text: str) -> Block:
    return {"type": "mrkdwn", "text": text, "verbatim": True}
