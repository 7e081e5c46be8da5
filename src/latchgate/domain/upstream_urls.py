"""Which addresses may be a model server."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from latchgate.domain.errors import InvalidRequest

URL_CHARS_MAX = 500

#: Where clouds keep their metadata services: never a model server.
_NEVER = ipaddress.ip_network("169.254.0.0/16"), ipaddress.ip_network("fe80::/10")

#: Where an IPv6 address stands for one of version 4 (RFC 6052, RFC 4291).
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")

NAME_CHARS_MAX = 253
_NETLOC = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")

#: Ports of well-known services that do not speak HTTP, so that a typing slip or a trick cannot make
#: us talk to the mail server or the database next door (compare "bad ports" in the Fetch standard).
_NOT_HTTP_PORTS = frozenset(
    {
        21,
        22,
        23,
        25,
        53,
        110,
        143,
        389,
        465,
        587,
        993,
        995,
        2049,
        3306,
        5432,
        6379,
        9042,
        11211,
        27017,
    }
)


def checked_base_url(text: str) -> str:
    """An upstream's base URL as it is kept: http(s), a host, no user, query or fragment.

    Loopback is allowed, since a model server beside us is the common case and only the operator
    can add one; link-local addresses, where clouds keep their metadata, never are.
    """
    problem = _url_problem(text)
    if problem:
        raise InvalidRequest(problem, code="upstream_url_not_allowed", param="base_url")
    return text.rstrip("/")


def _url_problem(text: str) -> str | None:
    example = "such as http://127.0.0.1:11434/v1"
    if len(text) > URL_CHARS_MAX or not text.isascii() or not text.isprintable() or " " in text:
        return f"A base URL is at most {URL_CHARS_MAX} plain characters, {example}."
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        return f"That is no URL. A base URL is {example}."
    if url.scheme not in ("http", "https") or not url.hostname or port == 0:
        return f"A base URL begins with http:// or https:// and has a host, {example}."
    if "@" in url.netloc or "?" in text or "#" in text:
        return "A base URL has no user, password, query or fragment; use --api-key-stdin."
    if port in _NOT_HTTP_PORTS:
        return f"Port {port} belongs to another kind of service, not to a model server."
    return _host_problem(url.netloc, url.hostname)


def _host_problem(netloc: str, host: str) -> str | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        problem = _name_problem(host)
    else:
        is_never = any(_is_in(address, network) for network in _NEVER)
        problem = "Link-local addresses are never a model server." if is_never else None
    if problem is None and not _NETLOC.fullmatch(netloc):
        problem = f"{host[:100]!r} is no host's name."
    return problem


def _is_in(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
    network: ipaddress.IPv4Network | ipaddress.IPv6Network,
) -> bool:
    """Whether an address, or the one of version 4 that it stands for, is in a network."""
    meant: ipaddress.IPv4Address | ipaddress.IPv6Address = address
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            meant = address.ipv4_mapped
        elif address in _NAT64 or address in _COMPATIBLE:
            meant = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return any(one.version == network.version and one in network for one in {address, meant})


def _name_problem(host: str) -> str | None:
    labels = host.removesuffix(".").split(".")
    if len(host) > NAME_CHARS_MAX or not all(_LABEL.fullmatch(label) for label in labels):
        return f"{host[:100]!r} is no host's name."
    if _NUMBER.fullmatch(labels[-1]):
        # Resolvers read these as addresses, in forms that no check of ours would know again.
        return "Write an address as four numbers, such as 127.0.0.1."
    return None
