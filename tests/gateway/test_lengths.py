"""Where a message ends is one thing to everybody, or a request could be smuggled in with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.gateway import running_gateway

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "lengths",
    [
        b"content-length: 5\r\ncontent-length: 6\r\n",
        b"content-length: 5\r\ntransfer-encoding: chunked\r\n",
        b"content-length: 5, 5\r\n",
        b"transfer-encoding: chunked, identity\r\n",
    ],
)
async def test_a_message_with_two_lengths_is_refused(tmp_path: Path, lengths: bytes) -> None:
    async with running_gateway(tmp_path) as gateway:
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
        key = f"authorization: Bearer {gateway.secret}\r\n".encode()
        smuggled = b"\r\n0\r\n\r\nGET /v1/models HTTP/1.1\r\n\r\n"
        reply = await gateway.raw(head + key + lengths + smuggled)
        assert (reply.status, reply.headers["connection"]) == (400, "close")
        assert gateway.model_server.received == []
