"""Guards corrections of prices: exact, once, and never more than the operator said."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from latchgate.clock import DAY_US, HOUR_US, SECOND_US
from latchgate.domain.errors import Conflict, InvalidRequest, NotFound
from latchgate.domain.people import CLI
from latchgate.domain.usage import Usage
from latchgate.services import price_corrections
from latchgate.services.catalog import ModelTerms
from latchgate.services.price_correction_views import (
    BELOW_ZERO,
    CLOSED,
    REFUNDS_ONLY,
    Correction,
    CorrectionAsked,
)
from tests.api.test_management_codes import operator_of
from tests.support.management import EMAIL, PASSWORD, Management, running_console
from tests.support.months import Call, charge

pytestmark = pytest.mark.anyio
PAGE = "/operator/models/correct"
START_US = 1_780_000_000 * SECOND_US
#: The wrong price is 0.10, 0.02 and 0.40 USD a million; a priority call costs twice.
RIGHT = ModelTerms(50_000, 10_000, 300_001)
CALL = Call("m", Usage(12_345, 2_345, 678))
WAS_NANOS = 10_000 * 100 + 2_345 * 20 + 678 * 400
RIGHT_NANOS = 10_000 * 50 + 2_345 * 10 + 203_401  # 678 × 300.001 = 203,400.678, rounded once
BOB = "bob@example.com"


@pytest.fixture
async def management(tmp_path: Path, database_url: str) -> AsyncIterator[Management]:
    """A console with two accounts that have $5.00 and a key each."""
    async with running_console(tmp_path, database_url=database_url) as running:
        for email in (EMAIL, BOB):
            account = await running.world.services.accounts.create(
                email, PASSWORD, is_operator=False, credit_nanos=None, actor="test"
            )
            await running.world.services.api_keys.create(account.account_id, "k", caller=CLI)
        yield running


async def id_of(management: Management, email: str) -> str:
    return (await management.world.services.accounts.get(email)).account_id


async def calls(management: Management, email: str, at_us: int, *made: Call) -> None:
    """Calls of an account, let in at a moment of the past."""
    account_id = await id_of(management, email)
    (key,) = await management.world.services.api_keys.list_keys(account_id)
    await charge(management.world.store, account_id, key.id, [(at_us, made)])


def asked(**changed: Any) -> CorrectionAsked:
    """The correction that most tests ask for, with what a test says of its own."""
    span = {"since_us": START_US, "until_us": START_US + DAY_US}
    return CorrectionAsked(
        **({"model": "m", "terms": RIGHT, "priority_percent": 200} | span | changed)
    )


async def correct(management: Management, what: CorrectionAsked) -> Correction:
    corrections = management.world.services.price_corrections
    return await corrections.correct(what, reason="Typed a 4 for a 3", caller=CLI)


async def credit(management: Management, email: str) -> int:
    balances = await management.world.services.billing.balances(await id_of(management, email))
    return balances.credit_nanos - balances.spent_nanos


async def agrees(management: Management) -> None:
    assert (await management.world.audit()).findings == ()


async def test_each_account_gets_the_difference_to_the_nano_dollar_in_one_posting(
    management: Management,
) -> None:
    await calls(management, EMAIL, START_US, CALL, CALL)
    await calls(management, EMAIL, START_US + DAY_US - 1, CALL)
    await calls(management, EMAIL, START_US + DAY_US, CALL)  # behind the span
    await calls(management, EMAIL, START_US - 1, CALL)  # before it
    await calls(management, BOB, START_US + HOUR_US, Call("m", CALL.usage, "priority"))
    preview = await management.world.services.price_corrections.preview(asked())
    assert {
        line.email: (line.calls, line.charged_nanos, line.right_nanos) for line in preview.posted
    } == {
        EMAIL: (3, 3 * WAS_NANOS, 3 * RIGHT_NANOS),
        # A priority call's price is rounded of its own: 678 × 600.002 = 406,801.356.
        BOB: (1, 2 * WAS_NANOS, 2 * 500_000 + 2 * 23_450 + 406_801),
    }
    before = await credit(management, EMAIL)
    done = await correct(management, asked())
    assert done == preview
    assert await credit(management, EMAIL) == before + 3 * (WAS_NANOS - RIGHT_NANOS)
    postings, _ = await management.world.services.billing.list_postings(
        await id_of(management, EMAIL)
    )
    assert [(p.kind, p.amount_nanos, p.note) for p in postings if p.kind == "correction"] == [
        ("correction", 3 * (WAS_NANOS - RIGHT_NANOS), "Typed a 4 for a 3")
    ]
    events = await management.world.services.audit_log.list_recent(await id_of(management, BOB))
    assert "credit.correct" in [event.action for event in events]
    await agrees(management)


async def test_the_same_correction_again_finds_nothing_and_a_late_call_only_itself(
    management: Management,
) -> None:
    await calls(management, EMAIL, START_US, CALL)
    assert len((await correct(management, asked())).posted) == 1
    again = await correct(management, asked())
    assert again == Correction(())
    (done,) = await management.world.services.price_corrections.list_corrections()
    assert (done.accounts, int(done.nanos)) == (1, WAS_NANOS - RIGHT_NANOS)
    await calls(management, EMAIL, START_US + 1, CALL)  # it ended only now
    (late,) = (await correct(management, asked())).posted
    assert (late.calls, late.amount_nanos) == (2, WAS_NANOS - RIGHT_NANOS)
    await agrees(management)


async def test_a_correction_can_itself_be_corrected_and_spans_may_overlap(
    management: Management,
) -> None:
    for hours in range(4):
        await calls(management, EMAIL, START_US + hours * HOUR_US, CALL)
    start = await credit(management, EMAIL)
    await correct(management, asked(until_us=START_US + 3 * HOUR_US))
    await correct(management, asked(since_us=START_US + 2 * HOUR_US))
    assert await credit(management, EMAIL) == start + 4 * (WAS_NANOS - RIGHT_NANOS)
    wrong = ModelTerms(100_000, 20_000, 400_000)
    back = asked(terms=wrong, has_charges=True)
    (line,) = (await correct(management, back)).posted
    assert line.amount_nanos == -4 * (WAS_NANOS - RIGHT_NANOS)
    assert await credit(management, EMAIL) == start
    assert await correct(management, back) == Correction(())
    await agrees(management)


async def test_who_paid_too_little_is_charged_only_when_it_is_said_and_never_into_debt_unasked(
    management: Management,
) -> None:
    dear = ModelTerms(1_000_000, 1_000_000, 1_000_000)
    await calls(management, EMAIL, START_US, CALL)
    left = await credit(management, EMAIL)
    (line,) = (await correct(management, asked(terms=dear))).lines
    assert (line.left_out, await credit(management, EMAIL)) == (REFUNDS_ONLY, left)
    owed = 13_023_000 - WAS_NANOS
    await management.world.services.billing.correct(
        line.account_id, owed - 1 - left, reason="test", caller=CLI
    )
    (line,) = (await correct(management, asked(terms=dear, has_charges=True))).lines
    assert (line.left_out, line.amount_nanos) == (BELOW_ZERO, -owed)
    everything = asked(terms=dear, has_charges=True, may_go_below_zero=True)
    await correct(management, everything)
    assert await credit(management, EMAIL) == -1
    await agrees(management)


async def test_a_call_beyond_its_hold_is_never_made_dearer_and_a_closed_account_is_left_alone(
    management: Management,
) -> None:
    await calls(management, EMAIL, START_US, CALL)

    def overrun(conn: Connection) -> None:  # its hold was a nano-dollar short
        change = """UPDATE usage_events SET overrun_nanos = 1, charge_nanos = charge_nanos - 1,
                    hold_nanos = hold_nanos - 1"""
        conn.execute(text(change))

    await management.world.store.write(overrun)
    dear = asked(terms=ModelTerms(10**6, 10**6, 10**6), has_charges=True, may_go_below_zero=True)
    preview = management.world.services.price_corrections.preview
    assert await preview(dear) == Correction(())
    (cheaper,) = (await preview(asked())).posted
    assert cheaper.amount_nanos == WAS_NANOS - 1 - RIGHT_NANOS

    def close(conn: Connection) -> None:
        conn.execute(text("UPDATE accounts SET closed_us = 1, state = 'suspended'"))

    await management.world.store.write(close)
    (line,) = (await correct(management, asked())).lines
    assert line.left_out == CLOSED


async def test_whatever_crash_stops_it_the_rest_is_done_once(
    management: Management, monkeypatch: pytest.MonkeyPatch
) -> None:
    for email in (EMAIL, BOB):
        await calls(management, email, START_US, CALL)
    start = [await credit(management, email) for email in (EMAIL, BOB)]
    done, insert_line = [], price_corrections.rows.insert_line

    def dies(*args: object, **values: object) -> None:
        if done:
            raise OSError("the machine is gone")
        done.append(values["account_id"])
        insert_line(*args, **values)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(price_corrections.rows, "insert_line", dies)
        with pytest.raises(OSError, match="gone"):
            await correct(management, asked())
    await agrees(management)
    assert len((await correct(management, asked())).posted) == 1
    refund = WAS_NANOS - RIGHT_NANOS
    assert [await credit(management, email) for email in (EMAIL, BOB)] == [
        had + refund for had in start
    ]
    await agrees(management)


@pytest.mark.parametrize("seed", [1, 2])
async def test_any_calls_and_any_corrections_end_at_the_last_right_price(
    management: Management, seed: int
) -> None:
    dice = random.Random(seed)  # noqa: S311 - not a secret
    made: list[Usage] = []
    for _ in range(20):
        tokens = dice.randrange(1, 50_000)
        usage = Usage(tokens, dice.randrange(tokens), dice.randrange(2_000))
        made.append(usage)
        await calls(management, EMAIL, START_US + dice.randrange(DAY_US), Call("m", usage))
    start, spent = 5_000_000_000, 0
    for _ in range(3):
        terms = ModelTerms(*(dice.randrange(200_000) for _ in range(3)))
        spent = sum(asked(terms=terms).price_of("default").charge_nanos(one) for one in made)
        everything = asked(terms=terms, has_charges=True, may_go_below_zero=True)
        await correct(management, everything)
        assert await credit(management, EMAIL) == start - spent
    await agrees(management)


@pytest.mark.parametrize(
    "changed",
    [
        {"until_us": START_US},
        {"until_us": START_US - 1},
        {"until_us": START_US + 401 * DAY_US},
        {"since_us": 9_000_000_000 * SECOND_US, "until_us": 9_000_000_001 * SECOND_US},
        {"priority_percent": 99},
    ],
)
async def test_a_span_that_makes_no_sense_is_refused(
    management: Management, changed: dict[str, int]
) -> None:
    with pytest.raises(InvalidRequest):
        await management.world.services.price_corrections.preview(asked(**changed))


async def test_what_is_too_much_for_one_correction_is_refused_whole(
    management: Management, monkeypatch: pytest.MonkeyPatch
) -> None:
    await calls(management, EMAIL, START_US, CALL, CALL)
    monkeypatch.setattr(price_corrections, "CALLS_MAX", 1)
    with pytest.raises(InvalidRequest, match="1 calls of one account"):
        await correct(management, asked())
    assert await management.world.services.price_corrections.list_corrections() == []


async def test_a_model_that_is_gone_needs_its_priority_price_said(management: Management) -> None:
    corrections = management.world.services.price_corrections
    span = {"since_us": START_US, "until_us": START_US + 1, "terms": RIGHT}
    assert (await corrections.ask("m", **span)).priority_percent == 200  # type: ignore[arg-type]
    with pytest.raises(NotFound):
        await corrections.ask("gone", **span)  # type: ignore[arg-type]
    gone = await corrections.ask("gone", priority_percent=100, **span)  # type: ignore[arg-type]
    assert await corrections.preview(gone) == Correction(())


async def test_an_operator_sees_who_gets_what_and_posts_exactly_that(
    management: Management,
) -> None:
    operator = await operator_of(management)
    await calls(management, EMAIL, START_US, CALL)
    form = {
        "name": "m",
        "since": "2026-05-28",
        "until": "2026-05-30T00:00",
        "input_price": "0.05",
        "cached_price": "0.01",
        "output_price": "0.300001",
    }
    assert "Show who gets what" in (await operator.get(PAGE)).text
    page = (await operator.get(PAGE, params=form)).text
    assert EMAIL in page
    assert "1 posting: <b>$0.000591249</b>" in page
    expected = page.partition('name="expected" value="')[2].partition('"')[0]
    sent = form | {"expected": expected, "reason": ""}
    unsaid = await operator.post(PAGE, data=sent)
    assert (unsaid.status_code, 'id="reason-about"' in unsaid.text) == (400, True)
    await calls(management, EMAIL, START_US + 1, CALL)
    sent["reason"] = "Typed a 4 for a 3"
    changed = await operator.post(PAGE, data=sent)
    assert (changed.status_code, "has changed since you looked" in changed.text) == (409, True)
    expected = changed.text.partition('name="expected" value="')[2].partition('"')[0]
    moved = await operator.post(PAGE, data=sent | {"expected": expected})
    assert moved.status_code == 303
    done = (await operator.get(moved.headers["location"])).text
    assert "Typed a 4 for a 3" in done
    assert "Nothing to do" in (await operator.get(PAGE, params=form)).text
    for name, wrong in (("since", "x"), ("until", "2026-05-27"), ("input_price", "-1")):
        refused = await operator.get(PAGE, params=form | {name: wrong})
        assert (refused.status_code, f'id="{name}-about"' in refused.text) == (400, True), name
    ada = management.browser()
    assert (await ada.get(PAGE)).status_code == 303
    with pytest.raises(Conflict):
        await management.world.services.price_corrections.correct(
            asked(), reason="x", caller=CLI, expected="1-2-3"
        )


SPOILT = {
    "a line's amount": (
        "UPDATE price_correction_lines SET right_nanos = right_nanos + 1",
        ": its posting is of ",
    ),
    "a posting's kind": (
        "UPDATE postings SET kind = 'refund' WHERE kind = 'correction'",
        ": its posting is of 0, not of ",
    ),
    "a call's difference": (
        "UPDATE corrected_calls SET difference_nanos = difference_nanos - 1",
        ", its calls changed by ",
    ),
    "a call's row gone": ("DELETE FROM corrected_calls", ", its calls changed by 0"),
    "a line gone": ("DELETE FROM price_correction_lines", ": by 0, its calls changed by "),
    "a call below nothing": (
        "UPDATE corrected_calls SET difference_nanos = -2000000000",
        ": corrections made -",
    ),
}


@pytest.mark.parametrize(("statement", "says"), SPOILT.values(), ids=SPOILT)
async def test_a_correction_that_was_changed_behind_the_books_is_named(
    management: Management, statement: str, says: str
) -> None:
    await calls(management, EMAIL, START_US, CALL)
    await correct(management, asked())

    def spoil(conn: Connection) -> int:
        return conn.execute(text(statement)).rowcount

    assert await management.world.store.write(spoil) == 1
    findings = (await management.world.audit()).findings
    assert [finding for finding in findings if says in finding], findings
