"""Alerts on the pages, in the API and in the mail: each once, also after a crash."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, text

from latchgate.app import World
from latchgate.config import MailSettings
from latchgate.domain.alerts import AlertTerms, Level
from latchgate.services.alerts import GIVE_UP_US, Alerts
from latchgate.services.billing import InFlight
from latchgate.services.mail import Mail
from latchgate.storage import alerts as rows
from tests.support.management import EMAIL, Management, error_of, running_console
from tests.unit.smtp_server import Server, smtp_server

pytestmark = pytest.mark.anyio
USD = 1_000_000_000
TERMS: dict[str, Any] = {
    "percents": [50, 80, 100],
    "credit_left_usd": None,
    "mails_limits": True,
    "mails_credit": True,
}


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Management]:
    """The console over a new data directory."""
    async with running_console(tmp_path) as running:
        yield running


async def _account_id(ada: httpx.AsyncClient) -> str:
    found: str = (await ada.get("/api/session")).json()["account_id"]
    return found


async def _spend(world: World, account_id: str, nanos: int) -> None:
    """What posting a charge does to the windows, and to the alerts."""
    now_us = world.clock.now_us()

    def transaction(conn: Connection) -> None:
        query = rows.with_terms(rows.budgets.c.account_id == account_id)
        found = [rows.figures_of(row) for row in conn.execute(query).all()]
        conn.execute(
            text(
                "UPDATE budget_windows SET spent_nanos = spent_nanos + :nanos WHERE budget_id IN"
                " (SELECT id FROM budgets WHERE account_id = :account)"
            ),
            {"nanos": nanos, "account": account_id},
        )
        rows.tell_owners(conn, [(figures, nanos, 1, 1) for figures in found], now_us=now_us)

    await world.store.write(transaction)


def _alerts(world: World, server: Server) -> Alerts:
    """The service over a real mail server, as a new process would have it."""
    settings = MailSettings(
        mode="smtp", smtp_host="127.0.0.1", smtp_port=server.port, smtp_security="none"
    )

    async def settled() -> None:
        """Nothing is in flight."""

    mail = Mail(settings, Path("/nowhere"), world.clock)
    in_flight = InFlight(settle=settled, held_nanos=lambda _window: 0)
    return Alerts(world.store, world.clock, in_flight, mail, "http://localhost:8000")


async def _let_wait_end(world: World) -> None:
    await world.store.write(
        lambda conn: conn.execute(text("UPDATE alerts SET mail_next_us = 0")) and None
    )


async def test_an_alert_stands_on_the_pages_until_it_is_dismissed(console: Management) -> None:
    ada = await console.signed_up()
    account_id = await _account_id(ada)
    for path in ("/home", "/limits"):
        assert "Dismiss" not in (await ada.get(path)).text
    await _spend(console.world, account_id, 3 * USD)
    for path in ("/home", "/limits"):
        page = (await ada.get(path)).text
        assert "50 % of what was last added to your credit is spent: $2.00 is left." in page
    until = re.search(r'name="until" value="(\d+)"', page)
    assert until is not None
    await _spend(console.world, account_id, 1 * USD + USD // 2)
    form = {"until": until[1], "place": "/limits"}
    answer = await ada.post("/limits/alerts/dismiss", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/limits")
    page = (await ada.get("/home")).text
    assert "50 %" not in page
    assert "80 % of what was last added" in page
    assert (await ada.delete("/api/alerts")).json()["data"] == []
    assert "Dismiss" not in (await ada.get("/home")).text


@pytest.mark.parametrize("until", ["", "x", "-1", "1" * 19, "٣"])
async def test_a_dismissal_that_names_no_moment_changes_nothing(
    console: Management, until: str
) -> None:
    ada = await console.signed_up()
    await _spend(console.world, await _account_id(ada), 3 * USD)
    form = {"until": until, "place": "//elsewhere.example"}
    answer = await ada.post("/limits/alerts/dismiss", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/home")
    assert len((await ada.get("/api/alerts")).json()["data"]) == 1


async def test_an_alert_is_nobody_elses(console: Management) -> None:
    ada, grace = await console.signed_up(), await console.signed_up("grace@example.com")
    await _spend(console.world, await _account_id(ada), 3 * USD)
    assert (await grace.get("/api/alerts")).json()["data"] == []
    await grace.delete("/api/alerts")
    assert len((await ada.get("/api/alerts")).json()["data"]) == 1


async def test_terms_that_cannot_be_are_refused_by_name_and_change_nothing(
    console: Management,
) -> None:
    ada = await console.signed_up()
    before = (await ada.get("/api/alerts")).json()
    assert before == {**TERMS, "data": []}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"percents": [80, 50]}, "percents"),
        ({"percents": [50, 50]}, "percents"),
        ({"percents": [10, 20, 30, 40, 50, 60]}, "percents"),
        *(({"credit_left_usd": no}, "credit_left_usd") for no in ("0", "-1", "NaN", "1e30", 5)),
        ({"mails_credit": "no"}, "mails_credit"),
    ]
    for change, param in wrong:
        answer = await ada.put("/api/alerts", json={**TERMS, **change})
        assert (answer.status_code, error_of(answer)["param"]) == (400, param), change
    for percent in (9, 101, 50.5, "50", True, None):
        answer = await ada.put("/api/alerts", json={**TERMS, "percents": [percent]})
        assert answer.status_code == 400, percent
    for percents, left in (("fifty", ""), ("5", ""), ("50;80", ""), ("50", "five"), ("9" * 65, "")):
        form = {"percents": percents, "credit_left": left, "mails_limits": "1"}
        answer = await ada.post("/limits/alerts", data=form)
        assert answer.status_code == 400
        assert f'value="{percents}"' in answer.text
        assert 'aria-invalid="true"' in answer.text
    assert (await ada.get("/api/alerts")).json() == before


async def test_thresholds_are_the_accounts_own(console: Management) -> None:
    ada = await console.signed_up()
    form = {"percents": "25 %, 90", "credit_left": "$1.50", "mails_limits": "1"}
    assert (await ada.post("/limits/alerts", data=form)).status_code == 303
    found = (await ada.get("/api/alerts")).json()
    assert (found["percents"], found["credit_left_usd"]) == ([25, 90], "1.50")
    assert (found["mails_limits"], found["mails_credit"]) == (True, False)
    page = (await ada.get("/limits?notice=alerts")).text
    assert 'value="25, 90"' in page
    await _spend(console.world, await _account_id(ada), 4 * USD)
    (alert,) = (await ada.get("/api/alerts")).json()["data"]
    assert (alert["what"], alert["percent"], alert["left_usd"]) == ("credit", None, "1.00")
    assert "Alerts changed" in (await ada.get("/security/activity")).text


async def test_a_mail_says_what_happened_and_goes_once(console: Management) -> None:
    ada = await console.signed_up()
    limit = {"what": "key", "period": "month", "limit_usd": "3.20"}
    await ada.put("/api/limits", json=limit)
    await _spend(console.world, await _account_id(ada), 3 * USD)
    with smtp_server() as server:
        await _alerts(console.world, server).look()
        await _let_wait_end(console.world)
        await _alerts(console.world, server).look()
    (received,) = server.letters
    assert received.recipients == [EMAIL]
    assert received.message["Subject"] == "Your limits run low"
    said = received.message.get_content()
    assert "50 % of what was last added to your credit is spent: $2.00 is left." in said
    assert "80 % of your key's limit for the month, $3.20, is spent: $0.20 is left." in said


async def test_a_mail_that_is_refused_is_sent_later_by_another_process(
    console: Management,
) -> None:
    ada = await console.signed_up()
    await _spend(console.world, await _account_id(ada), 5 * USD)
    with smtp_server() as server:
        server.answers = ["451 Busy"]
        await _alerts(console.world, server).look()
        await _alerts(console.world, server).look()  # not before its time
        assert (server.deliveries, server.letters) == (1, [])
        await _let_wait_end(console.world)
        await _alerts(console.world, server).look()
        await _let_wait_end(console.world)
        await _alerts(console.world, server).look()
    (received,) = server.letters
    assert received.message["Subject"] == "Your credit is used up"


async def test_a_crash_behind_the_sending_repeats_the_mail_under_the_same_name(
    console: Management, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Better twice than never; a mailbox that knows Message-IDs shows it once."""
    ada = await console.signed_up()
    await _spend(console.world, await _account_id(ada), 3 * USD)

    def dies(*_args: object, **_named: object) -> None:
        raise SystemExit("killed")

    with smtp_server() as server:
        with monkeypatch.context() as patch:
            patch.setattr("latchgate.storage.alerts.end_mail", dies)
            with pytest.raises(SystemExit):
                await _alerts(console.world, server).look()
        await _let_wait_end(console.world)
        for _ in range(2):
            await _alerts(console.world, server).look()
    first, second = server.letters
    assert first.message["Message-ID"] == second.message["Message-ID"]


async def test_a_mail_of_yesterday_or_of_a_closed_account_is_given_up(console: Management) -> None:
    ada, grace = await console.signed_up(), await console.signed_up("grace@example.com")
    for owner in (ada, grace):
        await _spend(console.world, await _account_id(owner), 3 * USD)
    grace_id = await _account_id(grace)

    def change(conn: Connection) -> None:
        conn.execute(text(f"UPDATE alerts SET created_us = created_us - {GIVE_UP_US + 1}"))
        conn.execute(text("UPDATE accounts SET closed_us = 1 WHERE id = :id"), {"id": grace_id})

    await console.world.store.write(change)
    with smtp_server() as server:
        await _alerts(console.world, server).look()
    assert server.letters == []
    assert (
        await console.world.store.read(
            rows.list_waiting, now_us=console.world.clock.now_us(), limit=9
        )
        == []
    )


async def test_what_is_switched_off_is_shown_and_not_mailed(console: Management) -> None:
    ada = await console.signed_up()
    await ada.put("/api/alerts", json={**TERMS, "mails_credit": False})
    await _spend(console.world, await _account_id(ada), 3 * USD)
    with smtp_server() as server:
        await _alerts(console.world, server).look()
    assert server.letters == []
    assert len((await ada.get("/api/alerts")).json()["data"]) == 1


async def test_a_limit_that_is_set_anew_takes_its_alert_away(console: Management) -> None:
    ada = await console.signed_up()
    limit = {"what": "account", "period": "day", "limit_usd": "1.00"}
    await ada.put("/api/limits", json=limit)
    await _spend(console.world, await _account_id(ada), USD * 9 // 10)
    (alert,) = (await ada.get("/api/alerts")).json()["data"]
    assert (alert["what"], alert["period"], alert["percent"]) == ("account", "day", 80)
    await ada.put("/api/limits", json={**limit, "limit_usd": "4.00"})
    assert (await ada.get("/api/alerts")).json()["data"] == []


async def test_all_that_an_owner_was_told_is_in_the_copy_of_his_data(console: Management) -> None:
    ada = await console.signed_up()
    await _spend(console.world, await _account_id(ada), 3 * USD)
    copy = (await ada.post("/profile/data")).json()
    assert [row["threshold"] for row in copy["alerts"]] == [50]
    assert copy["alert_terms"]["percents"] == [50, 80, 100]


def test_a_limit_of_nothing_tells_nobody() -> None:
    level = Level(is_credit=False, limit_nanos=0, base_nanos=0, spent_nanos=0)
    assert rows.passed(AlertTerms(), level) == 0
