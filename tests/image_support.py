"""Reading a Dockerfile, a .dockerignore and a compose.yaml as Docker does, without Docker."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.support import ROOT


class Step(NamedTuple):
    """One instruction: its name in capitals, and the rest of the line with continuations joined."""

    name: str
    rest: str

    def array(self) -> list[str] | None:
        """The arguments of the exec form, without options and `CMD` before it; None for another form."""
        found = re.search(r"\[.*\]$", self.rest)
        try:
            parts = json.loads(found[0]) if found else None
        except ValueError:
            return None
        return parts if isinstance(parts, list) and all(isinstance(part, str) for part in parts) else None


def read_dockerfile(path: Path = ROOT / "Dockerfile") -> list[list[Step]]:
    """The stages, each with its FROM first."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    stages: list[list[Step]] = []
    for line in filter(None, map(str.strip, joined.splitlines())):
        name, _, rest = line.partition(" ")
        if name.upper() == "FROM":
            stages.append([])
        stages[-1].append(Step(name.upper(), rest.strip()))
    return stages


def environment(stage: list[Step]) -> dict[str, str]:
    """What its ENV instructions set."""
    pairs = [pair for step in stage if step.name == "ENV" for pair in re.findall(r'(\w+)=("[^"]*"|\S+)', step.rest)]
    return {name: value.strip('"') for name, value in pairs}


def copies(stage: list[Step]) -> list[tuple[str | None, list[str], str]]:
    """(stage copied from or None for the context, sources, target) of each COPY."""
    found = []
    for step in stage:
        if step.name == "COPY":
            words = step.rest.split()
            origin = next((word.removeprefix("--from=") for word in words if word.startswith("--from=")), None)
            paths = [word for word in words if not word.startswith("--")]
            found.append((origin, paths[:-1], paths[-1]))
    return found


class Ignore:
    """A .dockerignore: the last pattern that fits a path or a folder above it decides."""

    def __init__(self, text: str) -> None:
        lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
        self._rules = [(_pattern(line.removeprefix("!")), line.startswith("!")) for line in lines]

    def keeps(self, path: str) -> bool:
        """Whether this file, relative to the context, is sent to the build."""
        parts = path.split("/")
        above = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
        kept = True
        for pattern, brings_back in self._rules:
            if any(pattern.fullmatch(each) for each in above):
                kept = brings_back
        return kept


def _pattern(line: str) -> re.Pattern[str]:
    translated = re.escape(line.strip("/")).replace(r"\*\*/", "(?:.*/)?").replace(r"\*\*", ".*")
    return re.compile(translated.replace(r"\*", "[^/]*").replace(r"\?", "[^/]"))


def context(ignore: Ignore, *tops: str) -> list[str]:
    """The files under these files and folders of the checkout that are sent to the build."""
    found = []
    for top in tops:
        path = ROOT / top
        files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
        found += [name for name in (each.relative_to(ROOT).as_posix() for each in files) if ignore.keeps(name)]
    return sorted(found)


def lay_out(stage: list[Step], ignore: Ignore, other: Mapping[str, Path], target: Path) -> None:
    """Copies into `target` what the stage's COPY instructions put into its relative paths.

    other: folders of this machine that stand for absolute paths of other stages.
    """
    for origin, sources, to in copies(stage):
        for source in sources:
            if origin is not None:
                shutil.copytree(other[source], target / to)
                continue
            for name in context(ignore, source.rstrip("/")):
                below = name.removeprefix(source.rstrip("/") + "/") if source.endswith("/") else Path(name).name
                place = target / to / below
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, place)
