"""Double-entry bookkeeping: which ledger accounts there are, and postings that sum to zero.

customer:acct_…   what the platform still owes one account: its credit that is not spent
funding           where credit comes from: the other side of every gift and top-up
revenue           what usage brought in, at list price
overrun           what an upstream counted beyond a call's hold: the operator's, never the owner's
loss              charges that arrived too late to be anybody's
"""

from __future__ import annotations

from dataclasses import dataclass

FUNDING, REVENUE, OVERRUN, LOSS = "funding", "revenue", "overrun", "loss"
PLATFORM_KINDS = (FUNDING, REVENUE, OVERRUN, LOSS)
CUSTOMER = "customer"

#: Kinds of posting that give an account credit.
CREDIT_KINDS = (
    *("gift", "top_up", "redemption", "payment", "refund", "correction"),
    *("payment_refund", "dispute"),
)
#: Those of them that add to it, rather than put something right: alerts go by the last of these.
ADDING_KINDS = ("gift", "top_up", "redemption", "payment")
#: Those of them that may take credit away as well; the account may be below zero after it.
TAKING_KINDS = ("correction", "payment_refund", "dispute")


@dataclass(frozen=True, slots=True)
class Posting:
    """One effect on the books. ``id`` comes from the caller, so that asking twice is one effect.

    ``amount_nanos`` is the effect as its account sees it: credit positive, a charge negative.
    """

    id: str
    kind: str
    account_id: str | None
    amount_nanos: int
    actor: str
    note: str
    entries: tuple[tuple[str, int], ...]

    def __post_init__(self) -> None:
        if sum(amount for _, amount in self.entries) != 0:
            raise ValueError(f"posting {self.id} does not sum to zero: {self.entries}")


def customer(account_id: str) -> str:
    """The id of an account's ledger account."""
    return f"{CUSTOMER}:{account_id}"


def credit_posting(
    posting_id: str, account_id: str, amount_nanos: int, *, kind: str, note: str, actor: str
) -> Posting:
    """Give an account credit, or take it away where the kind may; an amount says which."""
    if kind not in CREDIT_KINDS or not (
        amount_nanos > 0 or (amount_nanos < 0 and kind in TAKING_KINDS)
    ):
        raise ValueError(f"not a credit: {kind} {amount_nanos}")
    entries = ((FUNDING, -amount_nanos), (customer(account_id), amount_nanos))
    return Posting(posting_id, kind, account_id, amount_nanos, actor, note, entries)


def usage_posting(posting_id: str, account_id: str, charge_nanos: int, calls: int) -> Posting:
    """Charge an account for a batch of calls; the amount is the sum of their usage events."""
    note = "1 call" if calls == 1 else f"{calls} calls"
    entries = ((customer(account_id), -charge_nanos), (REVENUE, charge_nanos))
    return Posting(posting_id, "usage", account_id, -charge_nanos, "gateway", note, entries)


def overrun_posting(posting_id: str, overrun_nanos: int, calls: int) -> Posting:
    """Book what upstreams counted beyond holds: the operator bears it."""
    note = f"beyond the hold in {calls} calls"
    entries = ((OVERRUN, -overrun_nanos), (REVENUE, overrun_nanos))
    return Posting(posting_id, "overrun", None, 0, "gateway", note, entries)
