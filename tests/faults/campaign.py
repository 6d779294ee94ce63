"""The kill campaign: servers that are killed at random moments under load, and recounted after each start."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.faults.account import Account
from tests.faults.numbers import LOAD_SECONDS, LONG, by_size, pick, progress
from tests.faults.recounts import recount
from tests.faults.senders import Load, Sender, under_load
from tests.faults.slow import timed_start
from tests.faults.traffic import NAMES, Writer
from tests.support import Streamgauge, position, wait_until

START = 60.0
"""Seconds a start may take on a slow machine."""
FAULTS = ("Traceback", " CRITICAL ", "exception")
KINDS = ("load", "checkpoint", "start")
"""When a server is killed: at any moment, in or after a checkpoint, or once more while it starts and replays."""
NEW_SERIES_EVERY = 12
"""Rounds after which writers begin new series."""


def now_ms() -> int:
    """The clock, in ms."""
    return time.time_ns() // 1_000_000


class Campaign:
    """Servers on one log, their senders, and the account of all they acknowledged."""

    def __init__(
        self, name: str, servers: list[Streamgauge], lateness: float = 2.0, connections: int = 2,
        clock: Callable[[], int] = now_ms, errors: bool = False, thorough: bool = False,
        others: Sequence[Streamgauge] = (),
    ) -> None:  # fmt: skip
        """others: processes that take no rows and are killed all the same. thorough: all metrics are recounted in the
        short campaign too, not only some, drawn anew each time. errors: whether the servers may log errors; tracebacks
        they may not, whatever happens."""
        self.name, self.servers, self.others, self.clock = name, servers, others, clock
        self.faults = FAULTS if errors else (*FAULTS, " ERROR ")
        self.rng = pick(f"{name} moments")
        self.start = clock()
        for server in self.processes:
            server.settings.setdefault("ENABLE_QUERY_LOGGING", "false")
        self.account = Account(round(lateness * 1000), outages=errors)
        self.senders = []
        for number in range(max(2, len(servers))):
            writer = Writer(f"w{number}", pick(f"{name} writer {number}"), self.start, clock)
            server = servers[number % len(servers)]
            self.senders += [Sender(writer, self.account, server) for _ in range(connections)]
        self.kinds: Counter[str] = Counter()
        self.kills = 0
        self.names = len(NAMES) if LONG or thorough else 2
        self.compared = 0
        self.verified = 0
        self.slowest_start = 0.0
        self.slow_starts: list[str] = []
        """What each start has waited for that took long."""

    @property
    def processes(self) -> list[Streamgauge]:
        """The servers and the others."""
        return [*self.servers, *self.others]

    def begin(self) -> None:
        """Starts all of them."""
        for server in self.processes:
            self._start(server)

    def round(self, number: int) -> None:
        """One kill under load, a start, and the recount."""
        for sender in self.senders:
            sender.writer.generation = number // NEW_SERIES_EVERY
        kind = ("checkpoint", "start", "load")[number] if number < 3 else self.rng.choices(KINDS, (4, 4, 3))[0]
        victims = [server for server in self.processes if self.rng.random() < 0.7] or [self.rng.choice(self.servers)]
        before = self.account.metrics
        under_load(self.senders, lambda load: self._kill(load, victims, at_checkpoint=kind == "checkpoint"))
        if kind == "start":
            self._kill_while_starting(self.rng.choice(victims))
        for server in victims:
            self._start(server)
        open_requests = sum(len(sender.open) for sender in self.senders)
        self.settle()
        if LONG:  # what the history holds is asked for in turns, and all of it at the end
            self.names = len(NAMES) if number % 5 == 4 else 2
        self.check()
        self.kinds[kind] += 1
        progress(
            f"{self.name}: round {number + 1}, {kind}: {self.account.metrics - before} rows, {open_requests} requests "
            f"repeated, {self.compared} numbers compared so far"
        )

    def settle(self) -> None:
        """Repeats all that has no answer. None may count in part."""
        for sender in self.senders:
            sender.settle()

    def check(self, verify: bool = LONG) -> None:
        """Every answer of every server is the recount, none has said of a fault, and `streamgauge verify` agrees."""
        self.catch_up()
        for server in self.servers:
            self.compared += recount(server, self.account, self.start, self.clock(), self.rng, self.names)
        for server in self.processes:
            self.listen_for_faults(server)
        if verify:
            for server in self.servers:
                self.verify(server)

    def verify(self, server: Streamgauge) -> None:
        """The command recounts log and store by itself, beside the running server."""
        self.verified += 1
        beside = ["--url", server.url]
        for attempt in range(4):
            done = server.run("verify", *beside, seconds=300)
            if done.returncode != 2 or "checkpoints come faster" not in done.stderr:
                break
            if attempt == 2:  # its own advice, on a machine too slow for five checkpoints a second
                assert server.stop(START) == 0
                beside = []
        if server.child is None:
            self._start(server)
        assert done.returncode == 0, f"verify ends with {done.returncode}:\n{done.stdout}\n{done.stderr}"

    def listen_for_faults(self, server: Streamgauge) -> None:
        """No line of a server's output is one of a fault."""
        output = server.output
        said = [line for line in output.splitlines() if any(word in line for word in self.faults)]
        assert not said, "\n".join([*said[:20], "…", output[-4000:]])

    def catch_up(self) -> None:
        """Waits until all servers have applied what any of them has."""
        newest = max(offset(server) for server in self.servers)
        for server in self.servers:
            wait_until(lambda server=server: offset(server) >= newest, START, "catching up")  # type: ignore[misc]

    def _kill(self, load: Load, victims: list[Streamgauge], at_checkpoint: bool) -> None:
        load.wait(15)
        until = time.monotonic() + self.rng.random() * LOAD_SECONDS
        if at_checkpoint and "DATA_DIR" in victims[0].settings:
            self._await_checkpoint(victims[0], until)
            time.sleep(self.rng.random() * 0.03)
        else:
            time.sleep(max(0.0, until - time.monotonic()))
        for server in victims:
            server.kill()
            self.kills += 1

    def _await_checkpoint(self, server: Streamgauge, until: float) -> None:
        """Returns when the store's file is being written to, after `until`, or some seconds later all the same."""
        wal = Path(str(server.settings["DATA_DIR"])) / "streamgauge.db-wal"

        def written() -> int:
            return wal.stat().st_mtime_ns if wal.exists() else 0

        while time.monotonic() < until:
            time.sleep(0.005)
        before, last = written(), time.monotonic() + by_size(1.5, 3)
        while written() == before and time.monotonic() < last:
            time.sleep(0.001)

    def _kill_while_starting(self, server: Streamgauge) -> None:
        """Starts a server and kills it before, while or just after it has replayed the log."""
        for _ in range(self.rng.randrange(1, 3)):
            child = server.begin()
            time.sleep(self.rng.random() * 0.7)
            child.send_signal(signal.SIGKILL)
            child.wait()
            self.kills += 1

    def _start(self, server: Streamgauge) -> None:
        took, story = timed_start(server, START)
        self.slowest_start = max(self.slowest_start, took)
        if story:
            self.slow_starts.append(story)
            progress(f"{self.name}: {story}")

    def refusals(self) -> Counter[str]:
        """How often each code of a refusal was answered."""
        return sum((Counter(sender.refusals) for sender in self.senders), Counter())

    def figures(self) -> str:
        """What the closing table says."""
        account = self.account
        murky = ""
        if account.murky:
            murky = f", the increase of {len(account.murky)} of {len(account.points)} totals left out"
        slow = "".join(f"; {' |'.join(story.splitlines())}" for story in self.slow_starts[:3])
        kinds = ", ".join(f"{count} at {kind}" for kind, count in sorted(self.kinds.items()))
        kills = f"{self.kills} kills in {sum(self.kinds.values())} rounds ({kinds}); " if kinds else ""
        return (
            f"{kills}{account.metrics} samples and {account.events} events exact ({account.late} late, "
            f"{account.unanswered} requests repeated), {self.compared} numbers compared{murky}, "
            f"verify agreed {self.verified} times; "
            f"slowest start {self.slowest_start:.1f} s{slow}"
        )


def offset(server: Streamgauge) -> int:
    """The position in the log up to which a server has applied."""
    return position(server.call("GET", "/api/stats")["offset"])

