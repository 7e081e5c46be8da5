"""Where an upstream is, and the request head that it is sent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from latchgate.domain.endpoints import SPEAKS_DEFAULT

_HEAD = (
    b"content-type: application/json\r\naccept: application/json, text/event-stream\r\n"
    b"user-agent: latchgate\r\nx-request-id: "
)


@dataclass(frozen=True, slots=True)
class Target:
    """An upstream's address with all that is the same for every request to it."""

    name: str
    host: str
    port: int
    is_tls: bool
    path: str
    #: ``host`` and ``authorization`` header lines, ready to send.
    head: bytes
    #: The API's endpoints that it answers itself.
    speaks: frozenset[str]
    #: How many calls it runs at once, the others waiting here; None: as many as there are.
    calls_at_once: int | None = None

    @staticmethod
    def parse(
        name: str,
        base_url: str,
        credential: str | None,
        *,
        speaks: Iterable[str] = SPEAKS_DEFAULT,
        calls_at_once: int | None = None,
    ) -> Target:
        """Read a base URL that ``checked_base_url`` has accepted.

        A server that speaks ``messages`` alone is one of Anthropic's kind, which looks for its
        credential in a header of its own.
        """
        speaks = frozenset(speaks)
        url = urlsplit(base_url)
        is_tls = url.scheme == "https"
        host = url.hostname or ""
        authority = url.netloc
        head = f"host: {authority}\r\n"
        if credential is not None:
            head += f"authorization: Bearer {credential}\r\n"
        if speaks == {"messages"} and credential is not None:
            head += f"x-api-key: {credential}\r\n"
        return Target(
            name=name,
            host=host,
            port=url.port or (443 if is_tls else 80),
            is_tls=is_tls,
            path=url.path.rstrip("/"),
            head=head.encode(),
            speaks=speaks,
            calls_at_once=calls_at_once,
        )

    @staticmethod
    def nowhere(name: str, *, speaks: Iterable[str] = SPEAKS_DEFAULT) -> Target:
        """The address of an upstream that is not up."""
        return Target(
            name, host="", port=0, is_tls=False, path="", head=b"", speaks=frozenset(speaks)
        )

    def request(self, path: str, body: bytes, request_id: str, lines: bytes = b"") -> bytes:
        """A whole POST request; of the client's own head only ``lines`` go along."""
        return b"".join(
            (
                f"POST {self.path}{path} HTTP/1.1\r\n".encode(),
                self.head,
                _HEAD,
                request_id.encode(),
                b"\r\n",
                lines,
                b"content-length: ",
                str(len(body)).encode(),
                b"\r\n\r\n",
                body,
            )
        )

    def __hash__(self) -> int:
        return hash(self.head)  # bytes remember their hash

    def __repr__(self) -> str:
        return f"Target({self.name})"
