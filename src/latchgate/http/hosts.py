"""The names that this server answers to.

A page of a foreign name that resolves to this machine (DNS rebinding) would otherwise be our own
origin in a browser's eyes; and a link in a mail must never be made from what a client calls us.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from latchgate.config.settings import ServerSettings

_ALWAYS = ("localhost", "127.0.0.1", "::1")
_HOST_HEADER = re.compile(
    r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9.-]{1,253}))(?::[0-9]{1,5})?", re.ASCII
)


def allowed_names(settings: ServerSettings) -> frozenset[str]:
    """Every name that a Host header may carry, in lower case, IPv6 addresses without brackets."""
    public = urlsplit(settings.public_url).hostname or ""
    names = (*_ALWAYS, public, *settings.allowed_hosts)
    return frozenset(_normal(name.strip("[]")) for name in names if name)


def name_in(host_header: str) -> str | None:
    """The name in a Host header, any port; None when the header has another shape."""
    match = _HOST_HEADER.fullmatch(host_header)
    return _normal(match.group(1) or match.group(2)) if match else None


def _normal(name: str) -> str:
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.lower()
