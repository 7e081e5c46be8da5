"""What is told from plain deltas of a response without parsing is what parsing would tell."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from latchgate.upstream.responses import find_plain_deltas, parse_answer
from latchgate.upstream.sse import EventScanner, data_of

_KINDS = ("response.output_text.delta", "response.output_text.done", "response.completed")


@st.composite
def _events(draw: st.DrawFn) -> dict[str, Any]:
    """An event; most are deltas of the item's text, some are only like one."""
    event: dict[str, Any] = {"type": draw(st.sampled_from(_KINDS[:1] * 6 + _KINDS))}
    for name, values in (
        ("sequence_number", st.integers(0, 40)),
        ("item_id", st.sampled_from(["msg_1", "msg_1", "msg_1", "msg_2"])),
        ("output_index", st.just(0)),
        ("content_index", st.integers(0, 2)),
        ("delta", st.one_of(st.text(max_size=12), st.text("ab {}:,", max_size=9), st.none())),
        ("logprobs", st.sampled_from([[], [{"token": "a", "bytes": [97]}]])),
        ("type", st.sampled_from(_KINDS)),
        ("obfuscation", st.text("xyz", max_size=5)),
        ("response", st.just({"delta": "x", "usage": {"input_tokens": 1}})),
    ):
        likely = name in ("item_id", "delta")
        if draw(st.integers(0, 9)) < (9 if likely else 3):
            event[name] = draw(values)
    return event


def _told(event: dict[str, Any], *, is_compact: bool, is_named: bool) -> bytes:
    separators = (",", ":") if is_compact else (", ", ": ")
    text = json.dumps(event, separators=separators, ensure_ascii=False)
    name = f"event: {_KINDS[0]}\n" if is_named else ""
    return f"{name}data: {text}\n\n".encode("utf-8", "replace")


@settings(max_examples=600, deadline=None)
@given(st.lists(_events(), min_size=1, max_size=4), st.tuples(st.booleans(), st.booleans()))
def test_plain_deltas_carry_what_parsing_finds_in_them(
    events: list[dict[str, Any]], style: tuple[bool, bool]
) -> None:
    is_compact, is_named = style
    chunk = b"".join(_told(event, is_compact=is_compact, is_named=is_named) for event in events)
    found = find_plain_deltas(chunk)
    if found is None:
        return
    parsed = []
    for event in EventScanner(event_bytes_max=100_000).feed(chunk):
        data = data_of(event)
        assert data is not None
        parsed.append(parse_answer(data))
    assert all(event["type"] == "response.output_text.delta" for event in parsed)
    told = [tuple(None if part is None else part.decode() for part in delta) for delta in found]
    names = ("sequence_number", "item_id", "output_index", "content_index", "delta")
    assert told == [
        tuple(str(event[name]) if name in event else None for name in names) for event in parsed
    ]
    assert all(event.keys() <= {*names, "type", "logprobs", "obfuscation"} for event in parsed)
    assert not any(event.get("logprobs") for event in parsed)


def test_the_usual_deltas_are_plain() -> None:
    event = {"type": _KINDS[0], "item_id": "msg_1", "delta": " that"}
    bare = _told(event, is_compact=True, is_named=True)
    assert find_plain_deltas(bare * 3) == [(None, b"msg_1", None, None, b" that")] * 3
    full = {
        "type": _KINDS[0], "sequence_number": 7, "item_id": "msg_1", "output_index": 0,
        "content_index": 1, "delta": "é", "logprobs": [], "obfuscation": "xyz",
    }  # fmt: skip
    told = _told(full, is_compact=True, is_named=True)
    assert find_plain_deltas(told) == [(b"7", b"msg_1", b"0", b"1", "é".encode())]


def test_what_is_cut_escaped_or_says_more_is_looked_at() -> None:
    event = {"type": _KINDS[0], "item_id": "msg_1", "delta": "x"}
    whole = _told(event, is_compact=True, is_named=True)
    assert find_plain_deltas(whole) is not None
    for chunk in (
        whole[:-1],
        whole[1:],
        whole + b": keep-alive\n\n",
        whole.replace(b"x", b'\\"'),
        whole.replace(b"\n", b"\r\n"),
        whole.replace(b"x", b"\t"),
        whole.replace(b"data:", b"id: 1\ndata:"),
        whole.replace(b'"x"', b'"x","delta":"y"'),
        whole.replace(b'"x"', b'"x","type":"response.completed"'),
        whole.replace(b'"x"', b"null"),
        _told({**event, "response": {"delta": "y"}}, is_compact=True, is_named=True),
    ):
        assert find_plain_deltas(chunk) is None
