"""Guards that mail without a mail server lands in files that its owner alone can read and use."""

from __future__ import annotations

import email
import functools
import os
import re
import stat
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import pytest
import structlog

from latchgate.config import MailSettings
from latchgate.services import letters, mail
from latchgate.services.mail import Letter, Mail

pytestmark = pytest.mark.anyio

START_US = 1_790_000_000_000_000
HELLO = Letter("ada@example.com", "Hello", "A line.\n")
TOKEN = "x7Qd" * 10 + "abc"


class SetClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.at_us = START_US

    def now_us(self) -> int:
        return self.at_us


class Office:
    """Mail with its outbox, and what lies there."""

    def __init__(self, folder: Path) -> None:
        self.clock = SetClock()
        self.outbox = folder / "outbox"
        self.mail = Mail(MailSettings(), self.outbox, self.clock)

    @property
    def files(self) -> list[Path]:
        return sorted(self.outbox.glob("*"))

    @property
    def letters(self) -> list[EmailMessage]:
        found = [email.message_from_bytes(path.read_bytes(), policy=default) for path in self.files]
        return [letter for letter in found if isinstance(letter, EmailMessage)]

    async def deliver(self, *sent: Letter) -> list[EmailMessage]:
        for letter in sent:
            self.mail.post(letter)
        await self.mail.close()
        return self.letters


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


@pytest.fixture
def logged() -> Iterator[list[dict[str, object]]]:
    with structlog.testing.capture_logs() as lines:
        yield lines  # type: ignore[misc]


@pytest.fixture
def _open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_open_umask")
async def test_a_letter_is_readable_by_its_owner_only(office: Office) -> None:
    await office.deliver(HELLO)
    (path,) = office.files
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(office.outbox.stat().st_mode) == 0o700


async def test_a_letter_says_from_whom_to_whom_and_when(office: Office) -> None:
    (letter,) = await office.deliver(HELLO)
    assert letter["From"] == "Latchgate <latchgate@localhost>"
    assert letter["To"] == "ada@example.com"
    assert letter["Subject"] == "Hello"
    assert letter["Date"].datetime.timestamp() == START_US / 1_000_000
    assert letter["Auto-Submitted"] == "auto-generated"
    assert letter["Message-ID"].endswith("@latchgate>"), "the machine's name stays at home"
    assert letter.get_content() == "A line.\n"


@pytest.mark.parametrize(
    "break_", ["\n", "\r", "\r\n", "\n ", "\r\n\r\n", "\x0b\n", "\u2028\n"], ids=ascii
)
@pytest.mark.parametrize("field", ["to", "subject"])
async def test_a_line_break_in_a_head_sends_no_letter_and_holds_up_no_other(
    office: Office, field: str, break_: str
) -> None:
    parts = {"to": "ada@example.com", "subject": "Hello"}
    parts[field] += f"{break_}Bcc: eve@example.com"
    sent = await office.deliver(Letter(**parts, text="x"), HELLO)
    assert [letter["Subject"] for letter in sent] == ["Hello"]
    assert [letter["Bcc"] for letter in sent] == [None]


async def test_a_text_cannot_add_to_the_head(office: Office) -> None:
    text = "Bcc: eve@example.com\n\n.\nFrom here on\n"
    (letter,) = await office.deliver(Letter("ada@example.com", "Hello", text))
    assert letter["Bcc"] is None
    assert letter.get_content() == text


async def test_words_of_any_language_arrive(office: Office) -> None:
    sent = Letter("ada@example.com", "Schlüssel 🔑", "Grüße aus 東京\n")
    (letter,) = await office.deliver(sent)
    assert letter["Subject"] == sent.subject
    assert letter.get_content() == sent.text


@pytest.mark.parametrize(
    ("start", "write"),
    [
        ("http://localhost:8000/reset?token=", letters.reset_password),
        ("https://keys.example.com/reset?token=", letters.reset_password),
        ("http://localhost:8000/signup?invitation=", functools.partial(letters.invitation, days=7)),
    ],
    ids=["at home", "under a public name", "invitation"],
)
async def test_a_link_can_be_copied_out_of_the_file_as_it_stands(
    office: Office, start: str, write: Callable[[str, str], Letter]
) -> None:
    link = start + TOKEN
    (letter,) = await office.deliver(write("ada@example.com", link))
    assert link in letter.get_content()
    assert link in office.files[0].read_text()


async def test_the_log_names_the_file_and_keeps_what_is_in_it_to_itself(
    office: Office, logged: list[dict[str, object]]
) -> None:
    link = f"http://localhost:8000/reset?token={TOKEN}"
    await office.deliver(letters.reset_password("ada@example.com", link))
    (line,) = logged
    assert line["event"] == "mail.in_outbox"
    assert line["file"] == str(office.files[0])
    assert TOKEN not in repr(line)


async def test_letters_of_one_instant_each_have_a_file(office: Office) -> None:
    sent = await office.deliver(*(Letter("a@example.com", f"{n}", "x") for n in range(100)))
    assert {letter["Subject"] for letter in sent} == {str(n) for n in range(100)}
    assert all(re.fullmatch(r"mail_[0-9a-z]{26}\.eml", path.name) for path in office.files)


async def test_files_sort_by_when_they_were_sent(office: Office) -> None:
    for number in range(20):
        office.clock.at_us += 1000
        office.mail.post(Letter("a@example.com", f"{number}", "x"))
        await office.mail.flush()
    await office.mail.close()
    assert [letter["Subject"] for letter in office.letters] == [str(n) for n in range(20)]


async def test_whoever_posts_a_letter_does_not_wait_for_it(office: Office) -> None:
    office.mail.post(HELLO)
    assert office.files == []
    await office.mail.flush()
    assert len(office.files) == 1
    await office.mail.close()


async def test_a_flood_is_dropped_and_told_of_rather_than_kept(
    tmp_path: Path, logged: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail, "QUEUE_MAILS_MAX", 5)
    office = Office(tmp_path)
    sent = await office.deliver(*(Letter("a@example.com", f"{n}", "x") for n in range(8)))
    assert {letter["Subject"] for letter in sent} == {"0", "1", "2", "3", "4"}
    dropped = [line["subject"] for line in logged if line["event"] == "mail.dropped"]
    assert dropped == ["5", "6", "7"]


async def test_mail_can_be_closed_unused_and_used_again(office: Office) -> None:
    await office.mail.flush()
    await office.mail.close()
    assert not office.outbox.exists()
    assert len(await office.deliver(HELLO)) == 1
    assert len(await office.deliver(HELLO)) == 2


async def test_an_outbox_that_cannot_be_written_is_told_of_and_stops_nothing(
    office: Office, logged: list[dict[str, object]]
) -> None:
    office.outbox.write_text("a file where the folder should be")
    office.mail.post(HELLO)
    await office.mail.flush()
    office.outbox.unlink()
    assert len(await office.deliver(HELLO)) == 1
    assert [line["event"] for line in logged] == ["mail.failed", "mail.in_outbox"]
