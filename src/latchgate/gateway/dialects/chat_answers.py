"""Answers of chat completions, and of text completions, which differ in where the text stands."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from latchgate.domain.errors import UpstreamFailed
from latchgate.upstream.answers import (
    BROKE_OFF,
    CONTENT,
    TEXT,
    Piece,
    find_plain,
    parse_piece,
    read_usage,
)
from latchgate.upstream.sse import data_of

if TYPE_CHECKING:
    import re

    from latchgate.gateway.call import Call
    from latchgate.gateway.prompt import Prompt
    from latchgate.upstream.answers import Plain

#: What an event without data may begin with: a comment that keeps the line warm, or a field of its
#: own. Anything else is no event (HTML standard, section 9.2.6).
FIELDS = (b":", b"event:", b"id:", b"retry:")
DONE = b"data: [DONE]\n\n"
Renames = tuple[tuple[bytes, bytes], ...]


class ChatDialect:
    """Speaks chat completions, or text completions: ``early_choice`` is a choice that has ended."""

    def __init__(self, path: str, text: re.Pattern[bytes], early_choice: dict[str, Any]) -> None:
        self.path = path
        self._text = text
        self._early_choice = early_choice

    def body(self, prompt: Prompt, model: str, output_tokens: int) -> bytes:
        """The body that goes upstream."""
        return prompt.outgoing.write(model, output_tokens)

    def read(self, call: Call, data: bytes) -> None:
        """Tell the call the usage that an answer states, and its text where that is not sane."""
        call.usage, call.usage_json = read_usage(data)
        if call.usage is None or not call.usage.is_sane:
            call.note_text(parse_piece(data).text_bytes())

    def answer(self, call: Call, data: bytes) -> bytes:
        """The client's whole answer, with what it cost."""
        return with_cost(data, call.usage_json, call)

    def events(self, call: Call) -> ChatEvents:
        """A reader for one stream."""
        return ChatEvents(call, self._text, self._early_choice)


CHAT = ChatDialect(
    "/chat/completions", CONTENT, {"delta": {}, "logprobs": None, "finish_reason": "length"}
)
COMPLETIONS = ChatDialect(
    "/completions", TEXT, {"text": "", "logprobs": None, "finish_reason": "length"}
)


class ChatEvents:
    """Reads a stream of chunks: the usage event and ``[DONE]`` are kept back."""

    def __init__(self, call: Call, text: re.Pattern[bytes], early_choice: dict[str, Any]) -> None:
        self._call = call
        self._text = text
        self._early_choice = early_choice
        self._renames = _renames(call)
        self._usage_event: tuple[bytes, bytes] | None = None
        self._first_data = b""

    def plain(self, chunk: bytes) -> Plain | None:
        """What a chunk of whole events carries, if they are nothing but text that may pass."""
        if not self._first_data:
            return None
        found = find_plain(chunk, self._text)
        if found is None or (self._call.prompt.wants_usage and not found.has_usage_nulls):
            return None
        return found

    def rename(self, chunk: bytes) -> bytes:
        """A plain chunk, under the model's public name."""
        for old, new in self._renames:
            chunk = chunk.replace(old, new)
        return chunk

    def event(self, event: bytes) -> bytes:
        """What the client gets for one event of the upstream's."""
        data = data_of(event)
        if data is None:
            return event if event.startswith(FIELDS) else b""
        if data == b"[DONE]":
            return b""
        piece = parse_piece(data)
        if piece.has_error:
            raise broke_off(bytes(piece.error))
        if not self._first_data:
            self._first_data = data
        self._count(piece)
        if piece.has_usage and not piece.choices:
            self._usage_event = (data, bytes(piece.usage))
            return b""
        wants_usage = self._call.prompt.wants_usage
        if self._renames:
            for old, new in self._renames:
                data = data.replace(old, new, 1)
        elif piece.has_usage or not wants_usage:
            return event
        if wants_usage and b'"usage"' not in data:
            # OpenAI's: with include_usage every chunk but the last carries a null.
            data = data.rstrip()[:-1] + b',"usage":null}'
        return b"data: " + data + b"\n\n"

    def _count(self, piece: Piece) -> None:
        usage = piece.find_usage()
        if usage is not None:
            self._call.usage = usage
        size = piece.text_bytes()
        if size:
            self._call.note_output(1, size)

    def last(self) -> bytes:
        """What was kept back: the usage, if the client asked for it, and the end."""
        if self._usage_event is None or not self._call.prompt.wants_usage:
            return DONE
        return b"data: " + with_cost(*self._usage_event, self._call) + b"\n\n" + DONE

    def early(self) -> bytes:
        """The end of a stream that ran dry: as if it had reached its ``max_tokens``."""
        call, usage = self._call, self._call.usage
        chunk = msgspec.json.decode(self._first_data)
        chunk["choices"] = [
            {"index": index, **self._early_choice} for index in range(call.prompt.choices)
        ]
        chunk["model"] = call.model.name
        chunk.pop("usage", None)
        ends = [chunk]
        if call.prompt.wants_usage and usage is not None:
            counts = {
                "prompt_tokens": usage.input_tokens,
                "completion_tokens": usage.output_tokens,
                "total_tokens": usage.input_tokens + usage.output_tokens,
                "cost_nanos": call.charge_nanos,
            }
            ends = [{**chunk, "usage": None}, {**chunk, "choices": [], "usage": counts}]
        return b"".join(b"data: " + msgspec.json.encode(end) + b"\n\n" for end in ends) + DONE


def broke_off(internal: bytes) -> UpstreamFailed:
    """The refusal for a stream in which the upstream says that it has failed."""
    return UpstreamFailed(
        BROKE_OFF,
        internal=internal[:300].decode("utf-8", "replace"),
    )


def with_cost(data: bytes, usage: bytes, call: Call) -> bytes:
    """A completion under the model's public name, with what it cost beside its usage.

    Where the name stays, the cost is put into the bytes as they are; else all is written anew.
    """
    if call.model.name == call.model.upstream_model and usage.endswith(b"}") and len(usage) > 2:  # noqa: PLR2004 - {}
        before, found, behind = data.rpartition(usage)
        if found and usage not in before:
            cost = b',"cost_nanos":%d}' % call.charge_nanos
            return b"".join((before, usage[:-1].rstrip(), cost, behind))
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Some field that does not matter here can't be read, and the call is paid: it passes as is.
        for old, new in _renames(call):
            data = data.replace(old, new, 1)
        return data
    value["model"] = call.model.name
    if isinstance(value.get("usage"), dict):
        value["usage"]["cost_nanos"] = call.charge_nanos
    return msgspec.json.encode(value)


def _renames(call: Call) -> Renames:
    """The bytes to look for and those to put there, where the upstream's model name differs.

    Inside a text the quotes would be escaped, so only the field itself can match; servers write it
    with and without a space.
    """
    model = call.model
    if model.name == model.upstream_model:
        return ()
    old, new = json.dumps(model.upstream_model), f'"model":{json.dumps(model.name)}'.encode()
    return tuple((f'"model":{space}{old}'.encode(), new) for space in ("", " "))
