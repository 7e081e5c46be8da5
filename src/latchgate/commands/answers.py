"""What the services return, as JSON: the same whoever asks, and however."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from latchgate.clock import SECOND_US
from latchgate.domain.money import format_usd
from latchgate.domain.prices import format_price
from latchgate.services.key_terms import facts_of

if TYPE_CHECKING:
    from latchgate.domain.monthly_statements import Statement
    from latchgate.services.accounts import AccountView
    from latchgate.services.admin_keys import AdminKeyView
    from latchgate.services.audit_log import AuditEventView
    from latchgate.services.auto_top_ups import TopUpView
    from latchgate.services.billing import PostingView
    from latchgate.services.catalog import ModelTerms, ModelView, UpstreamView
    from latchgate.services.key_states import KeyView
    from latchgate.services.limits import Standing
    from latchgate.services.operations import PlatformBooks
    from latchgate.services.operator_accounts import AccountLine
    from latchgate.services.payments import PaymentView
    from latchgate.services.plans import PlanView
    from latchgate.services.price_correction_views import Correction
    from latchgate.services.price_import import ImportLine
    from latchgate.services.prices import ComingPrice
    from latchgate.services.redemption_codes import BatchView

Answer = dict[str, Any]
#: Classes of tokens that have a price each.
PRICED = ("input", "cached", "output")


def account(account: AccountView) -> Answer:
    """An account, without its figures."""
    return {
        "account_id": account.account_id,
        "user_id": account.user_id,
        "email": account.email,
        "state": account.state,
        "is_operator": account.is_operator,
        "is_premium_on": account.is_premium_on,
        "created_at": iso(account.created_us),
    }


def account_line(line: AccountLine) -> Answer:
    """An account as it stands in a list, with what it has and uses."""
    return {
        "account_id": line.account_id,
        "email": line.email,
        "state": line.state,
        "is_operator": line.is_operator,
        **money("credit_left", line.credit_left_nanos),
        **money("spent_this_month", line.spent_nanos),
        "last_used_at": iso(line.last_used_us),
        "created_at": iso(line.created_us),
    }


def event(event: AuditEventView) -> Answer:
    """A line of the audit log, as an operator sees it."""
    return {
        "id": event.id,
        "at": iso(event.at_us),
        "actor": event.actor,
        "action": event.action,
        "target": event.target,
        "address": event.ip,
        "user_agent": event.user_agent,
        "details": event.details,
    }


def admin_key(view: AdminKeyView) -> Answer:
    """An operator's key; the secret is never part of it."""
    return {
        "id": view.id,
        "name": view.name,
        "masked": view.masked,
        "email": view.email,
        "scopes": list(view.scopes),
        "state": view.state,
        "created_at": iso(view.created_us),
        "created_by": view.created_by,
        "expires_at": iso(view.expires_us),
        "revoked_at": iso(view.revoked_us),
        "last_used_at": iso(view.last_used_us),
        "last_used_from": view.last_used_ip,
    }


def books(books: PlatformBooks) -> Answer:
    """The platform's side of the books."""
    return {
        **money("revenue", books.revenue_nanos),
        **money("charged", books.charged_nanos),
        **money("given", books.given_nanos),
        **money("outstanding", books.outstanding_nanos),
        **money("owed", books.owed_nanos),
        **money("overrun", books.overrun_nanos),
        **money("loss", books.loss_nanos),
        "accounts": books.accounts,
        "postings": [
            {"kind": one.kind, "count": one.count, **money("sum", one.nanos)}
            for one in books.postings
        ],
    }


def key(key: KeyView) -> Answer:
    """A key; the secret is never part of it."""
    return {
        "id": key.id,
        "name": key.name,
        "public_id": key.public_id,
        "masked": key.masked,
        "state": key.state,
        "created_at": iso(key.created_us),
        "ended_at": iso(key.ended_us),
        "last_used_at": iso(key.last_used_us),
        "last_app": key.last_app,
        "calls": key.calls,
        **money("spent", key.spent_nanos),
        **facts_of(key.terms),
    }


def posting(posting: PostingView) -> Answer:
    """A line of the books."""
    return {
        "id": posting.id,
        "kind": posting.kind,
        **money("amount", posting.amount_nanos),
        "note": posting.note,
        "actor": posting.actor,
        "created_at": iso(posting.created_us),
    }


def batch(view: BatchView) -> Answer:
    """A batch of redemption codes, without them."""
    return {
        "id": view.id,
        **money("amount", view.amount_nanos),
        "codes": view.codes,
        "redeemed": view.redeemed,
        "note": view.note,
        "actor": view.actor,
        "created_at": iso(view.created_us),
        "expires_at": iso(view.expires_us),
        "withdrawn_at": iso(view.withdrawn_us),
    }


def statement(statement: Statement) -> Answer:
    """A closed month, without its lines."""
    return {
        "id": statement.id,
        "number": statement.label,
        "month": statement.month,
        "holder": statement.holder,
        "time_zone": statement.time_zone,
        "starts_at": iso(statement.starts_us),
        "ends_at": iso(statement.ends_us),
        "closed_at": iso(statement.closed_us),
        **money("opening", statement.opening_nanos),
        **money("closing", statement.closing_nanos),
    }


def payment(view: PaymentView) -> Answer:
    """A payment, and what it is called at Stripe."""
    return {
        "id": view.id,
        "account_id": view.account_id,
        **money("amount", view.amount_nanos),
        "state": view.state,
        "session_id": view.session_id,
        "created_at": iso(view.created_us),
    }


def top_up(view: TopUpView | None) -> Answer:
    """The terms on which credit is paid for by itself."""
    if view is None:
        return {"state": "off"}
    return {
        "state": view.state,
        **money("threshold", view.terms.threshold_nanos),
        **money("amount", view.terms.amount_nanos),
        **money("month_max", view.terms.month_max_nanos),
        **money("paid_this_month", view.paid_this_month_nanos),
    }


def standing(standing: Standing) -> Answer:
    """What binds an account, and what can be spent now."""
    return {
        **money("available", standing.available_nanos),
        "time_zone": standing.time_zone,
        "premium": standing.premium,
        "limits": [
            {
                "what": view.kind.removesuffix("_limit"),
                "period": view.period,
                **money("limit", view.limit_nanos),
                **money("spent", view.spent_nanos),
                **money("held", view.held_nanos),
                **money("left", view.left_nanos),
                "resets_at": iso(view.resets_us),
            }
            for view in standing.limits
        ],
    }


def upstream(view: UpstreamView) -> Answer:
    """An upstream, without its credential."""
    shown = asdict(view)
    shown["created_at"] = iso(shown.pop("created_us"))
    return shown


def model(view: ModelView) -> Answer:
    """A model, its prices in USD per million tokens."""
    shown = asdict(view)
    for name in (*PRICED, *(f"priority_{name}" for name in PRICED)):
        shown[f"{name}_price"] = format_price(shown.pop(f"{name}_picos"))
    shown["created_at"] = iso(shown.pop("created_us"))
    return shown


def coming_price(price: ComingPrice) -> Answer:
    """A version of a price that waits, with the model as it will be."""
    return {**model(price.model), "effective_from": iso(price.from_us)}


def import_line(line: ImportLine, *, is_taken: bool) -> Answer:
    """A model beside what a public list of prices says of it."""
    if is_taken:
        state = "taken over"
    else:
        state = "differs" if line.is_change else line.listed.problem or "the same"
    return {
        "name": line.model.name,
        "listed_as": line.listed.name or None,
        "state": state,
        "now": terms(line.now),
        "listed": None if line.terms is None else terms(line.terms),
        "left_out": list(line.listed.left_out),
    }


def terms(terms: ModelTerms) -> Answer:
    """A price, in USD per million tokens."""
    return {f"{name}_price": format_price(getattr(terms, f"{name}_picos")) for name in PRICED}


def correction(found: Correction) -> Answer:
    """What a correction of a price is, or was, for each account."""
    return {
        "accounts": [
            {
                "account_id": line.account_id,
                "email": line.email,
                "calls": line.calls,
                **money("charged", line.charged_nanos),
                **money("right", line.right_nanos),
                **money("amount", line.amount_nanos),
                "left_out": line.left_out or None,
            }
            for line in found.lines
        ],
        **money("refunded", found.refunded_nanos),
        **money("taken", found.taken_nanos),
    }


def plan(plan: PlanView) -> Answer:
    """A plan, its amounts in both ways; null is what the configuration says."""
    terms = plan.terms
    gift = {"gift_nanos": None, "gift_usd": None}
    return {
        "id": plan.id,
        "name": plan.name,
        "accounts": plan.accounts,
        **(gift if terms.gift_nanos is None else money("gift", terms.gift_nanos)),
        "requests_per_minute": terms.requests_per_minute,
        "tokens_per_minute": terms.tokens_per_minute,
        "calls_at_once": terms.calls_at_once,
        "has_premium": terms.has_premium,
        **money("credit_line", terms.credit_line_nanos),
    }


def money(name: str, nanos: int) -> Answer:
    """An amount twice: exact nano-USD, and decimal USD for people."""
    return {f"{name}_nanos": nanos, f"{name}_usd": format_usd(nanos)}


def iso(at_us: int | None) -> str | None:
    """A moment as RFC 3339 text in UTC."""
    if at_us is None:
        return None
    moment = datetime.fromtimestamp(at_us / SECOND_US, UTC)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
