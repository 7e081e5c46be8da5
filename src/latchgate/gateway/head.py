"""A request's head: what it says, and what was found out about it.

Over one connection clients send the same head again and again, only the body's length differs. The
connection keeps its last head, knows it again by its bytes, and with it whose key it carries, which
endpoint it means and what the app calls itself: what was parsed, hashed and looked up for one call
need not be for the next.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latchgate.domain.key_terms import Act, KeyTerms
    from latchgate.gateway.directory import KeyEntry
    from latchgate.gateway.request import GatewayRequest

_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*", re.IGNORECASE)
#: More digits than any body's length that is taken has.
_DIGITS_MAX = 12
#: What makes more of a head than its bytes and a body of a stated length.
_SPECIAL = (b"transfer-encoding", b"expect", b"upgrade")


class Head:
    """What a request's head says. Requests with the same head share it, and change nothing in it.

    What stands below the empty line is found out by those whose matter it is, once for all.
    """

    __slots__ = (
        "act",
        "app",
        "handler",
        "headers",
        "ip",
        "is_json",
        "keep_alive",
        "key",
        "method",
        "path",
        "query",
        "speaks_messages",
        "terms",
    )

    def __init__(
        self,
        method: str,
        path: str,
        query: bytes,
        headers: dict[bytes, bytes],
        *,
        keep_alive: bool,
        ip: str,
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        #: Names in lower case.
        self.headers = headers
        self.keep_alive = keep_alive
        #: Whose request it is: the peer's address, or the one that a trusted proxy names.
        self.ip = ip

        #: What answers it, once that is found.
        self.handler: Callable[[GatewayRequest, KeyEntry], Awaitable[None]] | None = None
        #: What its endpoint is for.
        self.act: Act = "list"
        #: It comes from a client of Anthropic's API.
        self.speaks_messages = False
        #: The key that it carries, while that may be used.
        self.key: KeyEntry | None = None
        #: Those terms of its key that it was checked against.
        self.terms: KeyTerms | None = None
        #: What the app calls itself.
        self.app: str | None = None
        #: The body is said to be plain JSON.
        self.is_json = False

    def take_over_key(self, before: Head) -> None:
        """Know the key that an earlier head of this connection carried, if this one carries it."""
        credential = self.headers.get(b"authorization")
        if credential is not None and credential == before.headers.get(b"authorization"):
            self.key = before.key


class KnownHead:
    """A head with the bytes that it is known by: those before and behind the body's length."""

    __slots__ = ("_after", "_before", "head")

    def __init__(self, head: Head, before: bytes, after: bytes) -> None:
        self.head = head
        self._before = before
        self._after = after

    @staticmethod
    def learn(data: bytes, head: Head) -> KnownHead | None:
        """Remember the head that ``data`` begins with, if nothing in it but the length may vary.

        The parser has taken it: were another length in its place, it would read it the same way.
        """
        if not head.keep_alive or any(name in head.headers for name in _SPECIAL):
            return None
        behind = data.find(_END) + len(_END)
        lengths = list(_LENGTH.finditer(data, 0, behind))
        if len(lengths) != 1:
            return None
        starts = lengths[0].end()
        return KnownHead(head, data[:starts], data[data.find(b"\r\n", starts) : behind])

    def body_of(self, data: bytes) -> bytes | None:
        """The body of a whole request that has this head and nothing behind it; else None."""
        before, after = self._before, self._after
        if not data.startswith(before):
            return None
        starts = len(before)
        ends = data.find(b"\r\n", starts, starts + _DIGITS_MAX + 2)
        digits = data[starts:ends]
        if ends < 0 or not digits.isdigit() or not data.startswith(after, ends):
            return None
        body_at = ends + len(after)
        return data[body_at:] if int(digits) == len(data) - body_at else None
