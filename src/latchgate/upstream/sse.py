"""Cuts a stream of server-sent events into whole events, however the bytes come.

The format is that of the HTML standard, section 9.2.6 (https://html.spec.whatwg.org/), of which
model servers use ``data:`` lines, comments, and an empty line behind each event. An event's bytes
are never changed here.
"""

from __future__ import annotations

#: May stand before the first event, and means nothing.
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventTooLong(ValueError):
    """A single event is larger than a sane server sends."""


class EventScanner:
    """Feed it chunks; it gives back whole events, each with the empty line that ends it."""

    __slots__ = ("_event_bytes_max", "_pieces", "_size")

    def __init__(self, *, event_bytes_max: int) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._event_bytes_max = event_bytes_max

    @property
    def is_clean(self) -> bool:
        """Whether the next chunk begins an event."""
        return not self._size

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that this chunk completes. Raises EventTooLong."""
        ends_with_cr = bool(self._pieces) and self._pieces[-1].endswith(b"\r")
        self._pieces.append(chunk)
        self._size += len(chunk)
        if b"\n" not in chunk and b"\r" not in chunk and not ends_with_cr:
            # Nothing can end here: joining now would copy a long event once for every chunk of it.
            self._check_size()
            return []
        data = b"".join(self._pieces)
        held_back = b""
        if b"\r" in data:
            # A CR at the very end may be half of a CRLF: it waits for its other half.
            held_back = b"\r" if data.endswith(b"\r") else b""
            data = data[: len(data) - len(held_back)].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *events, rest = data.split(b"\n\n")
        self._pieces = [rest + held_back]
        self._size = len(self._pieces[0])
        self._check_size()
        return [event + b"\n\n" for event in (event.lstrip(b"\n") for event in events) if event]

    def _check_size(self) -> None:
        if self._size > self._event_bytes_max:
            raise EventTooLong(f"an event of over {self._event_bytes_max} bytes")


def data_of(event: bytes) -> bytes | None:
    """The payload of an event's ``data:`` lines, joined; None for comments and other fields."""
    if event.startswith(b"data:") and event.count(b"\n") == 2:  # noqa: PLR2004 - the usual case
        return event[5:-2].strip(b" ")
    event = event.removeprefix(BYTE_ORDER_MARK)
    lines = [line[5:].removeprefix(b" ") for line in event.split(b"\n") if line[:5] == b"data:"]
    return b"\n".join(lines) if lines else None
