"""Arguments of a verb, as they come over JSON: checked by name and type, and none left over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from latchgate.domain.errors import InvalidRequest
from latchgate.domain.ids import ONCE_CHARS_MAX, id_of
from latchgate.domain.people import CLI, Caller

TEXT_CHARS_MAX = 4096
COUNT_MAX = 10**12
#: Rows of a page, unless as many are asked for as the services allow.
ROWS_SHOWN = 50


@dataclass(frozen=True, slots=True)
class Whose:
    """Which account is meant: by its owner's e-mail, or by its id."""

    email: str | None
    account_id: str | None


class Arguments:
    """Each argument is taken once, by name; ``close`` refuses what nobody took.

    ``caller`` is who asks.
    """

    def __init__(self, values: Mapping[str, object], caller: Caller = CLI) -> None:
        self.caller = caller
        self._values = {name: value for name, value in values.items() if value is not None}

    def text(self, name: str) -> str:
        """A text that must be there."""
        found = self.find_text(name)
        if found is None:
            raise InvalidRequest(
                f"{name} is missing.", code="missing_required_parameter", param=name
            )
        return found

    def find_text(self, name: str) -> str | None:
        """A text, or None."""
        value = self._values.pop(name, None)
        if value is not None and (not isinstance(value, str) or len(value) > TEXT_CHARS_MAX):
            raise InvalidRequest(
                f"{name} must be text of at most {TEXT_CHARS_MAX} characters.", param=name
            )
        return value

    def whose(self) -> Whose:
        """The account that is meant, which must be named in one of the two ways."""
        account_id = self.find_text("account_id")
        return Whose(self.text("email") if account_id is None else None, account_id)

    def find_once(self, prefix: str) -> str | None:
        """The id of what is made once under the caller's own name for it, if he gives one."""
        once = self.find_text("once")
        if once is None:
            return None
        if not 0 < len(once) <= ONCE_CHARS_MAX or not once.isprintable():
            raise InvalidRequest(
                f"A key for doing something once has 1 to {ONCE_CHARS_MAX} printable characters.",
                param="once",
            )
        return id_of(prefix, f"{self.caller.actor} {once}")

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts; none is an empty one."""
        return self.find_texts(name) or ()

    def find_texts(self, name: str) -> tuple[str, ...] | None:
        """A list of texts, or None."""
        if name not in self._values:
            return None
        values = self._values.pop(name)
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise InvalidRequest(f"{name} must be a list of texts.", param=name)
        return tuple(values)

    def flag(self, name: str) -> bool:
        """Yes or no; no when it is missing."""
        return self.find_flag(name) or False

    def find_flag(self, name: str) -> bool | None:
        """Yes, no, or None."""
        value = self._values.pop(name, None)
        if value is not None and not isinstance(value, bool):
            raise InvalidRequest(f"{name} must be true or false.", param=name)
        return value

    def find_count(self, name: str, *, least: int = 1) -> int | None:
        """A whole number of at least ``least``, or None."""
        value = self._values.pop(name, None)
        if value is None:
            return None
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= COUNT_MAX:
            return value
        raise InvalidRequest(
            f"{name} must be a whole number from {least} to {COUNT_MAX}.", param=name
        )

    def rows(self) -> int:
        """How many rows a page has."""
        return self.find_count("limit") or ROWS_SHOWN

    def count(self, name: str) -> int:
        """A whole number above zero that must be there."""
        found = self.find_count(name)
        if found is None:
            raise InvalidRequest(
                f"{name} is missing.", code="missing_required_parameter", param=name
            )
        return found

    def close(self) -> None:
        """Raise InvalidRequest for anything that nobody took."""
        for name in self._values:
            raise InvalidRequest(f"Unknown: {name}.", code="unknown_parameter", param=name)
