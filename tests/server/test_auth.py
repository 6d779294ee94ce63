"""Keys, the loopback rule, origins, CORS."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from server.auth import CorsApp, Gate, check_bind, is_loopback
from server.config import load_settings
from server.errors import CODES, ApiError
from tests.server.ingest_support import call

LOCAL = [(b"host", b"localhost:8000")]


def gate(**settings: Any) -> Gate:
    return Gate(load_settings(_env_file=None, **settings))


def refusal(check: Any, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(ApiError) as caught:
        check(*args, **kwargs)
    return caught.value.code


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1", "127.9.9.9:1", "[::1]", "[::1]:8000"])
def test_loopback_hosts(host: str) -> None:
    assert is_loopback(host.lower())
    gate().require([(b"host", host.encode())], "ingest")


@pytest.mark.parametrize(
    "host", ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "[::2]", "[", "a@b:c"]
)
def test_other_hosts_are_refused_without_keys(host: str) -> None:
    assert not is_loopback(host)
    assert refusal(gate().require, [(b"host", host.encode())], "read") == "forbidden"
    gate(auth="off").require([(b"host", host.encode())], "read")
    gate(api_keys="read:12345678").require([(b"host", host.encode()), (b"x-api-key", b"12345678")], "read")


def test_scopes() -> None:
    guarded = gate(api_keys="ingest:ingest-key, ingest+read:both-keys, admin:admin-key")

    def bearer(key: str) -> list[tuple[bytes, bytes]]:
        return [(b"authorization", f"Bearer {key}".encode())]

    guarded.require(bearer("ingest-key"), "ingest")
    guarded.require([(b"x-api-key", b"both-keys")], "read")
    guarded.require([], "read", token="both-keys")
    for scope in ("ingest", "read", "admin"):
        guarded.require(bearer("admin-key"), scope)
    assert refusal(guarded.require, bearer("ingest-key"), "read") == "forbidden"
    assert refusal(guarded.require, bearer("both-keys"), "admin") == "forbidden"
    assert refusal(guarded.require, bearer("nobody's"), "read") == "unauthorized"
    assert refusal(guarded.require, LOCAL, "read") == "unauthorized"
    assert refusal(guarded.require, [(b"authorization", b"Basic admin-key")], "read") == "unauthorized"
    assert refusal(guarded.require, [], "read", token="admin-kez") == "unauthorized"


def test_a_foreign_address_needs_keys() -> None:
    assert "API_KEYS" in str(check_bind(load_settings(_env_file=None, host="0.0.0.0")))
    assert check_bind(load_settings(_env_file=None, host="::")) is not None
    for settings in (
        {},
        {"host": "::1"},
        {"host": "0.0.0.0", "auth": "off"},
        {"host": "::", "api_keys": "read:12345678"},
    ):
        assert check_bind(load_settings(_env_file=None, **settings)) is None


def origin(value: str, host: str = "localhost:8000") -> list[tuple[bytes, bytes]]:
    return [(b"host", host.encode()), (b"origin", value.encode())]


def test_origins_of_websockets() -> None:
    free, keyed = gate(), gate(api_keys="read:12345678", allowed_origins="https://a.example/, http://b.example:81")
    free.check_origin(LOCAL)
    for value in ("null", "http://localhost:3000", "http://127.0.0.1", "http://localhost:8000"):
        free.check_origin(origin(value))
    with pytest.raises(ApiError, match=r"https://evil\.example"):
        free.check_origin(origin("https://evil.example"))
    assert refusal(free.check_origin, origin("null", "evil.example")) == "forbidden_origin"
    for value in ("https://a.example", "http://b.example:81", "https://gauge.example"):
        keyed.check_origin(origin(value, "gauge.example"))
    for value in ("null", "http://localhost:3000", "http://a.example", "https://gauge.example.evil"):
        assert refusal(keyed.check_origin, origin(value, "gauge.example")) == "forbidden_origin"
    gate(allowed_origins="*").check_origin(origin("https://any.example"))


def test_cors_is_open_for_what_pages_need() -> None:
    names = gate(allowed_origins="https://a.example").cors_headers
    star = [(b"access-control-allow-origin", b"*")]
    for path in (
        "/api/metrics",
        "/api/events",
        "/api/query",
        "/api/queries",
        "/api/queries/q/execute",
        "/api/subscriptions",
    ):
        assert names("https://x.example", path, "POST") == star
    assert names("https://x.example", "/api/subscriptions/sub_1", "DELETE") == star
    for path, method in (("/api/metrics", "GET"), ("/api/stats", "GET"), ("/api/queriesx", "POST")):
        assert star[0] not in names("https://x.example", path, method)
        assert (b"access-control-allow-origin", b"https://a.example") in names("https://a.example", path, method)
    assert names(None, "/api/metrics", "POST") == []


async def test_the_cors_app() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"y")]})
        await send({"type": "http.response.body", "body": b"1"})

    cors = CorsApp(app, gate())
    reply = await call(cors, "/api/query", method="POST", origin="https://x.example")
    assert reply.headers == {"x": "y", "access-control-allow-origin": "*"} and reply.body == 1
    assert (await call(cors, "/api/query")).headers == {"x": "y"}
    ask = {"origin": "https://x.example", "access_control_request_method": "POST"}
    reply = await call(cors, "/api/query", method="OPTIONS", **ask)
    assert reply.status == 204 and "Idempotency-Key" in reply.headers["access-control-allow-headers"]
    reply = await call(cors, "/api/stats", method="OPTIONS", **ask)
    assert reply.status == 204 and "access-control-allow-origin" not in reply.headers


def test_errors_have_one_form() -> None:
    error = ApiError("log_full", "full", retry_after=0.2, details={"size": 3})
    assert error.status == 503 and error.body() == {"detail": {"code": "log_full", "message": "full", "size": 3}}
    assert error.headers() == {"Retry-After": "1"}
    assert ApiError("unauthorized", "no").headers() == {"WWW-Authenticate": "Bearer"}
    assert all(400 <= code.http < 600 and 1000 <= code.websocket < 5000 for code in CODES.values())
    with pytest.raises(KeyError):
        ApiError("no such code", "")


def test_a_hashed_key_opens_for_the_key_and_not_for_the_hash() -> None:
    digest = hashlib.sha256(b"the-real-key").hexdigest()
    guarded = gate(api_keys=f"ingest:sha256={digest},read:plain-key")
    guarded.require([(b"x-api-key", b"the-real-key")], "ingest")
    guarded.require([(b"x-api-key", b"plain-key")], "read")
    assert refusal(guarded.require, [(b"x-api-key", b"the-real-key")], "read") == "forbidden"
    for wrong in (digest, f"sha256={digest}", hashlib.sha256(digest.encode()).hexdigest()):
        assert refusal(guarded.require, [(b"x-api-key", wrong.encode())], "ingest") == "unauthorized"
