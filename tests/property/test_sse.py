"""Guards that a stream of events is cut the same way however its bytes come."""

from __future__ import annotations

import itertools
import re
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from latchgate.upstream.sse import EventScanner, EventTooLong, data_of

BIG = 1024 * 1024

#: Whole lines and bits of them, so that line ends meet, double and fall apart often.
PIECES = [b"data: a", b"data:b", b'data: {"x":1}', b"data: [DONE]", b": ping", b"id: 7", b"x", b" "]
LF, CRLF, MIXED = [b"\n", b"\n\n"], [b"\r\n", b"\r\n\r\n"], [b"\n", b"\r\n", b"\r"]


def _streams(ends: list[bytes]) -> st.SearchStrategy[bytes]:
    return st.lists(st.sampled_from([*PIECES, *ends * 4]), max_size=30).map(b"".join)


@st.composite
def chunked(draw: st.DrawFn, streams: st.SearchStrategy[bytes]) -> list[bytes]:
    """A stream, and one way in which a network might cut it; empty chunks included."""
    stream = draw(streams)
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    return [stream[a:b] for a, b in itertools.pairwise([0, *cuts, len(stream)])]


def _cut(*chunks: bytes, event_bytes_max: int = BIG) -> list[bytes]:
    scanner = EventScanner(event_bytes_max=event_bytes_max)
    return [event for chunk in chunks for event in scanner.feed(chunk)]


def _payloads(stream: bytes) -> list[bytes]:
    """What the HTML standard, section 9.2.6, dispatches for a stream, read line by line."""
    payloads, data = [], []
    for line in re.split(rb"\r\n|\n|\r", stream.removeprefix(b"\xef\xbb\xbf"))[:-1]:
        name, colon, value = line.partition(b":")
        if not line and data:
            payloads.append(b"\n".join(data))
            data = []
        elif name == b"data" and colon:
            data.append(value.removeprefix(b" "))
    return payloads


def _stripped(payloads: list[bytes]) -> list[bytes]:
    # Around JSON spaces mean nothing, and a lone payload may lose them.
    return [payload.strip(b" ") for payload in payloads]


@given(chunked(_streams(LF)))
def test_any_chunking_gives_the_events_of_the_whole(chunks: list[bytes]) -> None:
    assert _cut(*chunks) == _cut(b"".join(chunks))


@given(chunked(_streams(CRLF)))
def test_any_chunking_of_crlf_lines_gives_the_events_of_the_whole(chunks: list[bytes]) -> None:
    assert _cut(*chunks) == _cut(b"".join(chunks))


@given(chunked(_streams(MIXED)))
def test_any_chunking_of_mixed_lines_gives_the_events_of_the_whole(chunks: list[bytes]) -> None:
    assert _cut(*chunks, b":\n") == _cut(b"".join(chunks), b":\n")


@given(chunked(_streams(MIXED)))
@example([b"data: a\r\r", b"data: b"])
def test_an_event_is_given_as_soon_as_it_is_known_to_be_whole(chunks: list[bytes]) -> None:
    assert _cut(*chunks) == _cut(b"".join(chunks))


@given(chunked(st.binary(max_size=200)))
def test_any_bytes_are_cut_without_an_exception(chunks: list[bytes]) -> None:
    assert _cut(*chunks, b":\n") == _cut(b"".join(chunks), b":\n")


@given(_streams(MIXED))
def test_payloads_are_those_that_the_standard_dispatches(stream: bytes) -> None:
    stream += b"\n:\n"  # no half of a line end is left to wait for
    found = [data for event in _cut(stream) if (data := data_of(event)) is not None]
    assert _stripped(found) == _stripped(_payloads(stream))


@given(_streams(MIXED))
def test_every_event_ends_with_its_one_empty_line(stream: bytes) -> None:
    for event in _cut(stream):
        assert event.endswith(b"\n\n")
        assert not event.startswith(b"\n")
        assert event.count(b"\n\n") == 1
        assert b"\r" not in event


@given(_streams(LF))
def test_nothing_but_empty_lines_is_lost(stream: bytes) -> None:
    def without_empty_lines(data: bytes) -> list[bytes]:
        return [line for line in data.split(b"\n") if line]

    given_back = b"".join(_cut(stream, b"\n\n"))
    assert without_empty_lines(given_back) == without_empty_lines(stream)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_byte_by_byte_is_as_good_as_whole(end: bytes) -> None:
    lines = (
        b": hello",
        b"",
        b"data: 1",
        b"",
        b"id: 2",
        b"data: a",
        b"data: b",
        b"",
        b"data: x",
        b"",
    )
    stream = end.join([*lines, b":"])
    expected = [b": hello\n\n", b"data: 1\n\n", b"id: 2\ndata: a\ndata: b\n\n", b"data: x\n\n"]
    assert _cut(stream) == expected
    assert _cut(*(stream[at : at + 1] for at in range(len(stream))), b"\n") == expected


def test_an_event_without_its_empty_line_is_not_given() -> None:
    assert _cut(b"data: 1\n\ndata: 2\n") == [b"data: 1\n\n"]
    assert _cut(b"data: 1\r\n\r\ndata: 2\r\n\r") == [b"data: 1\n\n"]


@pytest.mark.parametrize(
    ("event", "payload"),
    [
        (b"data: x\n\n", b"x"),
        (b"data:x\n\n", b"x"),
        (b"data:\n\n", b""),
        (b"data: a\ndata: b\n\n", b"a\nb"),
        (b"data:a\ndata:\ndata:  b\n\n", b"a\n\n b"),
        (b"event: m\ndata: x\nid: 1\n\n", b"x"),
        (b": ping\ndata: x\n\n", b"x"),
        (b"data: x\n: ping\n\n", b"x"),
        (b": data: x\n\n", None),
        (b"event: ping\n\n", None),
        (b"database: x\n\n", None),
        (b"Data: x\n\n", None),
        (b" data: x\n\n", None),
    ],
)
def test_a_payload_is_what_its_data_lines_say(event: bytes, payload: bytes | None) -> None:
    assert data_of(event) == payload


def test_a_byte_order_mark_before_the_first_event_is_no_part_of_it() -> None:
    stream = b"\xef\xbb\xbfdata: x\n\n"
    for cut in range(len(stream)):
        assert [data_of(event) for event in _cut(stream[:cut], stream[cut:])] == [b"x"]


@pytest.mark.parametrize(
    "line", [b"data: " + b"x" * 57, b": " + b"x" * 61, b"\n".join([b"id:1"] * 13)]
)
def test_an_event_of_the_largest_size_passes_and_a_larger_one_does_not(line: bytes) -> None:
    pieces = [line[at : at + 7] for at in range(0, len(line), 7)]
    assert _cut(*pieces, b"\n\n", event_bytes_max=64) == [line + b"\n\n"]
    with pytest.raises(EventTooLong, match="64 bytes"):
        _cut(*pieces, b"x" * 10, b"\n\n", event_bytes_max=64)


@given(
    st.binary(min_size=1, max_size=8).filter(lambda chunk: not set(chunk) & {10, 13}),
    st.integers(0, 300),
)
def test_an_endless_line_is_refused_before_it_is_kept(chunk: bytes, bytes_max: int) -> None:
    fitting = bytes_max // len(chunk)
    assert _cut(*[chunk] * fitting, event_bytes_max=bytes_max) == []
    with pytest.raises(EventTooLong):
        _cut(*[chunk] * (fitting + 1), event_bytes_max=bytes_max)


def test_many_events_together_may_be_larger_than_one() -> None:
    scanner = EventScanner(event_bytes_max=64)
    assert scanner.feed(b"data: x\n\n" * 1000) == [b"data: x\n\n"] * 1000


def test_a_long_stream_leaves_nothing_behind() -> None:
    scanner = EventScanner(event_bytes_max=BIG)
    scanner.feed(b"data: x\r\n\r\n")
    tracemalloc.start()
    try:
        for _ in range(20_000):
            assert len(scanner.feed(b"data: 0123456789\r\n\r\n")) == 1
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 20_000
