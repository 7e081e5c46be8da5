"""What a statement's lines are called: on its page, in its PDF and in its CSV alike."""

from __future__ import annotations

from latchgate.domain.prices import PRIORITY_TIER

#: Kinds of posting in people's words.
KINDS = {
    "gift": "Gift",
    "top_up": "Top-up",
    "redemption": "Code redeemed",
    "usage": "Usage",
    "payment": "Payment",
    "payment_refund": "Payment refunded",
    "dispute": "Payment disputed",
    "refund": "Refund",
    "correction": "Correction",
}


def model_words(model: str, service_tier: str) -> str:
    """A model, and that its calls went ahead of others, if they did."""
    return f"{model} (priority)" if service_tier == PRIORITY_TIER else model
