"""What settings may be: durations, sizes, keys, addresses; from text, with a sentence where it is none."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from server.notify.places import mail_addresses, mail_sender, networks, smtp_place, web_url

SCOPES = ("ingest", "read", "admin")
HASHED = "sha256="
"""Stands in API_KEYS before a key that is given by its SHA-256, in hex, so that the key itself stands nowhere."""

_SECOND, _MINUTE, _HOUR, _DAY = 1_000, 60_000, 3_600_000, 86_400_000
_DURATIONS = {"ms": 1, "s": _SECOND, "m": _MINUTE, "h": _HOUR, "d": _DAY, "w": 7 * _DAY, "y": 365 * _DAY}
_SIZES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}


def parse_duration(value: object, default_unit: str = "s") -> int:
    """Milliseconds of a duration such as 200ms, 90s, 5m, 24h, 30d, 2w, 10y; a bare number has the default unit."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", str(value).lower())
    if match is None or (match[2] or default_unit) not in _DURATIONS:
        raise ValueError("is no duration; write for example 200ms, 90s, 24h, 30d or 10y")
    return round(float(match[1]) * _DURATIONS[match[2] or default_unit])


def parse_size(value: object) -> int:
    """Bytes of a size such as 65536, 256 MiB, 8GiB, 10 MB."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", str(value).lower())
    if match is None or match[2] not in _SIZES:
        raise ValueError("is no size; write for example 65536, 256 MiB or 8 GiB")
    return round(float(match[1]) * _SIZES[match[2]])


def parse_api_keys(text: str) -> list[tuple[frozenset[str], bytes]]:
    """(scopes, SHA-256 of the key) of each part of API_KEYS. ValueError that numbers the part and repeats no key.

    A part is `scope:key` or `scope+scope:key`; in place of the key may stand `sha256=` and the hex of its SHA-256.
    """
    keys = []
    for number, part in enumerate(filter(None, (part.strip() for part in text.split(","))), 1):
        scopes, colon, key = part.partition(":")
        names = frozenset(scopes.split("+"))
        if not colon or not names <= set(SCOPES):
            raise ValueError(f"key {number} does not start with its scopes and a colon; scopes are {', '.join(SCOPES)}")
        if key.startswith(HASHED):
            digest = key.removeprefix(HASHED)
            if re.fullmatch("[0-9a-fA-F]{64}", digest) is None:
                raise ValueError(f"key {number} must have 64 hex digits after {HASHED}")
            keys.append((names, bytes.fromhex(digest)))
            continue
        if len(key) < 8 or not key.isascii() or not key.isprintable() or " " in key:
            raise ValueError(f"key {number} must be at least 8 printable ASCII characters without blanks")
        keys.append((names, hashlib.sha256(key.encode()).digest()))
    return keys


def _seconds(value: object) -> float:
    return parse_duration(value) / 1000


def _hours(value: object) -> float:
    return parse_duration(value, "h") / _HOUR


Size = Annotated[int, BeforeValidator(parse_size)]
"""Bytes."""
Seconds = Annotated[float, BeforeValidator(_seconds)]
"""Seconds; a bare number is seconds."""
Hours = Annotated[float, BeforeValidator(_hours)]
"""Hours; a bare number is hours."""
Retention = Annotated[int, BeforeValidator(parse_duration), Field(ge=_SECOND)]
"""Milliseconds; a bare number is seconds."""


def _checked(check: Callable[[str], object]) -> AfterValidator:
    """Refuses a text, be it secret, of which `check` raises ValueError; an empty one stands for not set."""

    def validate(value: Any) -> Any:
        text = (value.get_secret_value() if isinstance(value, SecretStr) else value).strip()
        if text:
            check(text)
        return type(value)(text)

    return AfterValidator(validate)


WebUrl = Annotated[str, _checked(web_url)]
SecretUrl = Annotated[SecretStr, _checked(web_url)]
"""Of many services the address is the key."""
MailServer = Annotated[SecretStr, _checked(smtp_place)]
MailSender = Annotated[str, _checked(mail_sender)]
MailAddresses = Annotated[str, _checked(mail_addresses)]
Networks = Annotated[str, _checked(networks)]
