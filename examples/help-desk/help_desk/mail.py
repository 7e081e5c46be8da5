"""Hands a visitor over to a person: a letter by SMTP, or into the outbox folder."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid
from pathlib import Path

import aiosmtplib

from help_desk.settings import MailTerms
from help_desk.transcripts import Line

SMTP_TIMEOUT_S = 20
_WHO = {"visitor": "Visitor", "desk": "Help desk"}


class MailError(Exception):
    """The letter could not be sent."""


def letter(terms: MailTerms, *, visitor: str, message: str, lines: Sequence[Line]) -> EmailMessage:
    """A letter that can simply be answered: its Reply-To is the visitor."""
    said = "\n\n".join(f"{_WHO[line.who]}: {line.text}" for line in lines)
    written = EmailMessage()
    written["From"] = terms.sender
    written["To"] = terms.to
    written["Reply-To"] = visitor
    written["Subject"] = "A visitor of the help desk asks for a person"
    written["Date"] = formatdate(localtime=False)
    written["Message-ID"] = make_msgid(domain=terms.sender.rpartition("@")[2])
    written.set_content(
        f"{visitor} writes:\n\n{message}\n\nAnswer this mail to reach the visitor.\n\n"
        f"--- The conversation so far ---\n\n{said or '(none)'}\n"
    )
    return written


async def send(message: EmailMessage, terms: MailTerms) -> None:
    """Send it by the configured server; raises `MailError` if that fails."""
    try:
        await aiosmtplib.send(
            message,
            hostname=terms.smtp_host,
            port=terms.smtp_port,
            username=terms.smtp_user or None,
            password=terms.smtp_password or None,
            use_tls=terms.smtp_security == "tls",
            start_tls=terms.smtp_security == "starttls",
            timeout=SMTP_TIMEOUT_S,
        )
    except (aiosmtplib.SMTPException, OSError) as error:
        raise MailError(str(error)) from error


def keep(message: EmailMessage, outbox: Path) -> None:
    """Put it into a folder, where a person or another program finds it."""
    outbox.mkdir(parents=True, exist_ok=True)
    path = outbox / f"{uuid.uuid4()}.eml"
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(message.as_bytes(policy=SMTP))
