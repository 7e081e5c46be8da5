"""Stripe's HTTP, by its official library: synchronous, and called off the event loop.

It is imported when somebody first pays: most installations never do.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from latchgate.domain.errors import InvalidRequest, UpstreamFailed
from latchgate.domain.payments import CURRENCY, ChargeTold, read_charge

if TYPE_CHECKING:
    from stripe import StripeClient

    from latchgate.config.stripe import StripeSettings

CONNECT_TIMEOUT_S, ANSWER_TIMEOUT_S = 5.0, 20.0
RETRIES_MAX = 2
#: How old a webhook's signature may be: what Stripe's own library says.
SIGNATURE_AGE_MAX_S = 300


@dataclass(frozen=True, slots=True)
class CheckoutAsked:
    """A payment to be made at Stripe's page."""

    payment_id: str
    cents: int
    email: str
    success_url: str
    cancel_url: str


@dataclass(frozen=True, slots=True)
class SetupAsked:
    """A card to be kept, at Stripe's page, for payments to come."""

    setup_id: str
    email: str
    success_url: str
    cancel_url: str


@dataclass(frozen=True, slots=True)
class ChargeAsked:
    """A payment with the card that is kept, while nobody is present."""

    payment_id: str
    cents: int
    customer: str
    payment_method: str


class CardRefused(Exception):
    """The bank says no, or wants to see the owner: trying again does not help."""


@dataclass(frozen=True, slots=True)
class CheckoutMade:
    """Where the owner pays."""

    session_id: str
    url: str


class StripeAPI:
    """What we ask of Stripe."""

    def __init__(self, settings: StripeSettings) -> None:
        self._settings = settings

    @cached_property
    def _client(self) -> StripeClient:
        import stripe  # noqa: PLC0415 - see above

        stripe.enable_telemetry = False  # an installation tells nobody how it fares
        return stripe.StripeClient(
            self._settings.secret_key,
            base_addresses={"api": self._settings.api_base.rstrip("/")},
            http_client=stripe.RequestsClient(timeout=(CONNECT_TIMEOUT_S, ANSWER_TIMEOUT_S)),
            max_network_retries=RETRIES_MAX,
        )

    def create_checkout(self, asked: CheckoutAsked) -> CheckoutMade:
        """Open a checkout session; the same payment twice is the same session.

        Raises UpstreamFailed ``payment_service_failed``.
        """
        return self._create_session(
            {
                "mode": "payment",
                "client_reference_id": asked.payment_id,
                "customer_email": asked.email,
                "line_items": [
                    {
                        "quantity": 1,
                        "price_data": {
                            "currency": CURRENCY,
                            "unit_amount": asked.cents,
                            "product_data": {"name": "Credit"},
                        },
                    }
                ],
                "payment_intent_data": {"metadata": {"payment": asked.payment_id}},
                "success_url": asked.success_url,
                "cancel_url": asked.cancel_url,
            },
            asked.payment_id,
        )

    def create_setup(self, asked: SetupAsked) -> CheckoutMade:
        """Open a session in which a card is kept. Raises UpstreamFailed."""
        return self._create_session(
            {
                "mode": "setup",
                "currency": CURRENCY,
                "client_reference_id": asked.setup_id,
                "customer_email": asked.email,
                "customer_creation": "always",
                "success_url": asked.success_url,
                "cancel_url": asked.cancel_url,
            },
            asked.setup_id,
        )

    def _create_session(self, params: Any, idempotency_key: str) -> CheckoutMade:
        import stripe  # noqa: PLC0415

        try:
            session = self._client.v1.checkout.sessions.create(
                params, {"idempotency_key": idempotency_key}
            )
            session_id, url = session.id, session.url
        except (stripe.StripeError, AttributeError, ValueError) as error:
            raise _failed(type(error).__name__) from error
        if not url or not url.startswith(("https://", self._settings.api_base)):
            raise _failed("a session without an address")
        return CheckoutMade(session_id, url)

    def payment_method_of(self, setup_intent: str) -> str:
        """The card that a session has kept. Raises UpstreamFailed."""
        import stripe  # noqa: PLC0415

        try:
            found = self._client.v1.setup_intents.retrieve(setup_intent).payment_method
        except (stripe.StripeError, AttributeError, ValueError) as error:
            raise _failed(type(error).__name__) from error
        if not isinstance(found, str):
            raise _failed("a setup without a card")
        return found

    def charge(self, asked: ChargeAsked) -> ChargeTold:
        """Pay with the card that is kept; the same payment twice is paid once.

        Raises CardRefused, or UpstreamFailed when nobody knows whether it was paid.
        """
        import stripe  # noqa: PLC0415

        try:
            intent = self._client.v1.payment_intents.create(
                {
                    "amount": asked.cents,
                    "currency": CURRENCY,
                    "customer": asked.customer,
                    "payment_method": asked.payment_method,
                    "off_session": True,
                    "confirm": True,
                    "metadata": {"payment": asked.payment_id},
                },
                {"idempotency_key": asked.payment_id},
            )
            told = read_charge(intent.to_dict())
        except (stripe.CardError, stripe.InvalidRequestError) as error:
            raise CardRefused(error.code or type(error).__name__) from error
        except (stripe.StripeError, AttributeError, ValueError) as error:
            raise _failed(type(error).__name__) from error
        if told is None:
            raise _failed("a payment intent that is not ours")
        return told

    def check_signature(self, body: bytes, header: str) -> None:
        """Raise InvalidRequest ``invalid_signature`` unless Stripe has signed these bytes."""
        import stripe  # noqa: PLC0415

        try:
            stripe.WebhookSignature.verify_header(
                body, header, self._settings.webhook_secret, SIGNATURE_AGE_MAX_S
            )
        # Headers and bodies that are no text, too: the library compares them as text.
        except (stripe.SignatureVerificationError, ValueError, TypeError) as error:
            raise InvalidRequest(
                "The signature is not Stripe's, or it is too old. Check stripe.webhook_secret.",
                code="invalid_signature",
                internal=type(error).__name__,
            ) from None


def _failed(why: str) -> UpstreamFailed:
    return UpstreamFailed(
        "The payment service could not be reached. Nothing was paid; try again in a moment.",
        code="payment_service_failed",
        internal=f"stripe: {why}",
    )
