"""Answers of Anthropic's Messages API, from an upstream that speaks it: the bytes pass as they are.

A stream says what was read in its first event, and what was written near its end. The end,
``message_delta`` and ``message_stop``, is kept back until the charge is durable.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from latchgate.domain.errors import UpstreamFailed
from latchgate.gateway.dialects.chat_answers import broke_off, with_cost
from latchgate.upstream.answers import BROKE_OFF
from latchgate.upstream.message_answers import (
    MessageEvent,
    decode_object,
    find_plain_deltas,
    is_null,
    message_usage,
    parse_event,
    parse_message,
    stated_usage,
)
from latchgate.upstream.sse import data_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from latchgate.domain.usage import Usage
    from latchgate.gateway.call import Call
    from latchgate.gateway.prompt import Prompt
    from latchgate.upstream.answers import Plain

#: The version of Anthropic's API whose messages we write and read.
ANTHROPIC_VERSION = b"2023-06-01"
BETAS_MAX = 32
_VERSION = re.compile(rb"[0-9A-Za-z._-]{1,32}")
_BETA = re.compile(rb"[0-9A-Za-z._-]{1,100}")


class MessagesDialect:
    """Speaks Anthropic's Messages API."""

    path = "/messages"

    def body(self, prompt: Prompt, model: str, output_tokens: int) -> bytes:
        """The body that goes upstream."""
        return prompt.outgoing.write(model, output_tokens)

    def read(self, call: Call, data: bytes) -> None:
        """Tell the call the usage that an answer states, and its text where that is not sane."""
        message = parse_message(data)
        if message.is_error:
            raise broke_off(data)
        call.usage_json = bytes(message.usage)
        stated = stated_usage(message.usage)
        call.usage = None if stated is None else message_usage(stated)
        if call.usage is None or not call.usage.is_sane:
            call.usage_json = b""
            call.note_text(message.text_bytes())

    def answer(self, call: Call, data: bytes) -> bytes:
        """The client's whole answer, with what it cost."""
        if call.usage_json:
            return with_cost(data, call.usage_json, call)
        message = decode_object(data)
        message["model"] = call.model.name
        message["usage"] = charged_usage(call)
        return msgspec.json.encode(message)

    def events(self, call: Call) -> MessageEvents:
        """A reader for one stream."""
        return MessageEvents(call)


MESSAGES = MessagesDialect()


class MessageEvents:
    """Reads a stream of typed events."""

    def __init__(self, call: Call) -> None:
        self._call = call
        #: What the first event says of the usage; None before it.
        self._first_usage: dict[str, Any] | None = None
        #: The block that is being written.
        self._open_block: int | None = None
        self._delta_event: dict[str, Any] | None = None
        self._stated: Usage | None = None
        self._is_over = False

    def plain(self, chunk: bytes) -> Plain | None:
        """What a chunk of whole events carries, if they are nothing but text that may pass."""
        if self._first_usage is None or self._is_over:
            return None
        return find_plain_deltas(chunk)

    def rename(self, chunk: bytes) -> bytes:
        """A plain chunk: a stream names its model in its first event only."""
        return chunk

    def event(self, event: bytes) -> bytes:
        """What the client gets for one event of the upstream's."""
        data = data_of(event)
        if data is None:
            # A comment keeps the line warm; anything else without data is no event.
            return event if event.startswith(b":") else b""
        if self._is_over or data == b"[DONE]":
            return b""
        said = parse_event(data)
        if said.is_error:
            raise broke_off(data)
        match said.type:
            case "message_start":
                return self._begin(said, event)
            case "message_delta":
                return self._keep(said, data)
            case "message_stop":
                self._is_over = True
                return b""
            case "content_block_start":
                self._open_block = said.index if isinstance(said.index, int) else None
            case "content_block_stop":
                self._open_block = None
        size = said.text_bytes()
        if size:
            self._call.note_output(1, size)
        return event

    def _begin(self, said: MessageEvent, event: bytes) -> bytes:
        message = decode_object(said.message)
        usage = message.get("usage")
        self._first_usage = usage if isinstance(usage, dict) else {}
        model = self._call.model
        if model.name == model.upstream_model:
            return event
        message["model"] = model.name
        return write_event({"type": "message_start", "message": message})

    def _keep(self, said: MessageEvent, data: bytes) -> bytes:
        """Keep back what says the end. Counts are totals: of several such events the last holds."""
        before, self._delta_event = self._delta_event, decode_object(data)
        if not is_null(said.usage):
            self._stated = message_usage(self._first_usage, stated_usage(said.usage))
            self._call.usage = self._stated
        return write_event(before) if before is not None else b""

    def last(self) -> bytes:
        """What was kept back, with what it cost."""
        ending = self._delta_event
        if ending is None or not self._is_over:
            raise UpstreamFailed(
                BROKE_OFF,
                internal="a stream without its end",
            )
        call = self._call
        if call.usage is self._stated and isinstance(ending.get("usage"), dict):
            ending["usage"]["cost_nanos"] = call.charge_nanos
        else:
            ending["usage"] = charged_usage(call)
        return write_event(ending) + MESSAGE_STOP

    def early(self) -> bytes:
        """The end of a stream that ran dry: as if it had reached its ``max_tokens``."""
        return ending(self._call, "max_tokens", open_block=self._open_block)


def version_lines(headers: Mapping[bytes, bytes]) -> bytes:
    """The header lines by which Anthropic's servers know a client: bounded, and only plain words.

    Raises nothing: what is no plain word is left out.
    """
    version = headers.get(b"anthropic-version", b"")
    if not _VERSION.fullmatch(version):
        version = ANTHROPIC_VERSION
    lines = b"anthropic-version: %b\r\n" % version
    named = headers.get(b"anthropic-beta")
    if named is None:
        return lines
    betas = [beta.strip() for beta in named.split(b",", BETAS_MAX)[:BETAS_MAX]]
    betas = [beta for beta in betas if _BETA.fullmatch(beta)]
    return lines + b"anthropic-beta: %b\r\n" % b",".join(betas) if betas else lines


def write_event(value: dict[str, Any]) -> bytes:
    """An event, named by its type."""
    return b"event: %b\ndata: %b\n\n" % (
        str(value["type"]).encode("utf-8", "replace"),
        msgspec.json.encode(value),
    )


MESSAGE_STOP = write_event({"type": "message_stop"})


def ending(call: Call, stop_reason: str, *, open_block: int | None) -> bytes:
    """The end of a stream that we write ourselves; the call is settled."""
    events = b""
    if open_block is not None:
        events = write_event({"type": "content_block_stop", "index": open_block})
    delta = {"stop_reason": stop_reason, "stop_sequence": None}
    events += write_event({"type": "message_delta", "delta": delta, "usage": charged_usage(call)})
    return events + MESSAGE_STOP


def charged_usage(call: Call) -> dict[str, int]:
    """What a settled call was charged for, as Anthropic states it."""
    usage = call.usage
    if usage is None:
        return {"cost_nanos": call.charge_nanos}
    return {
        "input_tokens": usage.input_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
        "cost_nanos": call.charge_nanos,
    }
