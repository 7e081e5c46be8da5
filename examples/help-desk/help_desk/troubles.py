"""What went wrong, twice: the visitor hears what he can do, the business what it must mend."""

from __future__ import annotations

from dataclasses import dataclass

import openai

#: For the visitor every failure behind the desk is the same one; money and keys are not his.
AWAY = "I can't look things up just now. Leave us a letter below, and a person will answer you."


@dataclass
class Refusal(Exception):
    """A sentence for the visitor."""

    code: str
    message: str
    status: int
    field: str = ""


#: For the business: what Latchgate's code means, and the page of the console that mends it.
_ADVICE = {
    "invalid_api_key": ("the desk's key is refused: set a live LATCHGATE_KEY", "/api-keys"),
    "credit_balance_exhausted": ("the account's credit is used up", "/billing"),
    "organization_spend_limit_exceeded": ("the account's limit is reached", "/limits"),
    "project_spend_limit_exceeded": ("the key's limit is reached", "/limits"),
    "rate_limit_exceeded": ("the desk asks faster than the account may", "/limits"),
    "context_length_exceeded": ("a heading or a word in your pages is too long", "/prices"),
    "model_not_found": ("the key has no such model; see help-desk.toml", "/prices"),
}


def advice(error: openai.APIError, base_url: str) -> str:
    """What the business should do about an error of the SDK."""
    console = base_url.removesuffix("/v1")
    if error.code in _ADVICE:
        meaning, page = _ADVICE[error.code]
        return f"Latchgate says: {meaning} ({console}{page})."
    if isinstance(error, openai.APITimeoutError):
        return "The model takes too long; visitors get the pages' own words."
    if isinstance(error, openai.APIConnectionError):
        return f"Latchgate does not answer at {base_url}."
    body = error.body if isinstance(error.body, dict) else {}
    return f"Latchgate says: {body.get('message', error.message)}"
