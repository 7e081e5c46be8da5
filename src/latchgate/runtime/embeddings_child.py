"""The child process for embeddings: ``POST /v1/embeddings`` and ``GET /health`` on loopback.

uvicorn's loop reads and writes; two threads cut texts into tokens and write numbers; one computes.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import uvicorn

from latchgate.runtime.batcher import Batcher, Overloaded
from latchgate.runtime.embeddings_api import Refused, Tokenizer, answer, read
from latchgate.runtime.encoder import DIMENSIONS, Encoder, Vectors
from latchgate.runtime.parent import Parent

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

#: Far more than the most tokens of a request take.
BODY_BYTES_MAX = 4 * 1024 * 1024
CONNECTIONS_MAX = 1024
KEEP_ALIVE_S = 120
TEXT_THREADS = 2


@dataclass(frozen=True, slots=True)
class Orders:
    """What the parent asks for."""

    model_path: str
    tokenizer_path: str
    model_name: str
    api_key: str
    threads: int


class ClientGone(Exception):
    """Whoever asked has hung up."""


class EmbeddingsServer:
    """The ASGI application."""

    def __init__(self, orders: Orders, tokenizer: Tokenizer, batcher: Batcher) -> None:
        self._model_name = orders.model_name
        self._authorization = f"Bearer {orders.api_key}".encode()
        self._tokenizer = tokenizer
        self._batcher = batcher
        self._threads = ThreadPoolExecutor(TEXT_THREADS, thread_name_prefix="text")

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            status, body = 200, await self._answer(scope, receive)
        except Refused as refused:
            status, body = refused.status, refused.body
        except ClientGone:
            return
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: MutableMapping[str, Any], receive: Receive) -> bytes:
        match scope["method"], scope["path"]:
            case "GET", "/health":
                return msgspec.json.encode({"status": "ok"})
            case "POST", "/v1/embeddings":
                said = dict(scope["headers"]).get(b"authorization", b"")
                if not hmac.compare_digest(said, self._authorization):
                    raise Refused(401, "The API key is wrong.", code="invalid_api_key")
                return await self._embed(await _body(receive), receive)
        raise Refused(404, "There is no such endpoint.", code="unknown_url")

    async def _embed(self, body: bytes, receive: Receive) -> bytes:
        loop = asyncio.get_running_loop()
        asked = await loop.run_in_executor(self._threads, read, body, self._tokenizer)
        try:
            future = asyncio.wrap_future(self._batcher.submit(asked.texts))
        except Overloaded:
            raise Refused(
                503, "Too much waits already. Try again.", code="server_is_overloaded"
            ) from None
        vectors = await _unless_gone(future, receive)
        return await loop.run_in_executor(
            self._threads, lambda: answer(asked, vectors, model=self._model_name)
        )


async def _body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        if len(body) > BODY_BYTES_MAX:
            raise Refused(413, f"A body is at most {BODY_BYTES_MAX} bytes.", code="too_large")
        if not message.get("more_body", False):
            return bytes(body)


async def _unless_gone(future: asyncio.Future[Vectors], receive: Receive) -> Vectors:
    """Wait for the vectors; nothing is computed for somebody who has hung up."""
    gone: asyncio.Future[Message] = asyncio.ensure_future(receive())
    both: set[asyncio.Future[Any]] = {future, gone}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not future.done():
            raise ClientGone
        return future.result()
    finally:
        gone.cancel()
        future.cancel()


def main() -> None:
    """Serve until the parent is gone."""
    parent = Parent()
    orders = Orders(**parent.orders)
    # Read by the tokenizer's own threads when it is first used.
    os.environ["RAYON_NUM_THREADS"] = str(orders.threads or os.cpu_count() or 1)
    from tokenizers import Tokenizer as BertTokenizer  # noqa: PLC0415 (as its runtime)

    tokenizer = BertTokenizer.from_file(orders.tokenizer_path)
    # The file says to cut at 128 tokens and to pad to them; a text that is too long is refused.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    encoder = Encoder(Path(orders.model_path), threads=orders.threads)
    application = EmbeddingsServer(
        orders, tokenizer, Batcher(encoder.encode, dimensions=DIMENSIONS)
    )
    listener = socket.create_server(("127.0.0.1", 0), backlog=CONNECTIONS_MAX)
    config = uvicorn.Config(
        application,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS_MAX,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    parent.tell(f"http://127.0.0.1:{listener.getsockname()[1]}")
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
