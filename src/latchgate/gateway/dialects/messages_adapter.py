"""Answers of the Messages API from an upstream that speaks only chat completions.

The call was said as a chat (``messages_as_chat``); here a chat's answer is said as a message: text,
thought and tool calls become blocks, one after the other, and the usage stands in the last event
but one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from latchgate.domain.errors import UpstreamFailed
from latchgate.gateway.dialects.chat_answers import broke_off
from latchgate.gateway.dialects.messages_answers import charged_usage, ending, write_event
from latchgate.upstream.answers import (
    BROKE_OFF,
    CONTENT,
    Piece,
    Plain,
    find_plain,
    garbled,
    read_usage,
)
from latchgate.upstream.message_answers import is_null
from latchgate.upstream.sse import data_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from latchgate.gateway.call import Call
    from latchgate.gateway.prompt import Prompt

TOOL_CALLS_MAX = 128
_STOP_REASONS = {
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
_NULL = msgspec.Raw(b"null")
#: A text without an escape, a quote or a control character is the same inside of any JSON.
_is_clean = re.compile(rb'[^"\\\x00-\x1f]+').fullmatch
_FINISHED = (b'"finish_reason":"', b'"finish_reason": "')


class _Function(msgspec.Struct):
    name: Any = None
    arguments: Any = None


class _ToolCall(msgspec.Struct):
    index: Any = None
    id: Any = None
    function: _Function | None = None


class _Said(msgspec.Struct):
    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    refusal: Any = None
    tool_calls: list[_ToolCall] | None = None

    @property
    def thought(self) -> str:
        return _text(self.reasoning_content) or _text(self.reasoning)

    @property
    def text(self) -> str:
        return _text(self.content) or _text(self.refusal)

    def text_bytes(self) -> int:
        """How many bytes of text, thought or tool call it carries."""
        size = _size(self.thought) + _size(self.text)
        for call in self.tool_calls or ():
            if call.function is not None:
                size += _size(_text(call.function.name)) + _size(_text(call.function.arguments))
        return size


class _Choice(msgspec.Struct):
    delta: _Said | None = None
    message: _Said | None = None
    finish_reason: Any = None


class _Chat(msgspec.Struct):
    """A chat completion, or a chunk of one."""

    id: Any = None
    choices: list[_Choice] = []
    usage: msgspec.Raw = _NULL
    error: msgspec.Raw = _NULL


_decode = msgspec.json.Decoder(_Chat).decode


def _parse(data: bytes) -> _Chat:
    try:
        return _decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise garbled(str(error)) from None


class AdaptedDialect:
    """Answers messages with what an upstream says in a chat."""

    path = "/chat/completions"

    def body(self, prompt: Prompt, model: str, output_tokens: int) -> bytes:
        """The body that goes upstream: a chat's, as it was peeked."""
        return prompt.outgoing.write(model, output_tokens)

    def read(self, call: Call, data: bytes) -> None:
        """Tell the call the usage that an answer states, and its text where that is not sane."""
        chat = _parse(data)
        if not is_null(chat.error):
            raise broke_off(data)
        call.usage, _ = read_usage(data)
        if call.usage is None or not call.usage.is_sane:
            said = _message_of(chat)
            call.note_text(said.text_bytes() if said is not None else 0)

    def answer(self, call: Call, data: bytes) -> bytes:
        """The client's whole answer, with what it cost."""
        chat = _parse(data)
        said = _message_of(chat)
        blocks = list(_blocks(said)) if said is not None else []
        finish = chat.choices[0].finish_reason if chat.choices else None
        has_tools = any(block["type"] == "tool_use" for block in blocks)
        message = _message(call, chat.id, blocks, charged_usage(call))
        message["stop_reason"] = _stop_reason(finish, has_tools=has_tools)
        return msgspec.json.encode(message)

    def events(self, call: Call) -> AdaptedEvents:
        """A reader for one stream."""
        return AdaptedEvents(call)


ADAPTED = AdaptedDialect()


class AdaptedEvents:
    """Reads a stream of chunks, and writes typed events."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._has_begun = False
        #: The block that is being written: what it is of, and its number.
        self._block: object = None
        self._index = -1
        #: Tool calls that have begun; each is a block of its own.
        self._tool_calls: set[object] = set()
        self._finish: object = None
        self._is_done = False
        #: What stood before and behind the text of an event that carried nothing else.
        self._around: tuple[bytes, bytes] | None = None

    # ── events that carry nothing but text ──────────────────────────────────────────────────────
    def plain(self, chunk: bytes) -> Plain | None:
        """What a chunk of whole events carries, if they are nothing but text."""
        if self._block != "text":
            return None
        if self._around is not None:
            before, behind = self._around
            if chunk.startswith(before) and chunk.endswith(behind):
                # Most events differ in their text alone from one that was parsed.
                text = chunk[len(before) : len(chunk) - len(behind)]
                if _is_clean(text):
                    return Plain(1, len(text), has_usage_nulls=False)
        if any(sign in chunk for sign in _FINISHED):
            return None
        plain = find_plain(chunk)
        return plain if plain is not None and plain.pieces else None

    def rename(self, chunk: bytes) -> bytes:
        """A plain chunk as deltas: its text has no escapes, and so is the same in both."""
        head = (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
            b'"delta":{"type":"text_delta","text":"' % self._index
        )
        texts = CONTENT.findall(chunk)
        return b"".join(b'%b%b"}}\n\n' % (head, text) for text in texts if text)

    # ── all others ──────────────────────────────────────────────────────────────────────────────
    def event(self, event: bytes) -> bytes:
        """What the client gets for one event of the upstream's."""
        data = data_of(event)
        if data is None:
            return event if event.startswith(b":") else b""
        if data == b"[DONE]":
            self._is_done = True
            return b""
        chat = _parse(data)
        if not is_null(chat.error):
            raise broke_off(bytes(chat.error))
        if not is_null(chat.usage):
            self._call.usage = Piece(usage=chat.usage).find_usage()
        written = b"" if self._has_begun else self._begin(chat.id)
        if not chat.choices:
            return written
        choice = chat.choices[0]
        self._finish = choice.finish_reason or self._finish
        if choice.delta is None:
            return written
        size = choice.delta.text_bytes()
        if size:
            self._call.note_output(1, size)
        written += b"".join(self._deltas(choice.delta))
        if self._block == "text" and choice.finish_reason is None and is_null(chat.usage):
            self._learn(event, choice.delta)
        return written

    def _learn(self, event: bytes, said: _Said) -> None:
        """Remember what stands around an event's text, if it carries nothing else."""
        texts = list(CONTENT.finditer(event))
        is_text_only = not (said.thought or said.tool_calls or said.refusal)
        if len(texts) == 1 and is_text_only and _text(said.content).encode() == texts[0][1]:
            self._around = (event[: texts[0].start(1)], event[texts[0].end(1) :])

    def _begin(self, chat_id: object) -> bytes:
        self._has_begun = True
        nothing = {"input_tokens": 0, "output_tokens": 0}  # what is not counted yet
        message = _message(self._call, chat_id, [], nothing)
        return write_event({"type": "message_start", "message": message})

    def _deltas(self, said: _Said) -> Iterator[bytes]:
        if said.thought:
            yield from self._enter(
                "thinking", {"type": "thinking", "thinking": "", "signature": ""}
            )
            yield self._delta({"type": "thinking_delta", "thinking": said.thought})
        if said.text:
            yield from self._enter("text", {"type": "text", "text": ""})
            yield self._delta({"type": "text_delta", "text": said.text})
        for tool_call in said.tool_calls or ():
            yield from self._tool_call(tool_call)

    def _tool_call(self, tool_call: _ToolCall) -> Iterator[bytes]:
        """A piece of a tool call. Servers that leave the index out say each call's id once."""
        key: object = ("tool", tool_call.index)
        if tool_call.index is None:
            key = ("tool", tool_call.id) if tool_call.id else self._block
        function = tool_call.function or _Function()
        if key not in self._tool_calls:
            if not _text(function.name) or len(self._tool_calls) >= TOOL_CALLS_MAX:
                raise garbled("a tool call without a name, or too many")
            self._tool_calls.add(key)
            number = len(self._tool_calls)
            yield from self._enter(key, _tool_use(tool_call, number, function.name, {}))
        elif key != self._block:
            raise garbled("a tool call goes on after another has begun")
        if arguments := _text(function.arguments):
            yield self._delta({"type": "input_json_delta", "partial_json": arguments})

    def _enter(self, key: object, block: dict[str, Any]) -> Iterator[bytes]:
        """Begin a block, unless this one is being written already."""
        if self._block == key:
            return
        if self._block is not None:
            yield write_event({"type": "content_block_stop", "index": self._index})
        self._block = key
        self._index += 1
        yield write_event(
            {"type": "content_block_start", "index": self._index, "content_block": block}
        )

    def _delta(self, delta: dict[str, str]) -> bytes:
        return write_event({"type": "content_block_delta", "index": self._index, "delta": delta})

    # ── the end ─────────────────────────────────────────────────────────────────────────────────
    def last(self) -> bytes:
        """The end, with the usage and what it cost."""
        if self._finish is None and not self._is_done:
            raise UpstreamFailed(
                BROKE_OFF,
                internal="a stream without its end",
            )
        return self._end(_stop_reason(self._finish, has_tools=bool(self._tool_calls)))

    def early(self) -> bytes:
        """The end of a stream that ran dry: as if it had reached its ``max_tokens``."""
        return self._end("max_tokens")

    def _end(self, stop_reason: str) -> bytes:
        begun = b"" if self._has_begun else self._begin(None)
        open_block = self._index if self._block is not None else None
        return begun + ending(self._call, stop_reason, open_block=open_block)


def _message(
    call: Call, chat_id: object, blocks: list[dict[str, Any]], usage: dict[str, int]
) -> dict[str, Any]:
    return {
        "id": f"msg_{_text(chat_id).removeprefix('chatcmpl-') or 'unnamed'}",
        "type": "message",
        "role": "assistant",
        "model": call.model.name,
        "content": blocks,
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }


def _message_of(chat: _Chat) -> _Said | None:
    return chat.choices[0].message if chat.choices else None


def _blocks(said: _Said) -> Iterator[dict[str, Any]]:
    if said.thought:
        yield {"type": "thinking", "thinking": said.thought, "signature": ""}
    if said.text:
        yield {"type": "text", "text": said.text}
    for number, tool_call in enumerate(said.tool_calls or (), start=1):
        function = tool_call.function or _Function()
        yield _tool_use(tool_call, number, _text(function.name), _input(_text(function.arguments)))


def _tool_use(tool_call: _ToolCall, number: int, name: str, tool_input: Any) -> dict[str, Any]:
    name_of_call = _text(tool_call.id) or f"toolu_{number}"
    return {"type": "tool_use", "id": name_of_call, "name": name, "input": tool_input}


def _input(arguments: str) -> dict[str, Any]:
    """A tool's input. What the model wrote that is no JSON object is handed over as it is."""
    try:
        value = msgspec.json.decode(arguments or "{}")
    except (msgspec.DecodeError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {"invalid_json": arguments}


def _stop_reason(finish: object, *, has_tools: bool) -> str:
    """Why it ended. Some servers say ``stop`` behind a tool call."""
    usual = "tool_use" if has_tools else "end_turn"
    return _STOP_REASONS.get(finish, usual) if isinstance(finish, str) else usual


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _size(text: str) -> int:
    return len(text.encode("utf-8", "replace"))
