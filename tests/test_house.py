"""The house rules: who may import whom, which room a foreign library enters by, how long a file may be, that every
setting is documented, and that the types and the style check.

`python -m tests.test_house` prints the table of settings for the README.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from server.config import OLDER_NAMES, PREFIX, Settings, load_settings
from server.setting_kinds import parse_duration, parse_size
from tests.support import ROOT

CEILING = 400
SOURCES = (".py", ".ts", ".tsx", ".css")
NOT_OURS = {".git", ".venv", "node_modules", "build", "data", "__pycache__", ".mypy_cache", ".ruff_cache"}
BUILT = ("web/dist", "server/page")

WORLD = {
    *("asyncio", "http", "logging", "multiprocessing", "os", "pathlib", "random", "secrets", "shutil", "socket"),
    *("sqlite3", "subprocess", "tempfile", "threading", "time", "urllib", "zoneinfo"),
}
"""What the engine does without although it comes with Python: no clock, files, sockets, threads or randomness."""


class Rule(NamedTuple):
    """Files whose path starts with one of `rooms` do not import `never`, `unless` it is one of these."""

    rooms: tuple[str, ...]
    never: tuple[str, ...]
    unless: tuple[str, ...] = ()


RECOUNTING = tuple(
    f"server/verify/{name}.py"
    for name in ("balance", "folds", "names", "recount", "report", "sealed", "show", "window", "words", "writers")
)
"""What recounts does not use what it checks; only server/verify/scratch.py has an engine."""
PLAIN = ("engine.model", "engine.levels", "engine.growing", "engine.dedup")

RULES = [
    Rule(("engine/",), ("server", "tests", *sorted(WORLD))),
    Rule(("server/ingest/",), ("engine",), ("engine.model", "engine.errors")),
    Rule(("server/ingest/",), ("server.store", "server.hub")),
    Rule(("server/api/",), ("server.ingest", "server.pipeline", "server.subscribers")),
    Rule(RECOUNTING, ("engine", "server.subscribers"), PLAIN),
    Rule(("server/",), ("tests",)),
]

PRIVATE_ROOMS = ("server.log", "server.store")
"""Rooms whose `__init__` is the contract: nobody outside imports what lies behind it."""

DOORS = {
    "redis": ("server/log/redis_",),
    "hiredis": (),
    "sqlite3": ("server/store/sqlite",),
    "aioboto3": ("server/store/dynamodb/",),
    "aiobotocore": ("server/store/dynamodb/",),
    "botocore": ("server/store/dynamodb/",),
    "msgspec": ("server/wire/",),
    "zstandard": ("server/wire/", "server/store/"),
    "uvicorn": ("server/cli/", "server/protocols.py"),
    "httptools": ("server/protocols.py",),
    "uvloop": ("server/cli/",),
    "websockets": ("server/protocols.py", "server/cli/"),
    "starlette": (
        *("server/app.py", "server/auth.py", "server/ingest/over_http.py", "server/api/"),
        "server/hub/endpoint.py",
    ),
    "pydantic": (
        *("server/config.py", "server/setting_kinds.py", "server/questions.py", "server/rule_", "server/api/"),
    ),
    "pydantic_settings": ("server/config.py",),
    "dotenv": ("server/config.py",),
    "numpy": ("engine/", "server/"),
    "re2": ("engine/matchers.py",),
    "zoneinfo": ("server/zones.py",),
    "tzdata": (),
    "aiohttp": ("server/notify/over_http.py", "server/notify/guard.py"),
    "aiosmtplib": ("server/notify/mail.py",),
    "PIL": ("server/notify/chart.py",),
}
"""Library -> the files (or beginnings of paths) that may import it. A foreign library not listed has no door."""


class Import(NamedTuple):
    """One import: the file, the line, the full name of the module (`from a import b` may name a.b as well)."""

    file: str
    line: int
    module: str
    names: tuple[str, ...]

    def within(self, package: str) -> bool:
        """Whether it brings in `package` or something in it."""
        full = [self.module, *(f"{self.module}.{name}" for name in self.names)]
        return any(name == package or name.startswith(package + ".") for name in full)

    def only(self, packages: tuple[str, ...]) -> bool:
        """Whether everything it brings in lies in one of `packages`."""
        full = [f"{self.module}.{name}" for name in self.names] or [self.module]
        return all(any(name == p or name.startswith(p + ".") for p in packages) for name in full)


def sources(*endings: str) -> Iterator[Path]:
    """Our source files with one of these endings."""
    for folder, below, names in os.walk(ROOT):
        inside = Path(folder).relative_to(ROOT)
        below[:] = [n for n in below if n not in NOT_OURS and str(inside / n) not in BUILT and ".egg" not in n]
        yield from (Path(folder) / name for name in names if name.endswith(endings))


def imports_of(text: str, file: str) -> Iterator[Import]:
    """Every import in a source, wherever it stands (in functions and TYPE_CHECKING blocks too)."""
    for node in ast.walk(ast.parse(text, file)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, node.lineno, alias.name, ())
        elif isinstance(node, ast.ImportFrom):
            package = file.split("/")[: -node.level] if node.level else []
            module = ".".join([*package, *filter(None, [node.module])])
            yield Import(file, node.lineno, module, tuple(alias.name for alias in node.names))


def broken(found: Import) -> str | None:
    """The rule that an import breaks, as a sentence; None when it breaks none."""
    where = f"{found.file}:{found.line} imports {found.module}"
    for rule in RULES:
        for package in rule.never:
            if found.file.startswith(rule.rooms) and found.within(package) and not found.only(rule.unless):
                return f"{where}: {rule.rooms[0]} never imports {package}"
    for room in PRIVATE_ROOMS:
        folder = room.replace(".", "/") + "/"
        deeper = found.module.startswith(room + ".")
        deeper = deeper or (found.module == room and any((ROOT / folder / f"{n}.py").exists() for n in found.names))
        if deeper and not found.file.startswith(folder):
            return f"{where}: outside {folder} only {room} itself is imported"
    inside = "server/subscribers/"
    if found.file.startswith(inside) and found.within("server.subscribers"):
        own = found.file.removeprefix(inside)
        module = found.module.removeprefix("server.subscribers").strip(".")
        seen = {re.split(r"[_./]", name)[0] for name in ([module] if module else found.names)}
        if seen != {re.split(r"[_./]", own)[0]}:  # live and live_query are one subscriber
            return f"{where}: subscribers never see one another"
    top = found.module.partition(".")[0]
    doors = DOORS.get(top, ())
    foreign = top in DOORS or top not in {*sys.stdlib_module_names, "engine", "server", "tests"}
    if foreign and not found.file.startswith(doors):
        return f"{where}: {top} comes in by {', '.join(doors) or 'nowhere'}"
    ours = {"engine", "numpy", "re2", *sys.stdlib_module_names}
    if found.file.startswith("engine/") and top not in ours:
        return f"{where}: the engine imports the standard library, numpy and re2 only"
    return None


def test_the_import_rules_hold() -> None:
    found = [
        imported
        for path in sources(".py")
        for imported in imports_of(path.read_text(), path.relative_to(ROOT).as_posix())
        if imported.file.startswith(("engine/", "server/"))
    ]
    assert len(found) > 100, "the sources were found"
    assert not (faults := [fault for fault in map(broken, found) if fault]), "\n".join(faults)


@pytest.mark.parametrize(
    ("file", "text", "fault"),
    [
        ("engine/query/calendar.py", "from zoneinfo import ZoneInfo", "engine/ never imports zoneinfo"),
        ("engine/panes.py", "import server.log", "never imports server"),
        ("engine/panes.py", "def f():\n    from time import monotonic", "never imports time"),
        ("engine/panes.py", "import msgspec", "msgspec comes in by"),
        ("engine/panes.py", "import math, numpy as np\nfrom engine.model import Batch\nfrom . import series", ""),
        ("server/ingest/collector.py", "from engine.engine import Engine", "never imports engine"),
        ("server/ingest/collector.py", "from engine import engine", "never imports engine"),
        ("server/ingest/collector.py", "from engine.model import Entry\nfrom engine import errors", ""),
        ("server/ingest/collector.py", "from server import hub", "never imports server.hub"),
        ("server/api/queries.py", "from server.pipeline import Pipeline", "never imports server.pipeline"),
        ("server/subscribers/live.py", "from server.subscribers.rollups import R", "never see one another"),
        ("server/subscribers/live.py", "from . import live_query, rollups", "never see one another"),
        ("server/subscribers/live.py", "from server.subscribers.live_query import Q\nfrom . import live_query", ""),
        ("server/subscribers/live.py", "from server.log import Log", ""),
        ("server/pipeline.py", "from server.log.segments import SegmentLog", "only server.log itself"),
        ("server/pipeline.py", "from server.log import segments", "only server.log itself"),
        ("server/pipeline.py", "import redis.asyncio", "redis comes in by"),
        ("server/log/redis_streams.py", "import redis.asyncio", ""),
        ("server/app.py", "import requests", "requests comes in by nowhere"),
        ("server/questions.py", "from zoneinfo import ZoneInfo", "zoneinfo comes in by server/zones.py"),
        ("server/store/other.py", "import sqlite3", "sqlite3 comes in by"),
        ("server/store/other.py", "from botocore.config import Config", "botocore comes in by"),
        ("server/store/dynamodb/transport.py", "import aioboto3", ""),
        ("server/verify/recount.py", "from engine.ledger import Ledger", "never imports engine"),
        ("server/verify/recount.py", "from engine.model import Entry", ""),
    ],
)
def test_the_rules_would_notice(file: str, text: str, fault: str) -> None:
    faults = [found for found in map(broken, imports_of(text, file)) if found]
    assert (fault in faults[0] and len(faults) == 1) if fault else not faults


def test_no_file_is_longer_than_the_ceiling() -> None:
    lengths = {path: path.read_text().count("\n") for path in sources(*SOURCES)}
    assert len(lengths) > 30, "the sources were found"
    long = [f"{path.relative_to(ROOT)} has {lines} lines" for path, lines in lengths.items() if lines > CEILING]
    assert not long, "; ".join(long)


ROW = re.compile(r"^\|\s*`(?:STREAMGAUGE_)?([A-Z][A-Z0-9_]*)`\s*\|([^|]*)\|([^|]*)\|", re.MULTILINE)


def documented() -> dict[str, tuple[str, str]]:
    """Setting -> (default, description) as the table under the README's heading with "Settings" has it."""
    readme = (ROOT / "README.md").read_text()
    heading = re.search(r"^(#+)[^\n]*\bsettings\b[^\n]*$", readme, re.MULTILINE | re.IGNORECASE)
    assert heading, 'README.md has no heading with "Settings"'
    part = re.split(rf"^#{{1,{len(heading[1])}}} ", readme[heading.end() :], maxsplit=1, flags=re.MULTILINE)[0]
    return {
        name.lower(): (default.strip().strip("`").strip(), text.strip()) for name, default, text in ROW.findall(part)
    }


def test_every_setting_is_documented_and_nothing_else_is() -> None:
    rows = documented()
    missing, foreign = sorted(Settings.model_fields.keys() - rows), sorted(rows.keys() - Settings.model_fields)
    assert not missing, f"not in README.md's table of settings: {', '.join(missing).upper()}"
    assert not foreign, f"in README.md's table, but no settings: {', '.join(foreign).upper()}"
    assert all(text for _, text in rows.values()), "every setting says what it does"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_the_documented_default_is_the_default(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read_from = {*(name.upper() for name in Settings.model_fields), *OLDER_NAMES.values()}
    for variable in [v for v in os.environ if v.upper().removeprefix(PREFIX) in read_from]:
        monkeypatch.delenv(variable)
    shown = documented().get(name, ("?", ""))[0]
    if shown.lower() in ("", "empty", "unset", "-", "–"):
        shown = ""
    read: Any = load_settings(_env_file=None, **{name: shown}) if shown else load_settings(_env_file=None)
    default = Settings.model_fields[name].get_default()
    assert getattr(read, name) == default, f"README.md says {shown!r}, the default is {default!r}"
    assert shown or str(getattr(default, "get_secret_value", lambda: default)()) == "", f"the default is {default!r}"


def settings_table() -> str:
    """The table of settings as the README has it."""
    lines = ["| setting | default | what it does |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        functions = [getattr(part, "func", None) for part in field.metadata]
        default = field.get_default()
        if parse_size in functions:
            shown = _largest(default, [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)], " ")
        elif parse_duration in functions:
            shown = _largest(default, [("y", 365 * 86_400_000), ("d", 86_400_000), ("h", 3_600_000)], "")
        else:
            secret = getattr(default, "get_secret_value", None)
            shown = str(secret() if secret else default)
            shown = shown.lower() if isinstance(default, bool) else shown
        lines.append(f"| `{name.upper()}` | {f'`{shown}`' if shown else ''} | {field.description} |")
    return "\n".join(lines)


def _largest(value: int, units: list[tuple[str, int]], gap: str) -> str:
    if value == 86_400_000:
        return "24h"
    return next((f"{value // size}{gap}{unit}" for unit, size in units if value and value % size == 0), str(value))


@pytest.mark.parametrize("command", [("mypy", "--strict"), ("ruff", "check", ".")], ids=["mypy", "ruff"])
def test_types_and_style_check(command: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]


if __name__ == "__main__":
    print(settings_table())
