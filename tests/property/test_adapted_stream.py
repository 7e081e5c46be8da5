"""Guards that a chat's stream, however it is cut, is one and the same message: nothing is lost."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from latchgate.domain.usage import Usage
from latchgate.gateway.call import Call
from latchgate.gateway.dialects.messages_adapter import AdaptedEvents
from latchgate.upstream.sse import EventScanner

_TEXT = st.one_of(
    st.text(max_size=8),
    st.sampled_from(['"content": "x"', "\n\n", "\\", "tool_calls", '"finish_reason":"stop"']),
)
#: What an event may carry besides: of these only the thought is written out.
_MORE = st.sampled_from([{}, {}, {}, {"reasoning_content": "hm"}, {"tool_calls": []}, {"x": "y"}])
_FINISH = st.sampled_from([None, None, None, "stop", "length"])


class Counted:
    """Stands where a call would: counts what it is told."""

    def __init__(self) -> None:
        self.model = SimpleNamespace(name="m", upstream_model="up-model")
        self.usage = Usage(12, 0, 5)
        self.charge_nanos = 7
        self.pieces = 0
        self.text_bytes = 0

    def note_output(self, pieces: int, text_bytes: int) -> None:
        """Count."""
        self.pieces += pieces
        self.text_bytes += text_bytes


def _told(text: str | None, finish: str | None, more: dict[str, Any], *, is_compact: bool) -> bytes:
    event = {
        "id": "chatcmpl-1",
        "choices": [{"index": 0, "delta": {"content": text, **more}, "finish_reason": finish}],
        "usage": None,
    }
    separators = (",", ":") if is_compact else (", ", ": ")
    data = json.dumps(event, separators=separators, ensure_ascii=False)
    return b"data: " + data.encode() + b"\n\n"


def _relayed(chunks: list[bytes]) -> tuple[list[dict[str, Any]], Counted]:
    """What a client reads of these chunks, as the relay hands them over."""
    call = Counted()
    events = AdaptedEvents(cast("Call", call))
    scanner = EventScanner(event_bytes_max=100_000)
    written = b""
    for chunk in chunks:
        plain = events.plain(chunk) if scanner.is_clean else None
        if plain is not None:
            call.note_output(plain.pieces, plain.text_bytes)
            renamed = events.rename(chunk)
            assert renamed, "an empty chunk would end the answer"
            written += renamed
        else:
            written += b"".join(map(events.event, scanner.feed(chunk)))
    written += events.last()
    said = [json.loads(line[6:]) for line in written.split(b"\n") if line.startswith(b"data: ")]
    return said, call


@settings(max_examples=600, deadline=None)
@given(
    pieces=st.lists(st.tuples(st.one_of(st.none(), _TEXT), _FINISH, _MORE), max_size=8),
    is_compact=st.booleans(),
    cuts=st.lists(st.integers(1, 400), max_size=12),
)
def test_a_stream_is_the_same_message_however_it_is_cut(
    *,
    pieces: list[tuple[str | None, str | None, dict[str, Any]]],
    is_compact: bool,
    cuts: list[int],
) -> None:
    events = [_told(*piece, is_compact=is_compact) for piece in pieces]
    events += [b"data: [DONE]\n\n"]
    whole = b"".join(events)
    chunks, at = [], 0
    for cut in cuts:
        chunks.append(whole[at : at + cut])
        at += cut
    chunks.append(whole[at:])
    expected, counted = _relayed(events)
    for other in ([whole], [chunk for chunk in chunks if chunk]):
        said, call = _relayed(other)
        assert said == expected
        assert (call.pieces, call.text_bytes) == (counted.pieces, counted.text_bytes)
    deltas = [one["delta"] for one in expected if one["type"] == "content_block_delta"]
    texts = [text for text, _, _ in pieces if text]
    thoughts = [more["reasoning_content"] for _, _, more in pieces if "reasoning_content" in more]
    assert "".join(one.get("text", "") for one in deltas) == "".join(texts)
    assert "".join(one.get("thinking", "") for one in deltas) == "".join(thoughts)
    assert counted.text_bytes == sum(len(text.encode()) for text in (*texts, *thoughts))
    finish = [reason for _, reason, _ in pieces if reason]
    words = {"stop": "end_turn", "length": "max_tokens"}
    assert expected[-2]["delta"]["stop_reason"] == words[(finish or ["stop"])[-1]]
