"""Relay: the upstream's answer becomes ours, whole or event by event.

Bytes pass as they come. Only what must change is changed: the model's name, where the upstream's
differs, and the usage that the client did or did not ask for.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import msgspec

from latchgate.domain.errors import LatchgateError, UpstreamFailed
from latchgate.gateway import replies
from latchgate.gateway.call import RanDry
from latchgate.upstream.answers import (
    Piece,
    find_plain,
    garbled,
    parse_piece,
    read_usage,
    refusal,
)
from latchgate.upstream.sse import EventScanner, EventTooLong, data_of

if TYPE_CHECKING:
    from latchgate.gateway.call import Call
    from latchgate.gateway.request import GatewayRequest
    from latchgate.upstream.connection import Connection
    from latchgate.upstream.pool import Pool

EVENT_BYTES_MAX = 1024 * 1024
REFUSAL_BYTES_MAX = 64 * 1024
DONE = b"data: [DONE]\n\n"


class WholeAnswer:
    """Gathers an answer that is not streamed, or a refusal."""

    def __init__(self, call: Call, *, bytes_max: int) -> None:
        self._call = call
        self._bytes_max = bytes_max
        self._connection: Connection | None = None
        self.body = b""

    def on_connected(self, connection: Connection) -> None:
        """Know the connection."""
        self._connection = connection
        self._call.on_connected(connection)

    def on_chunk(self, chunk: bytes) -> None:
        """Gather, within the bound."""
        self._call.note_first_byte()
        self.body = self.body + chunk if self.body else chunk
        if len(self.body) > self._bytes_max and self._connection is not None:
            self._connection.fail(garbled("the answer is too large"))


class EventRelay:
    """Passes a stream on, event by event, as its sink.

    The usage event and ``[DONE]`` are kept back until the charge is durable.
    """

    def __init__(self, call: Call, request: GatewayRequest) -> None:
        self._call = call
        self._request = request
        self._scanner = EventScanner(event_bytes_max=EVENT_BYTES_MAX)
        self._connection: Connection | None = None
        self._renames = _renames(call)
        self.refusal_body = bytearray()
        self._usage_event: tuple[bytes, Piece] | None = None
        self._first_data = b""
        self._is_full = False
        #: Waits for more money to hold; nothing is read from the upstream meanwhile.
        self._holding: asyncio.Task[None] | None = None

    def on_connected(self, connection: Connection) -> None:
        """Know the connection, and slow it down when the client is slow."""
        self._connection = connection
        self._call.on_connected(connection)
        self._request.on_flow = self._on_flow

    def let_go(self) -> None:
        """The answer is whole: its connection carries other calls from now on."""
        self._connection = None
        self._request.on_flow = None

    def _on_flow(self, is_full: bool) -> None:  # noqa: FBT001 - a hook
        self._is_full = is_full
        self._regulate()

    def _regulate(self) -> None:
        """Read from the upstream while the client keeps up and there is money for more."""
        if self._connection is not None:
            if self._is_full or self._holding is not None:
                self._connection.pause()
            else:
                self._connection.resume()

    async def _hold_more(self) -> None:
        try:
            await self._call.hold_more()
        except LatchgateError as error:
            self._fail(error)
        finally:
            self._holding = None
            self._regulate()

    def on_chunk(self, chunk: bytes) -> None:
        """Pass on what is whole. A stream that makes no sense ends here."""
        if self._connection is not None and self._connection.status != 200:  # noqa: PLR2004
            if len(self.refusal_body) < REFUSAL_BYTES_MAX:
                self.refusal_body += chunk
            return
        plain = self._scanner.is_clean and self._first_data and find_plain(chunk)
        if plain and (not self._call.chat.wants_usage or plain.has_usage_nulls):
            self._note(plain.pieces, plain.text_bytes)
            for old, new in self._renames:
                chunk = chunk.replace(old, new)
            self._request.write(chunk)
            return
        try:
            ready = b"".join(map(self._event, self._scanner.feed(chunk)))
        except EventTooLong as error:
            self._fail(garbled(str(error)))
            return
        except LatchgateError as error:
            self._fail(error)
            return
        if ready:
            if not self._request.response_started:
                self._call.note_first_byte()
                self._request.start_stream(*allowance_lines(self._call))
            self._request.write(ready)

    def _fail(self, error: LatchgateError) -> None:
        if self._connection is not None:
            self._connection.fail(error)

    def _event(self, event: bytes) -> bytes:
        """What the client gets for one event of the upstream's."""
        data = data_of(event)
        if data is None:
            return event  # a comment that keeps the line warm
        if data == b"[DONE]":
            return b""
        piece = parse_piece(data)
        if piece.error is not None:
            raise UpstreamFailed(
                "The model's server broke off. What had arrived is charged, the rest is not.",
                internal=bytes(piece.error)[:300].decode("utf-8", "replace"),
            )
        if not self._first_data:
            self._first_data = data
        self._count(piece)
        if piece.has_usage and not piece.choices:
            self._usage_event = (data, piece)
            return b""
        if self._renames:
            for old, new in self._renames:
                data = data.replace(old, new, 1)
        elif piece.has_usage or not self._call.chat.wants_usage:
            return event
        if self._call.chat.wants_usage and b'"usage"' not in data:
            # OpenAI's: with include_usage every chunk but the last carries a null.
            data = data.rstrip()[:-1] + b',"usage":null}'
        return b"data: " + data + b"\n\n"

    def _count(self, piece: Piece) -> None:
        usage = piece.find_usage()
        if usage is not None:
            self._call.usage = usage
        size = piece.text_bytes()
        if size:
            self._note(1, size)

    def _note(self, pieces: int, text_bytes: int) -> None:
        if not self._call.note_output(pieces, text_bytes) and self._holding is None:
            self._holding = asyncio.create_task(self._hold_more())
            self._regulate()

    def last_bytes(self) -> bytes:
        """What was kept back: the usage, if the client asked for it, and the end."""
        if self._usage_event is None or not self._call.chat.wants_usage:
            return DONE
        data, piece = self._usage_event
        return b"data: " + with_cost(data, bytes(piece.usage), self._call) + b"\n\n" + DONE

    def early_end(self) -> bytes:
        """The end of a stream that ran dry: as if it had reached its ``max_tokens``."""
        call, usage = self._call, self._call.usage
        chunk = msgspec.json.decode(self._first_data)
        chunk["choices"] = [
            {"index": index, "delta": {}, "logprobs": None, "finish_reason": "length"}
            for index in range(call.chat.choices)
        ]
        chunk["model"] = call.model.name
        chunk.pop("usage", None)
        ends = [chunk]
        if call.chat.wants_usage and usage is not None:
            counts = {
                "prompt_tokens": usage.input_tokens,
                "completion_tokens": usage.output_tokens,
                "total_tokens": usage.input_tokens + usage.output_tokens,
                "cost_nanos": call.charge_nanos,
            }
            ends = [{**chunk, "usage": None}, {**chunk, "choices": [], "usage": counts}]
        return b"".join(b"data: " + msgspec.json.encode(end) + b"\n\n" for end in ends) + DONE


async def relay_whole(
    call: Call, request: GatewayRequest, pool: Pool, body: bytes, *, bytes_max: int
) -> None:
    """Run a call that is not streamed: the whole answer, settled, then sent."""
    sink = WholeAnswer(call, bytes_max=bytes_max)
    target = call.model.target
    outgoing = target.request("/chat/completions", body, request.request_id)
    status = await pool.send(target, outgoing, sink)
    data = sink.body
    if status != 200:  # noqa: PLR2004 - OK
        raise refusal(status, data)
    call.usage, usage_text = read_usage(data)
    if call.usage is None or not call.usage.is_sane:
        call.text_bytes = parse_piece(data).text_bytes()
        call.text_pieces = min(1, call.text_bytes)
    await call.settle()
    cost = b"x-latchgate-cost-nanos: %d\r\n" % call.charge_nanos
    request.send_json(200, with_cost(data, usage_text, call), *allowance_lines(call), cost)


async def relay_events(call: Call, request: GatewayRequest, pool: Pool, body: bytes) -> None:
    """Run a stream: events as they come, then the charge, then the last bytes."""
    relay = EventRelay(call, request)
    outgoing = call.model.target.request("/chat/completions", body, request.request_id)
    try:
        status = await pool.send(call.model.target, outgoing, relay)
    except RanDry:
        await call.settle()
        request.start_stream(*allowance_lines(call))
        request.end_stream(relay.early_end())
        return
    finally:
        relay.let_go()
    if status != 200:  # noqa: PLR2004 - OK
        raise refusal(status, bytes(relay.refusal_body))
    if not request.response_started and not call.usage:
        raise garbled("a stream without events")
    await call.settle()
    request.start_stream(*allowance_lines(call))
    request.end_stream(relay.last_bytes())


def allowance_lines(call: Call) -> tuple[bytes, ...]:
    """The header line that says that a call runs smaller than it asked."""
    if not call.allowance.is_clamped:
        return ()
    return (replies.header("x-latchgate-clamped", f"max_tokens={call.allowance.output_tokens}"),)


def with_cost(data: bytes, usage: bytes, call: Call) -> bytes:
    """A completion under the model's public name, with what it cost beside its usage.

    Where the name stays, the cost is put into the bytes as they are; else all is written anew.
    """
    if (
        call.model.name == call.model.upstream_model
        and usage.endswith(b"}")
        and len(usage) > len(b"{}")
    ):
        before, found, behind = data.rpartition(usage)
        if found and usage not in before:
            cost = b',"cost_nanos":%d}' % call.charge_nanos
            return b"".join((before, usage[:-1].rstrip(), cost, behind))
    value = msgspec.json.decode(data)
    value["model"] = call.model.name
    if isinstance(value.get("usage"), dict):
        value["usage"]["cost_nanos"] = call.charge_nanos
    return msgspec.json.encode(value)


def _renames(call: Call) -> tuple[tuple[bytes, bytes], ...]:
    """The bytes to look for and those to put there, where the upstream's model name differs.

    Inside a text the quotes would be escaped, so only the field itself can match; servers write it
    with and without a space.
    """
    model = call.model
    if model.name == model.upstream_model:
        return ()
    old, new = json.dumps(model.upstream_model), f'"model":{json.dumps(model.name)}'.encode()
    return tuple((f'"model":{space}{old}'.encode(), new) for space in ("", " "))
