"""Writes a response as a stream of typed events, and remembers what they have said.

Events are numbered from 0 without a gap, whatever an upstream numbers; items, parts and their texts
are remembered, so that a stream can be ended in order wherever it stops.

    ResponseStream   the events' numbers, and the items that they have said
    Item             one item of the output, and the part of it that is open
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from latchgate.gateway.dialects.response_draft import MAX_OUTPUT, usage_of
from latchgate.upstream.answers import garbled
from latchgate.upstream.responses import DELTA_HEAD

if TYPE_CHECKING:
    from latchgate.domain.errors import LatchgateError
    from latchgate.gateway.call import Call
    from latchgate.gateway.dialects.response_draft import Draft

#: How many items and how much of their text one stream may have: no sane answer is larger.
ITEMS_MAX = 10_000
TEXT_CHARS_MAX = 64 * 1024 * 1024

#: What an event may be called: an upstream's word for it becomes a line of ours.
_NAME = re.compile(r"[A-Za-z0-9_.]{1,100}", re.ASCII)
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True, eq=False)
class Item:
    """One item of the output. ``pieces`` are the text, thought or arguments that are open."""

    index: int
    value: dict[str, Any]
    part: dict[str, Any] | None = None
    part_index: int = 0
    pieces: list[str] = field(default_factory=list)
    is_done: bool = False

    @property
    def id(self) -> str:
        """Its name in the stream."""
        return str(self.value.get("id", ""))

    @property
    def kind(self) -> str:
        """Its type."""
        return str(self.value.get("type", ""))


def new_id(prefix: str) -> str:
    """A name for an item, as OpenAI's look."""
    return f"{prefix}_{secrets.token_hex(24)}"


def empty_item(kind: str) -> dict[str, Any]:
    """A message or a thought that begins."""
    if kind == "reasoning":
        return {
            "id": new_id("rs"), "type": "reasoning", "status": "in_progress",
            "summary": [], "content": [],
        }  # fmt: skip
    return {
        "id": new_id("msg"), "type": "message", "status": "in_progress", "role": "assistant",
        "content": [],
    }  # fmt: skip


def text_part(text: str) -> dict[str, Any]:
    """A part of text."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


class ResponseStream:
    """One response's events."""

    def __init__(self, call: Call, draft: Draft) -> None:
        self.call = call
        self.draft = draft
        self.items: list[Item] = []
        #: The number of the next event.
        self.sequence = 0
        self._chars = 0
        draft.stream = self

    def event(self, kind: str, **said: Any) -> bytes:
        """One event, numbered. Raises UpstreamFailed for a name that is none."""
        if not _NAME.fullmatch(kind):
            raise garbled(f"an event called {kind[:100]!r}")
        value = {"type": kind, "sequence_number": self.sequence, **said}
        self.sequence += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode(value))

    def begin(self) -> bytes:
        """The two events that every response begins with; nothing if they have been said."""
        if self.sequence:
            return b""
        response = self.draft.whole(self.call, "in_progress", [])
        return self.event("response.created", response=response) + self.event(
            "response.in_progress", response=response
        )

    # ── items ───────────────────────────────────────────────────────────────────────────────────
    def open(self, value: dict[str, Any]) -> tuple[Item, bytes]:
        """An item begins. Raises UpstreamFailed for one too many."""
        if len(self.items) >= ITEMS_MAX:
            raise garbled(f"more than {ITEMS_MAX} items")
        item = Item(len(self.items), value)
        self.items.append(item)
        return item, self.event("response.output_item.added", output_index=item.index, item=value)

    def open_message(self) -> tuple[Item, bytes]:
        """A message begins, with a part of text."""
        item, added = self.open(empty_item("message"))
        return item, added + self.open_part(item, text_part(""))

    def open_part(self, item: Item, part: dict[str, Any]) -> bytes:
        """A part of a message, or of a thought, begins."""
        item.part, item.pieces = part, []
        return self.event(
            "response.content_part.added", **self._where(item, has_part=True), part=part
        )

    def _where(self, item: Item, *, has_part: bool) -> dict[str, Any]:
        where: dict[str, Any] = {"item_id": item.id, "output_index": item.index}
        return {**where, "content_index": item.part_index} if has_part else where

    @property
    def is_full(self) -> bool:
        """Whether there is no end of the text."""
        return self._chars > TEXT_CHARS_MAX

    def remember(self, item: Item, text: str) -> None:
        """Note more of an item's text."""
        self._chars += len(text)
        item.pieces.append(text)

    def check_room(self) -> None:
        """Raise UpstreamFailed when there is no end of the text."""
        if self.is_full:
            raise garbled(f"more than {TEXT_CHARS_MAX} characters")

    def delta(self, item: Item, text: str, **said: Any) -> bytes:
        """More of an item's open text, thought or arguments. Raises UpstreamFailed."""
        self.check_room()
        self.remember(item, text)
        if item.kind == "function_call":
            return self.event(
                "response.function_call_arguments.delta",
                **self._where(item, has_part=False),
                delta=text,
            )
        kind = "output_text" if item.part is None else item.part["type"]
        if kind == "output_text":
            said = {"logprobs": [], **said}
        return self.event(
            f"response.{kind}.delta", **self._where(item, has_part=True), delta=text, **said
        )

    def text_head(self, item: Item) -> bytes:
        """How the deltas of an item's open text go on behind their number, up to the text."""
        place = (_encode(item.id), item.index, item.part_index)
        return b'"item_id":%b,"output_index":%d,"content_index":%d,"delta":' % place

    def raw_delta(self, item: Item, head: bytes, text: bytes) -> bytes:
        """``delta`` for text that needs no escape, as JSON has it."""
        self.remember(item, text.decode("utf-8", "replace"))
        self.sequence += 1
        return b'%b"sequence_number":%d,%b"%b","logprobs":[]}\n\n' % (
            DELTA_HEAD,
            self.sequence - 1,
            head,
            text,
        )

    def close_part(self, item: Item) -> bytes:
        """The open part of an item ends."""
        part = item.part
        if part is None:
            return b""
        text = "".join(item.pieces)
        kind = part["type"]
        name = "refusal" if kind == "refusal" else "text"
        part = {**part, name: text}
        said: dict[str, Any] = {name: text}
        if kind == "output_text":
            said["logprobs"] = part.get("logprobs", [])
        ends = self.event(f"response.{kind}.done", **self._where(item, has_part=True), **said)
        ends += self.event(
            "response.content_part.done", **self._where(item, has_part=True), part=part
        )
        self.end_part(item, part)
        return ends

    def end_part(self, item: Item, part: dict[str, Any]) -> None:
        """Note that the open part of an item has ended as ``part``."""
        content = item.value.get("content")
        content = content if isinstance(content, list) else []
        item.value = {**item.value, "content": [*content, part]}
        item.part, item.pieces, item.part_index = None, [], item.part_index + 1

    def close(self, item: Item, status: str) -> bytes:
        """An item ends, whatever of it was open."""
        if item.is_done:
            return b""
        ends = self.close_part(item)
        if item.kind == "function_call":
            arguments = "".join(item.pieces)
            item.value = {**item.value, "arguments": arguments}
            ends += self.event(
                "response.function_call_arguments.done",
                **self._where(item, has_part=False),
                name=item.value.get("name"),
                arguments=arguments,
            )
        elif item.pieces:  # a thought that was written into no part
            thought = {"type": "reasoning_text", "text": "".join(item.pieces)}
            item.value = {**item.value, "content": [thought]}
        item.value = {**item.value, "status": status}
        item.is_done = True
        return ends + self.event(
            "response.output_item.done", output_index=item.index, item=item.value
        )

    def close_all(self, status: str) -> bytes:
        """Every item that is open ends."""
        return b"".join(self.close(item, status) for item in self.items)

    @property
    def output(self) -> list[dict[str, Any]]:
        """The items as they have been said."""
        return [item.value for item in self.items]

    # ── the end ─────────────────────────────────────────────────────────────────────────────────
    def end(
        self,
        *,
        incomplete: str | None = None,
        output: Any = None,
        usage: dict[str, Any] | None = None,
        given: dict[str, Any] | None = None,
    ) -> bytes:
        """The last event, for a settled call; ``usage`` are an upstream's finer counts."""
        status = "completed" if incomplete is None else "incomplete"
        response = self.draft.whole(
            self.call,
            status,
            self.output if output is None else output,
            usage=usage_of(self.call, usage),
            incomplete=incomplete,
            given=given,
        )
        self.draft.keep(self.call, response)
        return self.event(f"response.{status}", response=response)

    def early(self) -> bytes:
        """All that is open ends, for a settled call that ran dry: as if at its bound."""
        begun = self.begin()
        return begun + self.close_all("incomplete") + self.end(incomplete=MAX_OUTPUT)

    def broken(self, error: LatchgateError) -> bytes:
        """The last event of a response that broke off; its call is settled."""
        response = self.draft.whole(
            self.call,
            "failed",
            [item.value for item in self.items if item.is_done],
            usage=usage_of(self.call),
            error={"code": error.code, "message": error.public},
        )
        return self.event("response.failed", response=response)
