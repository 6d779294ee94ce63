"""Where messages go, as settings and rules write it: URLs, addresses of mail, networks. Pure; ValueError says what is
wrong with a text, in a sentence without its subject that repeats no secret."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"{_ATOM}(\.{_ATOM})*@{_LABEL}(\.{_LABEL})*")
_NAMED = re.compile(r"([^<>\r\n]*)<([^<>]+)>")


def web_url(text: str) -> str:
    """An http(s) URL, as it is."""
    try:
        parts = urlsplit(text)
        known = parts.scheme in ("http", "https") and _is_host(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none, brackets that do not close
        known = False
    if not known or not text.isprintable() or any(character in text for character in ' \\"<>'):
        raise ValueError("must be http:// or https://, a host, and a port and path if wanted")
    return text


def without_secrets(url: str) -> str:
    """An http(s) URL as it may be shown: of many services the path is the key, so scheme, host and port are left."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}" + ("/…" if parts.path.strip("/") or parts.query else "")


def mail_address(text: str) -> str:
    """One address such as someone@example.com."""
    text = text.strip()
    if len(text) > 254 or _ADDRESS.fullmatch(text) is None:
        raise ValueError("is no address of mail; write someone@example.com, in ASCII")
    return text


def mail_addresses(text: str) -> tuple[str, ...]:
    """Addresses with commas between, each once."""
    return tuple(dict.fromkeys(mail_address(part) for part in text.split(",") if part.strip()))


def mail_sender(text: str) -> tuple[str, str]:
    """(name, address) of `Name <a@example.com>` or of an address alone; ("", "") of nothing."""
    if not text.strip():
        return "", ""
    named = _NAMED.fullmatch(text.strip())
    return (named[1].strip().strip('"'), mail_address(named[2])) if named else ("", mail_address(text))


StartTls = Literal["offered", "required", "off"]
STARTTLS: dict[str, StartTls] = {"offered": "offered", "required": "required", "off": "off"}
"""As SMTP_URL may say it."""


@dataclass(frozen=True, slots=True)
class SmtpPlace:
    """A mail server. tls: from the first byte; starttls: where not tls, afterwards."""

    host: str
    port: int
    user: str = ""
    password: str = field(default="", repr=False)
    tls: bool = False
    starttls: StartTls = "offered"

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def smtp_place(text: str) -> SmtpPlace:
    """Of smtp://user:password@host:port?starttls=required (or `off`), or smtps://…, whose TLS begins at once.

    The port is 465 for smtps, 587 where there is a user, else 25. Special characters are written with %.
    """
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError("has a port or host that cannot be read") from None
    if parts.scheme not in ("smtp", "smtps") or not _is_host(host) or parts.path.strip("/") or parts.fragment:
        raise ValueError("must be smtp:// or smtps://, user:password@ if wanted (special characters as %..), a host")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    starttls = STARTTLS.get(options.pop("starttls", "offered"))
    if options or starttls is None or (parts.scheme == "smtps" and parts.query):
        raise ValueError("may end with ?starttls=required or ?starttls=off for smtp://, and with nothing else")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    tls = parts.scheme == "smtps"
    return SmtpPlace(host, port or (465 if tls else 587 if user else 25), user, password, tls, starttls)


def _is_host(host: str | None) -> bool:
    """Whether it can be looked up: no label of it is empty or too long."""
    try:
        return bool(host and host.encode("idna"))
    except UnicodeError:
        return False


def networks(text: str) -> tuple[Network, ...]:
    """Networks as CIDRs (or single addresses) with commas between."""
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            found.append(ipaddress.ip_network(part))
        except ValueError:
            raise ValueError(f"has {part[:60]!r}, which is no network; write for example 10.0.0.0/8") from None
    return tuple(found)
