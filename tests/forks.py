"""Server processes without the seconds that Python takes to import a server: forked from one that has imported it.

What is forked is a process as any other, with its own id, environment, output and end; it goes through the same `main`.
A start from nothing is what the tests of the command line, the wheel and the image do.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PRELOADED = (
    "server.cli.serve", "server.app", "server.store.sqlite", "server.store.dynamodb.store", "server.log.segments",
    "server.log.redis_streams", "server.log.redis_lease", "server.log.redis_members", "server.notify.channels",
    "uvloop",
)  # fmt: skip
READ_AT_START = ("PYTHON", "LD_", "LC_", "LANG", "MALLOC_", "TZ", "FAKETIME")
"""What a process reads before it runs anything of ours: where these differ it has to be started anew."""
STEP = 0.005


def is_possible(environment: Mapping[str, str]) -> bool:
    """Whether a process with this environment can be forked."""
    other = {name for name, _ in set(environment.items()) ^ set(os.environ.items())}
    return hasattr(os, "fork") and not any(name.startswith(READ_AT_START) for name in other)


class Forked:
    """A process that was forked, as `subprocess.Popen` shows one."""

    def __init__(self, arguments: list[str], environment: Mapping[str, str], output: Path) -> None:
        asked = {"arguments": arguments, "environment": dict(environment), "output": str(output)}
        self.pid: int = _ask(asked)["pid"]
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, once there is one."""
        if self.returncode is None:
            self.returncode = _ask({"pid": self.pid})["code"]
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code. TimeoutExpired."""
        until = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if until is not None and time.monotonic() > until:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            time.sleep(STEP)
        return code

    def send_signal(self, how: int) -> None:
        """A signal, where it still runs."""
        if self.poll() is None:
            os.kill(self.pid, how)

    def kill(self) -> None:
        """kill -9."""
        self.send_signal(signal.SIGKILL)


_origin: subprocess.Popen[bytes] | None = None


def _ask(question: dict[str, Any]) -> Any:
    """An answer of the process from which all are forked."""
    global _origin
    if _origin is None:
        _origin = subprocess.Popen(
            [sys.executable, "-c", "from tests.forks import main; main()"], cwd=ROOT,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        atexit.register(_end)
    assert _origin.stdin is not None and _origin.stdout is not None
    _origin.stdin.write(json.dumps(question).encode() + b"\n")
    _origin.stdin.flush()
    return json.loads(_origin.stdout.readline())


def _end() -> None:
    if _origin is not None:
        _origin.kill()
        _origin.wait()


def main() -> None:
    """What forks: a question on each line of stdin, its answer on one of stdout. Returns in a process that was forked,
    when that is to end."""
    import gc
    from importlib import import_module

    for name in PRELOADED:
        import_module(name)
    gc.freeze()  # the collector of a server has nothing to do with what was there before it
    codes: dict[int, int | None] = {}
    for line in sys.stdin.buffer:
        question = json.loads(line)
        if "output" in question:
            pid = os.fork()
            if not pid:
                _become(question)
            codes[pid] = None
            answer: dict[str, Any] = {"pid": pid}
        else:
            answer = {"code": _code_of(question["pid"], codes)}
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        sys.stdout.buffer.flush()


def _code_of(pid: int, codes: dict[int, int | None]) -> int | None:
    if codes[pid] is None and (ended := os.waitpid(pid, os.WNOHANG))[0]:
        codes[pid] = os.waitstatus_to_exitcode(ended[1])
    return codes[pid]


def _become(given: dict[str, Any]) -> None:
    """Runs the command line; does not return."""
    import random

    from server.cli import main as command

    output = os.open(given["output"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for fd, place in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(fd, place)
    os.close(output)
    os.close(nothing)
    os.environ.clear()
    os.environ.update(given["environment"])
    random.seed()
    sys.argv = ["-c", *given["arguments"]]
    sys.exit(command())
