"""Guards that an event is read for what it says and nothing more, whatever is in it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latchgate.domain.errors import InvalidRequest
from latchgate.domain.payments import (
    CheckoutTold,
    ReversalTold,
    cents_of,
    read_event,
)
from tests.support.stripe_server import dispute, event, refund

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["id", "amount", "amount_total", "currency", "payment_intent", "status", "payment_status"]
)
SESSION = {
    "id": "cs_1",
    "client_reference_id": "pay_1",
    "payment_intent": "pi_1",
    "payment_status": "paid",
    "amount_total": 2000,
    "currency": "usd",
}


@pytest.mark.parametrize(
    ("kind", "status", "state"),
    [
        ("completed", "paid", "paid"),
        ("completed", "unpaid", "pending"),
        ("async_payment_succeeded", "paid", "paid"),
        ("async_payment_failed", "unpaid", "failed"),
        ("expired", "unpaid", "expired"),
    ],
)
def test_a_checkout_is_what_stripe_says_of_it(kind: str, status: str, state: str) -> None:
    told = read_event(event(f"checkout.session.{kind}", {**SESSION, "payment_status": status})).told
    assert isinstance(told, CheckoutTold)
    assert (told.state, told.cents, told.currency) == (state, 2000, "usd")
    assert (told.payment_id, told.session_id, told.payment_intent) == ("pay_1", "cs_1", "pi_1")


@pytest.mark.parametrize(
    ("type_", "of", "is_returned"),
    [
        ("refund.created", refund("pi_1", 5, "pending"), False),
        ("refund.updated", refund("pi_1", 5, "succeeded"), False),
        ("refund.updated", refund("pi_1", 5, "canceled"), True),
        ("refund.failed", refund("pi_1", 5, "failed"), True),
        ("charge.refund.updated", refund("pi_1", 5, "failed"), True),
        ("charge.dispute.funds_withdrawn", dispute("pi_1", 5), False),
        ("charge.dispute.funds_reinstated", dispute("pi_1", 5), True),
    ],
)
def test_a_reversal_is_what_stripe_says_of_it(
    type_: str, of: dict[str, Any], *, is_returned: bool
) -> None:
    told = read_event(event(type_, of)).told
    assert isinstance(told, ReversalTold)
    assert (told.payment_intent, told.cents, told.is_returned) == ("pi_1", 5, is_returned)


@pytest.mark.parametrize("type_", ["charge.refunded", "charge.dispute.created", "payout.paid", "x"])
def test_other_events_tell_nothing(type_: str) -> None:
    assert read_event(event(type_, {**SESSION})).told is None


@pytest.mark.parametrize("cents", [-1, 2**63, 20.0, "20", True, None, [20]])
def test_an_amount_that_is_none_matches_nothing(cents: object) -> None:
    told = read_event(event("checkout.session.completed", {**SESSION, "amount_total": cents})).told
    assert isinstance(told, CheckoutTold)
    assert told.cents == -1


@given(FIELDS, JSON, st.sampled_from(["checkout.session.completed", "refund.created"]))
def test_no_value_breaks_the_reading(field: str, value: object, type_: str) -> None:
    of = {**SESSION, **refund("pi_1", 5, "pending", id_="re_1"), field: value}
    read_event(event(type_, of))


@given(JSON)
def test_whatever_is_signed_is_an_event_or_refused(body: object) -> None:
    with pytest.raises(InvalidRequest):
        read_event(body)


@given(st.integers(-(10**12), 10**15))
def test_an_amount_is_whole_cents_within_the_bounds(nanos: int) -> None:
    try:
        cents = cents_of(nanos, least_nanos=5 * 10**9, most_nanos=10**12)
    except InvalidRequest:
        assert not 5 * 10**9 <= nanos <= 10**12 or nanos % 10**7
    else:
        assert cents * 10**7 == nanos
