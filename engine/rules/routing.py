"""What a channel is to be told next of an incident, if anything, and when.

The stages, in order. What an incident has to say to a channel is its first message, an update, a repeat or its last
message; a stage lets it pass, holds it, or lets it wait for a moment.

    silence, inhibit    while all of its alerts that fire are silenced, or while an alert of another rule fires that
                        the rule is inhibited by; also at the rule's mute times
    acknowledge         what somebody has seen is not repeated; while it is snoozed nothing is told
    group               all alerts of a rule are one incident, one message that changes: the first at once, updates at
                        least the rule's `interval` apart, the last one a second after the one before
    dedup               a revision that was told is not told again, except as a repeat
    retry               what was not taken is tried again when the channel says so

What was told is resolved in spite of silence, inhibition and snooze, which would leave it open at the far side for
ever; mute times only delay that. What nobody was told of when it ended is told all the same, first and last message,
unless it ended while it was held, or is silenced by the time it can be told: nobody hears of that. A silenced alert
causes no message; in those that others cause it is listed like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from engine.levels import MINUTE
from engine.rules.model import FIRING, RESOLVED, Delivery, Group, Incident, Rule, Silence
from engine.rules.silence import labels_of, matches, silence_of

UPDATE, REPEAT = "update", "repeat"
"""Kinds of messages beside FIRING, the first, and RESOLVED, the last."""
LAST_AFTER = 1_000
"""ms between a message and the one that says that it is over."""
SILENCED, MUTED, INHIBITED, SNOOZED = "silenced", "muted", "inhibited", "snoozed"
"""How the reasons begin for which something is held."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message of this kind, which tells the incident up to this revision."""

    kind: str
    revision: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before a moment, ms; None for as long as nothing changes."""

    until: int | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """There is something to tell, but it is held. until: ms at which to ask again, None where that is not known."""

    why: str
    until: int | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing will ever be told any more; why: where nothing was told at all."""

    why: str = ""


Decision = Send | Wait | Hold | Done


def decide(
    rule: Rule, incident: Incident, channel: str, now: int, silences: Sequence[Silence], muted: Callable[[int], bool],
    others: Iterable[Mapping[str, str]],
) -> Decision:  # fmt: skip
    """What to do now, ms. muted: whether it is one of the rule's mute times; others: the labels of the alerts of other
    rules that fire, looked at only where the rule is inhibited by some."""
    delivery = incident.deliveries.get(channel, Delivery(ended=True))
    if delivery.ended:
        return Done()
    kind, news = _kind(rule, incident, delivery, silences, now)
    moment = _moment(rule, incident, delivery, kind)
    if moment is None or moment > now:
        return Wait(min((each for each in (moment, news) if each is not None), default=None))
    if kind == RESOLVED:
        return _muted(muted, now) or Send(kind, incident.revision)
    held = _held(rule, incident, kind, incident.closed or now, silences, muted, others)
    if incident.closed is None:
        return held or Send(kind, incident.revision)
    if held is None and not delivery.tries and delivery.held.startswith((SILENCED, MUTED, INHIBITED, SNOOZED)):
        held = Hold(delivery.held)
    held = held or _silenced(rule, incident, now, silences)  # by one that has begun since
    if held is not None:
        return Done(held.why)
    return _muted(muted, now) or Send(kind, incident.revision)


def _kind(
    rule: Rule, incident: Incident, delivery: Delivery, silences: Sequence[Silence], now: int
) -> tuple[str, int | None]:
    """What there is to tell next, and when (ms) there is more, as a silence ends that covers what has changed."""
    if not delivery.told:
        return FIRING, None
    if incident.closed is not None:
        return RESOLVED, None
    if not silences:
        return UPDATE if incident.revision > delivery.told else REPEAT, None
    fresh = [(revision, group) for revision, _, group, _ in incident.changes if revision > delivery.told]
    covering = [silence for _, group in fresh if (silence := _silence(rule, group, silences, now)) is not None]
    # Of so many changes that not all are kept, those that are stand for all. An acknowledgement is a revision without a
    # change, and news.
    lost = max(0, incident.changes[0][0] - 1 - delivery.told) if incident.changes else 0
    kind = UPDATE if incident.revision - len(covering) - lost > delivery.told else REPEAT
    return kind, min((silence.end for silence in covering), default=None)


def _moment(rule: Rule, incident: Incident, delivery: Delivery, kind: str) -> int | None:
    """When it may be told at the earliest, ms; None for never."""
    if kind == REPEAT and (incident.acknowledged or not rule.repeat):
        return None
    apart = {FIRING: 0, UPDATE: rule.interval, REPEAT: rule.repeat, RESOLVED: LAST_AFTER}[kind]
    return max(delivery.at + apart if delivery.told else 0, delivery.retry)


def _held(
    rule: Rule, incident: Incident, kind: str, at: int, silences: Sequence[Silence], muted: Callable[[int], bool],
    others: Iterable[Mapping[str, str]],
) -> Hold | None:  # fmt: skip
    """What holds it, as of a moment: now, or its end. An update is the news of one that is not silenced."""
    silenced = _silenced(rule, incident, at, silences) if kind != UPDATE else None
    if silenced is not None:
        return silenced
    if rule.inhibited_by:
        above = next((labels for labels in others if matches(rule.inhibited_by, labels)), None)
        if above is not None:
            return Hold(f"{INHIBITED} by {above.get('alert', 'another alert')}")
    return Hold(SNOOZED, incident.snoozed) if incident.snoozed > at else _muted(muted, at)


def _silenced(rule: Rule, incident: Incident, at: int, silences: Sequence[Silence]) -> Hold | None:
    """Where all of an incident's alerts are silenced at a moment: until the silence ends that does so first."""
    if not silences:
        return None
    alerts = [each.group for each in incident.firing] or list(incident.episodes)
    covering = [_silence(rule, group, silences, at) for group in alerts]
    if not all(covering):
        return None
    first = min((each for each in covering if each is not None), key=lambda each: each.end)
    return Hold(f"{SILENCED}: {first.reason or first.id}", first.end)


def _muted(muted: Callable[[int], bool], moment: int) -> Hold | None:
    return Hold(MUTED, moment - moment % MINUTE + MINUTE) if muted(moment) else None


def _silence(rule: Rule, group: Group, silences: Sequence[Silence], now: int) -> Silence | None:
    return silence_of(silences, labels_of(rule, group), now)
