"""Guards that every posting sums to zero and says who gave what to whom."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from latchgate.domain.ledger import (
    CREDIT_KINDS,
    FUNDING,
    LOSS,
    OVERRUN,
    PLATFORM_KINDS,
    REVENUE,
    TAKING_KINDS,
    Posting,
    credit_posting,
    customer,
    overrun_posting,
    usage_posting,
)

ACCOUNT = "acct_01hv4z0000000000000000000a"
NANOS = st.integers(-(2**63), 2**63 - 1)
POSITIVE = st.integers(1, 2**63 - 1)
ENTRIES = st.lists(st.tuples(st.sampled_from([*PLATFORM_KINDS, customer(ACCOUNT)]), NANOS))


def _posting(entries: tuple[tuple[str, int], ...]) -> Posting:
    return Posting("post_1", "correction", ACCOUNT, 0, "cli", "", entries)


@given(ENTRIES)
def test_entries_that_do_not_sum_to_zero_make_no_posting(entries: list[tuple[str, int]]) -> None:
    assume(sum(amount for _, amount in entries) != 0)
    with pytest.raises(ValueError, match="post_1 does not sum to zero"):
        _posting(tuple(entries))


@given(ENTRIES)
def test_entries_that_sum_to_zero_make_a_posting(entries: list[tuple[str, int]]) -> None:
    rest = -sum(amount for _, amount in entries)
    balanced = (*entries, (LOSS, rest))
    assert _posting(balanced).entries == balanced


@pytest.mark.parametrize("off_by", [1, -1])
def test_one_nano_too_much_or_too_little_is_refused(off_by: int) -> None:
    with pytest.raises(ValueError, match="does not sum to zero"):
        _posting(((FUNDING, -(2**62)), (REVENUE, 2**62 + off_by)))


def test_an_unbalanced_posting_cannot_be_made_from_a_balanced_one() -> None:
    posting = credit_posting("post_1", ACCOUNT, 5, kind="gift", note="", actor="cli")
    with pytest.raises(ValueError, match="does not sum to zero"):
        dataclasses.replace(posting, entries=posting.entries[:1])
    with pytest.raises(dataclasses.FrozenInstanceError):
        posting.entries = ()  # type: ignore[misc]
    assert sum(amount for _, amount in posting.entries) == 0


@given(POSITIVE, st.sampled_from(CREDIT_KINDS), st.text())
def test_credit_goes_from_funding_to_the_customer(amount: int, kind: str, note: str) -> None:
    posting = credit_posting("post_1", ACCOUNT, amount, kind=kind, note=note, actor="usr_1")
    assert posting == Posting(
        id="post_1",
        kind=kind,
        account_id=ACCOUNT,
        amount_nanos=amount,
        actor="usr_1",
        note=note,
        entries=((FUNDING, -amount), (customer(ACCOUNT), amount)),
    )


@given(POSITIVE, st.sampled_from(TAKING_KINDS))
def test_what_a_correction_takes_goes_back_to_funding(amount: int, kind: str) -> None:
    posting = credit_posting("post_1", ACCOUNT, -amount, kind=kind, note="why", actor="cli")
    assert posting.amount_nanos == -amount
    assert posting.entries == ((FUNDING, amount), (customer(ACCOUNT), -amount))


def test_a_correction_of_nothing_is_none() -> None:
    with pytest.raises(ValueError, match="not a credit"):
        credit_posting("post_1", ACCOUNT, 0, kind="correction", note="", actor="cli")


@pytest.mark.parametrize("amount", [0, -1, -(2**63)])
@pytest.mark.parametrize("kind", sorted({*CREDIT_KINDS} - {*TAKING_KINDS}))
def test_nothing_and_less_than_nothing_are_no_credit(kind: str, amount: int) -> None:
    with pytest.raises(ValueError, match="not a credit"):
        credit_posting("post_1", ACCOUNT, amount, kind=kind, note="", actor="cli")


@pytest.mark.parametrize("kind", ["", "usage", "overrun", "funding", "Gift", "gift ", "top-up"])
def test_only_kinds_of_credit_give_credit(kind: str) -> None:
    with pytest.raises(ValueError, match="not a credit"):
        credit_posting("post_1", ACCOUNT, 1, kind=kind, note="", actor="cli")


@given(st.integers(0, 2**63 - 1), st.integers(1, 10**6))
def test_usage_goes_from_the_customer_to_revenue(charge: int, calls: int) -> None:
    posting = usage_posting("post_1", ACCOUNT, charge, calls)
    assert posting.kind == "usage"
    assert posting.account_id == ACCOUNT
    assert posting.amount_nanos == -charge
    assert posting.actor == "gateway"
    assert posting.entries == ((customer(ACCOUNT), -charge), (REVENUE, charge))


@pytest.mark.parametrize(("calls", "note"), [(1, "1 call"), (2, "2 calls"), (1000, "1000 calls")])
def test_a_usage_posting_says_how_many_calls_it_charges(calls: int, note: str) -> None:
    assert usage_posting("post_1", ACCOUNT, 7, calls).note == note


@given(st.integers(0, 2**63 - 1), st.integers(1, 10**6))
def test_an_overrun_is_borne_by_the_operator_and_by_no_account(overrun: int, calls: int) -> None:
    posting = overrun_posting("post_1", overrun, calls)
    assert posting.kind == "overrun"
    assert posting.account_id is None
    assert posting.amount_nanos == 0
    assert posting.entries == ((OVERRUN, -overrun), (REVENUE, overrun))
    assert str(calls) in posting.note


@given(POSITIVE, POSITIVE)
def test_an_amount_is_what_its_account_sees(credit: int, charge: int) -> None:
    mine = customer(ACCOUNT)
    for posting in (
        credit_posting("post_1", ACCOUNT, credit, kind="gift", note="", actor="cli"),
        usage_posting("post_2", ACCOUNT, charge, 1),
    ):
        effect = sum(amount for ledger_account, amount in posting.entries if ledger_account == mine)
        assert effect == posting.amount_nanos


def test_a_customer_is_never_taken_for_an_account_of_the_platform() -> None:
    assert customer(ACCOUNT) == f"customer:{ACCOUNT}"
    assert len(set(PLATFORM_KINDS)) == 4
    assert not {customer(kind) for kind in PLATFORM_KINDS} & set(PLATFORM_KINDS)
