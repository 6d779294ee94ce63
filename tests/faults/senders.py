"""Connections that post what writers draw until the server goes, and settle every answer with the account."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.faults.account import Account, Misuse
from tests.faults.numbers import by_size
from tests.faults.traffic import Request, Writer
from tests.support import Streamgauge

NOT_TAKEN = {"starting", "shutting_down", "too_many_requests", "too_many_connections", "log_full", "store_stalled"}
"""What these codes refuse has certainly not been taken."""
PAUSE = by_size(0.012, 0.0)
"""Seconds between two requests of a connection; the short campaign shares its machine with other tests."""
WAIT = 60.0
"""Seconds an answer may take at most: none may hang for ever."""


class Sender:
    """One connection of a writer. open: the requests without an answer. refusals: codes of the 503s and 429s seen."""

    def __init__(self, writer: Writer, account: Account, server: Streamgauge) -> None:
        self.writer, self.account, self.server = writer, account, server
        self.open: list[Request] = []
        self.refusals: dict[str, int] = {}
        self.answered = 0
        self.rows = 0
        self.faults: list[str] = []
        self.slowest = 0.0
        self._connection: http.client.HTTPConnection | None = None

    def run(self, stop: threading.Event, patient: bool = False) -> None:
        """Posts until the connection breaks or `stop`; a patient one goes on after refusals, repeating what it must."""
        try:
            while not stop.is_set():
                stop.wait(PAUSE)
                request = self.open[0] if patient and self.open else self.writer.next()
                if not self.post(request):
                    if not patient:
                        return
                    stop.wait(0.05)
        except Misuse as fault:
            self.faults.append(str(fault))
        finally:
            self.close()

    def post(self, request: Request) -> bool:
        """Sends a request; True where it was answered for good. One without such an answer is in `open` afterwards."""
        if request not in self.open:
            self.open.append(request)
        begun = time.monotonic()
        request.sent = self.writer.clock()
        try:
            status, headers, answer = self._exchange(request)
        except (OSError, http.client.HTTPException):
            self.close()
            request.tries.append((request.sent, self.writer.clock()))
            return False
        self.slowest = max(self.slowest, time.monotonic() - begun)
        if status in (503, 429):
            code = answer["detail"]["code"]
            self.refusals[code] = self.refusals.get(code, 0) + 1
            if "Retry-After" not in headers:
                raise Misuse(f"{status} {code} without Retry-After")
            if code not in NOT_TAKEN:
                request.tries.append((request.sent, self.writer.clock()))
            return False
        self.open.remove(request)
        self.account.settle(request, status, answer, self.writer.clock())
        self.answered += 1
        self.rows += len(request.rows)
        self.writer.counted(request)
        if status == 201:
            self.writer.remember(request)
        return True

    def settle(self) -> None:
        """Repeats what has no answer, until it has one."""
        try:
            for request in list(self.open):
                if not self.post(request):
                    said = self.server.output[-3000:]
                    raise AssertionError(f"a repeated request is refused: {self.refusals}\n{said}")
        finally:
            self.close()

    def _exchange(self, request: Request) -> tuple[int, Any, Any]:
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=WAIT)
        self._connection.request("POST", request.path, request.body, request.headers)
        answer = self._connection.getresponse()
        text = answer.read()
        return answer.status, answer.headers, json.loads(text)

    def close(self) -> None:
        """Lets go of the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Load:
    """Senders at work on threads."""

    def __init__(self, senders: list[Sender], patient: bool = False) -> None:
        self.senders = senders
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=one.run, args=(self._stop, patient), daemon=True) for one in senders]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Stops them; none may hang, nor have seen a wrong answer."""
        self._stop.set()
        for thread in self._threads:
            thread.join(2 * WAIT)
            assert not thread.is_alive(), "a request was never answered"
        assert not (faults := [fault for sender in self.senders for fault in sender.faults]), faults

    def wait(self, requests: int, seconds: float = 60.0) -> None:
        """Returns when so many more requests have been answered by all together."""
        before, until = self.answered, time.monotonic() + seconds
        while self.answered < before + requests:
            self.check()
            assert time.monotonic() < until, f"only {self.answered - before} of {requests} requests within {seconds} s"
            time.sleep(0.01)

    def check(self) -> None:
        """AssertionError where a sender has seen a wrong answer."""
        assert not (faults := [fault for sender in self.senders for fault in sender.faults]), faults
        for server in {sender.server for sender in self.senders}:
            assert server.child is not None and server.child.poll() is None, f"it ended: {server.output[-4000:]}"

    @property
    def answered(self) -> int:
        """Requests answered so far."""
        return sum(sender.answered for sender in self.senders)


def under_load(senders: list[Sender], act: Callable[[Load], None], patient: bool = False) -> None:
    """Does something while all senders post; they have ended when it returns."""
    load = Load(senders, patient)
    try:
        act(load)
    finally:
        load.end()
