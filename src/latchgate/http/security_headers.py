"""The headers that every answer carries, and how cookies leave behind TLS."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders

from latchgate.http.sessions import COOKIE, DEVICE_COOKIE, SECURE_PREFIX, STEP_COOKIE

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'; manifest-src 'self'"
)
#: Nothing here needs any of a browser's powers, save writing to the clipboard (a key's Copy) and
#: passkeys.
PERMISSIONS_POLICY = (
    "accelerometer=(), camera=(), clipboard-write=(self), display-capture=(), geolocation=(), "
    "gyroscope=(), magnetometer=(), microphone=(), payment=(), "
    "publickey-credentials-create=(self), publickey-credentials-get=(self), usb=()"
)
#: A year, as RFC 6797 has it. No includeSubDomains: other hosts are not ours to decide for.
STRICT_TRANSPORT_SECURITY = "max-age=31536000"
NO_STORE = "no-store"
#: A page whose address is a secret: it must not be told to anybody, our own log included.
SECRET_PATHS = ("/reset", "/email-change")
STATIC_PREFIX = "/static/"
_OURS = frozenset({COOKIE, DEVICE_COOKIE, STEP_COOKIE})

_ALWAYS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "permissions-policy": PERMISSIONS_POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
}


def complete(headers: MutableHeaders, *, path: str, request_id: str, is_behind_tls: bool) -> None:
    """Add to an answer's headers what every answer must have; an answer cannot weaken it."""
    for name, value in _ALWAYS.items():
        headers[name] = value
    headers["x-request-id"] = request_id
    headers["referrer-policy"] = "no-referrer" if path in SECRET_PATHS else "same-origin"
    if not path.startswith(STATIC_PREFIX) or "cache-control" not in headers:
        headers["cache-control"] = NO_STORE
    if is_behind_tls:
        headers["strict-transport-security"] = STRICT_TRANSPORT_SECURITY
        _secure_cookies(headers)


def _secure_cookies(headers: MutableHeaders) -> None:
    """Bind our cookies to this host and to TLS."""
    cookies = headers.getlist("set-cookie")
    if not cookies:
        return
    del headers["set-cookie"]
    for cookie in cookies:
        name, _, rest = cookie.partition("=")
        sent_name = SECURE_PREFIX + name if name in _OURS else name
        flag = "" if "secure" in rest.lower().replace(" ", "").split(";") else "; Secure"
        headers.append("set-cookie", f"{sent_name}={rest}{flag}")
