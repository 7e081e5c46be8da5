"""Mail: into an outbox folder out of the box, over SMTP when the operator says where.

Whoever asks for a mail never waits for it, so that an answer's time says nothing about whether an
address is known here.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import make_msgid
from pathlib import Path
from typing import TYPE_CHECKING

import aiosmtplib
import structlog

from latchgate.clock import SECOND_US
from latchgate.domain.ids import new_id

if TYPE_CHECKING:
    from latchgate.clock import Clock
    from latchgate.config import MailSettings

log = structlog.get_logger()

QUEUE_MAILS_MAX = 1000
TRIES = 3
RETRY_S = 2.0
SMTP_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail to one person, in plain text."""

    to: str
    subject: str
    text: str
    #: Of a mail that may be sent again after a crash: mailboxes know it by its Message-ID.
    id: str = ""


class Mail:
    """Sends letters in the background, one after the other."""

    def __init__(self, settings: MailSettings, outbox: Path, clock: Clock) -> None:
        self._settings = settings
        self._outbox = outbox
        self._clock = clock
        self._queue: asyncio.Queue[Letter] = asyncio.Queue(QUEUE_MAILS_MAX)
        self._task: asyncio.Task[None] | None = None

    def post(self, letter: Letter) -> None:
        """Queue a letter. When a thousand wait already, this one is dropped and logged."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="mail")
        try:
            self._queue.put_nowait(letter)
        except asyncio.QueueFull:
            log.warning("mail.dropped", subject=letter.subject)

    async def flush(self) -> None:
        """Wait until every queued letter has been sent, or given up."""
        if self._task is not None:
            await self._queue.join()

    async def close(self) -> None:
        """Send what waits, for a bounded time, and stop."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SMTP_TIMEOUT_S):
                await self.flush()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _run(self) -> None:
        while True:
            letter = await self._queue.get()
            try:
                await self._send(letter)
            except Exception as error:  # noqa: BLE001 - one lost letter must not stop the others
                log.warning("mail.failed", subject=letter.subject, error=str(error))
            finally:
                self._queue.task_done()

    async def _send(self, letter: Letter) -> None:
        message = self._compose(letter)
        if self._settings.mode == "outbox":
            self._put_into_outbox(letter, message)
            return
        for attempt in range(1, TRIES + 1):
            try:
                await self._hand_over(letter, message)
            except (aiosmtplib.SMTPException, OSError) as error:
                log.warning("mail.retry", attempt=attempt, error=str(error))
                if attempt == TRIES:
                    raise
                await asyncio.sleep(RETRY_S * attempt)
            else:
                return

    async def deliver(self, letter: Letter) -> None:
        """Send a letter now, once, for whoever keeps it himself until that has worked.

        Raises what the mail server or the disk raises.
        """
        await self._hand_over(letter, self._compose(letter))

    async def _hand_over(self, letter: Letter, message: EmailMessage) -> None:
        if self._settings.mode == "outbox":
            self._put_into_outbox(letter, message)
        else:
            await self._send_by_smtp(message)
            log.info("mail.sent", subject=letter.subject)

    def _compose(self, letter: Letter) -> EmailMessage:
        """A message; the library refuses header values with line breaks in them."""
        message = EmailMessage()
        message["From"] = self._settings.sender
        message["To"] = letter.to
        message["Subject"] = letter.subject
        message["Message-ID"] = (
            f"<{letter.id}@latchgate>" if letter.id else make_msgid(domain="latchgate")
        )
        message["Date"] = datetime.fromtimestamp(self._clock.now_us() / SECOND_US, UTC)
        message["Auto-Submitted"] = "auto-generated"
        # Plain lines stay as they are, however long a link: a file in the outbox is for people.
        message.set_content(letter.text, cte="7bit" if letter.text.isascii() else None)
        return message

    def _put_into_outbox(self, letter: Letter, message: EmailMessage) -> None:
        self._outbox.mkdir(mode=0o700, exist_ok=True)
        path = self._outbox / f"{letter.id or new_id('mail', self._clock.now_us())}.eml"
        # One that was half written when the process died is written again, under the same name.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(message.as_bytes())
        # No mail server is set up: whoever runs this finds the letter, and its link, in that file.
        # The log says what was sent; a link that opens an account does not belong into a log.
        log.info("mail.in_outbox", to=letter.to, subject=letter.subject, file=str(path))

    async def _send_by_smtp(self, message: EmailMessage) -> None:
        settings = self._settings
        await aiosmtplib.send(
            message,
            hostname=settings.smtp_host,
            port=settings.smtp_port,
            username=settings.smtp_user or None,
            password=settings.smtp_password or None,
            use_tls=settings.smtp_security == "tls",
            start_tls=settings.smtp_security == "starttls",
            timeout=SMTP_TIMEOUT_S,
        )
