"""Far sides for tests: a web server that plays webhooks and Slack, and a mail server, each in a thread of its own.

    with HttpSink() as sink:                       with SmtpSink() as sink:
        sink.script(fails(500), hangs())               sink.script(Act(451))
        …  ALERT_WEBHOOK_URL=sink.url                  …  SMTP_URL=sink.url
        sink.taken                                     sink.taken

What arrives is in `deliveries`, in order, with whether it was taken; the next Act of the script says what becomes of
it, and after the script all is taken. `python -m tests.notify_support http|smtp <port> <file>` runs one alone and
writes what arrives into a file, a line of JSON each.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Self

from aiohttp import web
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from tests.slack_support import Slack
from tests.support import wait_until


@dataclass(frozen=True)
class Act:
    """What becomes of one message. status: of HTTP or SMTP, 0 for the usual one; takes: whether it counts as taken, by
    default where the status is a good one. how: `answer`; `hang` gives none; `cut` ends the connection instead; `half`
    does so within the answer (of mail: after DATA, before the mail itself). stage: of mail, what it happens at."""

    status: int = 0
    text: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    how: str = "answer"
    takes: bool | None = None
    stage: str = "DATA"

    @property
    def taken(self) -> bool:
        good = self.how == "answer" and self.status < 300
        return good if self.takes is None else self.takes


OK = Act()


def busy(after: str) -> Act:
    """429 with Retry-After."""
    return Act(429, "slow down", {"Retry-After": after})


def fails(status: int, text: str = "") -> Act:
    """An answer with that status."""
    return Act(status, text)


def hangs(takes: bool = False) -> Act:
    """No answer."""
    return Act(how="hang", takes=takes)


def cuts(takes: bool = False, half: bool = False) -> Act:
    """An end of the connection, within the answer where `half`."""
    return Act(how="half" if half else "cut", takes=takes)


@dataclass
class Delivery:
    """One message that arrived. at: unix seconds. Of HTTP: path, headers and the body, decoded where it is JSON; of
    mail: the envelope and the mail."""

    at: float
    taken: bool
    path: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes = b""
    body: Any = None
    sender: str = ""
    recipients: list[str] = field(default_factory=list)
    mail: EmailMessage | None = None

    def line(self) -> str:
        """As JSON."""
        plain = {"at": self.at, "taken": self.taken, "path": self.path, "headers": self.headers}
        plain |= {"raw": self.raw.decode(errors="replace"), "sender": self.sender, "recipients": self.recipients}
        return json.dumps(plain) + "\n"


class Sink:
    """A server on loopback in a thread. file: where what arrives is written, too."""

    def __init__(self, port: int = 0, file: Path | None = None) -> None:
        self.port, self.file = port, file
        self.deliveries: list[Delivery] = []
        self._script: deque[Act] = deque()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._server: asyncio.AbstractServer | None = None
        self._ended = asyncio.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        self.listen()
        return self

    def __exit__(self, *unused: object) -> None:
        self.refuse()
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def taken(self) -> list[Delivery]:
        """Those that were taken."""
        return [delivery for delivery in self.deliveries if delivery.taken]

    def script(self, *acts: Act) -> None:
        """What becomes of the next messages."""
        self._script.extend(acts)

    def listen(self) -> None:
        """Listens, again on the same port."""
        self._call(self._listen())

    def refuse(self) -> None:
        """Listens no more: connections are refused."""
        self._call(self._close())

    def wait(self, count: int, seconds: float = 20.0) -> list[Delivery]:
        """The deliveries that were taken, once there are so many."""
        wait_until(lambda: len(self.taken) >= count, seconds, f"{count} deliveries ({len(self.taken)} so far)")
        return self.taken

    def next_act(self, stage: str = "DATA") -> Act:
        """The act whose turn it is, taken off the script; OK where it is for another stage."""
        return self._script.popleft() if self._script and self._script[0].stage == stage else OK

    def note(self, delivery: Delivery) -> None:
        """Something has arrived."""
        self.deliveries.append(delivery)
        if self.file is not None:
            with self.file.open("a") as file:
                file.write(delivery.line())

    def _call(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _listen(self) -> None:
        listening = socket.create_server(("127.0.0.1", self.port))
        self.port = listening.getsockname()[1]
        self._server = await self._serve(listening)

    async def _serve(self, listening: socket.socket) -> asyncio.AbstractServer:
        raise NotImplementedError

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _end(self) -> None:
        self._ended.set()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


class HttpSink(Sink):
    """A web server. POST and GET anywhere are webhooks; below /api/ is the Web API of `slack`."""

    def __init__(self, port: int = 0, file: Path | None = None) -> None:
        super().__init__(port, file)
        self.slack = Slack()

    @property
    def url(self) -> str:
        """Of a webhook."""
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def slack_api(self) -> str:
        """The base of the Web API."""
        return f"http://127.0.0.1:{self.port}/api"

    async def _serve(self, listening: socket.socket) -> asyncio.AbstractServer:
        server = web.Server(self._handle)
        return await self._loop.create_server(server, sock=listening)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        raw, act = await request.read(), self.next_act()
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        method = request.path.removeprefix("/api/") if request.path.startswith("/api/") else ""
        headers = dict(request.headers)
        answer = self.slack.call(method, headers.get("Authorization", ""), body) if method and act.taken else {}
        self.note(Delivery(time.time(), act.taken and answer.get("ok", True), request.path, headers, raw, body))
        if act.how == "hang":
            await self._ended.wait()
        if act.how != "answer":
            return await self._cut(request, act)
        text = act.text or (json.dumps(answer) if method else "ok")
        return web.Response(status=act.status or 200, text=text, headers=act.headers)

    async def _cut(self, request: web.BaseRequest, act: Act) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Length": "1000"})
        if act.how == "half":
            await answer.prepare(request)
            await answer.write(b'{"ok"')
        if request.transport is not None:
            request.transport.close()
        return answer


class SmtpSink(Sink):
    """A mail server. refuses: address -> (code, text) of RCPT; users: name -> password, where given AUTH is required.
    tls: STARTTLS is offered by that, or begun with where `at_once`. Acts have a stage: EHLO, MAIL, DATA."""

    def __init__(
        self, port: int = 0, file: Path | None = None, *, users: dict[str, str] | None = None,
        tls: ssl.SSLContext | None = None, at_once: bool = False, greylists: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(port, file)
        self.refuses: dict[str, tuple[int, str]] = {}
        self.users, self.tls, self.at_once = users, tls, at_once
        self.greylists: set[str] | None = set() if greylists else None
        self.secured = 0
        """Mails that came by TLS."""

    @property
    def url(self) -> str:
        """SMTP_URL of it."""
        return f"smtp{'s' if self.at_once else ''}://127.0.0.1:{self.port}"

    async def _serve(self, listening: socket.socket) -> asyncio.AbstractServer:
        offered = None if self.at_once else self.tls
        options: dict[str, Any] = {"enable_SMTPUTF8": False, "hostname": "sink", "tls_context": offered}
        if self.users is not None:
            options |= {"authenticator": self._knows, "auth_required": True, "auth_require_tls": False}
        make: Callable[[], SMTP] = lambda: _Session(self, loop=self._loop, **options)  # noqa: E731
        return await self._loop.create_server(make, sock=listening, ssl=self.tls if self.at_once else None)

    def _knows(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, given: Any) -> AuthResult:
        user, password = given.login.decode(), given.password.decode()
        return AuthResult(success=(self.users or {}).get(user) == password, handled=False)

    async def answer(self, server: SMTP, stage: str) -> str:
        """What the act for a stage says, "" for going on."""
        act = self.next_act(stage)
        if act.how == "hang":
            await self._ended.wait()
        if act.how != "answer":
            server.transport.abort()
        return f"{act.status} {act.text or 'no'}" if act.status or act.how != "answer" else ""

    async def handle_EHLO(
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        """A hook of aiosmtpd, as are the next ones."""
        session.host_name = hostname
        said = await self.answer(server, "EHLO")
        return [said] if said else responses

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.mail_from = address
        return await self.answer(server, "MAIL") or "250 ok"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refuses:
            code, text = self.refuses[address]
            return f"{code} {text}"
        if self.greylists is not None and address not in self.greylists:
            self.greylists.add(address)
            return "450 greylisted, come again"
        envelope.rcpt_tos.append(address)
        return "250 ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        act = self.next_act()
        raw = envelope.content if isinstance(envelope.content, bytes) else b""
        self.secured += session.ssl is not None or self.at_once
        mail = message_from_bytes(raw, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        headers = {name: str(value) for name, value in mail.items()}
        sender, recipients = envelope.mail_from or "", envelope.rcpt_tos
        self.note(Delivery(time.time(), act.taken, "", headers, raw, None, sender, recipients, mail))
        if act.how == "hang":
            await self._ended.wait()
        if act.how != "answer":
            server.transport.abort()
        return f"{act.status or 250} {act.text or 'ok'}"


class _Session(SMTP):
    """A connection; an act that cuts in half does so when a mail is about to come."""

    async def smtp_DATA(self, arg: str) -> None:
        sink = self.event_handler
        assert isinstance(sink, SmtpSink)
        if sink._script and sink._script[0].how == "half":
            sink._script.popleft()
            await self.push("354 go on")
            self.transport.abort()
            return
        await super().smtp_DATA(arg)


def main() -> None:
    """Runs a sink until it is interrupted."""
    kind, port, file = sys.argv[1:4]
    sink = (HttpSink if kind == "http" else SmtpSink)(int(port), Path(file))
    with sink, contextlib.suppress(KeyboardInterrupt):
        print(f"{sink.url}, into {file}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
