"""Counting a prompt's tokens: a question to the model's server that runs nothing and costs nothing.

It is bounded like a call all the same: it counts against the account's requests and the key's
running calls, and it ends when its client hangs up or its key is revoked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from latchgate.domain.errors import InvalidKey
from latchgate.domain.usage import TOKENS_MAX
from latchgate.fibers import Wait, in_task
from latchgate.gateway.calls import check_content_type, dialect_for
from latchgate.gateway.dialects.messages import peek_count
from latchgate.gateway.dialects.messages_answers import version_lines
from latchgate.gateway.dialects.table import MESSAGES_ENDPOINT
from latchgate.gateway.request import ClientGone
from latchgate.upstream.answers import garbled, refusal

if TYPE_CHECKING:
    from latchgate.gateway.admit import Admission
    from latchgate.gateway.directory import KeyEntry
    from latchgate.gateway.offers import ModelEntry
    from latchgate.gateway.prompt import Prompt
    from latchgate.gateway.request import GatewayRequest
    from latchgate.upstream.connection import Connection
    from latchgate.upstream.pool import Pool

PATH = "/messages/count_tokens"
ANSWER_BYTES_MAX = 64 * 1024
_OK = 200
#: What a server says that speaks messages, but does not count them.
_HAS_NO_COUNT = (404, 405, 501)


class _Count(msgspec.Struct):
    input_tokens: Any


_decode = msgspec.json.Decoder(_Count).decode


class Question:
    """One question that is under way: it can be ended from outside, like a call."""

    def __init__(self, model: ModelEntry) -> None:
        self.model = model
        self._turn: Wait[None] | None = None
        self._connection: Connection | None = None
        self._end: Exception | None = None
        self.body = b""

    def on_queued(self, turn: Wait[None]) -> None:
        """It waits for its turn, and leaves the line when it ends."""
        if self._end is not None:
            raise self._end
        self._turn = turn

    def on_connected(self, connection: Connection) -> None:
        """Know the connection; what has ended meanwhile is not asked."""
        if self._end is not None:
            raise self._end
        self._connection = connection

    def on_chunk(self, chunk: bytes) -> None:
        """Gather, within the bound."""
        self.body += chunk
        if len(self.body) > ANSWER_BYTES_MAX:
            self._stop(garbled("the count is too large"))

    def cut(self) -> None:
        """The key has ended."""
        self._stop(InvalidKey("This API key has ended while the call was running."))

    def on_gone(self) -> None:
        """The client has hung up."""
        self._stop(ClientGone())

    def let_go(self) -> None:
        """The answer is whole: its connection carries other calls from now on."""
        self._connection = None

    def _stop(self, reason: Exception) -> None:
        if self._end is None:
            self._end = reason
            if self._connection is not None:
                self._connection.fail(reason)
            elif self._turn is not None:
                self._turn.fail(reason)


class Counting:
    """Answers how many tokens a prompt comes to."""

    def __init__(self, admission: Admission, pool: Pool, *, body_bytes_max: int) -> None:
        self._admission = admission
        self._pool = pool
        self._body_bytes_max = body_bytes_max

    async def run(self, request: GatewayRequest, entry: KeyEntry) -> None:
        """Answer one question. Raises LatchgateError."""
        check_content_type(request.head)
        admission = self._admission
        admission.check_concurrency(entry)
        body = await request.read_body(bytes_max=self._body_bytes_max)
        if entry.has_ended:  # while the body was on its way
            entry = await in_task(admission.get_key(request))
        model, prompt = peek_count(body, lambda name: admission.get_model(name, entry))
        dialect_for(MESSAGES_ENDPOINT, model)
        # A request like any other, but none that a model reads.
        request.rate_lines = admission.admit_rate(
            entry, msgspec.structs.replace(prompt, prompt_bytes=0), request.now_s
        )
        tokens = max(1, prompt.input_tokens_usual)
        if "messages" in model.target.speaks:
            admission.check_still_welcome(entry, request.head)
            tokens = await self._ask(request, entry, model, prompt) or tokens
        request.send_json(_OK, b'{"input_tokens":%d}' % tokens)

    async def _ask(
        self, request: GatewayRequest, entry: KeyEntry, model: ModelEntry, prompt: Prompt
    ) -> int | None:
        """What the model's server counts; None where it does not. Raises UpstreamFailed."""
        request.check_connected()
        question = Question(model)
        request.on_gone = question.on_gone
        entry.running.add(question)
        body = prompt.outgoing.write(model.upstream_model, 0)
        lines = version_lines(request.headers)
        asked = model.target.request(PATH, body, request.request_id, lines)
        try:
            status = await self._pool.send(model.target, asked, question)
        finally:
            question.let_go()
            entry.running.discard(question)
        if status in _HAS_NO_COUNT:
            return None
        if status != _OK:
            raise refusal(status, question.body, "messages")
        return _tokens_of(question.body)


def _tokens_of(body: bytes) -> int:
    """A sane count. Raises UpstreamFailed."""
    try:
        tokens = _decode(body).input_tokens
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise garbled(str(error)) from None
    if type(tokens) is not int or not 0 <= tokens <= TOKENS_MAX:
        raise garbled("a count that is none")
    return tokens
