"""Which addresses may be a model server."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from latchgate.domain.errors import InvalidRequest

URL_CHARS_MAX = 500

#: Where clouds keep their metadata services: never a model server.
_NEVER = ipaddress.ip_network("169.254.0.0/16"), ipaddress.ip_network("fe80::/10")

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
    if url.username is not None or url.password is not None or url.query or url.fragment:
        return "A base URL has no user, password, query or fragment; use --api-key-stdin."
    if port in _NOT_HTTP_PORTS:
        return f"Port {port} belongs to another kind of service, not to a model server."
    try:
        address = ipaddress.ip_address(url.hostname)
    except ValueError:
        return None
    if any(address in network for network in _NEVER if network.version == address.version):
        return "Link-local addresses are never a model server."
    return None
