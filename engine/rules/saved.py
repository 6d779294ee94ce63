"""The values of alerting as JSON has them, read back; and the texts of those that have not changed since."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable
from dataclasses import fields
from operator import attrgetter
from typing import Any

from engine.rules.model import Delivery, Edge, Episode, Group, Incident, State


def _members(of: type) -> Callable[[Any], tuple[Any, ...]]:
    """Gives the members of an object, in order. `astuple` would copy each of them, which is most of what it costs."""
    return attrgetter(*(member.name for member in fields(of)))


state_members, _episode_members, _delivery_members = _members(State), _members(Episode), _members(Delivery)
_incident_members = _members(Incident)


def read_group(read: Any) -> Group:
    return tuple((label, value) for label, value in read)


def read_state(read: Any) -> State:
    """A state from the list of its members."""
    members: Any = [tuple(member) if isinstance(member, list) else member for member in read]
    return State(*members)


def read_edge(read: Any) -> Edge:
    group, kind, at, state = read
    return Edge(read_group(group), kind, at, read_state(state))


def episodes_text(episodes: Iterable[Episode]) -> str:
    return _text([_episode_members(each) for each in episodes])


def read_episode(read: Any, by_id: dict[str, Episode]) -> Episode:
    """The same object for the same episode, wherever it is referred to."""
    id, rule, group, *rest = read
    known = by_id.get(id)
    if known is None:
        known = by_id[id] = Episode(id, rule, read_group(group), *rest)
    return known


def incident_text(incident: Incident) -> str:
    plain = {
        "episodes": [_episode_members(each) for each in incident.episodes.values()],
        "deliveries": {channel: _delivery_members(each) for channel, each in incident.deliveries.items()},
    }
    return _text({**dict(zip(_INCIDENT, _incident_members(incident), strict=True)), **plain})


def read_incident(read: dict[str, Any], by_id: dict[str, Episode]) -> Incident:
    episodes = [read_episode(each, by_id) for each in read["episodes"]]
    deliveries = {channel: Delivery(*each) for channel, each in read["deliveries"].items()}
    changes = [(revision, at, read_group(group), kind) for revision, at, group, kind in read["changes"]]
    told = {"episodes": {each.group: each for each in episodes}, "deliveries": deliveries, "changes": changes}
    return Incident(**{**read, **told})


def states_text(states: dict[Group, State]) -> str:
    return _text([(group, state_members(state)) for group, state in states.items()])


class Texts:
    """JSON of parts that are written again and again, of which few change in between."""

    def __init__(self) -> None:
        self._known: dict[Hashable, str] = {}
        self._used: dict[Hashable, str] = {}

    def of(self, key: Hashable, write: Callable[[], str]) -> str:
        """The text of a part, written only where it has changed."""
        text = self._known.get(key)
        self._used[key] = text = write() if text is None else text
        return text

    def changed(self, *keys: Hashable) -> None:
        """Parts are not what they were."""
        for key in keys:
            self._known.pop(key, None)

    def written(self) -> None:
        """All has been written: forgets the parts that are no more."""
        self._known, self._used = self._used, {}


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


_INCIDENT = tuple(member.name for member in fields(Incident))
