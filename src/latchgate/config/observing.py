"""The settings of what the server says of itself: its log and its metrics."""

from __future__ import annotations

import re
from dataclasses import dataclass

from latchgate.config.declare import boolean, choice, setting, text


def _is_token(value: str) -> bool:
    return re.fullmatch(r"[!-~]{20,}", value, re.ASCII) is not None


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """Who may read `/metrics`."""

    token: str = setting(
        "",
        text("at least 20 letters, digits and signs, without a space", _is_token),
        "What Prometheus sends as a bearer token to read `/metrics`. Empty: there is no such page.",
        is_secret=True,
    )


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What the server says on stderr."""

    level: str = setting(
        "info",
        choice("debug", "info", "warning", "error"),
        "The least urgent lines that are written.",
    )
    format: str = setting(
        "console", choice("console", "json"), "Lines for people, or one JSON object a line."
    )
    calls: bool = setting(
        default=False,
        kind=boolean(),
        description="Write a line for each call that has ended, about a second after its end: who, "
        "what, how long, tokens and charge, and nothing of what was said.",
    )
