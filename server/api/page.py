"""The page: the files that Vite built, with a strict Content-Security-Policy; and `/` for programs."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Message, Receive, Scope, Send

from server.api.http import json_answer
from server.api.models import Name
from server.api.spec import HTML, Spec, open_route
from server.api.status import NAME, VERSION

_HERE = Path(__file__).resolve().parent.parent
FOLDERS = (_HERE / "page", _HERE.parent / "web" / "dist")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
]
_MISSING = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Streamgauge</title>
<p>Streamgauge runs, but its page has not been built. Install Node.js 20 or newer and run <code>make page</code>
(or <code>npm ci &amp;&amp; npm run build</code> in <code>web/</code>), then load this address again.</p></html>"""


HOME = Spec("The page, or with `Accept: application/json` what answers here", "status", answer=Name, or_media=HTML)


def routes() -> list[Route | Mount]:
    """`/` and the files of the page, which are looked for at each request, so that a build needs no restart."""

    async def home(request: Request) -> Response:
        accept = request.headers.get("accept", "")
        if "application/json" in accept and "text/html" not in accept:
            return json_answer({"name": NAME, "version": VERSION})
        folder = _folder()
        if folder is None:
            return HTMLResponse(_MISSING, headers=security_headers())
        headers = {**security_headers(), "cache-control": "no-cache"}
        return HTMLResponse((folder / "index.html").read_bytes(), headers=headers)

    return [open_route("/", home, HOME), Mount("/", _Files())]


def _folder() -> Path | None:
    return next((folder for folder in FOLDERS if (folder / "index.html").is_file()), None)


def security_headers() -> dict[str, str]:
    """Headers of everything that a browser shows."""
    return {name.decode(): value.decode() for name, value in _HEADERS}


class _Files:
    """Static files with the security headers."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        folder = _folder()
        files = StaticFiles(directory=folder, check_dir=False) if folder else StaticFiles(check_dir=False)
        await files(scope, receive, send_with_headers)
