"""Who may do what: API keys with scopes, the loopback rule where there are none, origins and CORS.

Without keys the server listens on loopback only, and only requests that name a loopback host are answered, so that a
web site cannot reach it under a name of its own (DNS rebinding).
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from server.config import Settings
from server.errors import ApiError
from server.setting_kinds import parse_api_keys

Headers = Iterable[tuple[bytes, bytes]]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

_MAX_HOSTS = 64
_OPEN_FOR_POST = ("/api/metrics", "/api/events", "/api/query")
_OPEN = ("/api/queries", "/api/subscriptions")
_PREFLIGHT = [
    (b"access-control-allow-methods", b"GET, POST, PUT, PATCH, DELETE, OPTIONS"),
    (
        b"access-control-allow-headers",
        b"Authorization, Content-Type, Content-Encoding, Idempotency-Key, X-API-Key",
    ),
    (b"access-control-max-age", b"600"),
]


def is_loopback(host: str) -> bool:
    """True for localhost, 127.0.0.0/8 and ::1, with or without a port."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def check_bind(settings: Settings) -> str | None:
    """Why the server must not listen on HOST, or None where it may."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    if settings.auth == "off" or settings.api_keys.get_secret_value().strip() or is_loopback(host):
        return None
    return (
        f"HOST={settings.host} is reachable from other machines and no API_KEYS are set; anyone could read and write. "
        "Set API_KEYS (for example ingest+read:<key>,admin:<key>), or HOST=127.0.0.1, or AUTH=off to allow it anyway."
    )


class Gate:
    """Decides on requests by their headers, as ASGI gives them (names in lower case)."""

    def __init__(self, settings: Settings) -> None:
        self._keys = [(digest, scopes) for scopes, digest in parse_api_keys(settings.api_keys.get_secret_value())]
        self._off = settings.auth == "off"
        self._origins = settings.origins
        self._loopback_hosts: set[bytes] = set()

    def require(self, headers: Headers, scope: str, token: str | None = None) -> None:
        """Pass where the request may act in the scope (ingest, read or admin); `token` is a key from elsewhere.

        ApiError unauthorized without a good key, forbidden with one of another scope or under a foreign host name.
        """
        if self._off:
            return
        if not self._keys:
            self._require_loopback(headers)
            return
        given = token.encode() if token else b""
        for name, value in headers:
            if name == b"authorization" and value[:7].lower() == b"bearer ":
                given = value[7:].strip()
            elif name == b"x-api-key":
                given = value.strip()
        if not given:
            raise ApiError("unauthorized", "an API key is needed: Authorization: Bearer <key>, or X-API-Key: <key>")
        digest = hashlib.sha256(given).digest()
        scopes: frozenset[str] = frozenset()
        for known, granted in self._keys:  # all of them, so that the time tells nothing
            if hmac.compare_digest(known, digest):
                scopes |= granted
        if not scopes:
            raise ApiError("unauthorized", "the API key is not known")
        if scope not in scopes and "admin" not in scopes:
            raise ApiError("forbidden", f"the API key has no scope {scope}")

    def check_origin(self, headers: Headers) -> None:
        """Pass where a page of this origin may open a WebSocket. ApiError forbidden_origin names the origin."""
        found = dict(headers)
        raw = found.get(b"origin")
        if raw is None:
            return
        origin = raw.decode("latin-1").strip().rstrip("/").lower()
        host = found.get(b"host", b"").decode("latin-1").strip().lower()
        if self._allowed(origin) or (host and origin.partition("://")[2] == host):
            return
        local = origin == "null" or is_loopback(origin.partition("://")[2])
        if local and not self._keys and is_loopback(host):
            return
        raise ApiError("forbidden_origin", f"origin {origin[:200]!r} is not allowed; add it to ALLOWED_ORIGINS")

    def cors_headers(self, origin: str | None, path: str, method: str = "POST") -> list[tuple[bytes, bytes]]:
        """Headers that let a page of this origin read the answer; none where it may not."""
        if not origin:
            return []
        if _is_open(path, method) or "*" in self._origins:
            return [(b"access-control-allow-origin", b"*")]
        if self._allowed(origin.strip().rstrip("/").lower()):
            return [(b"access-control-allow-origin", origin.encode("latin-1")), (b"vary", b"Origin")]
        return [(b"vary", b"Origin")]

    def preflight_headers(self, headers: Headers, path: str) -> list[tuple[bytes, bytes]]:
        """Headers of the answer (204) to an OPTIONS request that asks before a request from a page."""
        found = dict(headers)
        origin = found.get(b"origin", b"").decode("latin-1")
        method = found.get(b"access-control-request-method", b"POST").decode("latin-1").upper()
        answer = self.cors_headers(origin, path, method)
        if any(name == b"access-control-allow-origin" for name, _ in answer):
            answer += _PREFLIGHT
            if b"access-control-request-private-network" in found:
                answer.append((b"access-control-allow-private-network", b"true"))
        return answer

    def _allowed(self, origin: str) -> bool:
        return origin in self._origins or "*" in self._origins

    def _require_loopback(self, headers: Headers) -> None:
        host = next((value for name, value in headers if name == b"host"), b"")
        if host in self._loopback_hosts:
            return
        if not is_loopback(host.decode("latin-1").strip().lower()):
            raise ApiError(
                "forbidden",
                f"host {host.decode('latin-1')[:100]!r} is not loopback, and no API_KEYS are set; "
                "use http://127.0.0.1 or set keys",
            )
        if len(self._loopback_hosts) < _MAX_HOSTS:
            self._loopback_hosts.add(host)


def _is_open(path: str, method: str) -> bool:
    if path in _OPEN_FOR_POST:
        return method == "POST"
    return any(path == prefix or path.startswith(prefix + "/") for prefix in _OPEN)


class CorsApp:
    """ASGI: answers preflight requests and adds the CORS headers to the answers of the app behind it."""

    def __init__(self, app: App, gate: Gate) -> None:
        self._app = app
        self._gate = gate

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        origin = (
            next((v for n, v in scope.get("headers", ()) if n == b"origin"), None) if scope["type"] == "http" else None
        )
        if origin is None:
            await self._app(scope, receive, send)
            return
        if scope["method"] == "OPTIONS":
            headers = self._gate.preflight_headers(scope["headers"], scope["path"])
            await send({"type": "http.response.start", "status": 204, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        extra = self._gate.cors_headers(origin.decode("latin-1"), scope["path"], scope["method"])

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *extra]
            await send(message)

        await self._app(scope, receive, send_with_headers)
