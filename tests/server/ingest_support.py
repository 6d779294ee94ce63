"""A river that remembers, and an HTTP client that speaks ASGI."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, NamedTuple

from engine.model import Applied, Entry
from server.auth import Gate, Message, Receive, Send
from server.config import Settings, load_settings
from server.ingest.collector import Collector
from server.ingest.over_http import IngestApp
from server.wire.entry import pack_entry, unpack_entry

NOW = 1_700_000_000_000


class FakeRiver:
    """Takes entries as the pipeline does, through their packed form; `apply` decides what becomes of them."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.now = NOW
        self.hold: asyncio.Event | None = None
        self.apply: Callable[[Entry, int], Applied] = lambda entry, position: Applied(position, entry.stamp)

    def stamp(self) -> int:
        return self.now

    def offset(self, position: int) -> str:
        return f"e-{position}"

    async def submit(self, entry: Entry) -> Applied:
        self.entries.append(unpack_entry(pack_entry(entry)))
        position = len(self.entries)
        if self.hold is not None:
            await self.hold.wait()
        return self.apply(entry, position)

    @property
    def rows(self) -> int:
        return sum(len(entry.batch) for entry in self.entries if entry.batch is not None)

    @property
    def rejected(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for entry in self.entries:
            for reason, count in entry.rejected.items():
                counts[reason] = counts.get(reason, 0) + count
        return counts


class Reply(NamedTuple):
    status: int
    body: Any
    headers: dict[str, str]


async def other_app(scope: Message, receive: Receive, send: Send) -> None:
    """Stands for the rest of the server."""
    await send({"type": "http.response.start", "status": 418, "headers": []})
    await send({"type": "http.response.body", "body": b'"other"'})


def make_app(river: FakeRiver, **settings: Any) -> IngestApp:
    """The ingest app over a fake river. Settings come from the arguments alone."""
    found: Settings = load_settings(_env_file=None, **settings)
    return IngestApp(other_app, Collector(river), Gate(found), found)


async def call(
    app: Callable[..., Any],
    path: str,
    body: bytes | Any = b"",
    *,
    method: str = "POST",
    chunks: list[bytes] | None = None,
    stall: bool = False,
    **headers: str,
) -> Reply:
    """One request. Keyword arguments are headers, with _ for -; `chunks` come one by one, `stall` never ends."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    parts = chunks if chunks is not None else [raw]
    found = {"host": "localhost:8000"} | {name.replace("_", "-"): value for name, value in headers.items()}
    scope = {
        "type": "http",
        "path": path,
        "method": method,
        "query_string": b"",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in found.items()],
    }
    waiting = list(parts)
    sent: list[Message] = []

    async def receive() -> Message:
        if not waiting:
            await asyncio.Event().wait()
        part = waiting.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(waiting) or stall}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    text = b"".join(message.get("body", b"") for message in sent)
    names = {name.decode(): value.decode("latin-1") for name, value in sent[0]["headers"]}
    return Reply(sent[0]["status"], json.loads(text) if text else None, names)
