"""Answers of upstreams that speak only chat completions, said as responses."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from latchgate.gateway.dialects.chat_answers import FIELDS, broke_off
from latchgate.gateway.dialects.response_draft import MAX_OUTPUT, draft_of, usage_of
from latchgate.gateway.dialects.response_stream import (
    Item,
    ResponseStream,
    empty_item,
    new_id,
    text_part,
)
from latchgate.gateway.dialects.responses_as_chat import chat_body, wants_logprobs
from latchgate.upstream.answers import (
    CONTENT,
    Plain,
    find_plain,
    garbled,
    parse_piece,
    read_usage,
)
from latchgate.upstream.responses import parse_answer
from latchgate.upstream.sse import data_of

if TYPE_CHECKING:
    from latchgate.gateway.call import Call
    from latchgate.gateway.prompt import Prompt

#: What a chat calls its endings, where the response is then incomplete.
_INCOMPLETE = {"length": MAX_OUTPUT, "content_filter": "content_filter"}
#: A chunk that says how its choice ends, or refuses, is worth a closer look.
_SAYS_MORE = re.compile(rb'"(?:finish_reason|refusal)": ?"')


class ChatAdapter:
    """Speaks chat completions for responses."""

    path = "/chat/completions"

    def body(self, prompt: Prompt, model: str, output_tokens: int) -> bytes:
        """The body that goes upstream."""
        return chat_body(prompt.values, model, output_tokens)

    def read(self, call: Call, data: bytes) -> None:
        """Tell the call the usage that an answer states, and its text where that is not sane."""
        call.usage, call.usage_json = read_usage(data)
        if call.usage is None or not call.usage.is_sane:
            call.note_text(parse_piece(data).text_bytes())
        draft_of(call.prompt).given = parse_answer(data)

    def answer(self, call: Call, _data: bytes) -> bytes:
        """The client's whole answer, with what it cost."""
        draft = draft_of(call.prompt)
        answer = draft.given
        choice = _first_choice(answer) or {}
        reason = choice.get("finish_reason")
        incomplete = _INCOMPLETE.get(reason) if isinstance(reason, str) else None
        status = "completed" if incomplete is None else "incomplete"
        response = draft.whole(
            call,
            status,
            _output(choice, status),
            usage=usage_of(call, _finer(answer.get("usage"))),
            incomplete=incomplete,
        )
        draft.keep(call, response)
        return msgspec.json.encode(response)

    def events(self, call: Call) -> ChatAsResponses:
        """A reader for one stream."""
        return ChatAsResponses(call)


RESPONSES_ADAPTER = ChatAdapter()


def _first_choice(answer: dict[str, Any]) -> dict[str, Any] | None:
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices:
        return None
    if not isinstance(choices[0], dict):
        raise garbled("a choice that is no object")
    return choices[0]


def _finer(usage: Any) -> dict[str, Any]:
    """A chat's finer counts, under the names that responses have for them."""
    if not isinstance(usage, dict):
        return {}
    details = usage.get("completion_tokens_details")
    thought = details.get("reasoning_tokens") if isinstance(details, dict) else None
    is_count = isinstance(thought, int) and not isinstance(thought, bool) and thought >= 0
    return {"output_tokens_details": {"reasoning_tokens": thought}} if is_count else {}


def _thought_of(said: dict[str, Any]) -> Any:
    """What a server says beside the text: servers have two names for it."""
    return said.get("reasoning_content") or said.get("reasoning")


def _logprobs_of(choice: dict[str, Any]) -> list[Any]:
    logprobs = choice.get("logprobs")
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    return tokens if isinstance(tokens, list) else []


def _output(choice: dict[str, Any], status: str) -> list[dict[str, Any]]:
    """The items that a chat's message comes to."""
    said = choice.get("message")
    said = said if isinstance(said, dict) else {}
    output: list[dict[str, Any]] = []
    thought = _thought_of(said)
    if isinstance(thought, str):
        part = {"type": "reasoning_text", "text": thought}
        output.append({"id": new_id("rs"), "type": "reasoning", "summary": [], "content": [part]})
    text, refusal = said.get("content"), said.get("refusal")
    calls = _function_calls(said)
    parts: list[dict[str, Any]] = []
    if isinstance(refusal, str) and refusal:
        parts.append({"type": "refusal", "refusal": refusal})
    if isinstance(text, str) and (text or not (parts or calls)):
        parts.append({**text_part(text), "logprobs": _logprobs_of(choice)})
    if parts:
        output.append(
            {
                "id": new_id("msg"), "type": "message", "role": "assistant",
                "status": status, "content": parts,
            }
        )  # fmt: skip
    return output + [{**call, "status": status} for call in calls]


def _function_calls(said: dict[str, Any]) -> list[dict[str, Any]]:
    calls = said.get("tool_calls")
    return [
        _function_call(call, function, _arguments_of(function))
        for call in (calls if isinstance(calls, list) else [])
        if isinstance(call, dict) and isinstance(function := call.get("function"), dict)
    ]


def _arguments_of(function: dict[str, Any]) -> str:
    """A call's arguments as text; some servers give the object itself."""
    arguments = function.get("arguments")
    if isinstance(arguments, dict):
        return msgspec.json.encode(arguments).decode()
    return arguments if isinstance(arguments, str) else ""


def _function_call(
    call: dict[str, Any], function: dict[str, Any], arguments: str
) -> dict[str, Any]:
    call_id = call.get("id")
    return {
        "id": new_id("fc"),
        "type": "function_call",
        "call_id": call_id if isinstance(call_id, str) and call_id else new_id("call"),
        "name": str(function.get("name") or ""),
        "arguments": arguments,
    }


class ChatAsResponses:
    """Reads a stream of chat chunks, and writes it as typed events."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._stream = ResponseStream(call, draft_of(call.prompt))
        self._wants_logprobs = wants_logprobs(call.prompt.values)
        #: The message or thought that is being written.
        self._writing: Item | None = None
        self._calls: dict[int, Item] = {}
        self._delta_head = b""
        self._incomplete: str | None = None
        self._usage: Any = None

    # ── what need not be parsed ─────────────────────────────────────────────────────────────────
    def plain(self, chunk: bytes) -> Plain | None:
        """What a chunk of whole events carries, if they are nothing but text."""
        if not self._delta_head or self._wants_logprobs or self._stream.is_full:
            return None
        found = find_plain(chunk)
        if found is None or not found.pieces or _SAYS_MORE.search(chunk):
            return None  # a chunk without text has nothing to say here
        return found

    def rename(self, chunk: bytes) -> bytes:
        """A plain chunk's text as deltas: its JSON stays as it is."""
        item, head, write = self._writing, self._delta_head, self._stream.raw_delta
        if item is None:
            return b""
        return b"".join(write(item, head, text) for text in CONTENT.findall(chunk) if text)

    # ── the others ──────────────────────────────────────────────────────────────────────────────
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
        usage = piece.find_usage()
        if usage is not None:
            self._call.usage = usage
            self._usage = msgspec.json.decode(piece.usage)
        size = piece.text_bytes()
        if size:
            self._call.note_output(1, size)
        begun = self._stream.begin()
        choice = _first_choice(parse_answer(data))
        return begun if choice is None else begun + self._said(choice)

    def _said(self, choice: dict[str, Any]) -> bytes:
        reason = choice.get("finish_reason")
        if isinstance(reason, str):
            self._incomplete = _INCOMPLETE.get(reason)
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            return b""
        events = b""
        thought, text, refusal = _thought_of(delta), delta.get("content"), delta.get("refusal")
        if isinstance(thought, str) and thought:
            events += self._write("reasoning", "reasoning_text", thought)
        if isinstance(text, str) and text:
            said = {"logprobs": _logprobs_of(choice)} if self._wants_logprobs else {}
            events += self._write("message", "output_text", text, **said)
        if isinstance(refusal, str) and refusal:
            events += self._write("message", "refusal", refusal)
        calls = delta.get("tool_calls")
        for place, call in enumerate(calls if isinstance(calls, list) else []):
            if isinstance(call, dict):
                events += self._call_function(call, place)
        return events

    def _write(self, kind: str, part_kind: str, text: str, **said: Any) -> bytes:
        """More text of a kind: in the part that is open, or in one that begins with it."""
        item, events = self._writing, b""
        if item is None or item.kind != kind:
            events += self._close_writing()
            item, added = self._stream.open(empty_item(kind))
            self._writing = item
            events += added
        if item.part is None or item.part["type"] != part_kind:
            events += self._stream.close_part(item)
            name = "refusal" if part_kind == "refusal" else "text"
            part = text_part("") if part_kind == "output_text" else {"type": part_kind, name: ""}
            events += self._stream.open_part(item, part)
            is_text = part_kind == "output_text"
            self._delta_head = self._stream.text_head(item) if is_text else b""
        return events + self._stream.delta(item, text, **said)

    def _close_writing(self) -> bytes:
        """The message or thought ends, as something else begins."""
        item, self._writing, self._delta_head = self._writing, None, b""
        return b"" if item is None else self._stream.close(item, "completed")

    def _call_function(self, call: dict[str, Any], place: int) -> bytes:
        """A function call begins, or there is more of its arguments."""
        index = call.get("index")
        index = index if isinstance(index, int) else place
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        events = b""
        item = self._calls.get(index)
        if item is None:
            events += self._close_writing()
            value = {**_function_call(call, function, ""), "status": "in_progress"}
            item, added = self._stream.open(value)
            self._calls[index] = item
            events += added
        arguments = _arguments_of(function)
        if arguments:
            events += self._stream.delta(item, arguments)
        return events

    # ── the end ─────────────────────────────────────────────────────────────────────────────────
    def last(self) -> bytes:
        """What was kept back: the end of what is open, and of the response."""
        begun = self._stream.begin()
        closed = self._stream.close_all("completed" if self._incomplete is None else "incomplete")
        return (
            begun
            + closed
            + self._stream.end(incomplete=self._incomplete, usage=_finer(self._usage))
        )

    def early(self) -> bytes:
        """The end of a stream that ran dry: as if it had reached its bound."""
        return self._stream.early()
