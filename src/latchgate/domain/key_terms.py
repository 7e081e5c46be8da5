"""What a key may be used for: until when, for which models, for what, and from where.

A key without terms is good for everything that its account may do. The scopes:

    all          calls models, and reads what the account has used and has left
    inference    calls models; reads nothing about the account
    read_only    reads about the account; calls nothing

Every key may list the models that it can use.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Literal, get_args

from latchgate.domain.errors import InvalidRequest

Scope = Literal["all", "inference", "read_only"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
#: What an endpoint of the API is for; every key may list models, whatever its scope.
Act = Literal["call", "report", "list"]
_PERMITTED: dict[Scope, tuple[Act, ...]] = {
    "all": ("call", "report", "list"),
    "inference": ("call", "list"),
    "read_only": ("report", "list"),
}

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

ADDRESSES_MAX = 32
ADDRESS_CHARS_MAX = 64
MODELS_MAX = 64
MODEL_CHARS_MAX = 128
EXPIRY_YEARS_MAX = 10
_YEAR_DAYS = 366
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DATE_CHARS = len("2027-01-31")


@dataclass(frozen=True, slots=True)
class KeyTerms:
    """The terms of one key; those of ``KeyTerms()`` bind nothing."""

    #: From this moment on the key has ended; None: it does not end by itself.
    expires_us: int | None = None
    #: The models that it may call; empty: all that its account may.
    models: frozenset[str] = frozenset()
    scope: Scope = "all"
    #: Where its calls may come from; empty: anywhere.
    addresses: tuple[Network, ...] = ()

    @property
    def address_texts(self) -> list[str]:
        """The addresses as people write them: a network of one without its ``/32``."""
        return [
            str(network.network_address if network.num_addresses == 1 else network)
            for network in self.addresses
        ]

    def has_expired(self, now_us: int) -> bool:
        """Whether the key has ended by itself."""
        return self.expires_us is not None and self.expires_us <= now_us

    def permits_model(self, name: str) -> bool:
        """Whether a model may be called."""
        return not self.models or name in self.models

    def permits_act(self, act: Act) -> bool:
        """Whether the scope covers what an endpoint is for."""
        return act in _PERMITTED[self.scope]

    def permits_address(self, text: str) -> bool:
        """Whether a call may come from an address; one that is none is refused by any list."""
        if not self.addresses:
            return True
        try:
            address = _plain(ip_address(text))
        except ValueError:
            return False
        return any(address in network for network in self.addresses)

    def is_looser_than(self, before: KeyTerms) -> bool:
        """Whether something is permitted that was not: what a stolen login must not do."""
        is_longer = before.expires_us is not None and (
            self.expires_us is None or self.expires_us > before.expires_us
        )
        has_models = bool(before.models) and (not self.models or not self.models <= before.models)
        has_acts = not set(_PERMITTED[self.scope]) <= set(_PERMITTED[before.scope])
        has_places = bool(before.addresses) and (
            not self.addresses
            or not all(_is_within(network, before.addresses) for network in self.addresses)
        )
        return is_longer or has_models or has_acts or has_places


#: The terms of a key that has none.
OPEN = KeyTerms()


def _plain(address: Address) -> Address:
    """An IPv4 address also where a socket for both families shows it as ``::ffff:192.0.2.1``."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _is_within(network: Network, wider: Iterable[Network]) -> bool:
    for other in wider:
        if isinstance(network, IPv4Network) and isinstance(other, IPv4Network):
            if network.subnet_of(other):
                return True
        elif (
            isinstance(network, IPv6Network)
            and isinstance(other, IPv6Network)
            and network.subnet_of(other)
        ):
            return True
    return False


def parse_scope(text: str) -> Scope:
    """A scope by its name. Raises InvalidRequest."""
    for scope in SCOPES:
        if scope == text:
            return scope
    raise InvalidRequest(f"A key's scope is one of: {', '.join(SCOPES)}.", param="scope")


def parse_models(names: Iterable[str]) -> frozenset[str]:
    """A list of models' names; whether they are on offer is the catalog's to say.

    Raises InvalidRequest.
    """
    models = frozenset(name.strip() for name in names if name.strip())
    if len(models) > MODELS_MAX:
        raise InvalidRequest(f"A key's list has at most {MODELS_MAX} models.", param="models")
    for name in models:
        if len(name) > MODEL_CHARS_MAX or not name.isprintable():
            raise InvalidRequest("A model's name is what GET /v1/models says.", param="models")
    return models


def parse_addresses(texts: Iterable[str]) -> tuple[Network, ...]:
    """Addresses and networks, IPv4 and IPv6, each once and in their order.

    Raises InvalidRequest.
    """
    found: dict[Network, None] = {}
    for text in texts:
        if text.strip():
            found[_parse_address(text.strip())] = None
        if len(found) > ADDRESSES_MAX:
            raise InvalidRequest(
                f"A key has at most {ADDRESSES_MAX} addresses. Name networks, such as "
                "192.0.2.0/24, instead.",
                param="addresses",
            )
    return tuple(found)


def _parse_address(text: str) -> Network:
    shown = text[:ADDRESS_CHARS_MAX] if text.isprintable() else "what you typed"
    wrong = InvalidRequest(
        f"{shown} is no address. Write one such as 192.0.2.7 or 2001:db8::1, or a network such as "
        "192.0.2.0/24.",
        param="addresses",
    )
    if len(text) > ADDRESS_CHARS_MAX or "%" in text:  # a zone says something on its machine only
        raise wrong
    try:
        network = ip_network(text, strict=False)
        exact = ip_network(text.partition("/")[0])
    except ValueError:
        raise wrong from None
    if exact.network_address != network.network_address:
        raise InvalidRequest(
            f"{shown} names an address inside of a network. Write {network} for the network, or "
            f"{exact.network_address} for the address alone.",
            param="addresses",
        )
    mapped = network.network_address
    if isinstance(mapped, IPv6Address) and mapped.ipv4_mapped and network.num_addresses == 1:
        return IPv4Network(mapped.ipv4_mapped)
    return network


def parse_expiry(text: str, now_us: int) -> int | None:
    """A date, which is good until its end in UTC, or an RFC 3339 moment; empty text is never.

    Raises InvalidRequest for what is neither, what is past, and what is over ten years ahead.
    """
    text = text.strip()
    if not text:
        return None
    try:
        if len(text) == _DATE_CHARS:
            day = datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
            moment = day + timedelta(days=1)
        else:
            moment = datetime.fromisoformat(text)
        # A moment without its zone can't be taken from one that has it.
        expires_us = (moment - _EPOCH) // timedelta(microseconds=1)
    except (ValueError, OverflowError, TypeError):
        raise InvalidRequest(
            "The date of expiry is a day such as 2027-01-31, or a moment such as "
            "2027-01-31T18:00:00Z.",
            param="expires_at",
        ) from None
    return checked_expiry(expires_us, now_us)


def checked_expiry(expires_us: int, now_us: int) -> int:
    """A moment to come, at most ten years ahead. Raises InvalidRequest."""
    if expires_us <= now_us:
        raise InvalidRequest("The date of expiry must be one to come.", param="expires_at")
    most_us = now_us + EXPIRY_YEARS_MAX * _YEAR_DAYS * 86_400_000_000
    if expires_us > most_us:
        raise InvalidRequest(
            f"The date of expiry is at most {EXPIRY_YEARS_MAX} years ahead. Leave it out for a "
            "key that does not end by itself.",
            param="expires_at",
        )
    return expires_us
