"""When keys that are known here expire: what a timer looks at, and a call in passing."""

from __future__ import annotations

from latchgate.domain.windows import FOREVER_US


class Expiries:
    """The dates of keys, in microseconds. Used from one event loop."""

    def __init__(self) -> None:
        self._at_us: dict[str, int] = {}
        #: When the first of them expires.
        self.next_us = FOREVER_US

    def watch(self, key_id: str, at_us: int | None) -> None:
        """A key's date is this from now on; None: it has none."""
        self._at_us.pop(key_id, None)
        if at_us is not None:
            self._at_us[key_id] = at_us
            self.next_us = min(self.next_us, at_us)

    def take_due(self, now_us: int) -> list[str]:
        """The keys whose date has come; they are watched no longer."""
        if now_us < self.next_us:
            return []
        due = [key_id for key_id, at_us in self._at_us.items() if at_us <= now_us]
        for key_id in due:
            del self._at_us[key_id]
        self.next_us = min(self._at_us.values(), default=FOREVER_US)
        return due
