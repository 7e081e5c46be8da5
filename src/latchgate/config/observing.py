"""The settings of what the server says of itself: its log, metrics and traces."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

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


def _is_collector(value: str) -> bool:
    try:
        parts = urlsplit(value)
        has_host = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
    is_bare = not parts.query and not parts.fragment and "@" not in parts.netloc
    return parts.scheme in {"http", "https"} and has_host and is_bare


@dataclass(frozen=True, slots=True)
class TraceSettings:
    """Where OpenTelemetry's collector is, if there is one."""

    endpoint: str = setting(
        "",
        text("an http:// or https:// address", _is_collector),
        "A collector that takes OTLP over HTTP, without `/v1/traces` at its end, such as "
        "`http://localhost:4318`. It gets a span for each ended call. Empty: no traces.",
        unit="URL",
    )
    authorization: str = setting(
        "",
        text(),
        "The value of the Authorization header that it is sent. Empty: none.",
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
