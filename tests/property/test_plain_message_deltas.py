"""Guards that a delta that passes without being parsed carries what parsing finds in it."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from latchgate.upstream.message_answers import find_plain_deltas, is_null, parse_event
from latchgate.upstream.sse import EventScanner, data_of

#: Texts that look like the structure around them, as far as JSON lets them.
_TEXT = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["text", '"text": "x"', "\n\n", "\\", "usage", "}", "event: ping", "\r"]),
)
_DELTA = st.one_of(
    st.fixed_dictionaries({"type": st.just("text_delta"), "text": _TEXT}),
    st.fixed_dictionaries({"type": st.just("thinking_delta"), "thinking": _TEXT}),
    st.fixed_dictionaries({"type": st.just("input_json_delta"), "partial_json": _TEXT}),
    st.fixed_dictionaries({"type": st.just("signature_delta"), "signature": _TEXT}),
    st.fixed_dictionaries({"text": _TEXT, "thinking": _TEXT}),
    st.fixed_dictionaries({"citation": st.fixed_dictionaries({"text": _TEXT})}),
)
_EVENT = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("content_block_delta"), "index": st.integers(0, 3), "delta": _DELTA}
    ),
    st.fixed_dictionaries({"index": st.integers(0, 3), "delta": _DELTA, "type": _TEXT}),
    st.fixed_dictionaries({"delta": _DELTA, "usage": st.just({"output_tokens": 1})}),
    st.fixed_dictionaries({"content_block": st.fixed_dictionaries({"text": _TEXT})}),
    st.just({"type": "ping"}),
    st.just({"type": "error", "error": {"text": "x"}}),
)


def _told(event: dict[str, Any], *, is_compact: bool, is_named: bool) -> bytes:
    separators = (",", ":") if is_compact else (", ", ": ")
    name = "content_block_delta" if is_named else event.get("type", "x")
    text = json.dumps(event, separators=separators, ensure_ascii=False)
    first = f"event: {name}\n".encode("utf-8", "replace") if "\n" not in name else b""
    return first + b"data: " + text.encode() + b"\n\n"


@settings(max_examples=1500, deadline=None)
@given(st.lists(_EVENT, min_size=1, max_size=4), st.tuples(st.booleans(), st.booleans()))
def test_plain_deltas_carry_what_parsing_finds_in_them(
    events: list[dict[str, Any]], style: tuple[bool, bool]
) -> None:
    is_compact, is_named = style
    chunk = b"".join(_told(one, is_compact=is_compact, is_named=is_named) for one in events)
    plain = find_plain_deltas(chunk)
    if plain is None:
        return
    sizes = []
    for one in EventScanner(event_bytes_max=10_000).feed(chunk):
        data = data_of(one)
        assert data is not None
        said = parse_event(data)
        assert not said.is_error
        assert is_null(said.usage)
        assert is_null(said.message)
        sizes.append(said.text_bytes())
    assert (plain.pieces, plain.text_bytes) == (sum(map(bool, sizes)), sum(sizes))


def test_the_usual_delta_is_plain() -> None:
    event = {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "text_delta", "text": " that"},
    }
    for is_compact in (True, False):
        plain = find_plain_deltas(_told(event, is_compact=is_compact, is_named=True) * 3)
        assert plain is not None
        assert (plain.pieces, plain.text_bytes) == (3, 15)
    padded = _told(event, is_compact=True, is_named=True).replace(b"}}", b"}      }")
    assert find_plain_deltas(padded) is not None


def test_what_is_cut_escaped_or_says_more_is_looked_at() -> None:
    whole = (
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        b'"delta":{"type":"text_delta","text":"x"}}\n\n'
    )
    assert find_plain_deltas(whole) is not None
    for chunk in (
        whole[:-1],
        whole[1:],
        whole + b": keep-alive\n\n",
        whole + b'event: ping\ndata: {"type": "ping"}\n\n',
        whole + b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
        whole.replace(b"x", b'\\"'),
        whole.replace(b"\n", b"\r\n"),
        whole.replace(b'"index":0', b'"usage":{"output_tokens":1}'),
        whole.replace(b'"text":"x"', b'"partial_json":"{}"'),
        whole.replace(b"\n\n", b"\nid: 1\n\n"),
    ):
        assert find_plain_deltas(chunk) is None
