"""What is told from a chunk of plain events without parsing is what parsing would tell."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from latchgate.upstream.answers import find_plain, parse_piece
from latchgate.upstream.sse import EventScanner, data_of

_DELTA = st.one_of(
    st.fixed_dictionaries({"content": st.text(max_size=12)}),
    st.fixed_dictionaries({"role": st.just("assistant"), "content": st.text(max_size=3)}),
    st.fixed_dictionaries({"content": st.none()}),
    st.fixed_dictionaries({"reasoning_content": st.text(max_size=5)}),
    st.fixed_dictionaries({"tool_calls": st.just([{"function": {"arguments": "{}"}}])}),
    st.just({}),
)
_CHOICE = st.fixed_dictionaries(
    {"index": st.integers(0, 3), "delta": _DELTA},
    optional={
        "logprobs": st.one_of(
            st.none(), st.fixed_dictionaries({"content": st.just([{"token": "a", "bytes": [97]}])})
        ),
        "finish_reason": st.sampled_from([None, "stop"]),
    },
)
_USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
_EVENT = st.one_of(
    st.fixed_dictionaries(
        {"id": st.just("c"), "model": st.just("up"), "choices": st.lists(_CHOICE, max_size=2)},
        optional={"usage": st.sampled_from([None, _USAGE]), "error": st.just({"message": "no"})},
    ),
    st.just({"content": "no choice at all"}),
)


def _told(event: dict[str, Any], *, is_compact: bool, is_ascii: bool) -> bytes:
    separators = (",", ":") if is_compact else (", ", ": ")
    text = json.dumps(event, separators=separators, ensure_ascii=is_ascii)
    return b"data: " + text.encode() + b"\n\n"


@settings(max_examples=1500, deadline=None)
@given(st.lists(_EVENT, min_size=1, max_size=4), st.tuples(st.booleans(), st.booleans()))
def test_plain_events_carry_what_parsing_finds_in_them(
    events: list[dict[str, Any]], style: tuple[bool, bool]
) -> None:
    is_compact, is_ascii = style
    chunk = b"".join(_told(event, is_compact=is_compact, is_ascii=is_ascii) for event in events)
    plain = find_plain(chunk)
    if plain is None:
        return
    pieces = []
    for event in EventScanner(event_bytes_max=10_000).feed(chunk):
        data = data_of(event)
        assert data is not None
        pieces.append(parse_piece(data))
    assert not any(piece.has_error or piece.has_usage for piece in pieces)
    if all("choices" in event for event in events):
        sizes = [piece.text_bytes() for piece in pieces]
        assert (plain.pieces, plain.text_bytes) == (sum(map(bool, sizes)), sum(sizes))


def test_the_usual_event_is_plain() -> None:
    event = {"id": "c", "choices": [{"index": 0, "delta": {"content": " that"}}], "usage": None}
    plain = find_plain(_told(event, is_compact=True, is_ascii=False) * 3)
    assert plain is not None
    assert (plain.pieces, plain.text_bytes, plain.has_usage_nulls) == (3, 15, True)


def test_what_is_cut_escaped_or_says_more_is_looked_at() -> None:
    whole = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'
    assert find_plain(whole) is not None
    for chunk in (
        whole[:-1],
        whole[1:],
        whole + b": keep-alive\n\n",
        whole + b"data: [DONE]\n\n",
        whole + b"event: error\n" + whole,
        whole.replace(b"x", b'\\"'),
        whole.replace(b"\n", b"\r\n"),
        b'data: {"choices":[],"usage":{"prompt_tokens":1}}\n\n',
        b'data: {"error":{"content":"x"}}\n\n',
    ):
        assert find_plain(chunk) is None
