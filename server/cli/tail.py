"""The command `tail`: metrics and events in the terminal, as they arrive."""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import json
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from server.cli.client import TIMEOUT, Client, add_server_options, client_of, lost, refusal
from server.cli.client import Reply as HttpReply
from server.cli.command import Commands, Fault, add_command
from server.cli.terminal import BOLD, CYAN, DIM, GREEN, MAGENTA, YELLOW, has_colours, local_time, number, paint, safe

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

_COLOURS = {"counter": GREEN, "gauge": CYAN, "histogram": MAGENTA, "timer": MAGENTA, "average": YELLOW}
_LONGEST_PAUSE = 2.0


def add(commands: Commands) -> None:
    """Adds the command to the command line."""
    parser = add_command(
        commands,
        "tail",
        run,
        help="watch what arrives",
        description="Shows metrics and events as they arrive, until Ctrl-C.\n"
        "The server sends at most FIREHOSE_RATE of each per second, the newest of each series first; how many it left\n"
        "out is said. The filters choose among what it sends.",
        examples="""
            streamgauge tail
            streamgauge tail 'shop_*' --label country=DE
            streamgauge tail --type timer --json | jq .value
            streamgauge tail --events""",
    )
    parser.add_argument("name", nargs="*", help="names of metrics, or event types; * and ? stand for any characters")
    parser.add_argument("--type", action="append", help="only metrics of this type, such as counter; may be repeated")
    parser.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="LABEL=VALUE",
        help="only rows with this label (of events: property, user_id or session_id); may be repeated; * as above",
    )
    parser.add_argument("--events", action="store_true", help="events only")
    parser.add_argument("--metrics", action="store_true", help="metrics only")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    parser.add_argument("--count", type=int, metavar="N", help="end after so many rows")
    add_server_options(parser)


def run(given: argparse.Namespace) -> int:
    """Shows rows until Ctrl-C or --count; the exit code."""
    fits = _filter(given)
    left = given.count
    colours = has_colours(sys.stdout)
    try:
        for message in messages(client_of(given)):
            kind = message["type"]
            if kind in ("new_metric", "new_event"):
                row = message["metric" if kind == "new_metric" else "event"]
                if not fits(kind, row):
                    continue
                print(json.dumps(row, ensure_ascii=False) if given.json else _line(kind, row, colours), flush=True)
                if left is not None and (left := left - 1) <= 0:
                    return 0
            elif kind == "dropped":
                _say(f"… {message['count']:,} more arrived than the server sends")
            elif kind == "gap":
                _say("… some rows of the time without a connection are not kept")
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone; Python must not complain about it at its end
    return 0


def messages(client: Client) -> Iterator[dict[str, Any]]:
    """Every message of the server's, over as many connections as it takes; each next one goes on after the last.

    Fault where the server cannot be reached at first, or refuses.
    """
    since, pause, greeted = "", 0.2, False
    while True:
        try:
            for message in _connection(client, since):
                since = message.get("offset") or since
                if message["type"] == "hello":
                    if greeted:
                        _say("connected again")
                    greeted, pause = True, 0.2
                yield message
            why = "the server ended the connection"
        except OSError as error:
            fault = lost(client.url, error, TIMEOUT)
            if not greeted:
                raise Fault(str(fault)) from None
            why = str(fault)
        if pause == 0.2:
            _say(f"{why.rstrip('.')}; trying again")
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


@contextlib.contextmanager
def open_socket(client: Client, options: str = "") -> Iterator[ClientConnection]:
    """A WebSocket to the client's server; options: the query string. OSError without one, Fault where it is refused."""
    from websockets.exceptions import InvalidHandshake, InvalidStatus
    from websockets.sync.client import connect

    with contextlib.ExitStack() as stack:
        try:
            connection = stack.enter_context(
                connect(
                    f"{client.socket_url}/ws/cli-{secrets.token_hex(6)}{options}",
                    additional_headers=client.headers,
                    compression=None,
                    max_size=64 << 20,
                    proxy=None,
                    open_timeout=10,
                    close_timeout=1,
                )
            )
        except InvalidStatus as error:
            answer = error.response
            if answer.status_code >= 500:
                raise ConnectionError(f"the server answered {answer.status_code}") from None
            raise refusal(HttpReply(answer.status_code, bytes(answer.body or b""), {})) from None
        except InvalidHandshake:
            raise Fault(f"{client.url} answers, but not as a Streamgauge server does; is the address right?") from None
        yield connection


def _connection(client: Client, since: str) -> Iterator[dict[str, Any]]:
    """The messages of one connection, until the server ends it. OSError where it breaks."""
    from websockets.exceptions import ConnectionClosed

    with open_socket(client, f"?since={since}" if since else "") as connection:
        try:
            while True:
                message = json.loads(connection.recv())
                if isinstance(message, dict) and "type" in message:
                    yield message
        except ConnectionClosed:
            return


def _filter(given: argparse.Namespace) -> Callable[[str, dict[str, Any]], bool]:
    """Whether a row is wanted."""
    labels = []
    for text in given.label:
        name, equals, pattern = text.partition("=")
        if not equals:
            raise Fault(f"--label {text!r} is no label; write it like --label country=DE")
        labels.append((name, pattern))
    types = {"counter" if name == "sum" else name for name in given.type or ()}
    metrics, events = not given.events or given.metrics, (not given.metrics and not types) or given.events

    def fits(kind: str, row: dict[str, Any]) -> bool:
        if kind == "new_metric":
            name, known = row["name"], {**(row.get("tags") or {}), "source": row.get("source")}
            if not metrics or (types and row["metric_type"] not in types):
                return False
        else:
            name = row["event_type"]
            known = {**(row.get("properties") or {}), **{who: row.get(who) for who in ("user_id", "session_id")}}
            if not events:
                return False
        if given.name and not any(fnmatch.fnmatchcase(name, pattern) for pattern in given.name):
            return False
        return all(
            known.get(label) is not None and fnmatch.fnmatchcase(_text(known[label]), pattern)
            for label, pattern in labels
        )

    return fits


def _line(kind: str, row: dict[str, Any], colours: bool) -> str:
    """A row as one line."""
    when = paint(local_time(row["timestamp"]), DIM, on=colours)
    if kind == "new_metric":
        unit = f" {safe(row['unit'])}" if row.get("unit") else ""
        value = paint(f"{number(row['value'])}{unit}", BOLD, on=colours)
        name = paint(safe(row["name"]), _COLOURS.get(row["metric_type"], GREEN), on=colours)
        rest = row.get("tags") or {}
        return f"{when}  {name}  {value}{_pairs(rest, colours)}"
    name = paint(safe(row["event_type"]), YELLOW, on=colours)
    who = {name: row[name] for name in ("user_id", "session_id") if row.get(name)}
    return f"{when}  ◆ {name}{_pairs({**who, **(row.get('properties') or {})}, colours)}"


def _pairs(pairs: dict[str, Any], colours: bool) -> str:
    shown = " ".join(f"{safe(name)}={safe(_text(value))}" for name, value in pairs.items())
    return paint(f"  {shown}", DIM, on=colours) if shown else ""


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _say(text: str) -> None:
    print(paint(text, DIM, on=has_colours(sys.stderr)), file=sys.stderr, flush=True)
