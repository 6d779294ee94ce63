"""Mail, against a server that refuses, puts off, hangs, breaks off, wants TLS or a password."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Iterator
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from server.notify import NotSent
from server.notify.mail import Mail
from server.notify.places import smtp_place
from tests.notify_examples import FIRST, MESSAGES, RECIPIENTS, SENDER
from tests.notify_support import Act, Sink, SmtpSink, cuts, hangs

ONE, TWO = RECIPIENTS


@pytest.fixture
def sink() -> Iterator[SmtpSink]:
    with SmtpSink() as running:
        yield running


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """(of a server on 127.0.0.1, of a client that trusts it)."""
    folder = tmp_path_factory.mktemp("tls")
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sink")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), False)
        .add_extension(x509.BasicConstraints(True, None), True).sign(key, hashes.SHA256())
    )  # fmt: skip
    certificate, secret = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )  # fmt: skip
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(certificate, secret)
    return server, ssl.create_default_context(cafile=certificate)


def channel(sink: Sink, url: str = "", **more: Any) -> Mail:
    return Mail("email", smtp_place(url or sink.url), SENDER, RECIPIENTS, **more)


def mail_of(sink: SmtpSink, index: int = -1) -> EmailMessage:
    found = sink.taken[index].mail
    assert found is not None
    return found


async def test_mails_of_an_incident_are_one_conversation(sink: SmtpSink) -> None:
    mails, ids = channel(sink), {}
    for name in ("firing", "update", "resolved"):
        ids = await mails.send(MESSAGES[name], ids)
    first, second, last = (mail_of(sink, i) for i in range(3))
    assert sink.taken[0].sender == SENDER[1] and sink.taken[0].recipients == [*RECIPIENTS]
    assert ids == {"thread": first["Message-ID"], "subject": first["Subject"]}
    assert second["Subject"] == last["Subject"] == "Re: " + first["Subject"]
    assert second["References"] == last["References"] == last["In-Reply-To"] == first["Message-ID"]
    assert len({first["Message-ID"], second["Message-ID"], last["Message-ID"]}) == 3
    assert "In-Reply-To" not in first and first["Auto-Submitted"] == "auto-generated"
    assert last["Date"] == "Sat, 31 Jan 2026 17:12:00 +0000"


async def test_a_mail_has_text_a_page_and_a_chart(sink: SmtpSink) -> None:
    await channel(sink).send(FIRST, {})
    found = mail_of(sink)
    assert [part.get_content_type() for part in found.walk()] == [
        "multipart/alternative", "text/plain", "multipart/related", "text/html", "image/png",
    ]  # fmt: skip
    *_, page, picture = found.walk()
    assert isinstance(page, EmailMessage) and isinstance(picture, EmailMessage)
    assert f"cid:{picture['Content-ID'].strip('<>')}" in page.get_content()
    assert picture.get_content().startswith(b"\x89PNG")
    await channel(sink).send(replace(FIRST, points=()), {})
    assert "image/png" not in [part.get_content_type() for part in mail_of(sink).walk()]


async def test_a_long_domain_does_not_spoil_the_conversation(sink: SmtpSink) -> None:
    sender = ("", f"alerts@{'notifications.' * 6}example.com")
    mails = Mail("email", smtp_place(sink.url), sender, (ONE,))
    ids = await mails.send(FIRST, {})
    await mails.send(MESSAGES["update"], ids)
    wanted = f"References: {ids['thread']}\r\n".encode()
    assert wanted in sink.taken[1].raw and b"In-" + wanted.replace(b"References", b"Reply-To") in sink.taken[1].raw


async def test_names_of_people_who_are_not_ascii(sink: SmtpSink) -> None:
    await Mail("email", smtp_place(sink.url), ("Zoë\r\nBcc: x@example.com", SENDER[1]), (ONE,)).send(FIRST, {})
    assert str(mail_of(sink)["From"]) == '"Zoë Bcc: x@example.com" <alerts@example.com>' and "Bcc" not in mail_of(sink)


@pytest.mark.parametrize(
    ("act", "again", "unknown"),
    [
        (Act(451, "later"), True, False),
        (Act(554, "no"), False, False),
        (Act(452, "full", stage="MAIL"), True, False),
        (Act(550, "unknown sender", stage="MAIL"), False, False),
        (Act(421, "busy", stage="EHLO"), True, False),
        (Act(how="cut", stage="EHLO"), True, False),
        (cuts(), True, True),
        (cuts(takes=True), True, True),
        (cuts(half=True), True, True),
    ],
)
async def test_faults(sink: SmtpSink, act: Act, again: bool, unknown: bool) -> None:
    sink.script(act)
    with pytest.raises(NotSent) as caught:
        await channel(sink).send(FIRST, {})
    assert (caught.value.again, caught.value.unknown) == (again, unknown), caught.value.reason
    assert act.text in caught.value.reason and str(sink.port) in caught.value.reason
    await channel(sink).send(FIRST, {})
    assert {delivery.headers["Message-ID"] for delivery in sink.deliveries} == {mail_of(sink)["Message-ID"]}
    assert len(sink.taken) == 1 + act.taken, "at most one repeat, under the same id"


@pytest.mark.parametrize(("act", "unknown"), [(hangs(), True), (Act(how="hang", stage="MAIL"), False)])
async def test_hangs_end(sink: SmtpSink, act: Act, unknown: bool) -> None:
    sink.script(act)
    with pytest.raises(NotSent) as caught:
        await channel(sink, seconds=(2.0, 20.0)).send(FIRST, {})
    assert caught.value.again and caught.value.unknown is unknown


async def test_nobody_listens(sink: SmtpSink) -> None:
    sink.refuse()
    with pytest.raises(NotSent, match="connect") as caught:
        await channel(sink).send(FIRST, {})
    assert caught.value.again and not caught.value.unknown


async def test_some_recipients_are_refused(sink: SmtpSink) -> None:
    sink.refuses[TWO] = (550, "no such user")
    ids = await channel(sink).send(FIRST, {})
    assert TWO in ids["refused"] and "550" in ids["refused"] and ONE not in ids["refused"]
    assert sink.taken[0].recipients == [ONE]
    sink.refuses.clear()
    assert "refused" not in await channel(sink).send(MESSAGES["update"], ids)
    sink.refuses |= {ONE: (550, "no"), TWO: (551, "moved")}
    with pytest.raises(NotSent, match=f"{ONE} refused: 550 no, {TWO} refused: 551 moved") as caught:
        await channel(sink).send(FIRST, {})
    assert not caught.value.again and len(sink.deliveries) == 2


async def test_recipients_that_are_put_off_are_tried_again_alone(sink: SmtpSink) -> None:
    mails = channel(sink)
    sink.refuses[TWO] = (450, "come again")
    for _ in range(2):
        with pytest.raises(NotSent, match=f"{TWO} refused: 450 come again; the others have it") as caught:
            await mails.send(FIRST, {})
        assert caught.value.again
    sink.refuses.clear()
    assert "thread" in await mails.send(FIRST, {})
    assert [delivery.recipients for delivery in sink.taken] == [[ONE], [TWO]]


async def test_all_are_put_off_once() -> None:
    with SmtpSink(greylists=True) as sink:
        mails = channel(sink)
        with pytest.raises(NotSent, match="greylisted") as caught:
            await mails.send(FIRST, {})
        assert caught.value.again and "others" not in caught.value.reason
        await mails.send(FIRST, {})
        assert sink.taken[0].recipients == [*RECIPIENTS]


Tls = tuple[ssl.SSLContext, ssl.SSLContext]


@pytest.mark.filterwarnings("ignore:Requiring AUTH")
async def test_passwords(tls: Tls) -> None:
    with SmtpSink(users={"me": "p@ss/wörd"}, tls=tls[0]) as sink:
        good = f"smtp://me:p%40ss%2Fw%C3%B6rd@127.0.0.1:{sink.port}"
        await channel(sink, good, tls=tls[1]).send(FIRST, {})
        assert len(sink.taken) == sink.secured == 1
        for url, code in ((good.replace("ss%2F", ""), "535"), (sink.url, "530")):
            with pytest.raises(NotSent, match=code) as caught:
                await channel(sink, url, tls=tls[1]).send(FIRST, {})
            assert not caught.value.again and "p@" not in caught.value.reason


async def test_starttls(tls: Tls, sink: SmtpSink) -> None:
    with pytest.raises(NotSent, match="STARTTLS"):
        await channel(sink, sink.url + "?starttls=required", tls=tls[1]).send(FIRST, {})
    with SmtpSink(tls=tls[0]) as offering:
        await channel(offering, tls=tls[1]).send(FIRST, {})
        await channel(offering, offering.url + "?starttls=required", tls=tls[1]).send(FIRST, {})
        await channel(offering, offering.url + "?starttls=off").send(FIRST, {})
        assert len(offering.taken) == 3 and offering.secured == 2
        with pytest.raises(NotSent, match="certificate verify failed") as caught:
            await channel(offering).send(FIRST, {})
        assert not caught.value.unknown
    with SmtpSink(tls=tls[0], at_once=True) as secure:
        await channel(secure, tls=tls[1]).send(FIRST, {})
        assert len(secure.taken) == secure.secured == 1


@pytest.mark.filterwarnings("ignore:Requiring AUTH")
async def test_no_password_goes_over_an_open_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with SmtpSink(users={"me": "secret"}) as sink:
        url = f"smtp://me:secret@127.0.0.1:{sink.port}"
        await channel(sink, url).send(FIRST, {})  # this machine is no line
        monkeypatch.setattr("server.notify.mail._is_loopback", lambda peer: False)
        with pytest.raises(NotSent, match="readable on the way") as caught:
            await channel(sink, url).send(FIRST, {})
        assert not caught.value.again and len(sink.taken) == 1
        await channel(sink, url + "?starttls=off").send(FIRST, {})


def test_what_arrives_can_be_written_to_a_file(tmp_path: Path) -> None:
    import smtplib

    with SmtpSink(file=tmp_path / "mails") as sink, smtplib.SMTP("127.0.0.1", sink.port) as client:
        client.sendmail("a@example.com", ["b@example.com"], b"Subject: x\r\n\r\nhello")
        sink.wait(1)
        assert '"recipients": ["b@example.com"]' in (tmp_path / "mails").read_text()
