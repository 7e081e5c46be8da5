"""Guards the address, the copy of all data, and the end of an account."""

from __future__ import annotations

import email
import json
import re
from collections.abc import AsyncIterator
from email.policy import SMTP
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from latchgate.clock import HOUR_US
from latchgate.domain.people import CLI
from latchgate.services import exports
from latchgate.storage.auto_top_ups import find_top_up, replace_top_up
from latchgate.storage.tables import metadata
from tests.api.test_passkeys import _log_in, _with_passkey
from tests.support.factors import let_pass, set_up
from tests.support.management import EMAIL, PASSWORD, Management, error_of, running_console

pytestmark = pytest.mark.anyio
NEW, OTHER = "ada@new.example.com", "bob@example.com"


@pytest.fixture
async def management(tmp_path: Path) -> AsyncIterator[Management]:
    """The API and the console over a new data directory."""
    async with running_console(tmp_path) as running:
        yield running


@pytest.fixture
async def on_either_engine(tmp_path: Path, database_url: str) -> AsyncIterator[Management]:
    """The same on SQLite, then on PostgreSQL."""
    async with running_console(tmp_path, database_url=database_url) as running:
        yield running


async def _mailed(management: Management, to: str) -> list[str]:
    """The subject and text of every mail to somebody, in their order."""
    await management.world.services.mail.flush()
    outbox = sorted(management.world.data.outbox.glob("*.eml"))
    letters = [email.message_from_bytes(path.read_bytes(), policy=SMTP) for path in outbox]
    return [f"{mail['subject']}\n{mail.get_content()}" for mail in letters if mail["to"] == to]


def _token(letters: list[str]) -> str:
    found = re.findall(r"/email-change\?token=(\S+)", "\n".join(letters))
    assert found, letters
    return str(found[-1])


async def _asked(management: Management, to: str = NEW) -> httpx.AsyncClient:
    ada = await management.signed_up()
    answer = await ada.post("/profile/email", data={"email": to})
    assert answer.headers["location"] == "/profile?notice=asked"
    return ada


async def _can_log_in(management: Management, address: str) -> bool:
    login = {"email": address, "password": PASSWORD}
    return (await management.browser().post("/api/session", json=login)).status_code == 200


# ── the address ─────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("first", [EMAIL, NEW])
async def test_the_address_changes_when_both_have_confirmed_in_either_order(
    management: Management, first: str
) -> None:
    ada = await _asked(management)
    second = NEW if first == EMAIL else EMAIL
    stranger = management.browser()  # a link is opened wherever the mail is read
    link = f"/email-change?token={_token(await _mailed(management, first))}"
    shown = await stranger.get(link)
    assert shown.headers["referrer-policy"] == "no-referrer"
    assert "One of two" not in shown.text, "a mailbox that opens links changes nothing"
    half = await stranger.post(
        "/email-change", data={"token": _token(await _mailed(management, first))}
    )
    assert "One of two is done" in half.text
    assert await _can_log_in(management, EMAIL)
    assert not await _can_log_in(management, NEW)
    done = await stranger.post(
        "/email-change", data={"token": _token(await _mailed(management, second))}
    )
    assert "It is changed" in done.text
    assert not await _can_log_in(management, EMAIL)
    assert await _can_log_in(management, NEW)
    assert (await ada.get("/api/session")).json()["email"] == NEW
    for to in (EMAIL, NEW):
        letters = "\n".join(await _mailed(management, to))
        assert letters.count("Your e-mail address was changed") == 1
    assert "E-mail address changed" in (await ada.get("/security/activity")).text


async def test_a_link_works_once_and_not_after_four_hours_or_when_it_was_called_off(
    management: Management,
) -> None:
    ada = await _asked(management)
    token = _token(await _mailed(management, EMAIL))
    for expected in (200, 400):
        answer = await ada.post("/email-change", data={"token": token})
        assert answer.status_code == expected
    new_token = _token(await _mailed(management, NEW))
    sql = text(f"UPDATE email_changes SET expires_us = expires_us - {4 * HOUR_US}")
    await management.world.store.write(lambda conn: conn.execute(sql))
    assert (await ada.post("/email-change", data={"token": new_token})).status_code == 400
    await ada.post("/profile/email", data={"email": NEW})
    await ada.post("/profile/email/cancel")
    for to in (EMAIL, NEW):
        token = _token(await _mailed(management, to))
        assert (await ada.post("/email-change", data={"token": token})).status_code == 400
    for junk in ("", "x" * 5000, "é"):
        assert (await ada.post("/email-change", data={"token": junk})).status_code == 400
    assert not await _can_log_in(management, NEW)


async def test_a_fresh_request_makes_the_links_of_the_one_before_useless(
    management: Management,
) -> None:
    ada = await _asked(management)
    old = _token(await _mailed(management, EMAIL))
    await ada.post("/profile/email", data={"email": "third@example.com"})
    assert (await ada.post("/email-change", data={"token": old})).status_code == 400


async def test_nobody_learns_that_an_address_is_somebodys_but_its_owner(
    management: Management,
) -> None:
    await management.signed_up(OTHER)
    ada = await _asked(management, OTHER)
    page = (await ada.get("/profile?notice=asked")).text
    assert "Two mails are on their way" in page
    assert f"It changes to <b>{OTHER}</b>" in page
    (letter,) = [text for text in await _mailed(management, OTHER) if "another" in text]
    assert "You already have an account" in letter
    assert "email-change" not in letter
    half = await ada.post("/email-change", data={"token": _token(await _mailed(management, EMAIL))})
    assert "One of two is done" in half.text


async def test_an_address_that_was_taken_meanwhile_is_left_to_whoever_has_it(
    management: Management,
) -> None:
    ada = await _asked(management)
    tokens = [_token(await _mailed(management, to)) for to in (EMAIL, NEW)]
    await management.signed_up(NEW)
    answers = [await ada.post("/email-change", data={"token": token}) for token in tokens]
    assert [answer.status_code for answer in answers] == [200, 400]
    assert (await ada.get("/api/session")).json()["email"] == EMAIL


async def test_a_reset_link_in_the_old_mailbox_is_dead_after_the_change(
    management: Management,
) -> None:
    ada = await _asked(management)
    await ada.post("/api/password-resets", json={"email": EMAIL})
    found = re.findall(r"/reset\?token=(\S+)", "\n".join(await _mailed(management, EMAIL)))
    for to in (EMAIL, NEW):
        await ada.post("/email-change", data={"token": _token(await _mailed(management, to))})
    redeem = {"token": found[0], "password": "nine loud orange camels"}
    assert (await ada.post("/api/password-resets/redeem", json=redeem)).status_code == 400


@pytest.mark.parametrize("typed", ["a@b", "", EMAIL.upper(), "x" * 300 + "@example.com"])
async def test_a_wrong_address_is_said_beside_its_field(management: Management, typed: str) -> None:
    ada = await management.signed_up()
    page = await ada.post("/profile/email", data={"email": typed})
    assert page.status_code == 400
    assert 'aria-invalid="true"' in page.text


async def test_asking_is_throttled(management: Management) -> None:
    ada = await management.signed_up()
    answers = [
        await ada.post("/profile/email", data={"email": f"n{n}@example.com"}) for n in range(6)
    ]
    assert [answer.status_code for answer in answers] == [303] * 5 + [429]


async def test_address_data_and_end_ask_who_it_is(management: Management) -> None:
    ada = await management.signed_up()
    await let_pass(management, 16)
    for method, path in (
        *(("POST", "/profile/email"), ("GET", "/profile/data"), ("POST", "/profile/data")),
        *(("GET", "/profile/close"), ("POST", "/profile/close")),
    ):
        page = await ada.request(method, path)
        assert page.status_code == 403
        assert "Confirm it is you" in page.text
    assert (await ada.get("/api/session")).status_code == 200


# ── the data ────────────────────────────────────────────────────────────────────────────────────
async def test_the_copy_has_everything_but_what_opens_something(
    on_either_engine: Management, monkeypatch: pytest.MonkeyPatch
) -> None:
    management = on_either_engine
    monkeypatch.setattr(exports, "PAGE_ROWS", 2)  # more than one page of each list
    ada, _ = await _with_passkey(management)
    await set_up(management, ada)
    made = (await ada.post("/api/keys", json={"name": "Desk"})).json()
    await management.signed_up(OTHER)
    answer = await ada.post("/profile/data")
    assert answer.headers["content-disposition"].startswith("attachment")
    copy = json.loads(answer.text)
    assert copy["user"]["email"] == EMAIL
    assert copy["api_keys"][0]["name"] == "Desk"
    assert copy["passkeys"][0]["name"] == "Laptop"
    assert copy["second_factor"]["confirmed_us"]
    assert [line["kind"] for line in copy["postings"]] == ["gift"]
    actions = [event["action"] for event in copy["audit_events"]]
    assert actions[0] == "account.download"
    assert {"account.create", "key.create", "factor.totp_on", "passkey.add"} <= set(actions)
    assert OTHER not in answer.text
    assert made["secret"] not in answer.text
    columns = set(re.findall(r'"(\w+)":', answer.text))
    assert not columns & exports.SECRET
    assert not [name for name in columns if name.endswith(("_hash", "_sealed"))]


#: Where each table with somebody's rows is in his copy, or why it is not.
PLACES = {
    "accounts": "account",
    "account_plans": "account",
    "admin_keys": "admin_keys",
    "alert_terms": "alert_terms",
    "alerts": "alerts",
    "memberships": "account",
    "users": "user",
    "api_keys": "api_keys",
    "audit_events": "audit_events",
    "auto_top_ups": "auto_top_up",
    "budgets": "limits",
    "email_changes": "email_changes",
    "key_sightings": "key_uses",
    "monthly_statements": "statements",
    "muted_notices": "muted_notices",
    "passkeys": "passkeys",
    "payments": "payments",
    "postings": "postings",
    "price_correction_lines": "price_corrections",
    "redemption_codes": "redeemed_codes",
    "sessions": "sessions",
    "totp_factors": "second_factor",
    "usage_events": "calls",
}
LEFT_OUT = {
    "ledger_accounts": "a balance, which is the sum of the postings",
    "password_resets": "hashes of links, and when they were asked for, which the audit events say",
    "recovery_codes": "hashes, and when they were made, which the audit events say",
    "tickets": "hashes, for ten minutes",
    "usage_days": "sums of the calls",
    "usage_hours": "sums of the calls",
    "usage_quarters": "sums of the calls",
}


async def test_no_table_with_somebodys_rows_is_forgotten(management: Management) -> None:
    of_somebody = {
        name
        for name, table in metadata.tables.items()
        if {"account_id", "user_id"} & set(table.columns.keys())
    }
    assert of_somebody | {"users", "accounts"} == set(PLACES) | set(LEFT_OUT)
    ada = await management.signed_up()
    copy = json.loads((await ada.post("/profile/data")).text)
    assert set(PLACES.values()) <= set(copy)


# ── the end ─────────────────────────────────────────────────────────────────────────────────────
async def test_a_closed_account_opens_to_nobody_and_its_books_stay(
    on_either_engine: Management,
) -> None:
    management = on_either_engine
    ada, authenticator = await _with_passkey(management)
    there = management.browser()
    await there.post("/api/session", json={"email": EMAIL, "password": PASSWORD})
    await ada.post("/api/keys", json={"name": "Desk"})
    account_id = (await ada.get("/api/session")).json()["account_id"]
    store = management.world.store
    await store.write(
        replace_top_up,
        account_id,
        state="on",
        threshold_nanos=1,
        amount_nanos=10_000_000_000,
        month_max_nanos=10_000_000_000,
        setup_id="atu_1",
        customer="cus_1",
        payment_method="pm_1",
        changed_us=1,
    )
    page = await ada.get("/profile/close")
    assert "$5.00 of credit is left" in page.text
    assert "Desk" in page.text
    slip = await ada.post("/profile/close", data={"email": "bob@example.com"})
    assert slip.status_code == 400
    done = await ada.post("/profile/close", data={"email": EMAIL.upper()})
    assert done.headers["location"] == "/login?notice=closed"
    for browser in (ada, there):
        assert (await browser.get("/api/session")).status_code == 401
    assert not await _can_log_in(management, EMAIL)
    assert (await _log_in(management.browser(), authenticator)).status_code == 401
    keys = await management.world.services.api_keys.list_keys(account_id)
    assert [key.state for key in keys] == ["revoked"]
    balances = await management.world.services.billing.balances(account_id)
    assert balances.credit_nanos == 5_000_000_000
    assert (await management.world.audit()).findings == ()
    assert "Your account is closed" in (await _mailed(management, EMAIL))[-1]
    top_up = await store.read(find_top_up, account_id)
    assert top_up
    assert (top_up.state, top_up.customer, top_up.payment_method) == ("off", None, None)
    (view,) = await management.world.services.accounts.list_all()
    assert (view.state, view.email) == ("closed", "")
    events = await management.world.services.audit_log.list_recent(account_id)
    assert events[0].action == "account.close"


async def test_the_address_of_a_closed_account_can_begin_anew(management: Management) -> None:
    ada = await management.signed_up()
    before = (await ada.get("/api/session")).json()["account_id"]
    await ada.post("/api/keys")
    await ada.post("/profile/close", data={"email": EMAIL})
    again = await management.signed_up()
    assert (await again.get("/api/session")).json()["account_id"] != before
    assert (await again.get("/api/keys")).json()["data"] == []
    events = (await again.get("/api/audit-events")).json()["data"]
    assert {event["action"] for event in events} == {"account.create"}


async def test_who_was_suspended_does_not_begin_anew(management: Management) -> None:
    ada = await management.signed_up()
    await management.world.services.accounts.suspend(EMAIL, CLI)
    refused = await ada.post("/profile/close", data={"email": EMAIL})
    assert refused.status_code == 409
    assert (await ada.get("/api/session")).status_code == 200


# ── what was done ───────────────────────────────────────────────────────────────────────────────
async def test_what_was_done_is_paged_to_its_beginning(management: Management) -> None:
    ada = await management.signed_up()
    for number in range(60):
        zone = ("UTC", "Europe/Rome")[number % 2]
        await ada.put("/api/limits/time-zone", json={"time_zone": zone})
    first = await ada.get("/security/activity")
    assert first.text.count("<tr>") == 51
    older = re.search(r'href="(/security/activity\?before=[^"]+)"', first.text)
    assert older
    last = await ada.get(older.group(1))
    assert "Account made" in last.text
    assert 'rel="next"' not in last.text
    assert "Nothing more" in (await ada.get("/security/activity?before=nonsense")).text
    page = (await ada.get("/api/audit-events?limit=1")).json()
    assert page["data"][0]["action"] == "account.time_zone"
    following = (await ada.get(f"/api/audit-events?limit=1&before={page['next']}")).json()
    assert following["data"][0]["id"] != page["data"][0]["id"]


async def test_a_new_device_is_told_and_a_known_one_is_not(management: Management) -> None:
    ada = await management.signed_up()
    login = {"email": EMAIL, "password": PASSWORD}
    await ada.delete("/api/session")
    await ada.post("/api/session", json=login)
    assert await _mailed(management, EMAIL) == []
    stranger = management.browser("10.1.2.3")
    stranger.headers["user-agent"] = "http://evil.example/login Firefox/130.0 (X11; Linux)"
    await stranger.post("/api/session", json=login)
    await stranger.post("/api/session", json=login)
    (letter,) = await _mailed(management, EMAIL)
    assert letter.startswith("A new device has logged in")
    for fact in ("10.1.2.3", "Firefox on Linux", "UTC"):
        assert fact in letter
    assert "evil" not in letter, "a stranger writes nothing into the owner's mail"
    assert error_of(await management.browser().get("/api/session"))["code"] == "session_expired"
