"""A head that is known by its bytes is read as the parser would read it, or not at all."""

from __future__ import annotations

from typing import Any

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latchgate.gateway.head import Head, KnownHead

START, LENGTH = b"POST /v1/chat/completions HTTP/1.1\r\n", b"content-length: 2\r\n"
PIECES = st.sampled_from(
    [
        *(START, LENGTH, b"POST /v1/embeddings HTTP/1.1\r\n"),
        *(b"host: a\r\n", b"authorization: Bearer k\r\n", b"authorization: Bearer q\r\n"),
        *(b"content-length: 0\r\n", b"content-length: 002\r\n", b"Content-Length:\t3\r\n"),
        *(b"content-length: +2\r\n", b"content-length: 2, 2\r\n", b"content-length: \r\n"),
        *(
            b"content-length: 2 \r\n",
            b"content-length: 99999999999999\r\n",
            b"x: content-length: 2",
        ),
        *(b"transfer-encoding: chunked\r\n", b"expect: 100-continue\r\n", b"\r\n", b"\n", b"\r"),
        *(b"{}", b"{} ", b"2\r\n{}\r\n0\r\n\r\n", b"connection: close\r\n", b"0", b" ", b"2"),
    ]
)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A request and one that is like it but for a few pieces, if they differ at all."""
    first = [START, *draw(st.lists(PIECES, max_size=5)), LENGTH, b"\r\n", b"{}"]
    second = list(first)
    for _ in range(draw(st.integers(0, 2))):
        second[draw(st.integers(0, len(second) - 1))] = draw(PIECES)
    if draw(st.booleans()):
        body = draw(st.binary(max_size=12))
        second[-3:] = [b"content-length: %d\r\n" % len(body), b"\r\n", body]
    return b"".join(first), b"".join(second)


HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nContent-Length: %b\r\nx-a: b\r\n\r\n"


class Parsed:
    """What the parser makes of some bytes."""

    def __init__(self, data: bytes) -> None:
        self.headers: dict[bytes, bytes] = {}
        self.target = b""
        self.bodies: list[bytes] = []
        self.is_whole = self.is_upgrade = False
        self.keep_alive = True
        parser = httptools.HttpRequestParser(self)
        self._parser: Any = parser
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.is_upgrade = True
        except httptools.HttpParserError:
            self.is_whole = False

    def on_message_begin(self) -> None:
        """Another message."""
        self.bodies.append(b"")
        self.is_whole = False

    def on_url(self, url: bytes) -> None:
        """What is asked for."""
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field."""
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self.keep_alive = self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        """Some of the body."""
        self.bodies[-1] += body

    def on_message_complete(self) -> None:
        """The message is whole."""
        self.is_whole = True


def learn(data: bytes) -> KnownHead | None:
    """What a connection remembers of the request that begins with ``data``."""
    parsed = Parsed(data)
    if not parsed.headers or not parsed.bodies or not parsed.is_whole:
        return None
    keep_alive = parsed.keep_alive and not parsed.is_upgrade
    target = parsed.target.decode("latin-1")
    return KnownHead.learn(
        data, Head("POST", target, b"", parsed.headers, keep_alive=keep_alive, ip="")
    )


@given(pair=pairs())
def test_what_is_known_again_is_what_the_parser_would_read(pair: tuple[bytes, bytes]) -> None:
    first, second = pair
    known = learn(first)
    body = None if known is None else known.body_of(second)
    if known is None or body is None:
        return
    parsed = Parsed(second)
    assert parsed.is_whole
    assert parsed.bodies == [body]
    assert parsed.target.decode("latin-1") == known.head.path
    length = {b"content-length": b""}
    assert parsed.headers | length == known.head.headers | length


@given(body=st.binary(max_size=200))
def test_the_same_head_is_known_whatever_the_body(body: bytes) -> None:
    known = learn(HEAD % b"2" + b"{}")
    assert known is not None
    assert known.body_of(HEAD % str(len(body)).encode() + body) == body


@pytest.mark.parametrize(
    "data",
    [
        HEAD % b"2" + b"{",  # not all of it yet
        HEAD % b"2" + b"{}P",  # another one behind it
        HEAD % b"+2" + b"{}",
        HEAD % b"2_0" + b"x" * 20,
        HEAD % b"" + b"{}",
        HEAD % (b"9" * 5000) + b"{}",
        HEAD.replace(b"x-a: b", b"x-a: c") % b"2" + b"{}",
        HEAD.replace(b"x-a: b", b"content-length: 2") % b"2" + b"{}",
        b"",
    ],
)
def test_what_differs_in_more_than_the_length_is_left_to_the_parser(data: bytes) -> None:
    known = learn(HEAD % b"2" + b"{}")
    assert known is not None
    assert known.body_of(data) is None


@pytest.mark.parametrize(
    "line", [b"connection: close", b"transfer-encoding: chunked", b"expect: 100-continue"]
)
def test_a_head_that_is_more_than_its_bytes_is_not_remembered(line: bytes) -> None:
    assert learn(HEAD.replace(b"x-a: b", line) % b"2" + b"{}") is None
