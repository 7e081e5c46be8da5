"""Says in a few words what device a User-Agent header speaks of."""

from __future__ import annotations

_NAME_CHARS_MAX = 40

#: The first that is found wins: most browsers also name those that they descend from.
_PROGRAMS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("HeadlessChrome/", "Chrome, headless"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
)


def device_name(user_agent: str) -> str:
    """``Chrome on Linux``, or the header's first word where it is no browser's.

    A hint for the owner's eye, never proof: whoever logs in writes the header as he likes.
    """
    program = _first(_PROGRAMS, user_agent)
    system = _first(_SYSTEMS, user_agent)
    if program is None:
        return user_agent.split(" ", 1)[0][:_NAME_CHARS_MAX] or "Unknown"
    return f"{program} on {system}" if system else program


def browser_name(user_agent: str) -> str | None:
    """The same for a mail: none of the header's own words, in which a stranger could put a link."""
    return None if _first(_PROGRAMS, user_agent) is None else device_name(user_agent)


def _first(words: tuple[tuple[str, str], ...], text: str) -> str | None:
    return next((name for word, name in words if word in text), None)
