"""The outbox: tells channels of incidents until they have been told, and writes down what became of it.

What is to be told is not a queue but a difference: between an incident as the book has it, and what a channel is known
to have taken of it. So a process that dies between a decision and a message loses nothing, and one that dies between a
message and its mark in the log sends that message again, with the same id.

One message at a time and channel; a channel that hangs holds up no other. Within a rule the order of incidents is kept.
Of several engines each tells of the rules whose partitions it holds (see engine.terms).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import zlib
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Protocol

from engine.engine import Engine
from engine.model import Mark
from engine.query.value import Query
from engine.rules.marks import command
from engine.rules.model import THRESHOLD, Delivery, Incident, Rule
from engine.rules.routing import Decision, Done, Hold, Send
from engine.terms import ALONE
from server.marks import Submit, write
from server.notify import REPEAT, RESOLVED, Channel, Message, NotSent

logger = logging.getLogger("streamgauge.notify")

LOOK_SECONDS = 0.5
FIRST_PAUSE, MAX_PAUSE = 2_000, 300_000
"""ms before the second try of a message, and at most between two; doubled from try to try, with a fifth of chance."""
GIVE_UP = 24 * 3_600_000
"""ms after which a message that nobody takes is given up."""
FLOOD_WINDOW = 60_000
_NEVER = 1 << 62
CLOSE_SECONDS = 5.0

Decide = Callable[[Rule, Incident, str, int], Decision]
Compose = Callable[[Rule, Incident, str, str, int, str], Awaitable[Message]]
"""(rule, incident, kind, id, now, channel) -> the message."""


class Channels(Protocol):
    """Where messages can go."""

    def find(self, name: str) -> Channel | None:
        """The channel of a name; None where nothing is set up for it."""

    def problem(self, name: str) -> str | None:
        """Why there is none."""


class Outbox:
    """Tells. rules: those that there are, by id; flood: messages per channel and minute; held: the terms for which this
    process holds partitions, none where others may hold them already; stamp: ms now, not before the newest of the log,
    which stands still while nothing comes."""

    def __init__(
        self, engine: Engine, submit: Submit, rules: Callable[[], Mapping[str, Rule]],
        channels: Channels, decide: Decide, compose: Compose, flood: int,
        held: Callable[[], Collection[int]] = lambda: (ALONE,),
        stamp: Callable[[], int] | None = None,
    ) -> None:  # fmt: skip
        self._stamp = stamp or (lambda: engine.stamp)
        self._engine, self._submit, self._rules, self._channels = engine, submit, rules, channels
        self._decide, self._compose, self._flood, self._held = decide, compose, flood, held
        self.news = asyncio.Event()
        """Set by whoever knows that there may be something to tell."""
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._sent: dict[str, deque[int]] = {}
        """Per channel, ms of the messages of the last minute."""
        self._before: dict[str, Rule] = {}
        """The rules of the incidents there are, as they last were: the end of one that is deleted is told."""
        self._chance = random.Random()
        self._is_ending = False
        self._seen = -1
        """The book's version at the last look."""
        self._held_then: Collection[int] = ()
        self._wakes = 0
        """ms before which there is nothing to do unless something changes."""

    async def run(self) -> None:
        """Tells what there is to tell; for ever."""
        try:
            while True:
                self.news.clear()
                await self._look()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self.news.wait()
        finally:
            late = await self.drain()
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def drain(self) -> set[asyncio.Task[None]]:
        """Begins nothing any more, and waits for the messages that are under way: whether they were taken should be
        known. Gives those that take too long."""
        self._is_ending = True
        if not self._busy:
            return set()
        return (await asyncio.wait(self._busy.values(), timeout=CLOSE_SECONDS))[1]

    def look_again(self) -> None:
        """Rules or silences are not what they were."""
        self._wakes = 0
        self.news.set()

    async def _look(self) -> None:
        now, version, held = self._stamp(), self._engine.book.version, self._held()
        for channel in [channel for channel, task in self._busy.items() if task.done()]:
            self._busy.pop(channel).result()
            self._wakes = 0
        if self._is_ending or (version == self._seen and held == self._held_then and now < self._wakes):
            return
        self._seen, self._held_then, self._wakes = version, held, _NEVER
        self._remember_rules()
        marks: list[Mark] = []
        for incident, name, delivery in self._next(held):
            if name not in self._busy:
                marks += self._attend(incident, name, delivery, now)
        await write(self._submit, self._engine, marks)

    def _next(self, held: Collection[int]) -> list[tuple[Incident, str, Delivery]]:
        """What each channel may be told next: of each rule its oldest incident. First and last messages come before
        updates and repeats, and those that have waited longest before others."""
        found: dict[tuple[str, str], tuple[Incident, str, Delivery]] = {}
        for incident in self._engine.book.incidents.values():
            if self._term_of(incident) not in held:
                continue
            for name, delivery in incident.deliveries.items():
                if not delivery.ended:
                    found.setdefault((incident.rule, name), (incident, name, delivery))
        return sorted(found.values(), key=lambda each: (each[2].told > 0 and each[0].closed is None, each[2].at))

    def _remember_rules(self) -> None:
        rules, told_of = self._rules(), {each.rule for each in self._engine.book.incidents.values()}
        self._before = {id: rules.get(id) or self._before[id] for id in told_of if id in rules or id in self._before}

    def _attend(self, incident: Incident, name: str, delivery: Delivery, now: int) -> list[Mark]:
        """Begins to tell a channel of an incident, or notes why not."""
        rule = self._before.get(incident.rule) or stand_in(incident)
        if rule.version == 0 and (not delivery.told or incident.closed is None):
            return self._hold(incident, name, delivery, now, "there is no such alert any more", ended=not delivery.told)
        decision = self._decide(rule, incident, name, now)
        if isinstance(decision, Done):
            return self._hold(incident, name, delivery, now, decision.why, ended=True)
        if not isinstance(decision, Send):
            self._wake(decision.until)
            return self._hold(incident, name, delivery, now, decision.why) if isinstance(decision, Hold) else []
        channel = self._channels.find(name)
        if channel is None:
            why = self._channels.problem(name) or f"there is no channel {name!r}"
            return self._hold(incident, name, delivery, now, why, ended=incident.closed is not None)
        if (until := self._flooded(name, now)) is not None:
            self._wake(until)
            return self._hold(incident, name, delivery, now, f"more than {self._flood} messages in a minute")
        work = self._tell(channel, rule, incident, delivery, decision, now)
        self._busy[name] = asyncio.create_task(work, name=f"tell {name}")
        return []

    def _wake(self, until: int | None) -> None:
        """There is nothing to do before a moment; None: before something changes."""
        self._wakes = min(self._wakes, _NEVER if until is None else until)

    def _hold(
        self, incident: Incident, name: str, delivery: Delivery, now: int, why: str, ended: bool = False
    ) -> list[Mark]:
        # By its first word: of two silences now one may cover what fires, now the other.
        if delivery.held.split()[:1] == why.split()[:1] and not ended:
            return []
        term = self._term_of(incident)
        return [command("held", term, incident=incident.id, channel=name, at=now, why=why, ended=ended)]

    def _flooded(self, name: str, now: int) -> int | None:
        """Until when, ms, a channel has had too many messages; None for not, and then one more is counted."""
        sent = self._sent.setdefault(name, deque())
        while sent and sent[0] <= now - FLOOD_WINDOW:
            sent.popleft()
        if len(sent) >= self._flood:
            return sent[0] + FLOOD_WINDOW
        sent.append(now)
        return None

    async def _tell(
        self, channel: Channel, rule: Rule, incident: Incident, delivery: Delivery, decision: Send, now: int
    ) -> None:
        """One try."""
        kind, term = decision.kind, self._term_of(incident)
        id = message_id(incident, channel.name, kind, delivery)
        said: dict[str, str | int] = {"incident": incident.id, "channel": channel.name, "kind": kind, "message": id}
        said["tries"] = delivery.tries + 1
        try:
            message = await self._compose(rule, incident, kind, id, now, channel.name)
            if term not in self._held():  # whoever holds it now tells of it
                return
            ids = await channel.send(message, delivery.ids)
        except NotSent as error:
            await write(self._submit, self._engine, [self._failed(incident, delivery, error, said, term)])
            return
        except Exception as error:  # a fault of ours: the other alerts and channels must not suffer for it
            logger.exception("a message of %s to %s failed in a way it should not", incident.id, channel.kind)
            fault = NotSent(f"a fault of this program: {error!r:.200}", unknown=True)
            await write(self._submit, self._engine, [self._failed(incident, delivery, fault, said, term)])
            return
        more = {"revision": decision.revision, "ids": ids, "last": kind == RESOLVED}
        await write(self._submit, self._engine, [command("sent", term, at=self._stamp(), **more, **said)])

    def _term_of(self, incident: Incident) -> int:
        return self._engine.terms.of_key(incident.rule)

    def _failed(
        self, incident: Incident, delivery: Delivery, error: NotSent, said: dict[str, str | int], term: int
    ) -> Mark:
        now = self._stamp()  # it may have taken its time
        since = incident.closed or max((at for _, at, _, _ in incident.changes), default=incident.opened)
        retry = None
        if error.again and now - since < GIVE_UP:
            pause = min(FIRST_PAUSE * 2 ** min(delivery.tries, 20), MAX_PAUSE) * self._chance.uniform(0.8, 1.2)
            retry = now + int(max(pause, (error.after or 0) * 1000))
        logger.warning(
            "%s did not take a message of %s, %s: %s", said["channel"], incident.id,
            "which is given up" if retry is None else "trying again", error.reason,
        )  # fmt: skip
        return command("failed", term, at=now, reason=error.reason, retry=retry, **said)


def stand_in(incident: Incident) -> Rule:
    """A rule of version 0, for the end of an incident whose rule is gone: as much of it as the book knows."""
    return Rule(incident.rule, incident.name, THRESHOLD, Query("metric", incident.metric), each=True, version=0)


def message_id(incident: Incident, channel: str, kind: str, delivery: Delivery) -> str:
    """The id of what is told next: the same until it is known to have been taken."""
    # A repeat tells the revision that was told before.
    number = delivery.at if kind == REPEAT else delivery.told
    # A webhook's name may hold a secret in its path.
    place = channel if ":" not in channel else f"{channel.partition(':')[0]}-{zlib.crc32(channel.encode()):08x}"
    return f"{incident.id}.{number}.{kind}@{place}"
