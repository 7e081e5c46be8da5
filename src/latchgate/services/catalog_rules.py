"""What an operator may write about an upstream or a model; each check raises InvalidRequest."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from latchgate.domain.endpoints import EMBEDDINGS, ENDPOINTS, KINDS
from latchgate.domain.errors import InvalidRequest
from latchgate.domain.prices import PRIORITY_PERCENT_MAX, PRIORITY_PERCENT_MIN

CONTEXT_TOKENS_MAX = 10_000_000
EXTRA_FIELDS_MAX = 64
CALLS_AT_ONCE_MAX = 100_000
TIERS = ("standard", "premium")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,99}", re.ASCII)
_FIELD = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)


def check_name(name: str) -> None:
    """An upstream's or a model's name."""
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            "A name has 1 to 100 of letters, digits and . _ : / @ - and begins with a letter "
            "or digit.",
            param="name",
        )


def check_tokens(count: int, count_max: int, param: str) -> None:
    """A count of tokens within its bounds."""
    if not 0 < count <= count_max:
        raise InvalidRequest(f"{param} is 1 to {count_max} tokens.", param=param)


def check_tier(tier: str) -> None:
    """A model's tier."""
    if tier not in TIERS:
        raise InvalidRequest("A tier is standard or premium.", param="tier")


def check_calls_at_once(count: int | None) -> None:
    """How many calls an upstream runs at once; None is without a bound."""
    if count is not None and not 0 < count <= CALLS_AT_ONCE_MAX:
        raise InvalidRequest(
            f"An upstream runs 1 to {CALLS_AT_ONCE_MAX} calls at once.", param="calls_at_once"
        )


def check_priority_percent(percent: int) -> None:
    """What a priority price is of the usual one: never less."""
    if not PRIORITY_PERCENT_MIN <= percent <= PRIORITY_PERCENT_MAX:
        raise InvalidRequest(
            f"A priority price is {PRIORITY_PERCENT_MIN} to {PRIORITY_PERCENT_MAX} percent of the "
            "usual one.",
            param="priority_percent",
        )


def check_extra_fields(names: Sequence[str]) -> None:
    """The body fields that an upstream takes beyond OpenAI's."""
    if len(names) > EXTRA_FIELDS_MAX or not all(map(_FIELD.fullmatch, names)):
        raise InvalidRequest(
            f"Extra fields are at most {EXTRA_FIELDS_MAX} names such as top_k.",
            param="extra_fields",
        )


def check_speaks(speaks: Sequence[str]) -> None:
    """The endpoints that an upstream answers itself."""
    if not speaks or not set(speaks) <= set(ENDPOINTS):
        raise InvalidRequest(
            f"An upstream speaks one or more of {', '.join(ENDPOINTS)}.", param="speaks"
        )


def check_kind(kind: str, output_picos: int, *, is_text_only: bool = True) -> None:
    """A model's kind, with what goes with it."""
    if kind not in KINDS:
        raise InvalidRequest("A model's kind is chat or embeddings.", param="kind")
    if kind == EMBEDDINGS and output_picos:
        raise InvalidRequest(
            "An embeddings model writes nothing: its output price is 0.", param="output_price"
        )
    if kind == EMBEDDINGS and not is_text_only:
        raise InvalidRequest(
            "An embeddings model takes no images and does not think.", param="kind"
        )


def check_answers_for(kind: str, *, upstream: str, speaks: Sequence[str]) -> None:
    """An upstream that speaks what a model of this kind is asked by."""
    if not any((endpoint == EMBEDDINGS) == (kind == EMBEDDINGS) for endpoint in speaks):
        raise InvalidRequest(
            f"{upstream} speaks {', '.join(speaks)}: it can't answer for a model of kind {kind}.",
            param="upstream",
        )


def as_spoken(speaks: Sequence[str]) -> str:
    """The endpoints as their column has them: each once, in the order of the API's list."""
    return json.dumps([endpoint for endpoint in ENDPOINTS if endpoint in speaks])
