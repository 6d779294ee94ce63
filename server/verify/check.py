"""One verification from end to end.

The store is opened at one moment; then a server that runs is asked where it is, and the log is read from before the
store's checkpoint to there. The server trims the log behind the checkpoint before its newest one, so reading must not
take longer than two checkpoints do; where it did, all begins anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

from engine.engine import Options
from engine.errors import BadCheckpoint
from engine.model import parse_offset
from server.log import Hole, LogError, LogReader, Record
from server.store import Snapshot, StoreError
from server.verify import balance
from server.verify.names import Names, Tables
from server.verify.recount import Recount
from server.verify.report import Report, Unchecked
from server.verify.scratch import Scratch
from server.verify.sealed import Bounds, Stored
from server.verify.window import Window
from server.verify.writers import Writers
from server.wire.entry import unpack_entry

TRIES = 5
AHEAD_BYTES = 64 << 20
"""Bytes of the log that are taken into memory at once, before a server can trim them."""
MAX_TABLES = 64
Progress = Callable[[str], None]
Ask = Callable[[], dict[str, Any] | None]


class Overtaken(Exception):
    """The log was trimmed faster than it was read."""


def verify(
    open_store: Callable[[], Snapshot | None], open_log: Callable[[], LogReader | None], options: Options, ask: Ask,
    progress: Progress, blocks: bool = True,
) -> Report:  # fmt: skip
    """Verifies what these open. ask: the ledger of the server that runs, None where none does.

    blocks: without it the store's blocks are not read, only its checkpoint. progress is told what is being
    done. Raises Unchecked where nothing can be verified.
    """
    for _ in range(TRIES):
        store, log = None, None
        try:
            store, log = open_store(), open_log()
            if store is None and log is None:
                raise Unchecked("there is neither a log nor a store; are the settings those of the server?")
            return _Check(store, log, options, open_store, ask, progress).run(blocks)
        except Overtaken:
            continue
        except (StoreError, LogError, BadCheckpoint, OSError) as error:
            raise Unchecked(str(error)) from error
        finally:
            if store is not None:
                store.close()
            if log is not None:
                log.close()
    raise Unchecked("checkpoints come faster than the log can be read; stop the server, or raise CHECKPOINT_INTERVAL")


class _Check:
    def __init__(
        self, store: Snapshot | None, log: LogReader | None, options: Options,
        open_store: Callable[[], Snapshot | None], ask: Ask, progress: Progress,
    ) -> None:  # fmt: skip
        self._store, self._log, self._options = store, log, options
        self._open_store, self._ask, self._progress = open_store, ask, progress
        self._report = Report(log=log.place if log is not None else "")
        self._newest = 0
        """Generation of the newest checkpoint as the store was opened."""
        self._taken = False
        """Whether all of the log was taken into memory."""

    def run(self, blocks: bool) -> Report:
        report = self._report
        kept = self._store.checkpoints() if self._store is not None else []
        self._newest = kept[0][0] if kept else 0
        server = self._ask_server(kept[0][1] if kept else 0)
        begin = kept[1][1] if len(kept) > 1 else 0
        found = self._ahead(self._log.read(begin)) if self._log is not None else iter(())
        self._progress("reading the checkpoint")
        self._scratch = Scratch(self._options, self._store)
        held = self._scratch.held
        report.generation, report.position, report.stamp = held.generation, held.position, held.stamp
        report.sealed = held.ledger
        if self._newest != held.generation:
            report.cannot_read(f"checkpoint {self._newest} of the store is damaged; the one before it was used")
        self._recount = self._begin_recount()
        self._position = held.position
        self._read(found, server)
        if not self._taken:
            self._check_whole(held.position)
        if self._log is None:
            report.cannot_read("there is no log beside the store: what came after its checkpoint is not known")
        balance.check_log(report, self._scratch, self._recount)
        if blocks:
            self._count_store()
        return report

    def _begin_recount(self) -> Recount:
        held, options = self._scratch.held, self._options
        window = Window(options.dedup.keys, options.dedup.age)
        for _, chunk in self._store.dedup_chunks() if self._store is not None else ():
            window.load(chunk)
        window.forget(held.stamp)
        names = Names(held.keys, options.max_series, options.max_series_per_name)
        tables, writers = Tables(held.tables, MAX_TABLES), Writers(dict(held.writers))
        refused = deque(held.refused, options.max_rejects)
        return Recount(names, tables, window, writers, options.lateness, held.stamp, refused=refused)

    # the log

    def _ahead(self, found: Iterator[Record | Hole]) -> Iterator[Record | Hole]:
        """The same, after taking it into memory, or the first of it where it is long."""
        taken: list[Record | Hole] = []
        size = 0
        for one in found:
            taken.append(one)
            size += len(one.payload) if isinstance(one, Record) else 0
            if size >= AHEAD_BYTES:
                return chain(taken, found)
        self._check_whole(self._store.checkpoints()[0][1] if self._store is not None and self._newest else 0)
        self._taken = True
        return iter(taken)

    def _read(self, found: Iterator[Record | Hole], server: int | None) -> None:
        """Recounts and replays the entries after the checkpoint: to the end, or to where the server is."""
        held = self._scratch.held
        for one in found:
            if isinstance(one, Hole):
                self._note_hole(one)
                continue
            try:
                entry = unpack_entry(one.payload)
            except ValueError as error:
                if one.position > self._position:
                    self._report.cannot_read(f"entry {one.position} of the log cannot be read: {error}")
                continue
            if server is not None and one.position > server:
                break
            if one.position <= held.position:
                self._recount.writers.saw_before(entry, one.position, one.payload)
                continue
            self._check_gap(one.position)
            self._recount.take(entry, one.position, one.payload)
            self._scratch.apply(entry, one.position)
            self._position = one.position
            self._progress(f"log: {self._recount.entries:,} entries after the checkpoint")
        if server is not None and self._position != server:
            self._report.differ(
                "offset", f"the server is at entry {server:,}, the log's newest until there is {self._position:,}",
                server, self._position,
            )  # fmt: skip

    def _check_gap(self, position: int) -> None:
        """Holes tell what is missing between two entries, but not what is missing before the first."""
        held = self._scratch.held
        if self._log is None or not self._log.dense or self._position != held.position:
            return
        missing = position - held.position - 1
        if missing and not self._report.damage:
            if self._newer_checkpoints() > 1:
                raise Overtaken
            self._report.differ(
                "missing_entries",
                f"the log begins with entry {position:,}, the store's checkpoint ends with {held.position:,}: "
                f"{missing:,} entries between them are not there",
                found=0, expected=missing, first=held.position + 1, last=position - 1,
            )  # fmt: skip

    def _note_hole(self, hole: Hole) -> None:
        if hole.torn:
            if self._report.server is None:
                self._report.notes.append(
                    f"{hole.path} ends with {hole.end - hole.start:,} bytes of a write that was cut off; "
                    "a start removes them"
                )
            return
        text = f"{hole.path} {hole.why}" + (f", bytes {hole.start:,} to {hole.end:,}" if hole.end > hole.start else "")
        if hole.missing > 0:
            one = hole.missing == 1
            text += f"; entry {hole.first:,} is" if one else f"; entries {hole.first:,} to {hole.last:,} are"
            text += f" missing ({hole.missing:,})"
        if hole.last <= self._scratch.held.position and hole.first <= self._scratch.held.position:
            text += "; the checkpoint contains them"
        self._report.cannot_read(text)

    def _newer_checkpoints(self) -> int:
        """How many the server has written since the store was opened."""
        now = self._open_store()
        if now is None:
            return 0
        try:
            kept = now.checkpoints()
        finally:
            now.close()
        return kept[0][0] - self._newest if kept else 0

    def _check_whole(self, after: int) -> None:
        """Raises Overtaken where entries after a position may have been trimmed before they were read."""
        if self._log is None or self._log.dense or self._newer_checkpoints() < 2:
            return
        if self._log.first() > after:
            raise Overtaken

    # the server

    def _ask_server(self, checkpoint: int) -> int | None:
        """The position of the server that runs on these data, whose ledger goes to the report; None without one.

        It is asked before the log is read: so what it had applied is in what is read.
        """
        answer = self._ask()
        if answer is None:
            return None
        epoch, position = parse_offset(str(answer["offset"]))
        if self._log is None or epoch != self._log.epoch:
            self._report.notes.append("the server that answers has another log: it was not compared")
            return None
        if position < checkpoint:
            self._report.notes.append("the server that answers has not read its log yet: it was not compared")
            return None
        self._report.server = answer
        return position

    # the store

    def _count_store(self) -> None:
        if self._store is None:
            self._report.notes.append("there is no store yet: everything is in the log")
            return
        held, engine = self._scratch.held, self._scratch.engine
        # Retention may have deleted what the server's clock allowed since the checkpoint; the log's end says how far.
        kept = tuple(map(min, engine.horizons, held.rolled))
        keys = held.keys or [key for _, key in self._store.series()]
        total = sum(self._store.block_counts().values())
        stored = Stored(
            self._store, keys, Bounds(kept, held.rolled, engine.options.retention.patient), self._report,
            lambda done: self._progress(f"store: {done:,} blocks read, of about {2 * total:,}"),
        )  # fmt: skip
        stored.run()
        balance.check_store(self._report, held, stored, self._store)
