"""Arguments of a verb, as they come over JSON: checked by name and type, and none left over."""

from __future__ import annotations

from collections.abc import Mapping

from latchgate.domain.errors import InvalidRequest

TEXT_CHARS_MAX = 4096
COUNT_MAX = 10**12


class Arguments:
    """Each argument is taken once, by name; ``close`` refuses what nobody took."""

    def __init__(self, values: Mapping[str, object]) -> None:
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
        value = self._values.pop(name, False)
        if not isinstance(value, bool):
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
