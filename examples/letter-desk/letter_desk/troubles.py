"""What can go wrong with somebody's key, in words that tell him what to do next.

Latchgate's refusals carry a stable ``code``; the SDK makes exceptions of them. This is the one
place where they become sentences: the rest of the desk raises, catches and sends a `Trouble`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import openai


@dataclass
class Trouble(Exception):
    """A sentence for the user, and the page where he can mend it."""

    code: str
    message: str
    link: str = ""
    link_text: str = ""
    field: str = ""
    status: int = 502

    def as_json(self) -> dict[str, Any]:
        """What the page's script shows."""
        return asdict(self)


#: Refusals for money, by their code: the sentence, and the console's page that mends it.
_MONEY = {
    "credit_balance_exhausted": (
        "Your credit is used up. Nothing was charged for this try.",
        "/billing",
        "See your credit",
    ),
    "organization_spend_limit_exceeded": (
        "Your account has reached the limit that you set for it. Nothing was charged.",
        "/limits",
        "See your limits",
    ),
    "project_spend_limit_exceeded": (
        "Your key has reached the limit that you set for it. Nothing was charged.",
        "/limits",
        "See your limits",
    ),
}


def trouble_of(error: openai.APIError, api: str) -> Trouble:
    """Say what an error of the SDK means for the user; ``api`` is Latchgate's base URL."""
    console = api.removesuffix("/v1")
    if error.code in _MONEY:
        message, page, link_text = _MONEY[error.code]
        return Trouble(error.code, message, console + page, link_text, status=429)
    if error.code == "invalid_api_key":  # also in mid-draft, where the SDK has no class for it
        return Trouble(
            "key_refused",
            "Latchgate does not accept this key: it is mistyped, replaced or revoked.",
            f"{console}/api-keys",
            "Go to your keys",
            status=401,
        )
    match error:
        case openai.AuthenticationError() | openai.PermissionDeniedError():
            return Trouble("forbidden", f"Latchgate says: {_said(error)}", status=403)
        case openai.RateLimitError():
            return Trouble("too_fast", _wait(error.response.headers.get("retry-after")), status=429)
        case openai.BadRequestError() if error.code == "context_length_exceeded":
            return Trouble("too_long", "That is more than the model can read. Shorten it.")
        case openai.NotFoundError():
            return Trouble("no_model", "Your key may not use the model that this desk writes with.")
        case openai.APITimeoutError():
            return Trouble("too_slow", "The model takes too long. Try again in a moment.")
        case openai.APIConnectionError():
            return Trouble("server_away", f"Latchgate does not answer at {console}. Try again.")
        case _:
            return Trouble("failed", "The model failed. Nothing is lost here: try again.")


def _said(error: openai.APIError) -> str:
    """The server's own sentence; the SDK's message has the whole body around it."""
    body = error.body if isinstance(error.body, dict) else {}
    return str(body.get("message", error.message))


def _wait(retry_after_s: str | None) -> str:
    if retry_after_s and retry_after_s.isdigit():
        return f"That was too fast for your key. Try again in {retry_after_s} s."
    return "Too many drafts are being written with your key. Try again in a moment."
