"""A message as mail: text and HTML that say the same, and a chart within the HTML. Pure, and the same every time.

    multipart/alternative
    ├── text/plain              with a chart of characters
    └── multipart/related
        ├── text/html
        └── image/png           the chart, by its Content-ID; only where there is one

Mails of an incident are one conversation: the later ones answer the first (In-Reply-To, References) and have its
subject after "Re:". Gmail and Outlook go by both; so the subject says what stays the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email import policy
from email.headerregistry import Address, HeaderRegistry, MessageIDHeader
from email.message import EmailMessage
from email.utils import formatdate

from engine.rules.template import moment
from server.notify import RESOLVED, TEST, Message
from server.notify.mail_page import MAX_CHANGES, MAX_LINES, MAX_TEXT, page
from server.notify.words import facts, folded, heading, is_link, lines, plain, prose, reach, sign, sparkline

_HEADERS = HeaderRegistry()
for _name in ("In-Reply-To", "References"):  # others are encoded where they are long, and no reader decodes these
    _HEADERS.map_to_type(_name, MessageIDHeader)  # type: ignore[arg-type]  # a mixin, as the registry wants it
_POLICY = policy.SMTP.clone(header_factory=_HEADERS)


@dataclass(frozen=True, slots=True)
class Envelope:
    """From whom, to whom, and which conversation. sender: (name, address). thread: the Message-ID of the incident's
    first mail, and subject: its subject; "" in the first one itself."""

    sender: tuple[str, str]
    recipients: tuple[str, ...]
    thread: str = ""
    subject: str = ""


def mail(message: Message, envelope: Envelope, png: bytes) -> EmailMessage:
    """The mail. png: the chart, b"" for none."""
    made = EmailMessage(policy=_POLICY)
    name, address = envelope.sender
    domain = _halves(address)[1]
    made["From"] = Address(plain(name, 80), *_halves(address))
    made["To"] = [Address("", *_halves(each)) for each in envelope.recipients]
    made["Subject"] = f"Re: {envelope.subject}" if envelope.thread else subject(message)
    made["Date"] = formatdate(message.at // 1000, usegmt=True)
    made["Message-ID"] = message_id(message, domain)
    if envelope.thread:
        made["In-Reply-To"] = made["References"] = envelope.thread
    made["Auto-Submitted"] = "auto-generated"  # nobody who is away answers: https://www.rfc-editor.org/rfc/rfc3834
    made["X-Auto-Response-Suppress"] = "All"  # the same for Exchange
    made["X-Streamgauge-Message"] = plain(message.id, 200)
    if message.level == "critical" and message.kind not in (RESOLVED, TEST):
        made["Importance"] = "high"
    made.set_content(text(message), cte="quoted-printable")
    content_id = f"{_digest(message, 'chart')}@{domain}" if png else ""
    made.add_alternative(page(message, facts(message), content_id), subtype="html", cte="quoted-printable")
    made.set_boundary(f"=_{_digest(message, 'alternative')}")
    if png:
        *_, shown = made.iter_parts()
        assert isinstance(shown, EmailMessage)
        shown.add_related(png, "image", "png", cid=f"<{content_id}>", filename="chart.png", disposition="inline")
        shown.set_boundary(f"=_{_digest(message, 'related')}")
    return made


def subject(message: Message) -> str:
    """Of the first mail of an incident."""
    if message.kind == TEST:
        return plain(message.title, 120)
    return f"Alert: {plain(message.rule or message.title, 120)}, {moment(message.opened)}"


def message_id(message: Message, domain: str) -> str:
    """The same through all tries, so that a mail that arrives twice can be told."""
    return f"<{_digest(message, 'id')}@{domain}>"


def text(message: Message) -> str:
    """The part for readers of text."""
    return "\n\n".join(filter(None, ("\n".join(part) for part in _text_parts(message)))) + "\n"


def _text_parts(message: Message) -> Iterator[Iterable[str]]:
    """Paragraphs, of lines."""
    yield [f"{sign(message)} {heading(message)}"]
    yield [prose(message.text, MAX_TEXT)]
    yield [f"{name + ':':<11}{said}" for name, said in facts(message)]
    if message.changes:
        yield ["What has changed:", *(f"- {plain(each, 300)}" for each in message.changes[:MAX_CHANGES])]
    shown = list(lines(message))[:MAX_LINES]
    yield [f"{line.sign} {line.name}: {line.said}" for line in shown]
    yield [folded(message, len(shown)) if shown else ""]
    yield filter(None, [sparkline(message), reach(message)])
    yield [f"Acknowledged by {plain(message.acknowledged, 100)}"] if message.acknowledged else []
    yield [message.link] if is_link(message.link) else []


def _halves(address: str) -> tuple[str, str]:
    user, _, domain = address.rpartition("@")
    return user, domain


def _digest(message: Message, what: str) -> str:
    """Of the message's id alone."""
    return hashlib.sha256(f"{what}\n{message.id}".encode(errors="replace")).hexdigest()[:32]
