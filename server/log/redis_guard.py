"""Whether a Redis lets anybody in, as far as it can be seen from here."""

from __future__ import annotations

import ipaddress
from typing import Any
from urllib.parse import parse_qs, urlsplit

from redis.exceptions import RedisError

from server.log.redis_client import TROUBLE
from server.log.redis_names import pairs

SETTINGS = ("bind", "protected-mode")
FIX = "give it a password (requirepass, or an ACL user) and put that into REDIS_URL"


async def warning_of(url: str, client: Any) -> str:
    """One sentence where the Redis of a connected client lets anybody in from other machines; "" where it does not.

    Redis in protected mode answers other machines only where a password is needed; so one that is reached over the
    network without one, or that says that this mode is off and where it listens, lets in whoever reaches its port.
    """
    if has_secret(url):
        return ""
    host = urlsplit(url).hostname or ""
    if not url.startswith("unix:") and not is_loopback(host):
        return (
            f"WARNING: the Redis at {host} asks for no password, so whoever reaches it can read and change all; {FIX}"
        )
    found: dict[str, str] = {}
    try:
        for name in SETTINGS:
            found.update(pairs(await client.execute_command("CONFIG", "GET", name)))
    except (RedisError, *TROUBLE):  # it does not tell
        return ""
    listens = [address.lstrip("-") for address in found.get("bind", "").split()]
    if found.get("protected-mode") != "no" or (listens and all(map(is_loopback, listens))):
        return ""
    where = ", ".join(listens) or "all addresses"
    return f"WARNING: Redis listens on {where} and asks for no password, so whoever reaches it can change all; {FIX}"


def has_secret(url: str) -> bool:
    """Whether a password or a client's certificate is in a URL."""
    given = parse_qs(urlsplit(url).query)
    return bool(urlsplit(url).password or given.get("password") or given.get("ssl_certfile"))


def is_loopback(host: str) -> bool:
    """Whether an address, or the name of one, is of this machine only. redis-py takes no host as localhost."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in ("", "localhost")
