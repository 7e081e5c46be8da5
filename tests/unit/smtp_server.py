"""A real SMTP server on loopback, in a thread of its own, and a certificate for it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTPUTF8
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

USER = "post"
PASSWORD = "hunter2-hunter2"


@dataclass
class Received:
    """One letter as the server took it."""

    recipients: list[str]
    message: EmailMessage
    is_encrypted: bool
    is_logged_in: bool


@dataclass
class Server:
    """What came in. ``answers`` are given to the first deliveries instead of taking them."""

    port: int = 0
    answers: list[str] = field(default_factory=list)
    deliveries: int = 0
    letters: list[Received] = field(default_factory=list)
    passwords: list[bytes] = field(default_factory=list)

    async def handle_DATA(self, smtp: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Take a letter: the library's hook."""
        self.deliveries += 1
        if self.answers:
            return self.answers.pop(0)
        message = message_from_bytes(bytes(envelope.content or b""), policy=SMTPUTF8)
        transport = smtp.transport
        if not isinstance(message, EmailMessage) or transport is None:
            return "554 What is this"
        is_encrypted = transport.get_extra_info("cipher") is not None
        self.letters.append(
            Received(envelope.rcpt_tos, message, is_encrypted, bool(session.authenticated))
        )
        return "250 OK"

    def log_in(self, _s: SMTP, _e: Session, _v: Envelope, _mechanism: str, data: Any) -> AuthResult:
        """Judge a login, and keep what was shown."""
        assert isinstance(data, LoginPassword)
        self.passwords.append(data.password)
        is_right = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
        return AuthResult(success=is_right, handled=False)


@contextlib.contextmanager
def smtp_server(*, tls: ssl.SSLContext | None = None, **options: Any) -> Iterator[Server]:
    """Serve until the block ends; ``tls`` encrypts from the first byte."""
    server = Server()
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(server, started, tls, options)))
    thread.start()
    loop, stop = started.result(timeout=30)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


async def _serve(
    server: Server,
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]],
    tls: ssl.SSLContext | None,
    options: dict[str, Any],
) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def connected() -> SMTP:
        return SMTP(server, hostname="localhost", loop=loop, authenticator=server.log_in, **options)

    async with await loop.create_server(connected, "127.0.0.1", 0, ssl=tls) as listener:
        server.port = listener.sockets[0].getsockname()[1]
        started.set_result((loop, stop))
        await stop.wait()


def make_certificate(folder: Path) -> Path:
    """A key and a certificate for this machine, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "localhost.pem"
    path.write_bytes(secret + made.public_bytes(pem))
    return path
