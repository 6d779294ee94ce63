"""The values of alerting as JSON has them, read back."""

from __future__ import annotations

from dataclasses import asdict, fields
from operator import attrgetter
from typing import Any

from engine.rules.model import Delivery, Edge, Episode, Group, Incident, State

state_members = attrgetter(*(member.name for member in fields(State)))
"""The members of a state, in order. `astuple` would copy each of them, which is most of what an edge would cost."""


def read_group(read: Any) -> Group:
    return tuple((label, value) for label, value in read)


def read_state(read: Any) -> State:
    """A state from the list of its members."""
    members: Any = [tuple(member) if isinstance(member, list) else member for member in read]
    return State(*members)


def read_edge(read: Any) -> Edge:
    group, kind, at, state = read
    return Edge(read_group(group), kind, at, read_state(state))


def read_episode(read: dict[str, Any], by_id: dict[str, Episode]) -> Episode:
    """The same object for the same episode, wherever it is referred to."""
    known = by_id.get(read["id"])
    if known is None:
        known = by_id[read["id"]] = Episode(**{**read, "group": read_group(read["group"])})
    return known


def incident_members(incident: Incident) -> dict[str, Any]:
    episodes = [asdict(each) for each in incident.episodes.values()]
    return {**asdict(incident), "episodes": episodes}


def read_incident(read: dict[str, Any], by_id: dict[str, Episode]) -> Incident:
    episodes = [read_episode(each, by_id) for each in read["episodes"]]
    deliveries = {channel: Delivery(**each) for channel, each in read["deliveries"].items()}
    changes = [(revision, at, read_group(group), kind) for revision, at, group, kind in read["changes"]]
    told = {"episodes": {each.group: each for each in episodes}, "deliveries": deliveries, "changes": changes}
    return Incident(**{**read, **told})
