"""Bringing written bytes to disk without holding up the event loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from server.log import LogUnavailable
from server.log.end_mark import End, EndMark


class Syncer:
    """Brings written bytes to disk: on one thread, some time after a write, or at once when somebody waits."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, path: Path, delay: float, refuse: Callable[[str], None]
    ) -> None:
        self.always = delay == 0
        self.written = 0
        self.mark: EndMark | None = None
        """Told what is on disk."""
        self._loop = loop
        self._delay = delay
        self._refuse = refuse
        self._synced = 0
        self._failure = ""
        self._file = -1
        self._directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._retired: list[int] = []
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._running: asyncio.Future[None] | None = None
        self._thread = ThreadPoolExecutor(1, "log-sync")

    def wrote(self, file: int) -> int:
        """Note a write to `file`; the number to `wait` for."""
        self._file = file
        self.written += 1
        if self._timer is None and self._running is None and not self._failure:
            self._timer = self._loop.call_later(self._delay, self._start)
        return self.written

    def retire(self, file: int) -> None:
        """Take over a file that gets no more writes: sync it once more, then close it."""
        self._retired.append(file)

    async def wait(self, written: int) -> None:
        """Return when the write of that number is on disk. Raises LogUnavailable."""
        if self._synced >= written:
            return
        if self._failure:
            raise LogUnavailable(self._failure)
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append((written, waiter))
        if self._running is None:
            if self._timer is not None:
                self._timer.cancel()
            # next iteration: whoever else writes in this one shares the sync
            self._timer = self._loop.call_later(0, self._start)
        await waiter

    def _start(self) -> None:
        self._timer = None
        retired, self._retired = self._retired, []
        try:
            self._running = self._loop.run_in_executor(self._thread, self._bring_to_disk, [*retired, self._file])
        except RuntimeError as error:  # no thread can be started
            self._retired = retired
            self._fail(error)
            return
        written, end = self.written, self.mark.newest if self.mark is not None else End()
        self._running.add_done_callback(lambda done: self._finished(done, written, retired, end))

    def _bring_to_disk(self, files: list[int]) -> None:
        for file in files:
            os.fdatasync(file)
        if len(files) > 1:
            os.fsync(self._directory)

    def _finished(self, done: asyncio.Future[None], written: int, retired: list[int], end: End) -> None:
        self._running = None
        try:
            for file in retired:
                os.close(file)
            done.result()
            if self.mark is not None:
                self.mark.synced(end)
        except Exception as error:  # whatever it is: nothing would be synced any more, and nobody know of it
            self._fail(error)
            return
        self._synced = written
        waiting, self._waiters = self._waiters, []
        for number, waiter in waiting:
            if number > self._synced:
                self._waiters.append((number, waiter))
            elif not waiter.done():
                waiter.set_result(None)
        if self.written > self._synced:
            self._timer = self._loop.call_later(0 if self._waiters else self._delay, self._start)

    def _fail(self, error: Exception) -> None:
        """Nothing is synced any more: the kernel may have dropped the pages, so a second try would prove nothing."""
        self._failure = f"writing to disk failed: {error}"
        self._refuse(self._failure)
        waiting, self._waiters = self._waiters, []
        for _, waiter in waiting:
            if not waiter.done():
                waiter.set_exception(LogUnavailable(self._failure))

    async def close(self) -> None:
        if self.written and not self._failure:
            await self.wait(self.written)
        while self._running is not None:
            await asyncio.wait([self._running])
            await asyncio.sleep(0)
        if self._timer is not None:
            self._timer.cancel()
        for file in self._retired:
            os.close(file)
        os.close(self._directory)
        self._thread.shutdown()
