"""Python processes without the seconds that importing a server takes: forked from one that has imported it.

What is forked is a process as any other, with its own id, environment, output and end, and runs what it would have been
given with `python -c`. A start from nothing is what the tests of the command line, the wheel and the image do.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PRELOADED = (
    "server.cli.serve", "server.app", "server.store.sqlite", "server.store.dynamodb.store", "server.log.segments",
    "server.log.redis_streams", "server.log.redis_lease", "server.log.redis_members", "server.notify.channels",
    "server.cli.verify", "server.verify.check", "uvloop",
)  # fmt: skip
READ_AT_START = ("PYTHON", "LD_", "LC_", "LANG", "MALLOC_", "TZ", "FAKETIME")
"""What a process reads before it runs anything of ours: where these differ it has to be started anew."""
STEP = 0.005


def is_possible(command: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Whether a process with this command and environment can be forked."""
    other = {name for name, _ in set(environment.items()) ^ set(os.environ.items())}
    is_code = list(command[:2]) == [sys.executable, "-c"]
    return is_code and hasattr(os, "fork") and not any(name.startswith(READ_AT_START) for name in other)


def run_process(
    command: Sequence[str], environment: Mapping[str, str], seconds: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """A process to its end, as `subprocess.run` with its output as text. TimeoutExpired."""
    if not is_possible(command, environment):
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds)
    with tempfile.TemporaryDirectory() as folder:
        output, errors = Path(folder, "output.txt"), Path(folder, "errors.txt")
        child = Forked(command, environment, output, errors)
        try:
            code = child.wait(seconds)
        finally:
            child.kill()
        return subprocess.CompletedProcess(command, code, output.read_text(), errors.read_text())


class Forked:
    """A process that was forked, as `subprocess.Popen` shows one. Its errors go where its output goes, unless told."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], output: Path, errors: Path | None = None
    ) -> None:
        places = {"output": str(output), "errors": str(errors or output)}
        self.pid: int = _ask({"command": list(command[2:]), "environment": dict(environment), **places})["pid"]
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
    """Runs the code; does not return."""
    import random

    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    places = [os.open(os.devnull, os.O_RDONLY), *(os.open(given[to], flags, 0o644) for to in ("output", "errors"))]
    for to, fd in enumerate(places):
        os.dup2(fd, to)
        os.close(fd)
    os.environ.clear()
    os.environ.update(given["environment"])
    random.seed()
    code, *arguments = given["command"]
    sys.argv = ["-c", *arguments]
    exec(code, {"__name__": "__main__"})
    sys.exit()
