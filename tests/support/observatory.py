"""Mozilla's HTTP Observatory in our own words: how many points a page is worth, and for what.

Read off its documentation and its code (mdn-http-observatory) in 2026. A page begins with 100
points; faults take some away, and from 90 on extra care adds some. Left out is what only a public
site can have: a host in browsers' preload list, a trusted certificate, a port for plain HTTP that
redirects.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from html.parser import HTMLParser
from http.cookiejar import Cookie
from urllib.parse import urlsplit

import httpx

_BASE, _FOR_EXTRA = 100, 90
_SIX_MONTHS_S = 15_768_000
_BROAD = {"ftp:", "http:", "https:", "*", "http://*", "http://*.*", "https://*", "https://*.*"}
_INLINE = {"'unsafe-inline'", "data:"}
_PRIVATE = {"no-referrer", "same-origin", "strict-origin", "strict-origin-when-cross-origin"}
_UNSAFE = {"origin", "origin-when-cross-origin", "unsafe-url", "no-referrer-when-downgrade"}


class _Found(HTMLParser):
    """The scripts that a page asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a script."""
        if tag == "script":
            self.scripts.append(dict(attrs))


def _policy(answer: httpx.Response) -> dict[str, set[str]]:
    """The directives of the one policy that the answer carries."""
    directives: dict[str, set[str]] = {}
    for part in answer.headers.get("content-security-policy", "").split(";"):
        name, *sources = part.lower().split() or [""]
        directives.setdefault(name, set(sources))
    return directives


def _csp(answer: httpx.Response) -> int:
    if "content-security-policy" not in answer.headers:
        return -25
    if "," in answer.headers["content-security-policy"]:
        return -25  # several policies at once: none of ours has that, and it is not ported
    csp = _policy(answer)
    default = csp.get("default-src", {"*"})
    scripts, objects, styles = (
        csp.get(name, default) for name in ("script-src", "object-src", "style-src")
    )
    passive = csp.get("img-src", default) | csp.get("media-src", default)
    active = set().union(
        *(sources for name, sources in csp.items() if name not in {"img-src", "media-src"})
    )
    if scripts & (_BROAD | _INLINE) or objects & _BROAD:
        return -20
    if any(source.startswith(("http:", "ftp:")) for source in active):
        return -20
    if "'unsafe-eval'" in scripts | styles:
        return -10
    if any(source.startswith(("http:", "ftp:")) for source in passive):
        return -10
    if styles & (_BROAD | _INLINE):
        return 0
    form_action = csp.get("form-action", {"*"})
    return 10 if default == {"'none'"} and form_action <= {"'self'", "'none'"} else 5


def _cookies(cookies: Iterable[Cookie]) -> int:
    """What a browser holds after the page; every one of ours could be a session's."""
    kept = list(cookies)
    if not kept:
        return 0
    sites = {str(cookie.get_nonstandard_attr("SameSite", "")).lower() for cookie in kept}
    if not all(cookie.secure for cookie in kept):
        return -40
    if not all(cookie.has_nonstandard_attr("HttpOnly") for cookie in kept):
        return -30
    if not sites <= {"", "lax", "strict"}:
        return -20
    return 0 if "" in sites else 5


def _cors(answer: httpx.Response) -> int:
    """A page that other sites' scripts may read in its reader's name gives all away."""
    origin = answer.headers.get("access-control-allow-origin", "")
    is_for_all = answer.headers.get("access-control-allow-credentials", "").lower() == "true"
    asked = answer.request.headers.get("origin")
    return -50 if is_for_all and origin in {asked, "*"} else 0


def _referrer(answer: httpx.Response) -> int:
    said = [word.strip() for word in answer.headers.get("referrer-policy", "").lower().split(",")]
    known = [word for word in said if word in _PRIVATE | _UNSAFE]
    if said == [""]:
        return 0
    return 5 if known and known[-1] in _PRIVATE else -5


def _hsts(answer: httpx.Response) -> int:
    found = re.search(
        r"max-age=\"?(\d+)", answer.headers.get("strict-transport-security", "").lower()
    )
    if answer.url.scheme != "https" or not found:
        return -20
    return 0 if int(found.group(1)) >= _SIX_MONTHS_S else -10


def _integrity(answer: httpx.Response) -> int:
    """Scripts from elsewhere must be pinned; our own earn something when they are."""
    found = _Found()
    found.feed(answer.text)
    sources = [
        (script["src"], script.get("integrity")) for script in found.scripts if "src" in script
    ]
    foreign = [(src, pin) for src, pin in sources if urlsplit(src or "").netloc]
    if foreign:
        is_secure = all((src or "").startswith("https:") for src, _ in foreign)
        is_pinned = all(pin for _, pin in foreign)
        return {(True, True): 5, (True, False): -20, (False, True): -5, (False, False): -50}[
            is_pinned, is_secure
        ]
    return 5 if any(pin for _, pin in sources) else 0


def _sniffing(answer: httpx.Response) -> int:
    return 0 if answer.headers.get("x-content-type-options", "").lower() == "nosniff" else -5


def _framing(answer: httpx.Response) -> int:
    ancestors = _policy(answer).get("frame-ancestors", {"*"})
    if not ancestors & _BROAD:
        return 5
    return 0 if answer.headers.get("x-frame-options", "").upper() in {"DENY", "SAMEORIGIN"} else -20


def _resource_policy(answer: httpx.Response) -> int:
    said = answer.headers.get("cross-origin-resource-policy", "cross-origin").lower()
    return {"same-origin": 10, "same-site": 10, "cross-origin": 0}.get(said, -5)


CHECKS: dict[str, Callable[[httpx.Response], int]] = {
    "content-security-policy": _csp,
    "cross-origin-resource-sharing": _cors,
    "referrer-policy": _referrer,
    "strict-transport-security": _hsts,
    "subresource-integrity": _integrity,
    "x-content-type-options": _sniffing,
    "x-frame-options": _framing,
    "cross-origin-resource-policy": _resource_policy,
}


def points(answer: httpx.Response, cookies: Iterable[Cookie] = ()) -> dict[str, int]:
    """What each check gives or takes."""
    return {name: check(answer) for name, check in CHECKS.items()} | {"cookies": _cookies(cookies)}


def score(found: dict[str, int]) -> int:
    """The whole: extras count only where little is wrong."""
    without = _BASE + sum(value for value in found.values() if value < 0)
    extra = sum(value for value in found.values() if value > 0)
    return max(0, without + extra if without >= _FOR_EXTRA else without)
