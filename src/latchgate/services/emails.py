"""E-mail addresses: checked, and brought to one spelling."""

from __future__ import annotations

import unicodedata

from email_validator import EmailNotValidError, validate_email

from latchgate.domain.errors import InvalidRequest

EMAIL_CHARS_MAX = 254
_SCRIPTS = ("LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE")


def checked_email(text: str) -> str:
    """An address as it is kept. Raises InvalidRequest ``invalid_email``.

    Its syntax is checked (RFC 5321, 5322 and 6531) and not whether its domain exists: this server
    may be offline. Addresses that mix look-alike alphabets are refused.
    """
    text = text.strip(" ")
    if len(text) > EMAIL_CHARS_MAX or not text.isprintable():
        raise _refused()
    try:
        found = validate_email(text, check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        raise _refused() from None
    if "." not in found.domain or _is_mixed(found.local_part) or _is_mixed(found.domain):
        raise _refused()
    return found.normalized


def email_key(email: str) -> str:
    """The spelling under which an address is looked up: one for all its cases and forms."""
    folded = unicodedata.normalize("NFKD", email).casefold()
    return unicodedata.normalize("NFKC", folded)


def find_key(text: str) -> str | None:
    """The look-up spelling of what somebody typed; None when it is no address at all."""
    try:
        return email_key(checked_email(text))
    except InvalidRequest:
        return None


def _is_mixed(text: str) -> bool:
    # Wide and bold letters count as what they stand for.
    plain = unicodedata.normalize("NFKC", text)
    names = [unicodedata.name(char, "") for char in plain if char.isalpha()]
    return sum(any(name.startswith(script) for name in names) for script in _SCRIPTS) > 1


def _refused() -> InvalidRequest:
    return InvalidRequest(
        "This is not an e-mail address. It looks like ada@example.com.",
        code="invalid_email",
        param="email",
    )
