"""The settings: the one place where each is declared, with its unit, default and meaning."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path

from latchgate.config.declare import (
    Setting,
    boolean,
    choice,
    database_url,
    declared_settings,
    integer,
    is_origin,
    setting,
    text,
    texts,
    usd,
)
from latchgate.config.embedded import EmbeddedSettings
from latchgate.config.observing import LogSettings, MetricsSettings, TraceSettings
from latchgate.config.stripe import StripeSettings
from latchgate.domain.prices import PRIORITY_PERCENT_MAX, PRIORITY_PERCENT_USUAL

_HOST = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
    r"(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*",
    re.ASCII,
)
_PORT_MAX = 65_535
_MINUTE_MS = 60_000
_HOUR_MS = 60 * _MINUTE_MS
_MIB = 1024 * 1024


def _is_host(value: str) -> bool:
    return _HOST.fullmatch(value) is not None or _is_address(value.strip("[]"))


def _is_address(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


def _is_file(value: str) -> bool:
    return Path(value).is_file()


def _is_sender(value: str) -> bool:
    return re.fullmatch(r"(?:[^<>@\r\n]*<)?[^<>@\s]+@[^<>@\s]+>?", value) is not None


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where the server listens and which names it answers to."""

    host: str = setting(
        "127.0.0.1",
        text("an IP address or a host name", _is_host, may_be_empty=False),
        "The address to listen on. Anything but loopback asks for TLS, or for `insecure_http`.",
    )
    port: int = setting(
        8000,
        integer(0, _PORT_MAX),
        "The port to listen on; 0 takes any that is free.",
        unit="TCP port",
    )
    public_url: str = setting(
        "",
        text("an http:// or https:// origin without a path", is_origin),
        "How people reach the server, used in mails and examples. "
        "Empty: made from the host and the port.",
        unit="URL",
    )
    allowed_hosts: tuple[str, ...] = setting(
        (),
        texts("host names or IP addresses", _is_host),
        "More names that a request's Host header may carry, "
        "beside localhost, 127.0.0.1, [::1] and the host of `public_url`.",
    )
    trusted_proxies: tuple[str, ...] = setting(
        (),
        texts("IP addresses", _is_address),
        "Reverse proxies whose X-Forwarded-For and X-Forwarded-Proto are believed.",
    )
    tls_certificate: str = setting(
        "",
        text("the path of a file that exists", _is_file),
        "A PEM file with the certificate and its chain. Empty: no TLS.",
        unit="path",
    )
    tls_key: str = setting(
        "",
        text("the path of a file that exists", _is_file),
        "A PEM file with the certificate's private key.",
        unit="path",
    )
    insecure_http: bool = setting(
        default=False,
        kind=boolean(),
        description="Listen without TLS on an address that is not loopback, "
        "where anybody on the way can read keys and passwords.",
    )

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the address that is listened on."""
        if self.host == "localhost":
            return True
        bare = self.host.strip("[]")
        return _is_address(bare) and ipaddress.ip_address(bare).is_loopback

    @property
    def base_url(self) -> str:
        """The server's origin without a slash at its end: ``http://localhost:8000``."""
        if self.public_url:
            return self.public_url.rstrip("/")
        scheme, usual_port = ("https", 443) if self.tls_certificate else ("http", 80)
        bare = self.host.strip("[]")
        host = "localhost" if bare in {"127.0.0.1", "0.0.0.0", "::1", "::"} else bare  # noqa: S104 (compared, not bound)
        if ":" in host:
            host = f"[{host}]"
        return f"{scheme}://{host}" + ("" if self.port == usual_port else f":{self.port}")


@dataclass(frozen=True, slots=True)
class SignupSettings:
    """Who may make an account, and what a new one starts with."""

    mode: str = setting(
        "open",
        choice("open", "invite", "closed"),
        "Who may sign up: anybody, holders of an invitation, or nobody.",
    )
    gift_nanos: int = setting(
        5_000_000_000,
        usd(),
        "The credit that a new account starts with.",
        unit="USD",
        name="gift",
        default_text='"5.00"',
    )
    tries_per_hour: int = setting(
        20,
        integer(1, 100_000),
        "How often an hour one IP address may try to sign up. "
        "Raise it for a class or an office that comes from one address.",
    )


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """How long a login lasts."""

    idle_days: int = setting(
        14, integer(1, 365), "A session that is not used for so long ends.", unit="days"
    )
    absolute_days: int = setting(
        90, integer(1, 730), "Every session ends after so long.", unit="days"
    )
    fresh_hours: int = setting(
        12,
        integer(0, 8760),
        "Who logged in longer ago confirms that it is he before he creates a key.",
        unit="hours",
    )
    confirm_minutes: int = setting(
        15,
        integer(1, 1440),
        "Who logged in, or confirmed that it is he, longer ago is asked again before limits are "
        "raised, and before anything about money, second factors, the address or the account.",
        unit="minutes",
    )


@dataclass(frozen=True, slots=True)
class MailSettings:
    """How mail leaves the server."""

    mode: str = setting(
        "outbox",
        choice("outbox", "smtp"),
        "Put mails into the data directory's folder `outbox`, or send them by SMTP.",
    )
    sender: str = setting(
        "Latchgate <latchgate@localhost>",
        text("an address such as Latchgate <keys@example.com>", _is_sender, may_be_empty=False),
        "The From line of every mail.",
        unit="e-mail address",
    )
    smtp_host: str = setting("", text("a host name", _is_host), "The SMTP server.")
    smtp_port: int = setting(587, integer(1, _PORT_MAX), "The SMTP server's port.", unit="TCP port")
    smtp_user: str = setting("", text(), "The user name there. Empty: no login.")
    smtp_password: str = setting(
        "",
        text(),
        "The password there. Better given as a variable than in the file.",
        is_secret=True,
    )
    smtp_security: str = setting(
        "starttls",
        choice("none", "starttls", "tls"),
        "How the connection is encrypted: not at all, by STARTTLS, or from its first byte.",
    )


@dataclass(frozen=True, slots=True)
class StorageSettings:
    """Where accounts, keys and books are kept."""

    url: str = setting(
        "",
        database_url(),
        "A PostgreSQL database. Empty: SQLite, in the data directory. "
        "With a password in it, better given as a variable than in the file.",
        unit="URL",
        is_secret=True,
    )


@dataclass(frozen=True, slots=True)
class JournalSettings:
    """How charges reach the disk."""

    sync: str = setting(
        "always",
        choice("always", "interval"),
        "When a charge is made durable: before the answer's last byte leaves, or every "
        "`interval_ms`, at the price of losing that much usage when the machine loses power.",
    )
    interval_ms: int = setting(
        100,
        integer(1, 10_000),
        "How often the journal is synced when `sync` is `interval`.",
        unit="milliseconds",
    )


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """The limits of calls with a key."""

    body_bytes_max: int = setting(
        10 * _MIB, integer(1024, 1024 * _MIB), "The largest request body.", unit="bytes"
    )
    header_bytes_max: int = setting(
        32_768, integer(1024, _MIB), "The largest request head, all headers together.", unit="bytes"
    )
    connect_timeout_ms: int = setting(
        5_000,
        integer(1, 10 * _MINUTE_MS),
        "How long connecting to an upstream may take.",
        unit="milliseconds",
    )
    first_byte_timeout_ms: int = setting(
        120_000,
        integer(1, _HOUR_MS),
        "How long an upstream may think before its first byte.",
        unit="milliseconds",
    )
    idle_timeout_ms: int = setting(
        60_000,
        integer(1, _HOUR_MS),
        "How long an upstream may pause between two bytes.",
        unit="milliseconds",
    )
    answer_bytes_max: int = setting(
        16 * _MIB,
        integer(1024, 1024 * _MIB),
        "The largest answer of an upstream that is not a stream.",
        unit="bytes",
    )
    streams_per_key_max: int = setting(
        100, integer(1, 100_000), "Calls that one key may have running at once.", unit="calls"
    )
    hold_wait_ms: int = setting(
        2_000,
        integer(0, 60_000),
        "How long a call waits for running ones to give back money that they hold and do not "
        "spend, before it is refused.",
        unit="milliseconds",
    )
    upstream_connections_max: int = setting(
        512,
        integer(1, 100_000),
        "Connections to one upstream that may be open at once.",
        unit="connections",
    )
    queued_calls_max: int = setting(
        1_000,
        integer(1, 1_000_000),
        "Calls that may wait for an upstream that runs only so many at once, in each of its two "
        "lines: the one of `service_tier` priority, and the one of all others.",
        unit="calls",
    )
    priority_price_percent: int = setting(
        PRIORITY_PERCENT_USUAL,
        integer(100, PRIORITY_PERCENT_MAX),
        "What a call costs that asks for `service_tier` priority, of what it costs else. Applied "
        "when a model's price is written; prices that are in force stay as they are.",
        unit="percent",
    )


@dataclass(frozen=True, slots=True)
class RateSettings:
    """How much an account may do in a minute, unless the operator says otherwise for it."""

    requests_per_minute: int = setting(
        6_000,
        integer(0, 100_000_000),
        "Requests of one account in a minute; 0 is without limit.",
        unit="requests per minute",
    )
    tokens_per_minute: int = setting(
        10_000_000,
        integer(0, 1_000_000_000_000),
        "Tokens of one account in a minute, input and output; 0 is without limit.",
        unit="tokens per minute",
    )


@dataclass(frozen=True, slots=True)
class ResponsesSettings:
    """How long responses are kept, so that the next one can go on from them."""

    retention_minutes: int = setting(
        60,
        integer(0, 10_080),
        "How long a response is kept in memory for `previous_response_id`, unless its caller says "
        "`store: false`; a restart forgets all. 0: none is kept.",
        unit="minutes",
    )
    kept_bytes_max: int = setting(
        64 * _MIB,
        integer(1024, 64 * 1024 * _MIB),
        "How much is kept at most, of which one account may fill an eighth; the oldest goes first.",
        unit="bytes",
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that an operator can choose, checked."""

    data_dir: Path
    server: ServerSettings = ServerSettings()
    signup: SignupSettings = SignupSettings()
    sessions: SessionSettings = SessionSettings()
    mail: MailSettings = MailSettings()
    storage: StorageSettings = StorageSettings()
    journal: JournalSettings = JournalSettings()
    gateway: GatewaySettings = GatewaySettings()
    rates: RateSettings = RateSettings()
    responses: ResponsesSettings = ResponsesSettings()
    embedded: EmbeddedSettings = EmbeddedSettings()  # noqa: RUF009 (frozen, as all of these)
    metrics: MetricsSettings = MetricsSettings()  # noqa: RUF009
    traces: TraceSettings = TraceSettings()  # noqa: RUF009
    log: LogSettings = LogSettings()  # noqa: RUF009
    stripe: StripeSettings = StripeSettings()  # noqa: RUF009 (frozen, as all of these)


SECTIONS: dict[str, type] = {
    "server": ServerSettings,
    "signup": SignupSettings,
    "sessions": SessionSettings,
    "mail": MailSettings,
    "storage": StorageSettings,
    "journal": JournalSettings,
    "gateway": GatewaySettings,
    "rates": RateSettings,
    "responses": ResponsesSettings,
    "embedded": EmbeddedSettings,
    "metrics": MetricsSettings,
    "traces": TraceSettings,
    "stripe": StripeSettings,
    "log": LogSettings,
}
ALL: tuple[Setting, ...] = tuple(
    row for section, kind in SECTIONS.items() for row in declared_settings(section, kind)
)
