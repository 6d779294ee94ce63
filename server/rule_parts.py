"""Parts of an alert that stand for themselves: whom it tells, its labels, its message, when it is silent."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from engine import matchers
from engine.errors import BadQuery
from engine.matchers import Matcher
from engine.model import Labels
from engine.rules.model import MuteTime
from engine.rules.template import NAMES, fields, unknown
from server import zones
from server.rule_bodies import WEEK, Mute
from server.rule_queries import refused

LABELS = "labels."
OWN_LABELS = ("alert", "alert_id", "severity")
"""Labels that every alert has."""
_TARGETS = {
    "slack": (r"[#@]?[\w.-]{1,80}", "a channel, such as slack:#ops"),
    "email": (r"[^@\s,;:<>\"]{1,64}@[^@\s,;:<>\"]{1,255}", "one address, such as email:ops@example.com"),
    "webhook": (r"https?://[^\s/?#]+\S*", "an address, such as webhook:https://example.com/hook"),
}
"""Kind of channel -> (pattern of what may stand after the colon, the same in words)."""
KINDS_OF_CHANNELS = tuple(_TARGETS)


def channels_of(names: Iterable[str]) -> tuple[str, ...]:
    """The channels of an alert, each checked and each once."""
    found = tuple(dict.fromkeys(names))
    for name in found:
        check_channel(name)
    return found


def check_channel(name: str, member: str = "notification_channels") -> None:
    """Whether there can be a channel of this name. Raises ApiError bad_request that names the member."""
    kind, colon, target = name.partition(":")
    if kind not in _TARGETS:
        raise refused(member, f"{name[:100]!r} is none of {', '.join(KINDS_OF_CHANNELS)}")
    pattern, words = _TARGETS[kind]
    if colon and re.fullmatch(pattern, target) is None:
        raise refused(member, f"after {kind}: stands {words}; got {name[:100]!r}")


def labels_of(given: Mapping[str, str], group_by: Iterable[str]) -> Labels:
    """The labels of an alert, by name."""
    for name in given:
        if name in OWN_LABELS:
            raise refused("labels", f"{name} is a label that every alert has already")
        if name in group_by:
            raise refused("labels", f"{name} is a label of its groups")
    return tuple(sorted(given.items()))


def message_of(text: str, labels: Collection[str] | None) -> str:
    """The template of a message, whose fields are all known. labels: those that the alert has, None for any."""
    for field in unknown(text):
        known = ", ".join(f"{{{name}}}" for name in NAMES)
        raise refused("message", f"{{{field}}} is none of {known} and {{labels.<name>}}")
    for field in fields(text):
        if field.startswith(LABELS) and labels is not None and field.removeprefix(LABELS) not in labels:
            raise refused("message", f"{{{field}}}: the alert has no such label, only {', '.join(labels)}")
    return text


def inhibitors_of(text: str | None) -> tuple[Matcher, ...]:
    """The matchers of the alerts that inhibit this one."""
    return () if text is None else matchers_of(text, "inhibited_by")


def matchers_of(text: str, member: str) -> tuple[Matcher, ...]:
    """Matchers on the labels of alerts, at least one."""
    try:
        found = matchers.parse(text.strip())
    except BadQuery as error:
        raise refused(member, str(error)) from None
    if not found:
        raise refused(member, 'at least one matcher is needed; {alert=~".+"} is of every alert')
    return found


def mute_of(mute: Mute, member: str) -> MuteTime:
    """A mute time."""
    days = WEEK if mute.days is None else mute.days
    try:
        zones.find(mute.tz or "UTC")
    except BadQuery as error:
        raise refused(f"{member}.tz", str(error).removeprefix("tz: ")) from None
    return MuteTime(
        tuple(sorted({WEEK.index(day) for day in days})), _minutes(mute.begin), _minutes(mute.end), mute.tz or "UTC"
    )


def _minutes(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:])
