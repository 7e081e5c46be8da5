"""What a setting can be: a kind of value with a unit and bounds, and the sentence when it is wrong.

A setting is a dataclass field; ``setting`` puts everything else that is known about it beside its
default, so that reading, checking, showing and documenting all work from one declaration.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

from latchgate.domain import money, prices
from latchgate.domain.errors import LatchgateError

T = TypeVar("T")

_METADATA_KEY = "latchgate.setting"
_INTEGER = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
TEXT_CHARS_MAX = 4096
LIST_ITEMS_MAX = 256
#: What is shown in a secret's place.
MASK = "********"
#: Parameters of a database's address that are secrets.
_SECRET_PARAMETERS = frozenset({"password", "sslpassword"})


class BadValue(ValueError):
    """One value is wrong; the text says what is allowed, and goes after the setting's name."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How a value is written and checked. ``parse`` takes what TOML gave, or a variable's text."""

    name: str
    parse: Callable[[object], Any]
    #: How a secret value is shown.
    mask: Callable[[str], str] = lambda _value: MASK


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting, as declared. ``path`` is its name in the file: ``server.port``."""

    path: str
    attribute: str
    kind: Kind
    default: Any
    default_text: str
    unit: str
    description: str
    is_secret: bool

    @property
    def section(self) -> str:
        """The table of the file that it stands in."""
        return self.path.partition(".")[0]

    @property
    def variable(self) -> str:
        """Its environment variable: ``LATCHGATE_SERVER_PORT``."""
        return "LATCHGATE_" + self.path.replace(".", "_").upper()


@dataclass(frozen=True, slots=True)
class _Declared:
    kind: Kind
    unit: str
    description: str
    is_secret: bool
    name: str | None
    default_text: str | None


def setting(
    default: T,
    kind: Kind,
    description: str,
    *,
    unit: str = "",
    is_secret: bool = False,
    name: str | None = None,
    default_text: str | None = None,
) -> T:
    """Declare a field of a settings dataclass; ``name`` is its name in the file if it differs."""
    declared = _Declared(kind, unit, description, is_secret, name, default_text)
    field: T = dataclasses.field(
        default=default, repr=not is_secret, metadata={_METADATA_KEY: declared}
    )
    return field


def declared_settings(section: str, settings_type: type) -> tuple[Setting, ...]:
    """The table of one section, in the order in which its fields stand."""
    rows = []
    for field in dataclasses.fields(settings_type):
        declared: _Declared = field.metadata[_METADATA_KEY]
        rows.append(
            Setting(
                path=f"{section}.{declared.name or field.name}",
                attribute=field.name,
                kind=declared.kind,
                default=field.default,
                default_text=declared.default_text or plain(field.default),
                unit=declared.unit,
                description=declared.description,
                is_secret=declared.is_secret,
            )
        )
    return tuple(rows)


def plain(value: object) -> str:
    """A value as TOML would write it."""
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case tuple():
            return "[" + ", ".join(plain(item) for item in value) + "]"
        case _:
            return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def integer(minimum: int, maximum: int) -> Kind:
    """A whole number between two bounds, both allowed."""
    allowed = f"a whole number from {minimum} to {maximum}"

    def parse(raw: object) -> int:
        if isinstance(raw, str) and _INTEGER.fullmatch(raw):
            raw = int(raw)
        if isinstance(raw, bool) or not isinstance(raw, int) or not minimum <= raw <= maximum:
            raise BadValue(f"must be {allowed}")
        return raw

    return Kind(allowed, parse)


def boolean() -> Kind:
    """``true`` or ``false``."""

    def parse(raw: object) -> bool:
        value = _BOOLEANS.get(raw.lower()) if isinstance(raw, str) else raw
        if not isinstance(value, bool):
            raise BadValue("must be true or false")
        return value

    return Kind("true or false", parse)


def choice(*choices: str) -> Kind:
    """One of a few words."""
    allowed = "one of " + ", ".join(f'"{word}"' for word in choices)

    def parse(raw: object) -> str:
        if not isinstance(raw, str) or raw not in choices:
            raise BadValue(f"must be {allowed}")
        return raw

    return Kind(allowed, parse)


def text(
    allowed: str = "text", check: Callable[[str], bool] | None = None, *, may_be_empty: bool = True
) -> Kind:
    """Text without control characters that ``check`` accepts; ``allowed`` says what that is."""
    described = allowed + (", or empty" if may_be_empty and check else "")

    def parse(raw: object) -> str:
        if not isinstance(raw, str) or len(raw) > TEXT_CHARS_MAX or not raw.isprintable():
            raise BadValue(f"must be {described}, in at most {TEXT_CHARS_MAX} printable characters")
        if not raw and may_be_empty:
            return raw
        if not raw or (check is not None and not check(raw)):
            raise BadValue(f"must be {described}")
        return raw

    return Kind(described, parse)


def is_origin(value: str) -> bool:
    """Whether a text is an http:// or https:// origin without a path."""
    try:
        parts = urlsplit(value)
        is_bare = parts.path in {"", "/"} and not parts.query and not parts.fragment
        has_host = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and is_bare and has_host and "@" not in parts.netloc


def texts(allowed: str, check: Callable[[str], bool]) -> Kind:
    """A list of texts; in a variable they are separated by commas."""
    described = f"a list of {allowed}"

    def parse(raw: object) -> tuple[str, ...]:
        if isinstance(raw, str):
            raw = [item.strip() for item in raw.split(",") if item.strip()]
        if not isinstance(raw, list | tuple) or len(raw) > LIST_ITEMS_MAX:
            raise BadValue(f"must be {described}, at most {LIST_ITEMS_MAX} of them")
        for item in raw:
            if not isinstance(item, str) or not check(item):
                raise BadValue(f"must be {described}; {item!r} is not one")
        return tuple(raw)

    return Kind(described, parse)


def database_url() -> Kind:
    """A PostgreSQL database's address, or nothing. Its password may only stand before the @."""
    described = "postgresql://USER:PASSWORD@HOST:PORT/NAME, or empty"

    def parse(raw: object) -> str:
        if not isinstance(raw, str) or len(raw) > TEXT_CHARS_MAX or not raw.isprintable():
            raise BadValue(f"must be {described}")
        if raw and not _is_database(raw):
            raise BadValue(f"must be {described}, with a secret nowhere but there")
        return raw

    return Kind(described, parse, _without_password)


def _is_database(url: str) -> bool:
    try:
        parts = urlsplit(url)
        names = {name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
        has_host = (parts.port is None or parts.port > 0) and (parts.hostname or "host" in names)
    except ValueError:
        return False
    has_name = len(parts.path) > 1 and "/" not in parts.path[1:] and not parts.fragment
    is_plain = not names & _SECRET_PARAMETERS and not set(url) & set(' <>"\\')
    return parts.scheme == "postgresql" and bool(has_host) and has_name and is_plain


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    who, at, where = parts.netloc.rpartition("@")
    user, colon, _ = who.partition(":")
    return parts._replace(netloc=f"{user}{colon}{MASK if colon else ''}{at}{where}").geturl()


def usd() -> Kind:
    """A decimal amount of US dollars, written as text so that no float is ever near it."""

    def parse(raw: object) -> int:
        return money.parse_usd(_decimal_text(raw), allow_zero=True)

    return Kind('decimal US dollars as text, such as "5.00"', _refusing(parse))


def price() -> Kind:
    """US dollars per million tokens, kept as the text that was written."""

    def parse(raw: object) -> str:
        written = _decimal_text(raw)
        prices.parse_price(written, param="price")
        return written

    return Kind('decimal text with at most six decimals, such as "0.15"', _refusing(parse))


def _decimal_text(raw: object) -> str:
    if not isinstance(raw, str):
        raise BadValue('must be written as text, in quotes, such as "5.00"')
    return raw


def _refusing(parse: Callable[[object], Any]) -> Callable[[object], Any]:
    """Turn the domain's refusal into ours, which has the setting's name before it."""

    def checked(raw: object) -> Any:
        try:
            return parse(raw)
        except LatchgateError as refusal:
            reason = refusal.public[0].lower() + refusal.public[1:].rstrip(".")
            raise BadValue(f"is wrong: {reason}") from refusal

    return checked
