"""Guards that a body of the Messages API becomes an upstream's from checked fields, or is refused.

The same bodies are said natively and as chats; neither may crash, and neither may lose a text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from latchgate.domain.errors import InvalidRequest
from latchgate.domain.prices import Price
from latchgate.gateway.dialects.chat import CHAT_FIELDS
from latchgate.gateway.dialects.messages import peek_count, peek_messages
from latchgate.gateway.offers import ModelEntry
from latchgate.gateway.prompt import Prompt
from latchgate.upstream.target import Target

THOROUGH = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
#: All that may ever reach a server that speaks messages, written out again.
FORWARDED = {
    "model", "messages", "max_tokens", "system", "stream", "stop_sequences", "temperature",
    "top_p", "top_k", "tools", "tool_choice", "thinking", "cache_control", "context_management",
    "output_config", "output_format",
}  # fmt: skip
IMAGE_URL = "https://example.com/a.png"
KEPT_BACK = {"metadata", "diagnostics", "service_tier"}

TEXTS = st.text(st.characters(exclude_categories=()), max_size=8)
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([2**64, 0.5, 10**400]),
    st.floats(), TEXTS,
)  # fmt: skip
JUNK = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)


def _mostly(*values: Any) -> st.SearchStrategy[Any]:
    """Right values, and now and then something else in their place."""
    right = [value if isinstance(value, st.SearchStrategy) else st.just(value) for value in values]
    return st.integers(0, 39).flatmap(lambda dice: JUNK if dice == 0 else st.one_of(right))


def _object(kind: str, **parts: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    optional = {"cache_control": _mostly(None, {"type": "ephemeral"})}
    return st.fixed_dictionaries({"type": _mostly(kind), **parts}, optional=optional)


TEXT = _object("text", text=_mostly(st.text(max_size=8)))
IMAGE = _object("image", source=_mostly({"type": "url", "url": IMAGE_URL}))
SOURCE = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "data": _mostly(st.text(max_size=8))}),
    st.fixed_dictionaries(
        {
            "type": st.just("content"),
            "content": _mostly("x", st.lists(st.one_of(TEXT, IMAGE), max_size=2)),
        }
    ),
)
DOCUMENT = _object("document", source=_mostly(SOURCE), title=_mostly(None, "t"))
FOUND = _object(
    "search_result", source=_mostly("s"), title=_mostly("t"), content=st.lists(TEXT, max_size=2)
)
USE = _object(
    "tool_use",
    id=_mostly("t1", "t2"),
    name=_mostly("f"),
    input=_mostly({}, {"a": "é\n"}, st.dictionaries(TEXTS, JUNK, max_size=2)),
)
RESULT = _object(
    "tool_result",
    tool_use_id=_mostly("t1", "t1", "t2"),
    content=_mostly(None, "x", st.lists(st.one_of(TEXT, DOCUMENT, IMAGE, FOUND), max_size=2)),
)
THOUGHT = _object("thinking", thinking=_mostly("hm"), signature=_mostly("c2ln"))
ASSISTANT = st.lists(st.one_of(TEXT, USE, THOUGHT), max_size=3)
USER = st.lists(st.one_of(TEXT, DOCUMENT, IMAGE, FOUND, RESULT), max_size=3)
MESSAGE = st.one_of(
    st.fixed_dictionaries({"role": _mostly("user"), "content": _mostly("hi", st.text(), USER)}),
    st.fixed_dictionaries({"role": st.just("assistant"), "content": _mostly("ok", ASSISTANT)}),
    st.fixed_dictionaries({"role": st.just("system"), "content": _mostly("be kind")}),
)
CALLED = {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f",
                                            "input": {}}]}  # fmt: skip
TOOL = st.fixed_dictionaries(
    {"name": _mostly("f", "g-1"), "input_schema": _mostly({}, {"type": "object"})},
    optional={"description": _mostly("d"), "type": _mostly("custom", None)},
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "stream": _mostly(True, False, None),
    "system": _mostly("s", st.lists(TEXT, max_size=2)),
    "stop_sequences": _mostly(["a"], [], None),
    "temperature": _mostly(0, 0.7, 1),
    "top_p": _mostly(1, 0.1),
    "top_k": _mostly(0, 40),
    "tools": _mostly([], st.lists(TOOL, max_size=2)),
    "tool_choice": _mostly({"type": "auto"}, {"type": "tool", "name": "f"}),
    "thinking": _mostly({"type": "adaptive"}, {"type": "enabled", "budget_tokens": 2000}),
    "context_management": _mostly({}, {"edits": [{"type": "clear_tool_uses_20250919"}]}),
    "output_config": _mostly({"effort": "low"}),
    "metadata": _mostly({"user_id": "u"}),
    "service_tier": _mostly("auto"),
    "unknown": JUNK,
}


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Bodies that are mostly right."""
    body = {
        "model": "m",
        "max_tokens": draw(_mostly(1, 100, 5000)),
        "messages": draw(_mostly(st.lists(MESSAGE, min_size=1, max_size=3).map(
            lambda messages: [CALLED, *messages]
        ))),
    }  # fmt: skip
    names = draw(st.lists(st.sampled_from(sorted(FIELDS)), max_size=4, unique=True))
    names = [name for name in names if name != "unknown" or draw(st.integers(0, 9)) == 0]
    return json.dumps(body | {name: draw(FIELDS[name]) for name in names}).encode()


def _model(*speaks: str) -> ModelEntry:
    return ModelEntry(
        name="m", upstream_model="up", tier="standard", context_tokens=8192,
        output_tokens_max=8192, message_tokens=64, kind="chat", takes_images=True,
        is_thinking=False, created_us=0, price=Price("p", 1, 1, 1),
        priority_price=Price("q", 2, 2, 2), extra_fields=frozenset(),
        target=Target.parse("u", "https://up.example.com/v1", None, speaks=speaks),
    )  # fmt: skip


NATIVE, ADAPTED = _model("messages"), _model("chat")


def _peeked(model: ModelEntry, body: bytes) -> Prompt | None:
    """The call, or nothing when it is refused; any other exception is a bug."""
    try:
        return peek_messages(body, lambda _: model)[1]
    except InvalidRequest as refusal:
        json.dumps(refusal.envelope()).encode()
        assert 400 <= refusal.status < 500  # noqa: PT017 (a refusal may be the right answer)
        assert len(refusal.public) < 600  # noqa: PT017
        return None


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


def _said(value: Any) -> Iterator[str]:
    """Every text that stands as such in a prompt of ours."""
    if isinstance(value, dict):
        if isinstance(value.get("text"), str):
            yield value["text"]
        yield from _said([inner for key, inner in value.items() if key != "input"])
    elif isinstance(value, list):
        for inner in value:
            yield from _said(inner)


@THOROUGH
@given(bodies(), st.integers(1, 5000))
def test_an_accepted_body_is_rebuilt_from_allowed_fields_only(body: bytes, limit: int) -> None:
    call = _peeked(NATIVE, body)
    event("refused" if call is None else "accepted")
    if call is None:
        return
    asked = json.loads(body)
    assert set(asked) <= FORWARDED | KEPT_BACK
    expected = {key: asked[key] for key in FORWARDED & set(asked) if asked[key] is not None}
    expected |= {"model": "up", "max_tokens": limit}
    budget = expected.get("thinking", {}).get("budget_tokens")
    if budget is not None and budget >= limit:
        expected.pop("thinking")
        if limit > 1024:
            expected["thinking"] = {"type": "enabled", "budget_tokens": limit - 1}
    pairs = json.loads(call.outgoing.write("up", limit), object_pairs_hook=list)
    assert len(pairs) == len({name for name, _ in pairs})
    assert json.loads(call.outgoing.write("up", limit)) == expected
    images = body.count(IMAGE_URL.encode())
    assert call.images == images
    texts = [text for name in ("messages", "system") for text in _texts(asked.get(name))]
    size = sum(len(text.encode()) for text in texts)
    assert call.prompt_bytes >= size - images * len(IMAGE_URL)


@THOROUGH
@given(bodies())
def test_an_accepted_body_is_a_chat_that_says_the_same(body: bytes) -> None:
    call = _peeked(ADAPTED, body)
    event("refused" if call is None else "accepted")
    if call is None:
        return
    asked = json.loads(body)
    chat = json.loads(call.outgoing.write("up", 7))
    assert set(chat) <= set(CHAT_FIELDS)
    assert chat["max_tokens"] == 7
    assert call.messages == len(chat["messages"])
    assert call.is_stream is bool(asked.get("stream")) is ("stream_options" in chat)
    texts = list(_texts(chat["messages"]))
    assert call.images == texts.count(IMAGE_URL) == body.count(IMAGE_URL.encode())
    size = sum(len(text.encode()) for text in texts)
    assert call.prompt_bytes >= size - call.images * len(IMAGE_URL)
    written = "\n".join(texts)
    for text in _said([asked["messages"], asked.get("system")]):
        assert text in written
    called: set[str] = set()
    for message in chat["messages"]:
        called |= {one["id"] for one in message.get("tool_calls", ())}
        if message["role"] == "tool":
            assert message["tool_call_id"] in called


@THOROUGH
@given(st.one_of(st.binary(), JUNK.map(json.dumps).map(str.encode)))
@pytest.mark.parametrize("model", [NATIVE, ADAPTED], ids=["native", "adapted"])
def test_any_bytes_are_refused_without_another_exception(model: ModelEntry, body: bytes) -> None:
    assert _peeked(model, body) is None, "nothing so small is a call"


@THOROUGH
@given(bodies(), st.data())
def test_a_broken_byte_brings_no_other_exception(body: bytes, data: st.DataObject) -> None:
    place, byte = data.draw(st.integers(0, len(body) - 1)), data.draw(st.binary(max_size=3))
    broken = body[:place] + byte + body[place + 1 :]
    for model in (NATIVE, ADAPTED):
        call = _peeked(model, broken)
        if call is not None:
            json.loads(call.outgoing.write("m", 1))


@THOROUGH
@given(bodies())
def test_a_count_takes_the_prompt_and_nothing_else(body: bytes) -> None:
    asked = json.loads(body)
    prompt = {
        name: value
        for name, value in asked.items()
        if name in ("model", "messages", "system", "tools", "tool_choice", "thinking")
    }
    try:
        _, counted = peek_count(json.dumps(prompt).encode(), lambda _: NATIVE)
    except InvalidRequest:
        return
    sent = json.loads(counted.outgoing.write("up", 5))
    assert sent == {name: text for name, text in prompt.items() if text is not None} | {
        "model": "up"
    }
