"""Admission: who calls, with which model, and how much money is set aside for it.

A refused call writes nothing. The hold is a proven bound: the input is at most the prompt's bytes
and the template's constant, the output at most what the call may produce. When less is affordable
than was asked for, the call runs smaller and says so; only when not even the input and one token
fit is it refused.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from latchgate.domain.errors import (
    Forbidden,
    InvalidKey,
    InvalidRequest,
    NotFound,
    QuotaExceeded,
    RateLimited,
)
from latchgate.domain.money import format_usd
from latchgate.domain.windows import FOREVER_US
from latchgate.gateway.holds import Binding, Hold, Shortage
from latchgate.gateway.rates import RateBook, RateTerms
from latchgate.gateway.refused_keys import refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from latchgate.clock import Clock
    from latchgate.domain.key_terms import Act
    from latchgate.domain.prices import Price
    from latchgate.gateway.directory import Directory, KeyEntry
    from latchgate.gateway.head import Head
    from latchgate.gateway.offers import ModelEntry
    from latchgate.gateway.prompt import Prompt
    from latchgate.gateway.purse import Purse
    from latchgate.gateway.request import GatewayRequest

_NO_KEY = (
    "You didn't provide an API key. Send it in the header Authorization: Bearer YOUR_KEY. "
    "You can create one on the API keys page of this platform's console."
)
#: Output that a stream holds at a time, in tokens.
SLICE_TOKENS = 512
#: What a key's scope does not cover.
_ACTS_REFUSED: dict[Act, str] = {
    "call": "This key reads reports and calls no models. Use a key whose scope covers calls, or "
    "change this one's on its page in the console.",
    "report": "This key calls models and reads no reports about the account. Use a key whose scope "
    "covers reports, or change this one's on its page in the console.",
}
_QUOTES = "'\"“”‘’ \t"


class Allowance(msgspec.Struct):
    """What a call may use: its hold, the price of what it uses, and the tokens that are held.

    ``output_tokens`` is what each choice may produce at most; ``held_tokens`` what the hold carries
    of all choices together, which for a stream grows as it goes.
    """

    hold: Hold
    price: Price
    output_tokens: int
    held_tokens: int
    is_clamped: bool
    input_tokens_max: int
    #: When the call was let in: the moment whose windows it binds.
    admitted_us: int


class Ask(msgspec.Struct):
    """What a call needs to be let in, amounts in nano-USD.

    ``output_tokens`` is what each choice asks for, within the model's bounds; ``first_tokens`` what
    is held of it before the call runs.
    """

    price: Price
    prompt: Prompt
    input_tokens_max: int
    output_tokens: int
    first_tokens: int
    wanted_nanos: int
    least_nanos: int
    #: The moment whose windows the call binds.
    admitted_us: int


#: What binds a call that costs nothing.
_FREE = Binding((), 0, FOREVER_US)


class Admission:
    """Lets calls in, or refuses them."""

    def __init__(
        self,
        clock: Clock,
        directory: Directory,
        purse: Purse,
        activate: Callable[[KeyEntry], Awaitable[None]],
        rate_book: RateBook,
        *,
        running_per_key_max: int,
    ) -> None:
        self._clock = clock
        self._directory = directory
        self._purse = purse
        self._activate = activate
        self._rate_book = rate_book
        self._running_per_key_max = running_per_key_max

    def find_key(self, request: GatewayRequest) -> KeyEntry | None:
        """Whose request it is, where memory alone can tell; None: ask ``get_key``.

        Raises InvalidKey, or Forbidden for its account.
        """
        head = request.head
        entry = self._directory.find_key(key_text(head.headers, head.query))
        if entry is None or entry.state == "pending":
            return None
        check_account(entry)
        head.key = entry
        return entry

    async def get_key(self, request: GatewayRequest) -> KeyEntry:
        """The key behind a request's head. Raises InvalidKey, or Forbidden for its account."""
        text = key_text(request.headers, request.head.query)
        entry = await self._directory.get_key(text)
        check_account(entry)
        # Before the first use of a fresh key: a call that is refused is none.
        self.check_terms(entry, request.head)
        if entry.state == "pending":
            # The first use of a fresh key ends the one that it replaces.
            try:
                await self._activate(entry)
            except NotFound:  # another replacement was quicker
                raise refusal(text) from None
        return entry

    def check_terms(self, entry: KeyEntry, head: Head) -> None:
        """Check what a head asks for, and where it comes from, against its key's terms, once.

        Raises InvalidKey for a key that has expired; Forbidden ``missing_scope`` or
        ``ip_not_authorized``.
        """
        terms = entry.terms
        if terms.expires_us is not None and self._directory.has_expired(entry):
            raise refusal(key_text(head.headers, head.query))
        if head.terms is terms:
            return
        if not terms.permits_address(head.ip):
            raise Forbidden(
                f"Calls with this key are not taken from the address {head.ip}. Call from an "
                "address that it is for, or add this one on the key's page in the console.",
                code="ip_not_authorized",
            )
        if not terms.permits_act(head.act):
            raise Forbidden(_ACTS_REFUSED[head.act], code="missing_scope")
        head.terms = terms

    def permitted(self, entry: KeyEntry) -> list[ModelEntry]:
        """The models that a key may call."""
        return [
            model
            for model in self._directory.models.values()
            if (model.tier == "standard" or entry.is_premium_on)
            and entry.terms.permits_model(model.name)
        ]

    def get_model(self, name: str, entry: KeyEntry) -> ModelEntry:
        """A model that this key may call. Raises NotFound."""
        model = self._directory.models.get(name)
        models = entry.terms.models
        if model is None or (models and name not in models):
            raise NotFound(
                f"The model '{name[:100]}' does not exist or you do not have access to it. "
                "GET /v1/models lists those that you can use.",
                code="model_not_found",
                param="model",
            )
        if model.tier == "premium" and not entry.is_premium_on:
            raise NotFound(
                f"The model '{name}' is a premium model, and premium models are switched off for "
                "this key. Switch premium models on under Limits in the console.",
                code="model_not_found",
                param="model",
            )
        return model

    def check_tier(self, prompt: Prompt, entry: KeyEntry) -> None:
        """Raise InvalidRequest for a call that may not go ahead of others."""
        if prompt.is_priority and not entry.is_premium_on:
            raise InvalidRequest(
                "The priority tier is switched off for this key, as premium models are. Switch "
                "premium on under Limits in the console, or leave 'service_tier' out.",
                code="service_tier_not_enabled",
                param="service_tier",
            )

    def check_still_welcome(self, entry: KeyEntry, head: Head) -> None:
        """What may have changed while a call's body and money were on their way.

        Raises InvalidKey when its key has ended, Forbidden when its terms have changed and no
        longer permit it, RateLimited when too many calls run by now.
        """
        if entry.has_ended:
            raise InvalidKey("This API key has ended while the call was on its way.")
        if head.terms is not entry.terms:
            self.check_terms(entry, head)
        self.check_concurrency(entry)

    def check_concurrency(self, entry: KeyEntry) -> None:
        """Raise RateLimited while the key has too many calls running."""
        most = entry.calls_at_once or self._running_per_key_max
        if len(entry.running) >= most:
            who = "The playground" if entry.is_playground else "This key"
            raise RateLimited(
                f"{who} has {most} calls running, which is its limit. Wait for one of them to end.",
                retry_after_s=1,
                code="concurrency_limit_exceeded",
            )

    def admit_rate(self, entry: KeyEntry, prompt: Prompt, now_s: float) -> bytes:
        """Count the request against its account's rates; the header lines that say what is left.

        Raises RateLimited.
        """
        rates = entry.rates
        if rates is None:
            usual, own = self._rate_book.usual, entry.rate_terms
            terms = RateTerms(
                usual.requests_per_minute if own[0] is None else own[0],
                usual.tokens_per_minute if own[1] is None else own[1],
            )
            rates = entry.rates = self._rate_book.get(entry.account_id, terms, now_s)
        return rates.admit(prompt.input_tokens_usual, now_s)

    def ask(self, model: ModelEntry, prompt: Prompt, *, is_strict: bool) -> Ask:
        """What a call needs to be let in.

        ``is_strict`` refuses rather than lets the call run smaller than it asked.
        """
        price = model.priority_price if prompt.is_priority else model.price
        input_max = prompt.input_tokens_max(
            message_tokens=model.message_tokens, context_tokens=model.context_tokens
        )
        output_max = min(model.output_tokens_max, model.context_tokens) * prompt.has_output
        asked = min(prompt.output_tokens_asked or output_max, output_max)
        # A stream holds its output slice by slice, unless something of it can't be seen passing.
        is_sliced = prompt.is_stream and not is_strict and not model.is_thinking
        first = min(asked, SLICE_TOKENS) if is_sliced else asked
        wanted = price.bound_nanos(input_max, first * prompt.choices)
        least = (
            wanted if is_strict else price.bound_nanos(input_max, min(first, 1) * prompt.choices)
        )
        return Ask(price, prompt, input_max, asked, first, wanted, least, self._clock.now_us())

    def hold_now(self, entry: KeyEntry, ask: Ask) -> Allowance | None:
        """Set money aside for a call, where memory alone can tell; None: ask ``hold``.

        Raises QuotaExceeded when not even one token is affordable.
        """
        held = self._purse.hold_now(self._binding(entry, ask), ask.wanted_nanos, ask.least_nanos)
        return None if held is None else self._allow(entry, ask, held)

    async def hold(self, entry: KeyEntry, ask: Ask) -> Allowance:
        """Set money aside for a call. Raises QuotaExceeded, or LedgerUnavailable."""
        windows = () if ask.price.is_free else entry.windows_at(ask.admitted_us)
        wanted, least = ask.wanted_nanos, ask.least_nanos
        return self._allow(entry, ask, await self._purse.hold(windows, wanted=wanted, least=least))

    def _binding(self, entry: KeyEntry, ask: Ask) -> Binding:
        if ask.price.is_free:
            return _FREE
        binding = entry.binding
        if binding is None or not self._purse.is_bound(binding, ask.admitted_us):
            windows = entry.windows_at(ask.admitted_us)
            binding = entry.binding = self._purse.bind(windows, entry.windows_until_us)
        return binding

    def _allow(self, entry: KeyEntry, ask: Ask, hold: Hold | Shortage) -> Allowance:
        if isinstance(hold, Shortage):
            raise _too_expensive(entry, ask.least_nanos, hold)
        prompt = ask.prompt
        allowed, held = ask.output_tokens, ask.first_tokens
        if hold.amount_nanos < ask.wanted_nanos:
            amount_nanos = hold.amount_nanos
            affordable = ask.price.output_tokens_affordable(ask.input_tokens_max, amount_nanos)
            if affordable is not None:
                allowed = held = min(held, affordable // prompt.choices)
        is_clamped = allowed < (prompt.output_tokens_asked or ask.output_tokens)
        return Allowance(
            hold,
            ask.price,
            allowed,
            held * prompt.choices,
            is_clamped,
            ask.input_tokens_max,
            ask.admitted_us,
        )


def check_account(entry: KeyEntry) -> None:
    """Raise Forbidden for a suspended account."""
    if entry.is_suspended:
        raise Forbidden(
            "This account is suspended. Ask the operator of this platform.",
            code="account_suspended",
        )


def key_text(headers: dict[bytes, bytes], query: bytes) -> str:
    """The API key that a request carries, whichever header it uses. Raises InvalidKey.

    One parser for ``Authorization: Bearer``, ``x-api-key`` and ``api-key``, so that every form
    meets the same rules.
    """
    authorization = headers.get(b"authorization")
    if authorization is not None:
        scheme, _, credential = authorization.decode("latin-1").strip().partition(" ")
        if scheme.lower() != "bearer":
            scheme = scheme if scheme.isalpha() and len(scheme) <= 16 else "something else"  # noqa: PLR2004
            raise InvalidKey(
                f"The Authorization header must be 'Bearer YOUR_KEY', but it was {scheme}."
            )
    else:
        credential = (headers.get(b"x-api-key") or headers.get(b"api-key") or b"").decode("latin-1")
    text = credential.strip(_QUOTES)
    if text:
        return text
    if b"api_key=" in query or b"key=" in query:
        raise InvalidKey(
            "A key in the address ends up in logs, so it is not taken there, and you should "
            "replace it. " + _NO_KEY
        )
    raise InvalidKey(_NO_KEY)


def app_label(headers: dict[bytes, bytes]) -> str:
    """What the calling app says it is: shown as text to the account's owner, never trusted."""
    find = headers.get
    title = find(b"x-title") or find(b"x-openrouter-title") or b""
    referer = find(b"http-referer") or find(b"referer") or b""
    return _label(title[:256], referer[:256], find(b"user-agent", b"")[:256])


@lru_cache(maxsize=1024)
def _label(title: bytes, referer: bytes, user_agent: bytes) -> str:
    if label := _printable(title):
        return label
    site = _printable(referer)
    if "://" in site:
        return site.partition("://")[2].partition("/")[0]
    return _printable(user_agent) or "unknown"


def _printable(value: bytes) -> str:
    text = value.decode("utf-8", "replace")
    return "".join(char for char in text if char.isprintable())[:64].strip()


#: What binds, in people's words; where to change it; and the error's code.
_BINDING = {
    "credit": ("account's credit", "Add credit", "credit_balance_exhausted"),
    "account_limit": (
        "account's limit",
        "Raise it on the console's Limits page",
        "organization_spend_limit_exceeded",
    ),
    "key_limit": (
        "key's limit",
        "Raise it on the console's Limits page",
        "project_spend_limit_exceeded",
    ),
}
_PERIODS = {"none": "", "day": " for today", "week": " for this week", "month": " for this month"}


def _too_expensive(entry: KeyEntry, needed_nanos: int, shortage: Shortage) -> QuotaExceeded:
    budget = next(
        (budget for budget in entry.budgets if budget.id == shortage.window.budget_id), None
    )
    kind, period = (budget.kind, budget.period) if budget else ("credit", "none")
    name, remedy, code = _BINDING[kind]
    return QuotaExceeded(
        f"This call needs at least ${format_usd(needed_nanos)}, and "
        f"${format_usd(shortage.left_nanos)} of this {name}{_PERIODS[period]} is left. {remedy}, "
        "send a shorter prompt, or wait until running calls have ended.",
        code=code,
    )
