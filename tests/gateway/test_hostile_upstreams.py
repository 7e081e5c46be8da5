"""Guards against model servers that send what no sane one would: bytes that are no HTTP answer.

Whatever comes, the caller gets a clean error of our shape, nothing is charged that did not arrive,
and no connection is lost.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.gateway.hostile import (
    ANSWER,
    CHARGE,
    CHUNKED,
    EVENTS,
    LENGTH,
    OK,
    TERMS,
    Endless,
    check_next,
    check_refused,
    sends,
)
from tests.support.gateway import running_gateway

pytestmark = pytest.mark.anyio
BOTH = pytest.mark.parametrize("is_stream", [True, False], ids=["streamed", "whole"])
NONSENSE = {
    "nothing": b"",
    "garbage": b"\x00\xff\x13\x37garbage\r\n\r\n" * 50,
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
    "an answer without a head": ANSWER,
    "half a head": OK + b"content-type: applica",
    "a strange version": b"HTTP/7.3 200 OK\r\n" + LENGTH % len(ANSWER) + ANSWER,
    "no status": b"HTTP/1.1 abc\r\n\r\n",
    "a head and nothing": OK + b"\r\n",
    "a head that promises": OK + LENGTH % 10,
    "a head of chunks": OK + CHUNKED + b"\r\n",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "another protocol on request": b"HTTP/1.1 101 X\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
    "a redirect": b"HTTP/1.1 302 X\r\nlocation: /v1/elsewhere\r\ncontent-length: 0\r\n\r\n",
    "only an interim answer": b"HTTP/1.1 100 Continue\r\n\r\n",
    "a length too short": OK + LENGTH % 9 + ANSWER,
    "a length below zero": OK + LENGTH % -5 + ANSWER,
    "a length of no end": OK + b"content-length: " + b"9" * 40 + b"\r\n\r\n" + ANSWER,
    "a length that is no number": OK + b"content-length: many\r\n\r\n" + ANSWER,
    "two lengths": OK + b"content-length: 5\r\n" + LENGTH % len(ANSWER) + ANSWER,
    "a length and chunks": OK + CHUNKED + LENGTH % len(ANSWER) + ANSWER,
    "a chunk's size that is none": OK + CHUNKED + b"\r\nzz\r\n" + ANSWER,
    "a chunk's size below zero": OK + CHUNKED + b"\r\n-5\r\n" + ANSWER,
    "a chunk's size of no end": OK + CHUNKED + b"\r\n" + b"f" * 40 + b"\r\n" + ANSWER,
    "a chunk that is too long": OK + CHUNKED + b"\r\n3\r\n" + ANSWER + b"\r\n0\r\n\r\n",
    "gzip that nobody asked for": OK
    + b"content-encoding: gzip\r\n"
    + LENGTH % len(gzip.compress(ANSWER + EVENTS))
    + gzip.compress(ANSWER + EVENTS),
    "a page": OK + b"content-type: text/html\r\n\r\n<html>\n\n<p>Log in</p>\n\n</html>\n\n",
    "an error that says 200": OK + LENGTH % 26 + b'{"error":{"message":"no"}}',
}


@BOTH
@pytest.mark.parametrize("name", NONSENSE)
async def test_what_is_no_answer_is_a_clean_error_and_free(
    tmp_path: Path, name: str, *, is_stream: bool
) -> None:
    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        gateway.model_server.behaviour = sends(NONSENSE[name])
        reply = await gateway.chat(stream=is_stream)
        assert {request.path for request in gateway.model_server.received} == {
            "/v1/chat/completions"
        }
        await check_refused(gateway, reply)


@BOTH
@pytest.mark.parametrize(
    "data",
    [b"", OK, OK + b"\r\n", OK + LENGTH % 10, OK + CHUNKED + b"\r\n", b"HTTP/1.1 100 X\r\n\r\n"],
)
async def test_an_answer_that_stops_is_a_timeout_and_free(
    tmp_path: Path, data: bytes, *, is_stream: bool
) -> None:
    async with running_gateway(tmp_path, terms=TERMS, idle_s=0.2) as gateway:
        gateway.model_server.behaviour = sends(data, and_hangs=True)
        await check_refused(gateway, await gateway.chat(stream=is_stream), status=504)


ENDLESS = {
    "header fields": (OK, b"x-%d: y\r\n"),
    "the same header field": (OK, b"x-same: y\r\n"),
    "one header field": (OK + b"x: ", b"y"),
    "interim answers": (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "a line": (OK + CHUNKED + b"\r\n10000000\r\ndata: ", b"y"),
    "a refusal": (b"HTTP/1.1 500 X\r\n\r\n", b"no "),
    "a chunk's extension": (OK + CHUNKED + b"\r\n1;", b"y"),
    "trailers": (OK + CHUNKED + b"\r\n0\r\n", b"x-same: y\r\n"),
}


@BOTH
@pytest.mark.parametrize("name", ENDLESS)
async def test_what_has_no_end_is_a_clean_error_and_not_memory(
    tmp_path: Path, name: str, *, is_stream: bool
) -> None:
    head, piece = ENDLESS[name]
    if b"%d" in piece:
        piece = b"".join(piece % number for number in range(1000))
    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        server = gateway.model_server.behaviour = Endless(head, piece)
        reply = await gateway.chat(stream=is_stream)
        assert not server.has_sent_all, "all of it was read"
        await check_refused(gateway, reply)


SANE = {
    "an interim answer first": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nlink: x\r\n\r\n"
    + OK,
    "the old version": b"HTTP/1.0 200 OK\r\n",
    "the old version that stays": b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\n",
}


@BOTH
@pytest.mark.parametrize("with_length", [True, False])
@pytest.mark.parametrize("name", SANE)
async def test_what_is_only_unusual_is_answered(
    tmp_path: Path, name: str, *, with_length: bool, is_stream: bool
) -> None:
    body = EVENTS if is_stream else ANSWER
    head = SANE[name] + (LENGTH % len(body) if with_length else b"\r\n")
    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        gateway.model_server.behaviour = sends(head + body)
        reply = await gateway.chat(stream=is_stream)
        assert reply.status == 200
        (event,) = await gateway.events()
        assert (event.counted_by, event.charge_nanos) == ("upstream", CHARGE)
        await check_next(gateway, spent=CHARGE)
