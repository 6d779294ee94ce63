"""Where a store is, as DATABASE_URL says it."""

from __future__ import annotations

import re
from pathlib import Path


def dynamodb_place(url: str) -> tuple[str, str]:
    """(region, prefix of the tables' names) of an address dynamodb://region/prefix. ValueError for another form."""
    match = re.fullmatch(r"dynamodb://([a-z][a-z0-9-]{1,40})/([a-zA-Z0-9_.-]{1,200})", url)
    if match is None:
        raise ValueError(
            "must be dynamodb://region/prefix, the region as AWS writes it (eu-central-1), "
            "the prefix of up to 200 letters, digits and _ . -"
        )
    return match[1], match[2]


def store_path(url: str) -> Path:
    """The file of the store at `url`. ValueError for an address of another form."""
    scheme, _, path = url.partition(":///")
    if scheme != "sqlite" or not path or path == ":memory:":
        raise ValueError(f"{url!r} is no store address; use sqlite:///path/to/file.db")
    return Path(path)
