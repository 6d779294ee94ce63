"""The command `bench`: a short load test of a running server."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import secrets
import threading
import time
from collections.abc import Coroutine, Iterator
from typing import Any

from server.cli.client import Client, add_server_options, client_of
from server.cli.command import Commands, Fault, add_command
from server.cli.load import Measure, connect, press, request
from server.cli.tables import table
from server.cli.tail import open_socket
from server.cli.terminal import StatusLine, safe

_NAME = "streamgauge_bench"
_SERIES = 100
_PAUSE = 0.01
"""Seconds between the samples whose way to a subscriber is measured."""
_LATEST = 10.0
"""Seconds that a live update may take."""


def add(commands: Commands) -> None:
    """Adds the command to the command line."""
    parser = add_command(
        commands,
        "bench",
        run,
        help="measure a running server",
        description=f"Measures a running server: single and bulk sending, queries, and the way from a POST to a live\n"
        f"subscriber. It adds metrics named {_NAME}_… of {_SERIES} series, which stay in the server.\n"
        "One process sends, so a fast server is faster than shown; it shares the machine where it runs on the same.",
        examples="""
            streamgauge bench
            streamgauge bench --seconds 10 --connections 50
            streamgauge bench --json --url https://gauge.example --key …""",
    )
    parser.add_argument("--seconds", type=_seconds, default=3.0, help="of each of the four parts (default 3)")
    parser.add_argument("--connections", type=_count, default=16, help="that send single metrics (default 16)")
    parser.add_argument("--batch", type=_count, default=1000, help="rows of a bulk request (default 1000)")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    add_server_options(parser)


def run(given: argparse.Namespace) -> int:
    """Measures and prints the table; 1 where requests were refused."""
    client, line = client_of(given), StatusLine()
    client.call("GET", "/health")
    few = min(4, given.connections)
    parts = [
        ("single", press, Measure("POST, one metric", given.connections), _singles(client)),
        ("bulk", press, Measure(f"POST, {given.batch:,} metrics", few, given.batch), _bulks(client, given.batch)),
        ("query", press, Measure("query, sum by series, 5 min", few), _queries(client)),
        ("live", _watch, Measure("POST to live update", 1), iter(())),
    ]
    done: dict[str, Measure] = {}
    for name, part, measure, requests in parts:
        line.show(f"{measure.name} for {given.seconds:g} s …", now=True)
        done[name] = _run(part(client, measure, given.seconds, requests))
    line.clear()
    if given.json:
        print(json.dumps({name: _figures(measure) for name, measure in done.items()}))
    else:
        header = ["", "connections", "per second", "p50 ms", "p95 ms", "p99 ms", "most ms", "refused"]
        print("\n".join(table(header, [[m.name, m.connections, *_figures(m).values()] for m in done.values()])))
    for measure in done.values():
        if measure.errors:
            print(f"{measure.name}: the first of {measure.errors:,} refusals: {safe(measure.fault)[:300]}")
    return 1 if any(measure.errors for measure in done.values()) else 0


def _figures(measure: Measure) -> dict[str, Any]:
    times = {f"p{part * 100:g}": measure.percentile(part) for part in (0.5, 0.95, 0.99)}
    rounded = {name: None if ms is None else round(ms, 2) for name, ms in times.items()}
    most = measure.percentile(1.0)
    return {
        "per_second": round(measure.per_second, 1 if measure.per_second < 1000 else None),
        **rounded,
        "most": None if most is None else round(most, 2),
        "refused": measure.errors,
    }


def _sample(kind: str, series: int) -> dict[str, Any]:
    name = f"{_NAME}_{kind}"
    return {"name": name, "metric_type": "counter", "value": 1, "tags": {"series": str(series), "host": "bench"}}


def _singles(client: Client) -> Iterator[bytes]:
    return itertools.cycle(
        [request(client, "/api/metrics", json.dumps(_sample("single", i)).encode()) for i in range(_SERIES)]
    )


def _bulks(client: Client, batch: int) -> Iterator[bytes]:
    rows = [json.dumps(_sample("bulk", i % _SERIES)).encode() for i in range(batch)]
    return itertools.repeat(request(client, "/api/metrics", b"\n".join(rows), lines=True))


def _queries(client: Client) -> Iterator[bytes]:
    query = {"query_string": f"metric:{_NAME}_bulk", "aggregation": "sum", "group_by": ["series"], "time_range": "5m"}
    return itertools.repeat(request(client, "/api/query", json.dumps(query).encode()))


async def _watch(client: Client, measure: Measure, seconds: float, _: Iterator[bytes]) -> Measure:
    """Sends one sample at a time and waits until a live query over WebSocket contains it."""
    run = secrets.token_hex(4)
    sample = request(client, "/api/metrics", json.dumps(_sample("live", 0) | {"tags": {"run": run}}).encode())
    query = {"query_string": f'metric:{_NAME}_live{{run="{run}"}}', "aggregation": "count", "time_range": "1h"}
    loop, seen = asyncio.get_running_loop(), asyncio.Queue[tuple[float, float] | Exception]()

    def listen() -> None:
        """Tells when a live update has come, and how many samples it contains."""
        from websockets.exceptions import ConnectionClosed

        try:
            with open_socket(client, "?firehose=0") as socket:
                socket.send(json.dumps({"type": "subscribe", "query": query}))
                while not ended.is_set():
                    message = json.loads(socket.recv())
                    if message["type"] == "realtime_update":
                        count = sum(row["value"] or 0 for row in message["data"])
                        loop.call_soon_threadsafe(seen.put_nowait, (time.perf_counter(), count))
        except (ConnectionClosed, OSError, Fault) as error:
            loop.call_soon_threadsafe(seen.put_nowait, error)

    async def update() -> tuple[float, float]:
        """The next update: when it came, and how many samples it contains."""
        found = await asyncio.wait_for(seen.get(), _LATEST)
        if isinstance(found, Exception):
            raise Fault(f"the live updates ended: {found}")
        return found

    ended = threading.Event()
    listener = threading.Thread(target=listen, name="listener", daemon=True)
    listener.start()
    connection = await connect(client)
    try:
        await update()
        begun, number = time.perf_counter(), 0
        while (sent := time.perf_counter()) < begun + seconds:
            status, answer = await connection.send(sample)
            if status != 201:
                measure.errors += 1
                measure.fault = measure.fault or answer.rpartition(b"\r\n\r\n")[2].decode(errors="replace")
            else:
                number += 1
                now, count = await update()
                while count < number:
                    now, count = await update()
                measure.took.append(now - sent)
            await asyncio.sleep(_PAUSE)
        measure.seconds = time.perf_counter() - begun
        ended.set()
        await connection.send(sample)  # one more update, so that the listener wakes up and ends
        await asyncio.to_thread(listener.join, _LATEST)
    except (TimeoutError, OSError):
        raise Fault(f"a live update did not come within {_LATEST:g} s.") from None
    finally:
        ended.set()
        connection.close()
    return measure


def _run(work: Coroutine[Any, Any, Measure]) -> Measure:
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def _seconds(text: str) -> float:
    if not 0.1 <= (seconds := float(text)) <= 600:
        raise argparse.ArgumentTypeError("must be from 0.1 to 600 seconds")
    return seconds


def _count(text: str) -> int:
    if not 1 <= (number := int(text)) <= 10_000:
        raise argparse.ArgumentTypeError("must be from 1 to 10000")
    return number
