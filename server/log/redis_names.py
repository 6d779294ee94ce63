"""Names and sentences of the log on Redis: positions as stream ids, the log URL, what its configuration promises."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlencode

from server.log import LogDamaged

SEQUENCE_BITS = 20
DURABILITY_SETTINGS = ("appendonly", "appendfsync", "maxmemory", "maxmemory-policy")
_HASH_TAG = re.compile(r"^[^{]*\{[^}]+\}")
"""Of the first brace only, as Redis has it."""
NONE_DELETED = "0-1"
"""The id a stream is told to have had deleted last, to make it forget what was: Redis takes no 0-0."""


class Ends(NamedTuple):
    """Where a stream ends.

    newest: the newest entry that it holds, 0 for none. last: the newest that it ever held. deleted: the newest one
    that was taken out by itself (XDEL), 0 where none was, and with Redis before 7, which does not tell.
    """

    newest: int
    last: int
    deleted: int


def parse_ends(answer: Sequence[Any] | Mapping[Any, Any]) -> Ends:
    """The ends of a stream in the answer to XINFO STREAM, in either shape."""
    found = answer if isinstance(answer, Mapping) else dict(zip(answer[::2], answer[1::2], strict=True))
    said = {text(name): value for name, value in found.items()}
    newest, deleted = said["last-entry"], text(said.get("max-deleted-entry-id", NONE_DELETED))
    return Ends(
        parse_id(newest[0]) if newest else 0,
        parse_id(said["last-generated-id"]),
        parse_id(deleted) if deleted not in ("0-0", NONE_DELETED) else 0,
    )


def lost_key(stream: str) -> str:
    """The key of the newest position that Redis is known to have lost, and that was not put back."""
    return f"{stream}:lost"


def parse_id(name: bytes | str) -> int:
    """The position of a stream id "ms-sequence"."""
    ms, _, sequence = text(name).partition("-")
    if int(sequence) >> SEQUENCE_BITS:
        raise LogDamaged(f"stream id {text(name)} is out of range: has the clock of Redis gone back by much?")
    return int(ms) << SEQUENCE_BITS | int(sequence)


def format_id(position: int) -> str:
    """The stream id of a position."""
    return f"{position >> SEQUENCE_BITS}-{position & (1 << SEQUENCE_BITS) - 1}"


def split_url(url: str) -> tuple[str, str, str]:
    """(URL without our parameters, stream, consumer) of a log URL.

    In a cluster the stream's name gets a hash tag where it has none, so that all keys that begin with it lie together.
    """
    bare, _, given = url.partition("?")
    query = parse_qs(given)
    stream = query.pop("stream", ["streamgauge:log"])[0]
    consumer = query.pop("consumer", ["engine"])[0]
    if _is_true(query.pop("cluster", [""])[0]) and not _HASH_TAG.search(stream):
        stream = f"{{{stream}}}"
    return bare + ("?" + urlencode(query, doseq=True) if query else ""), stream, consumer


def in_cluster(url: str) -> bool:
    """Whether a log URL names a node of a Redis Cluster (`cluster=true`)."""
    return _is_true(parse_qs(url.partition("?")[2]).get("cluster", [""])[0])


def _is_true(value: str) -> bool:
    if value.lower() not in ("true", "false", "1", "0", ""):
        raise ValueError(f"the parameter cluster of a Redis URL is true or false, not {value!r}")
    return value.lower() in ("true", "1")


def text(value: bytes | str) -> str:
    """A reply as a str."""
    return value.decode() if isinstance(value, bytes) else value


def pairs(answer: Sequence[bytes | str]) -> dict[str, str]:
    """A flat list of names and values as a dict."""
    return {text(name): text(value) for name, value in zip(answer[::2], answer[1::2], strict=True)}


def durability(settings: Mapping[str, str]) -> str:
    """What a kill of Redis and a power loss can lose, by its DURABILITY_SETTINGS (empty where it does not tell)."""
    kept = "a kill of Streamgauge loses nothing that was acknowledged"
    if not settings:
        return f"{kept}; what a kill of Redis loses is unknown, since it does not tell its configuration"
    if settings.get("appendonly") != "yes":
        risk = "but Redis runs without appendonly: a kill of it loses all since its last snapshot"
    else:
        risk = {
            "always": "nor does a kill of Redis or a power loss (appendfsync always)",
            "everysec": "a kill of Redis or a power loss at most the last 2 s (appendfsync everysec)",
        }.get(settings.get("appendfsync", ""), "a power loss all that the system had not written (appendfsync no)")
    policy = settings.get("maxmemory-policy", "")
    if settings.get("maxmemory", "0") != "0" and policy.startswith("allkeys"):
        risk += f"; WARNING: its maxmemory-policy {policy} may evict the log, set noeviction"
    return f"{kept}, {risk}"
