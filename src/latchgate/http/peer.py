"""Who is really at the other end: the peer's address and scheme, with or without a proxy between.

A proxy's X-Forwarded-For and X-Forwarded-Proto are believed only when the connection comes from
an address that the operator has named; from anybody else they are just text.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from starlette.requests import HTTPConnection

HTTPS = "https"


class TrustedProxies:
    """The addresses of ``server.trusted_proxies``."""

    def __init__(self, names: Iterable[str]) -> None:
        self._addresses = frozenset(ipaddress.ip_address(name.strip("[]")) for name in names)

    def trusts(self, address: str) -> bool:
        """Whether the headers of this peer are believed."""
        try:
            return ipaddress.ip_address(address) in self._addresses
        except ValueError:
            return False

    def client_ip(self, connection: HTTPConnection) -> str:
        """The client's address; empty when there is none, as on a Unix socket.

        Of X-Forwarded-For only the right-most entry counts: it is what our own proxy saw, and all
        before it is what the client claims.
        """
        peer = connection.client.host if connection.client else ""
        if not self.trusts(peer):
            return peer
        forwarded = _last(connection, "x-forwarded-for")
        try:
            return str(ipaddress.ip_address(forwarded))
        except ValueError:
            return peer

    def is_behind_tls(self, connection: HTTPConnection) -> bool:
        """Whether the client's side of the connection is encrypted."""
        if connection.scope["scheme"] == HTTPS:
            return True
        peer = connection.client.host if connection.client else ""
        return self.trusts(peer) and _last(connection, "x-forwarded-proto").lower() == HTTPS


def _last(connection: HTTPConnection, name: str) -> str:
    """The right-most entry of a header that may be a list, and may come more than once."""
    values = connection.headers.getlist(name)
    return values[-1].rpartition(",")[2].strip() if values else ""
