"""What a payment service tells of a payment, read out of its events and checked.

Stripe's event objects (https://docs.stripe.com/api/events): of each only what moves money here is
read; an event of another kind, or of a shape that is not the documented one, is nothing to us.

    checkout.session.completed, .async_payment_succeeded, .async_payment_failed, .expired
    refund.created, .updated, .failed;  charge.refund.updated (the older name)
    charge.dispute.funds_withdrawn, .funds_reinstated
    payment_intent.succeeded, .payment_failed (of a payment that nobody was present at)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard

from latchgate.domain.errors import InvalidRequest
from latchgate.domain.money import NANOS_PER_USD, format_usd

CURRENCY = "usd"
NANOS_PER_CENT = NANOS_PER_USD // 100
#: Longer names, and amounts that no card carries, are not Stripe's.
NAME_CHARS_MAX = 255
CENTS_MAX = 99_999_999

Paid = Literal["paid", "pending", "failed", "expired"]
_NAME = re.compile(r"[A-Za-z0-9_\-]+", re.ASCII)
_SESSIONS: dict[str, Paid] = {
    "checkout.session.async_payment_failed": "failed",
    "checkout.session.expired": "expired",
}
_CHARGES = ("payment_intent.succeeded", "payment_intent.payment_failed")
_CHARGE_STATES: dict[str, Literal["paid", "pending"]] = {
    "succeeded": "paid",
    "processing": "pending",
}
_REFUNDS = ("refund.created", "refund.updated", "refund.failed", "charge.refund.updated")
#: States of a refund in which the money stays here, or has come back.
_REFUND_OVER = ("failed", "canceled")
_DISPUTES = {"charge.dispute.funds_withdrawn": False, "charge.dispute.funds_reinstated": True}


@dataclass(frozen=True, slots=True)
class CheckoutTold:
    """How a checkout has gone: what it was for, and whether the money is there."""

    payment_id: str
    session_id: str
    payment_intent: str
    cents: int
    currency: str
    state: Paid


@dataclass(frozen=True, slots=True)
class ReversalTold:
    """Money that has gone back, or has come again: a refund or a dispute of a payment."""

    id: str
    kind: Literal["payment_refund", "dispute"]
    payment_intent: str
    cents: int
    currency: str
    is_returned: bool


@dataclass(frozen=True, slots=True)
class SetupTold:
    """A card was kept for payments to come: whose, and where to ask which."""

    setup_id: str
    session_id: str
    customer: str
    setup_intent: str


@dataclass(frozen=True, slots=True)
class ChargeTold:
    """How a payment has gone that nobody was present at."""

    payment_id: str
    payment_intent: str
    cents: int
    currency: str
    state: Literal["paid", "pending", "failed"]


Told = CheckoutTold | ReversalTold | SetupTold | ChargeTold


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its id, by which it is done once, its type, and what it tells, if anything."""

    id: str
    type: str
    told: Told | None


def read_event(body: object) -> Event:
    """Read an event whose signature is good. Raises InvalidRequest for what is none."""
    match body:
        case {"object": "event", "id": str(id_), "type": str(type_), "data": {"object": dict(of)}}:
            if _is_name(id_) and _is_name(type_.replace(".", "_")):
                return Event(id_, type_, _told(type_, of))
    raise InvalidRequest("That is not an event of Stripe's.", code="invalid_json")


def _told(type_: str, of: Mapping[str, Any]) -> Told | None:
    if type_ == "checkout.session.completed" and of.get("mode") == "setup":
        return _setup(of)
    if type_.startswith("checkout.session."):
        return _checkout(type_, of)
    if type_ in _CHARGES:
        return read_charge(of)
    if type_ in _REFUNDS:
        is_over = of.get("status") in _REFUND_OVER
        return _reversal("payment_refund", of, is_returned=is_over)
    if type_ in _DISPUTES:
        return _reversal("dispute", of, is_returned=_DISPUTES[type_])
    return None


def _checkout(type_: str, of: Mapping[str, Any]) -> CheckoutTold | None:
    match type_, of.get("payment_status"):
        case "checkout.session.completed" | "checkout.session.async_payment_succeeded", "paid":
            state: Paid = "paid"
        case "checkout.session.completed", "unpaid":
            state = "pending"
        case _ if type_ in _SESSIONS:
            state = _SESSIONS[type_]
        case _:
            return None
    payment_intent = of.get("payment_intent")
    if not (_is_name(of.get("client_reference_id")) and _is_name(of.get("id"))):
        return None
    return CheckoutTold(
        payment_id=of["client_reference_id"],
        session_id=of["id"],
        payment_intent=payment_intent if _is_name(payment_intent) else "",
        cents=_cents(of.get("amount_total")),
        currency=str(of.get("currency"))[:8],
        state=state,
    )


def _setup(of: Mapping[str, Any]) -> SetupTold | None:
    names = [of.get(name) for name in ("client_reference_id", "id", "customer", "setup_intent")]
    return SetupTold(*map(str, names)) if all(map(_is_name, names)) else None


def read_charge(of: Mapping[str, Any]) -> ChargeTold | None:
    """Read a payment intent, out of an event or an answer; None where it is not ours."""
    metadata = of.get("metadata")
    payment_id = metadata.get("payment") if isinstance(metadata, dict) else None
    if not (_is_name(payment_id) and _is_name(of.get("id"))):
        return None
    return ChargeTold(
        payment_id=payment_id,
        payment_intent=of["id"],
        cents=_cents(of.get("amount_received") or of.get("amount")),
        currency=str(of.get("currency"))[:8],
        state=_CHARGE_STATES.get(str(of.get("status")), "failed"),
    )


def _reversal(
    kind: Literal["payment_refund", "dispute"], of: Mapping[str, Any], *, is_returned: bool
) -> ReversalTold | None:
    if not (_is_name(of.get("id")) and _is_name(of.get("payment_intent"))):
        return None
    return ReversalTold(
        id=of["id"],
        kind=kind,
        payment_intent=of["payment_intent"],
        cents=_cents(of.get("amount")),
        currency=str(of.get("currency"))[:8],
        is_returned=is_returned,
    )


def _is_name(value: object) -> TypeGuard[str]:
    return (
        isinstance(value, str)
        and len(value) <= NAME_CHARS_MAX
        and _NAME.fullmatch(value) is not None
    )


def _cents(value: object) -> int:
    """An amount in cents; -1, which matches nothing, for what is none."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= CENTS_MAX:
        return value
    return -1


def cents_of(amount_nanos: int, *, least_nanos: int, most_nanos: int) -> int:
    """An amount to be paid, in cents. Raises InvalidRequest when it can't be."""
    if not least_nanos <= amount_nanos <= most_nanos:
        raise InvalidRequest(
            f"You can pay ${format_usd(least_nanos)} to ${format_usd(most_nanos)} at once.",
            param="amount",
        )
    cents, rest = divmod(amount_nanos, NANOS_PER_CENT)
    if rest or not 0 < cents <= CENTS_MAX:
        raise InvalidRequest(
            "An amount to be paid is in whole cents, such as 5.00.", param="amount"
        )
    return cents
