"""Every route of the admin API: which verb of the command line it is, and who may use it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from latchgate.domain.admin_keys import Scope
from latchgate.domain.people import Caller
from latchgate.http.admin import answered, asked, prices
from latchgate.http.api.keys import TermsChanged
from latchgate.http.refusals import API_PREFIX

ADMIN_PREFIX = f"{API_PREFIX}/admin"

#: Does what a verb of the command line says, as somebody asks for it.
Run = Callable[[str, dict[str, Any], Caller], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Route:
    """One route. A parameter of its path is the verb's argument of that name."""

    method: str
    path: str
    verb: str
    scope: Scope
    says: str
    answered: type[BaseModel]
    #: The shape of the body, or of a GET's query.
    asked: type[BaseModel] | None = None
    #: What the verb calls the rows of a list; the answer calls them ``data``.
    rows: str = ""
    status: int = 200
    #: It reads everything, or asks an upstream: a key may do it ten times in a minute.
    is_slow: bool = False
    #: It takes an Idempotency-Key: what it makes is made once under it.
    is_once: bool = False

    @property
    def params(self) -> list[str]:
        """The names of the path's parameters."""
        return re.findall(r"\{(\w+)", self.path)


_ACCOUNT = "/accounts/{account_id}"
#: Names of models and upstreams may have slashes in them.
_MODEL, _UPSTREAM = "/models/{name:path}", "/upstreams/{name:path}"

_ACCOUNTS = (
    Route("GET", "/accounts", "account.find", "read", "Find accounts, or list all, newest first.",
          answered.AccountLine, asked.AccountsFound, rows="accounts"),
    Route("POST", "/accounts", "account.create", "accounts", "Make an account and its user.",
          answered.AccountAndMoney, asked.AccountMade, status=201),
    Route("GET", _ACCOUNT, "account.show", "read", "Show an account and its money.",
          answered.AccountWhole),
    Route("POST", f"{_ACCOUNT}/suspend", "account.suspend", "accounts",
          "Refuse every call of an account from now on.", answered.AccountShown),
    Route("POST", f"{_ACCOUNT}/resume", "account.resume", "accounts",
          "Take an account's calls again.", answered.AccountShown),
    Route("POST", f"{_ACCOUNT}/log-out", "account.log-out", "accounts",
          "End all sessions of an account's user.", answered.AccountShown),
    Route("POST", f"{_ACCOUNT}/reset-factors", "account.reset-factors", "all",
          "Take second factor and passkeys away from a user who has lost them; he is told by mail.",
          answered.AccountShown),
    Route("GET", f"{_ACCOUNT}/events", "account.events", "read",
          "List what was done with an account, newest first.",
          answered.EventLine, asked.Paged, rows="events"),
    Route("GET", f"{_ACCOUNT}/keys", "key.list", "read",
          "List an account's API keys, without their secrets; at most 50.",
          answered.KeyLine, rows="keys"),
    Route("PATCH", "/keys/{id}", "key.terms", "accounts",
          "Change an API key's terms; they bind its next call.",
          answered.KeyLine, TermsChanged),
    Route("DELETE", "/keys/{id}", "key.revoke", "accounts",
          "End an API key: its next call is refused, and what it streams is cut.",
          answered.KeyRevoked),
)  # fmt: skip

_LIMITS = (
    Route("GET", f"{_ACCOUNT}/limits", "limit.list", "read",
          "Show what binds an account, and what it can spend now.", answered.LimitsShown),
    Route("PUT", f"{_ACCOUNT}/limits/{{what}}/{{period}}", "limit.set", "accounts",
          "Limit what an account (`account`) or its key (`key`) may spend in a day, a week or a "
          "month; the key also in all (`none`).", answered.LimitsShown, asked.LimitSet),
    Route("DELETE", f"{_ACCOUNT}/limits/{{what}}/{{period}}", "limit.remove", "accounts",
          "Take a limit away.", answered.LimitsShown),
    Route("PUT", f"{_ACCOUNT}/premium/{{what}}", "limit.premium", "accounts",
          "Let an account (`account`) or its key (`key`) call premium models, or not.",
          answered.LimitsShown, asked.PremiumSet),
    Route("PUT", f"{_ACCOUNT}/time-zone", "limit.time-zone", "accounts",
          "Say at whose midnight limits begin anew.", answered.LimitsShown, asked.TimeZoneSet),
    Route("PUT", f"{_ACCOUNT}/rates", "limit.rate", "accounts",
          "Say how much an account may do in a minute and at once.",
          answered.RatesShown, asked.RatesSet),
    Route("GET", f"{_ACCOUNT}/mails", "mail.list", "read",
          "Show which mails an account's owner gets.", answered.MailsShown),
    Route("PUT", f"{_ACCOUNT}/mails/{{what}}", "mail.switch", "accounts",
          "Switch a mail on or off: `new_app`, `new_address`, `limits` or `credit`.",
          answered.MailsShown, asked.MailSet),
)  # fmt: skip

_MONEY = (
    Route("GET", f"{_ACCOUNT}/postings", "credit.history", "read",
          "List an account's postings, newest first.",
          answered.PostingLine, asked.Paged, rows="postings"),
    Route("POST", f"{_ACCOUNT}/credit", "credit.add", "money", "Give an account credit.",
          answered.Posted, asked.CreditGiven, status=201, is_once=True),
    Route("POST", f"{_ACCOUNT}/refunds", "credit.refund", "money", "Give back what was charged.",
          answered.Posted, asked.Refunded, status=201, is_once=True),
    Route("POST", f"{_ACCOUNT}/corrections", "credit.correct", "money",
          "Put a wrong posting right by another one.",
          answered.Posted, asked.Corrected, status=201, is_once=True),
    Route("PUT", f"{_ACCOUNT}/credit-line", "credit.line", "money",
          "Let an account that pays afterwards go so far below zero.",
          answered.AccountAndMoney, asked.CreditLineSet),
    Route("GET", f"{_ACCOUNT}/statements", "statement.list", "read",
          "List an account's closed months, newest first.",
          answered.StatementLine, asked.Paged, rows="statements"),
    Route("GET", f"{_ACCOUNT}/statements/{{id}}", "statement.show", "read", "Show a closed month.",
          answered.StatementShown),
    Route("GET", f"{_ACCOUNT}/payments", "payment.list", "read",
          "List an account's payments, newest first.",
          answered.PaymentLine, asked.Paged, rows="payments"),
    Route("GET", "/payments/held", "payment.held", "read",
          "List payments that are held for review; at most 50.",
          answered.PaymentLine, rows="payments"),
    Route("GET", "/codes", "code.list", "read", "List the batches of redemption codes.",
          answered.BatchShown, asked.Paged, rows="batches"),
    Route("POST", "/codes", "code.create", "money",
          "Make a batch of redemption codes. They are in this answer and nowhere else.",
          answered.BatchMade, asked.CodesMade, status=201, is_once=True),
    Route("POST", "/codes/{id}/withdraw", "code.withdraw", "money",
          "Let the rest of a batch be worth nothing; what was redeemed stays.",
          answered.BatchShown),
)  # fmt: skip

_CATALOG = (
    Route("GET", "/upstreams", "upstream.list", "read", "List the upstreams.",
          answered.UpstreamShown, rows="upstreams"),
    Route("POST", "/upstreams", "upstream.add", "catalog", "Take a model server into use.",
          answered.UpstreamShown, asked.UpstreamAdded, status=201),
    Route("POST", f"{_UPSTREAM}/test", "upstream.test", "catalog",
          "Ask an upstream whether it is there and takes our key; it costs nothing.",
          answered.UpstreamTested, is_slow=True),
    Route("PUT", f"{_UPSTREAM}/credential", "upstream.key", "catalog",
          "Call an upstream with another key from now on.",
          answered.CredentialKept, asked.CredentialSet),
    Route("POST", f"{_UPSTREAM}/disable", "upstream.disable", "catalog",
          "Take an upstream's models off the list for a while; calls that run go on.",
          answered.UpstreamSwitched),
    Route("POST", f"{_UPSTREAM}/enable", "upstream.enable", "catalog",
          "Put the models of a disabled upstream on offer again.", answered.UpstreamSwitched),
    Route("DELETE", _UPSTREAM, "upstream.remove", "catalog",
          "Stop using an upstream that serves no model on offer.", answered.Removed),
    Route("GET", "/models", "model.list", "read", "List the models on offer, with their prices.",
          answered.ModelShown, rows="models"),
    Route("POST", "/models", "model.add", "catalog", "Put a model on offer.",
          answered.ModelShown, asked.ModelAdded, status=201),
    Route("PUT", f"{_MODEL}/price", "model.price", "catalog",
          "Give a model a new price version. What was charged stays as it is.",
          answered.ModelShown, prices.PriceSet),
    Route("POST", f"{_MODEL}/price/withdraw", "price.withdraw", "catalog",
          "Take back a price version before it comes into force.",
          prices.PriceWithdrawn, prices.VersionNamed),
    Route("POST", f"{_MODEL}/price/correct", "price.correct", "money",
          "Show who gets what if a model's price had been another for a while, and post it.",
          prices.CorrectionShown, prices.PriceCorrected, is_slow=True),
    Route("GET", "/prices/coming", "price.coming", "read",
          "List the prices that are announced and not in force yet.",
          prices.ComingPriceShown, rows="prices"),
    Route("POST", "/prices/import", "price.import", "catalog",
          "Compare prices with the public list that came with Latchgate, and take some over.",
          prices.ComparisonShown, prices.PricesCompared, is_slow=True),
    Route("DELETE", _MODEL, "model.remove", "catalog", "Take a model off the list.",
          answered.Removed),
)  # fmt: skip

_PLANS = (
    Route("GET", "/plans", "plan.list", "read", "List the plans, the default one first.",
          answered.PlanShown, rows="plans"),
    Route("POST", "/plans", "plan.create", "money", "Make a plan.",
          answered.PlanShown, asked.PlanMade, status=201),
    Route("GET", "/plans/{name:path}", "plan.show", "read", "Show a plan.", answered.PlanShown),
    Route("PATCH", "/plans/{name:path}", "plan.set", "money",
          "Change a plan; it binds the next call of every account that has it.",
          answered.PlanShown, asked.PlanSet),
    Route("PUT", f"{_ACCOUNT}/plan", "plan.assign", "money",
          "Give an account a plan; it binds its next call.",
          answered.PlanGiven, asked.PlanAssigned),
)  # fmt: skip

_PLATFORM = (
    Route("POST", "/invitations", "invite.create", "accounts",
          "Invite somebody, by mail when his address is given. The link is in this answer alone.",
          answered.InvitationMade, asked.Invited, status=201),
    Route("GET", "/events", "events", "read",
          "List what was done with upstreams, models, codes and invitations, newest first.",
          answered.EventLine, asked.Paged, rows="events"),
    Route("GET", "/books", "books", "read", "Show the platform's books.", answered.BooksShown),
    Route("GET", "/audit", "audit", "read",
          "Derive every figure again from its rows, and say what disagrees.", answered.AuditShown,
          is_slow=True),
)  # fmt: skip

ROUTES = (*_ACCOUNTS, *_LIMITS, *_MONEY, *_PLANS, *_CATALOG, *_PLATFORM)
