"""The settings of payments by Stripe; without its two secrets there are none."""

from __future__ import annotations

from dataclasses import dataclass

from latchgate.config.declare import is_origin, setting, text, usd


@dataclass(frozen=True, slots=True)
class StripeSettings:
    """How owners pay by themselves."""

    secret_key: str = setting(
        "",
        text("a key that begins with sk_ or rk_", lambda value: value.startswith(("sk_", "rk_"))),
        "The secret key of the Stripe account. Empty: nobody can pay here, and nothing says so. "
        "Better given as a variable than in the file.",
        is_secret=True,
    )
    webhook_secret: str = setting(
        "",
        text("a secret that begins with whsec_", lambda value: value.startswith("whsec_")),
        "The signing secret of the webhook endpoint at `/api/stripe/webhook`. "
        "Better given as a variable than in the file.",
        is_secret=True,
    )
    api_base: str = setting(
        "https://api.stripe.com",
        text("an http:// or https:// origin without a path", is_origin, may_be_empty=False),
        "Where Stripe's API is.",
        unit="URL",
    )
    amount_min_nanos: int = setting(
        5_000_000_000,
        usd(),
        "The least that can be paid at once; Stripe itself takes no less than 0.50.",
        unit="USD",
        name="amount_min",
        default_text='"5.00"',
    )
    amount_max_nanos: int = setting(
        1_000_000_000_000,
        usd(),
        "The most that can be paid at once.",
        unit="USD",
        name="amount_max",
        default_text='"1000.00"',
    )

    @property
    def is_on(self) -> bool:
        """Whether owners can pay here."""
        return bool(self.secret_key and self.webhook_secret)
