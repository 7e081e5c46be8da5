"""May this request have been made by another site's page? Decided without tokens.

Browsers say where a request comes from in Sec-Fetch-Site (https://w3c.github.io/webappsec-fetch-metadata/),
and where that header is missing (plain HTTP beyond localhost, old browsers) in Origin. A page
can set neither. Clients that are no browsers send neither, and hold no cookie that another site
could ride on; a form that comes with the cookie and no word of its origin is refused all the same.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers

from latchgate.domain.errors import Forbidden

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
#: What a page may send to another site without asking it first (the Fetch standard's
#: CORS-safelisted content types): the three encodings of a form.
_FORM_TYPES = frozenset({"application/x-www-form-urlencoded", "multipart/form-data", "text/plain"})
_USUAL_PORTS = {"http": 80, "https": 443}


def check_same_origin(
    method: str, headers: Headers, *, scheme: str, has_session_cookie: bool
) -> None:
    """Raise Forbidden ``cross_site_request`` unless the request comes from our own pages.

    ``scheme`` is how the client reached us. Safe methods change nothing and pass.
    """
    if method in SAFE_METHODS:
        return
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        is_ours = site in {"same-origin", "none"}
    elif origin is not None:
        own = _origin(f"{scheme}://{headers.get('host', '')}")
        is_ours = own is not None and _origin(origin) == own
    else:
        is_ours = not (has_session_cookie and media_type(headers) in _FORM_TYPES)
    if not is_ours:
        raise Forbidden(
            "This request was sent by another site. Open the page here and try again.",
            code="cross_site_request",
            internal=f"sec-fetch-site {site!r}, origin {origin!r}",
        )


def media_type(headers: Headers) -> str:
    """The content type without its parameters, in lower case; empty when there is none."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _origin(text: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of an origin; None for ``null`` and whatever else is none."""
    try:
        parts = urlsplit(text)
        port = parts.port or _USUAL_PORTS[parts.scheme]
    except (ValueError, KeyError):
        return None
    return (parts.scheme, parts.hostname, port) if parts.hostname else None
