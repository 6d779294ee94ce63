"""The command `demo`: the traffic of a shop, for the last minutes and from now on."""

from __future__ import annotations

import argparse
import re
import signal
import sys
import time
from collections.abc import Callable

from server.cli.client import add_server_options, client_of
from server.cli.command import Commands, add_command
from server.cli.sender import Sender, row_of
from server.cli.shop import TICK, Row, Shop
from server.cli.terminal import StatusLine, safe

VERSION = 1
"""Goes up when the shop changes: what an older one has sent is then not taken for the same."""
_UNITS = {"": 60, "s": 1, "m": 60, "h": 3600}
_LONGEST = 24 * 3600
_PATIENCE = 600.0


def add(commands: Commands) -> None:
    """Adds the command to the command line."""
    parser = add_command(
        commands,
        "demo",
        run,
        help="send the traffic of a made-up shop",
        description="Sends the traffic of a made-up shop: visits, carts, orders, payments, latency by route, stock,\n"
        "and the events of its users; first the last 15 minutes, then live until Ctrl-C. The same seed and rate give\n"
        "the same rows for the same moment, and a moment counts once: end it and start it again at will.",
        examples="""
            streamgauge demo
            streamgauge demo --rate 500 --backfill 2h
            streamgauge demo --seed 7 --backfill 0""",
    )
    parser.add_argument("--rate", type=_rate, default=50.0, help="about so many rows per second (default 50)")
    parser.add_argument("--seed", type=int, default=1, help="another number, another shop (default 1)")
    parser.add_argument(
        "--backfill", type=_duration, default=900.0, metavar="15m", help="the time before now to fill first; 0 = none"
    )
    parser.add_argument("--for", dest="seconds", type=_duration, metavar="TIME", help="end after so long, such as 30s")
    add_server_options(parser)


def run(given: argparse.Namespace) -> int:
    """Sends until Ctrl-C or --for; the exit code."""
    client, line, ending = client_of(given), StatusLine(), Ending()

    def waiting(why: str, pause: float) -> None:
        ending.check()
        line.show(f"waiting {pause:.1f} s: {why}", now=True)

    sender = Sender(client, patience=_PATIENCE, waiting=waiting)
    client.call("GET", "/health")
    live = _now()
    line.show("opening the shop …", now=True)
    shop = Shop(given.seed, given.rate, int(live - given.backfill * 1000))
    seed = f"demo{VERSION}:{given.seed}:{given.rate:g}"
    line.clear()
    print(
        f"A shop's traffic goes to {client.url}: about {given.rate:g} rows per second, seed {given.seed}.", flush=True
    )
    begun = time.monotonic()
    try:
        signal.signal(signal.SIGINT, ending.asked)
        if given.backfill:
            _send(
                shop, sender, seed, live - TICK, ending, lambda: line.show(_filling(shop, live, given.backfill, sender))
            )
            line.clear()
            print(
                f"The last {given.backfill / 60:g} min: {sender.total.rows:,} rows in {time.monotonic() - begun:.1f} s."
            )
        print(
            f"Live now; Ctrl-C ends it. See it on {client.url}, or with\n"
            "  streamgauge query shop_orders -a rate -s 15s -r 15m\n"
            "  streamgauge query http_request_duration -a percentile_95 --by route -r 15m\n"
            "  streamgauge tail --events",
            flush=True,
        )
        until = live + given.seconds * 1000 if given.seconds else float("inf")
        while (now := _now()) < until:
            _send(shop, sender, seed, min(now, until) - TICK, ending, lambda: None)
            line.show(f"live for {(now - live) / 1000:.0f} s: {sender.total}")
            time.sleep(max(0.01, (shop.now + TICK - _now()) / 1000))
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        line.clear()
    print(f"Ended. {sender.total}")
    for error in sender.total.errors:
        print(f"refused: {safe(error)}", file=sys.stderr)
    return 1 if sender.total.rejected else 0


class Ending:
    """Ctrl-C between two moments ends at once; within one, when its metrics and its events are both sent."""

    def __init__(self) -> None:
        self.busy = False
        self._wanted = False

    def asked(self, *_: object) -> None:
        """Ctrl-C. The second one ends whatever goes on."""
        if self._wanted or not self.busy:
            raise KeyboardInterrupt
        self._wanted = True

    def check(self) -> None:
        """Ends here if that is wanted."""
        if self._wanted:
            raise KeyboardInterrupt


def _send(shop: Shop, sender: Sender, seed: str, upto: float, ending: Ending, told: Callable[[], None]) -> None:
    """Sends every tick that begins at `upto` (ms) or before."""
    while shop.now <= upto:
        at = shop.now
        ending.busy = True
        for kind, rows in zip("me", shop.tick(), strict=True):
            if rows:
                sender.send([row_of(row, _place(row)) for row in rows], f"{seed}:{at}:{kind}")
        ending.busy = False
        ending.check()
        told()


def _filling(shop: Shop, live: float, backfill: float, sender: Sender) -> str:
    part = min(1.0, max(0.0, 1 - (live - shop.now) / 1000 / backfill))
    return f"[{'█' * int(part * 24):·<24}] {part:4.0%} of the last {backfill / 60:g} min, {sender.total.rows:,} rows"


def _place(row: Row) -> str:
    return str(row.get("name") or row.get("event_type"))


def _now() -> float:
    return time.time() * 1000


def _rate(text: str) -> float:
    rate = float(text)
    if not 2 <= rate <= 1000:
        raise argparse.ArgumentTypeError("must be from 2 to 1000 rows per second")
    return rate


def _duration(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if match is None or (seconds := float(match[1]) * _UNITS[match[2]]) > _LONGEST:
        raise argparse.ArgumentTypeError("must be a time up to 24h, such as 30s, 15m or 2h")
    return seconds
