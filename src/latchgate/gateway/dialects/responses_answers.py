"""Answers of upstreams that speak responses themselves.

Servers say these in fuller and in barer ways: some number no events, name no place of an item, or
leave out half of the response. What a client gets has all of it, and what is plain passes as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from latchgate.gateway.dialects.chat_answers import FIELDS, broke_off
from latchgate.gateway.dialects.response_draft import MAX_OUTPUT, draft_of, usage_of
from latchgate.gateway.dialects.response_stream import Item, ResponseStream, new_id
from latchgate.upstream.answers import Plain, garbled
from latchgate.upstream.responses import (
    find_plain_deltas,
    parse_answer,
    read_usage,
)
from latchgate.upstream.sse import data_of

if TYPE_CHECKING:
    from latchgate.gateway.call import Call
    from latchgate.gateway.prompt import Prompt
    from latchgate.upstream.responses import PlainDelta

_BEGINNINGS = ("response.created", "response.queued", "response.in_progress")
_ENDS = ("response.completed", "response.incomplete")
_FAILURES = ("error", "response.failed", "response.cancelled")
#: How a whole answer says that there is none.
_BROKEN = ("failed", "cancelled")
#: The parts of an item whose text is remembered.
_PARTS = ("output_text", "refusal", "reasoning_text")
#: Events about a part of an item, which say which one it is.
_PART_EVENTS = (
    "response.content_part.",
    "response.output_text.",
    "response.refusal.",
    "response.reasoning_text.",
)


_Place = tuple[bytes, bytes | None, bytes | None]


class ResponsesDialect:
    """Speaks responses."""

    path = "/responses"

    def body(self, prompt: Prompt, model: str, output_tokens: int) -> bytes:
        """The body that goes upstream."""
        return prompt.outgoing.write(model, output_tokens)

    def read(self, call: Call, data: bytes) -> None:
        """Tell the call the usage that an answer states, and its text where that is not sane."""
        answer = parse_answer(data)
        if answer.get("error") is not None or answer.get("status") in _BROKEN:
            raise broke_off(data)
        output = answer.get("output")
        if not isinstance(output, list):
            raise garbled("a response without output")
        call.usage = read_usage(answer.get("usage"))
        if call.usage is None or not call.usage.is_sane:
            call.note_text(sum(map(text_bytes, output)))
        draft_of(call.prompt).given = answer

    def answer(self, call: Call, _data: bytes) -> bytes:
        """The client's whole answer, with what it cost."""
        draft = draft_of(call.prompt)
        answer = draft.given
        incomplete = ending(answer, call)
        usage = answer.get("usage")
        response = draft.whole(
            call,
            "completed" if incomplete is None else "incomplete",
            _with_ids(answer["output"], []),
            usage=usage_of(call, usage if isinstance(usage, dict) else None),
            incomplete=incomplete,
            given=answer,
        )
        draft.keep(call, response)
        return msgspec.json.encode(response)

    def events(self, call: Call) -> ResponsesEvents:
        """A reader for one stream."""
        return ResponsesEvents(call)


RESPONSES = ResponsesDialect()


def ending(answer: dict[str, Any], call: Call) -> str | None:
    """Why a response is incomplete; None for one that is whole.

    llama.cpp's server says 'completed' also of what it has cut at the bound, and knows no
    ``incomplete_details``: there the count tells.
    """
    details = answer.get("incomplete_details")
    if isinstance(details, dict) and isinstance(details.get("reason"), str):
        return str(details["reason"])
    if answer.get("status") == "incomplete":
        return MAX_OUTPUT
    usage = call.usage
    is_cut = usage is not None and usage.output_tokens >= call.allowance.output_tokens
    return MAX_OUTPUT if is_cut and "incomplete_details" not in answer else None


def _with_ids(output: list[Any], items: list[Item]) -> list[Any]:
    """The output's items, each with a name: llama.cpp's function calls have none."""
    return [
        {"id": items[index].id if index < len(items) else new_id("item"), **item}
        if isinstance(item, dict) and "id" not in item
        else item
        for index, item in enumerate(output)
    ]


def text_bytes(item: Any) -> int:
    """How many bytes of text, thought or arguments an item of the output carries."""
    if not isinstance(item, dict):
        return 0
    parts = [*_parts(item.get("content")), *_parts(item.get("summary")), item]
    texts = (part.get(name) for part in parts for name in ("text", "refusal", "arguments", "input"))
    return sum(len(text.encode("utf-8", "replace")) for text in texts if isinstance(text, str))


def _parts(value: Any) -> list[dict[str, Any]]:
    return [part for part in value if isinstance(part, dict)] if isinstance(value, list) else []


class ResponsesEvents:
    """Reads a stream of typed events: the last one is kept back."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._stream = ResponseStream(call, draft_of(call.prompt))
        self._items: dict[str, Item] = {}
        #: The items whose text has been counted as it passed.
        self._counted: set[int] = set()
        #: The item whose text is being written, and how its deltas name it and its place: those
        #: that have a number, those that have none, and ours.
        self._writing: Item | None = None
        self._numbered: _Place = (b"", None, None)
        self._bare: _Place = (b"", None, None)
        self._head = b""
        self._plain: list[PlainDelta] = []
        self._terminal: dict[str, Any] | None = None

    # ── what passes without being parsed ────────────────────────────────────────────────────────
    def plain(self, chunk: bytes) -> Plain | None:
        """What a chunk of whole events carries, if they are nothing but text that may pass."""
        stream = self._stream
        if self._writing is None or stream.is_full:
            return None
        deltas = find_plain_deltas(chunk)
        if not deltas:
            return None
        is_numbered = deltas[0][0] is not None
        pieces = size = 0
        for number, delta in enumerate(deltas, stream.sequence):
            # All of them are numbered and in their place, or none is.
            if delta[1:4] != (self._numbered if is_numbered else self._bare) or delta[0] != (
                b"%d" % number if is_numbered else None
            ):
                return None
            pieces += delta[4] != b""
            size += len(delta[4])
        self._plain = deltas
        return Plain(pieces, size, has_usage_nulls=False)

    def rename(self, chunk: bytes) -> bytes:
        """A plain chunk, its events numbered and placed where they are not."""
        item, deltas, stream = self._writing, self._plain, self._stream
        if item is None:
            return chunk
        self._counted.add(item.index)
        if deltas[0][0] is None:
            head, write = self._head, stream.raw_delta
            return b"".join([write(item, head, delta[4]) for delta in deltas])
        stream.sequence += len(deltas)
        for delta in deltas:
            stream.remember(item, delta[4].decode("utf-8", "replace"))
        return chunk

    # ── the others ──────────────────────────────────────────────────────────────────────────────
    def event(self, event: bytes) -> bytes:
        """What the client gets for one event of the upstream's."""
        data = data_of(event)
        if data is None:
            return event if event.startswith(FIELDS) else b""
        if data == b"[DONE]" or self._terminal is not None:
            return b""
        value = parse_answer(data)
        kind = value.get("type")
        if kind in _FAILURES or (not isinstance(kind, str) and "error" in value):
            self._note_usage(value)
            raise broke_off(data)
        if not isinstance(kind, str):
            raise garbled("an event without a type")
        begun = self._stream.begin()
        if kind in _BEGINNINGS:
            return begun
        if kind in _ENDS:
            response = value.get("response")
            self._terminal = response if isinstance(response, dict) else {}
            self._note_usage(value)
            return begun
        return begun + self._pass_on(kind, value)

    def _note_usage(self, value: dict[str, Any]) -> None:
        response = value.get("response")
        if isinstance(response, dict):
            self._call.usage = read_usage(response.get("usage"))

    def _pass_on(self, kind: str, value: dict[str, Any]) -> bytes:
        """Remember what an event says, and say it with its number and place."""
        if kind == "response.output_item.added":
            return self._on_item_added(value)
        item = self._find_item(value)
        opened = b""
        if item is None and kind == "response.output_text.delta":
            item, opened = self._stream.open_message()
            self._items[str(value.get("item_id"))] = item
        if item is None:
            said = {name: value[name] for name in value if name not in ("type", "sequence_number")}
            return self._stream.event(kind, **said)
        said = self._placed(kind, value, item)
        self._remember(kind, value, item, said)
        return opened + self._stream.event(kind, **said)

    def _on_item_added(self, value: dict[str, Any]) -> bytes:
        given = value.get("item")
        if not isinstance(given, dict):
            raise garbled("an item that is no object")
        if "id" not in given:
            given = {**given, "id": str(given.get("call_id", ""))}
        item, added = self._stream.open(given)
        self._items[item.id] = item
        return added

    def _find_item(self, value: dict[str, Any]) -> Item | None:
        """The item that an event is about."""
        given = value.get("item")
        name = given.get("id") if isinstance(given, dict) else value.get("item_id")
        if isinstance(name, str) and name in self._items:
            return self._items[name]
        index = value.get("output_index")
        items = self._stream.items
        if isinstance(index, int) and 0 <= index < len(items):
            return items[index]
        is_about_an_item = "item" in value or "item_id" in value
        return items[-1] if is_about_an_item and items and not items[-1].is_done else None

    def _placed(self, kind: str, value: dict[str, Any], item: Item) -> dict[str, Any]:
        """What an event says, with the place that it says it of."""
        said = {name: value[name] for name in value if name not in ("type", "sequence_number")}
        said["output_index"] = item.index
        if kind.startswith(_PART_EVENTS):
            said["item_id"] = item.id
            said["content_index"] = item.part_index
        if kind in ("response.output_text.delta", "response.output_text.done"):
            said.setdefault("logprobs", [])
        if isinstance(said.get("item"), dict):
            said["item"] = {"id": item.id, **said["item"]}
        return said

    def _remember(self, kind: str, value: dict[str, Any], item: Item, said: dict[str, Any]) -> None:
        delta = value.get("delta")
        if kind.endswith(".delta") and isinstance(delta, str):
            if not kind.startswith("response.reasoning_summary"):
                self._stream.check_room()
                self._stream.remember(item, delta)
            if delta:
                self._counted.add(item.index)
                self._call.note_output(1, len(delta.encode("utf-8", "replace")))
        elif kind == "response.content_part.added":
            part = value.get("part")
            part = part if isinstance(part, dict) and part.get("type") in _PARTS else None
            item.part, item.pieces = part, []
            is_text = part is not None and part["type"] == "output_text"
            self._write_into(item if is_text else None)
        elif kind == "response.content_part.done" and isinstance(value.get("part"), dict):
            self._stream.end_part(item, value["part"])
            self._write_into(None)
        elif kind == "response.output_item.done" and isinstance(value.get("item"), dict):
            item.value, item.is_done = said["item"], True
            self._write_into(None)
            size = text_bytes(item.value)
            if size and item.index not in self._counted:
                self._call.note_output(1, size)

    def _write_into(self, item: Item | None) -> None:
        """Text that follows is this item's."""
        self._writing = item
        if item is not None:
            name = msgspec.json.encode(item.id)[1:-1]
            self._numbered = (name, b"%d" % item.index, b"%d" % item.part_index)
            self._bare = (name, None, None)
            self._head = self._stream.text_head(item)

    # ── the end ─────────────────────────────────────────────────────────────────────────────────
    def last(self) -> bytes:
        """What was kept back: the end of the response, as the upstream had it."""
        said = self._terminal or {}
        incomplete = ending(said, self._call) if said else None
        usage, output = said.get("usage"), said.get("output")
        output = output if isinstance(output, list) else []
        begun = self._stream.begin()
        closed = self._stream.close_all("completed" if incomplete is None else "incomplete")
        return (
            begun
            + closed
            + self._stream.end(
                incomplete=incomplete,
                output=_with_ids(output, self._stream.items) if output else None,
                usage=usage if isinstance(usage, dict) else None,
                given=said,
            )
        )

    def early(self) -> bytes:
        """The end of a stream that ran dry: as if it had reached its bound."""
        return self._stream.early()
