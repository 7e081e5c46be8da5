"""Guards that mail reaches a real SMTP server, and neither it nor the password goes unencrypted."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import structlog

from latchgate.clock import SystemClock
from latchgate.config import MailSettings
from latchgate.services import mail
from latchgate.services.mail import TRIES, Letter, Mail
from tests.unit.smtp_server import PASSWORD, USER, Server, make_certificate, smtp_server

pytestmark = pytest.mark.anyio

HELLO = Letter("ada@example.com", "Hello", "First.\n.\n..\nBcc: eve@example.com\nLast.\n")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def context(certificate: Path) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(certificate)
    return made


@pytest.fixture
def _trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "RETRY_S", 0.0)


async def _deliver(
    server: Server, security: str, *letters: Letter, user: str = "", password: str = ""
) -> str:
    """Send the letters as the settings say; what was logged meanwhile."""
    settings = MailSettings(
        mode="smtp",
        smtp_host="127.0.0.1",
        smtp_port=server.port,
        smtp_user=user,
        smtp_password=password,
        smtp_security=security,
    )
    sender = Mail(settings, Path("/nowhere"), SystemClock())
    with structlog.testing.capture_logs() as lines:
        for letter in letters or (HELLO,):
            sender.post(letter)
        await sender.flush()
        await sender.close()
    return repr(lines)


async def test_a_letter_arrives_word_for_word() -> None:
    with smtp_server() as server:
        logged = await _deliver(server, "none")
    (received,) = server.letters
    assert received.recipients == ["ada@example.com"]
    assert received.message["From"] == "Latchgate <latchgate@localhost>"
    assert received.message["Subject"] == "Hello"
    assert received.message.get_content().replace("\r\n", "\n") == HELLO.text
    assert "mail.sent" in logged


@pytest.mark.usefixtures("_trusted")
async def test_with_starttls_the_letter_and_the_login_are_encrypted(
    context: ssl.SSLContext,
) -> None:
    with smtp_server(tls_context=context, require_starttls=True) as server:
        await _deliver(server, "starttls", user=USER, password=PASSWORD)
    (received,) = server.letters
    assert (received.is_encrypted, received.is_logged_in) == (True, True)


@pytest.mark.usefixtures("_trusted")
async def test_with_tls_everything_is_encrypted_from_the_first_byte(
    context: ssl.SSLContext,
) -> None:
    with smtp_server(tls=context, auth_require_tls=False) as server:
        await _deliver(server, "tls", user=USER, password=PASSWORD)
    (received,) = server.letters
    assert (received.is_encrypted, received.is_logged_in) == (True, True)


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_a_server_that_does_not_encrypt_gets_neither_letter_nor_password(
    security: str,
) -> None:
    with smtp_server(auth_require_tls=False) as server:
        logged = await _deliver(server, security, user=USER, password=PASSWORD)
    assert (server.letters, server.deliveries, server.passwords) == ([], 0, [])
    assert "mail.failed" in logged


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_a_server_that_cannot_show_who_it_is_gets_neither_letter_nor_password(
    security: str, context: ssl.SSLContext
) -> None:
    both = {"starttls": {"tls_context": context}, "tls": {"tls": context}}
    with smtp_server(**both[security], auth_require_tls=False) as server:
        logged = await _deliver(server, security, user=USER, password=PASSWORD)
    assert (server.letters, server.deliveries, server.passwords) == ([], 0, [])
    assert "mail.failed" in logged


async def test_a_refused_login_sends_nothing_and_logs_no_password() -> None:
    with smtp_server(auth_require_tls=False) as server:
        logged = await _deliver(server, "none", user=USER, password="wrong-hunter2")
    assert server.letters == []
    assert b"wrong-hunter2" in server.passwords
    assert "mail.failed" in logged
    assert "hunter2" not in logged


async def test_a_server_that_is_busy_for_a_moment_still_gets_the_letter_once() -> None:
    with smtp_server() as server:
        server.answers = ["451 Busy", "451 Busy"]
        logged = await _deliver(server, "none")
    assert server.deliveries == TRIES
    assert len(server.letters) == 1
    assert logged.count("mail.retry") == TRIES - 1


async def test_a_letter_that_is_given_up_holds_up_no_other() -> None:
    with smtp_server() as server:
        server.answers = ["554 Never"] * TRIES
        logged = await _deliver(server, "none", Letter("eve@example.com", "Lost", "x"), HELLO)
    assert [received.message["Subject"] for received in server.letters] == ["Hello"]
    assert logged.count("mail.failed") == 1


async def test_a_server_that_is_not_there_is_told_of() -> None:
    with smtp_server() as server:
        pass
    logged = await _deliver(server, "none")
    assert logged.count("mail.retry") == TRIES
    assert logged.count("mail.failed") == 1


@pytest.mark.parametrize("break_", ["\r\n", "\n", "\r"], ids=ascii)
async def test_a_line_break_adds_no_recipient(break_: str) -> None:
    to = f"ada@example.com{break_}Bcc: eve@example.com"
    with smtp_server() as server:
        await _deliver(server, "none", Letter(to, "Hello", "x"), HELLO)
    assert [received.recipients for received in server.letters] == [["ada@example.com"]]


async def test_an_address_in_another_alphabet_gets_its_letter() -> None:
    with smtp_server(enable_SMTPUTF8=True) as server:
        await _deliver(server, "none", Letter("ада@пример.рф", "Hello", "x"))
    (received,) = server.letters
    assert received.recipients in (["ада@пример.рф"], ["ада@xn--e1afmkfd.xn--p1ai"])
