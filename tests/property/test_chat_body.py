"""Guards that a chat call's body is rebuilt from checked fields only, or refused by name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from latchgate.domain.errors import InvalidRequest
from latchgate.gateway.dialects.chat import parse_chat
from latchgate.gateway.prompt import Prompt, decode_object

#: All that may ever reach a model server, written out again so that a slip of the table shows.
FORWARDED = {
    "model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n",
    "temperature", "top_p", "presence_penalty", "frequency_penalty", "stop", "seed", "logprobs",
    "top_logprobs", "logit_bias", "tools", "tool_choice", "parallel_tool_calls", "response_format",
    "reasoning_effort", "verbosity",
}  # fmt: skip
KEPT_BACK = {
    "user", "safety_identifier", "prompt_cache_key", "metadata", "store", "service_tier",
}  # fmt: skip
STRANGE_NAMES = [
    "functions",
    "audio",
    "top_k",
    "Model",
    "messages ",
    "__proto__",
    "",
    "\ud800",
    "é",
]

#: Lone surrogates included: JSON can write them, UTF-8 cannot.
TEXTS = st.text(st.characters(exclude_categories=()), max_size=12)
NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**40, 10**400, 0.5, -0.0]),
    st.floats(),  # NaN and infinities too: Python writes them, JSON does not know them
)
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
JUNK = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=8,
)


def _mostly(*values: Any) -> st.SearchStrategy[Any]:
    """Right values, and now and then something else in their place."""
    right = [value if isinstance(value, st.SearchStrategy) else st.just(value) for value in values]
    return st.integers(0, 29).flatmap(lambda dice: JUNK if dice == 0 else st.one_of(right))


def _object(
    needed: dict[str, st.SearchStrategy[Any]], **optional: st.SearchStrategy[Any]
) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(needed, optional=optional)


CALL = _object(
    {
        "id": _mostly("call_1", "call_2"),
        "function": _mostly(_object({"name": _mostly("f"), "arguments": _mostly("{}")})),
    },
    type=_mostly("function"),
)
PART = _object({"type": _mostly("text"), "text": _mostly(st.text())}, image_url=JUNK)
MESSAGE = _object(
    {
        "role": _mostly("system", "user", "user", "user", "assistant", "tool"),
        "content": _mostly("hi", st.text(), st.lists(_mostly(PART), max_size=3)),
    },
    name=_mostly("ada"),
    tool_calls=_mostly(None, st.lists(_mostly(CALL), max_size=2)),
    tool_call_id=_mostly("call_1", "call_2"),
)
SCHEMA = st.recursive(
    _object({"type": _mostly("object", "string")}, pattern=_mostly("a{2}"), maxLength=_mostly(5)),
    lambda inner: _object(
        {"properties": st.dictionaries(st.sampled_from("ab"), _mostly(inner), max_size=2)},
        **{"$ref": _mostly("#/properties/a", "#/")},
    ),
    max_leaves=4,
)
FUNCTION = _object({"name": _mostly("f", "g-1")}, parameters=_mostly(SCHEMA, {}))
TOOL = _object({"type": _mostly("function"), "function": _mostly(FUNCTION)})
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "stream": _mostly(True, False, None),
    "stream_options": _mostly(None, {}, {"include_usage": True}, {"include_usage": False}),
    "max_tokens": _mostly(1, 100, None),
    "max_completion_tokens": _mostly(7, None),
    "n": _mostly(1, 2),
    "temperature": _mostly(0, 0.7, 2),
    "top_p": _mostly(1, 0.1),
    "presence_penalty": _mostly(-2, 0.0),
    "frequency_penalty": _mostly(1.5),
    "stop": _mostly("x", ["a", "b"], None),
    "seed": _mostly(0, -(2**63)),
    "logprobs": _mostly(True),
    "top_logprobs": _mostly(5),
    "logit_bias": _mostly({}, {"17": -100}),
    "tools": _mostly([], st.lists(_mostly(TOOL), max_size=2)),
    "tool_choice": _mostly("auto", {"type": "function", "function": {"name": "f"}}),
    "parallel_tool_calls": _mostly(False),
    "response_format": _mostly(
        {"type": "text"},
        SCHEMA.map(lambda schema: {"type": "json_schema", "json_schema": {"schema": schema}}),
    ),
    "reasoning_effort": _mostly("low", None),
    "verbosity": _mostly("high"),
    **dict.fromkeys(("user", "safety_identifier", "prompt_cache_key"), _mostly("someone")),
    "metadata": _mostly({"a": "b"}),
    "store": _mostly(False),
    "service_tier": _mostly("auto", "priority"),
}

#: How long a large body takes to invent says nothing about what reads it.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
THOROUGH = settings(UNHURRIED, max_examples=400)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """The text of a body: mostly right, in any order, with doubled keys and loose spaces."""
    pairs: list[tuple[str, Any]] = [("model", draw(_mostly("gpt", "m" * 200)))]
    pairs.append(("messages", draw(_mostly(st.lists(MESSAGE, min_size=1, max_size=3)))))
    names = draw(st.lists(st.sampled_from([*FIELDS, "model"]), max_size=5))
    pairs += [(name, draw(FIELDS.get(name, _mostly("gpt")))) for name in names]
    if draw(st.integers(0, 9)) == 0:
        pairs.append((draw(st.sampled_from(STRANGE_NAMES)), draw(JUNK)))
    is_ascii, space = draw(st.booleans()), draw(st.sampled_from(["", " ", "\r\n\t"]))

    def dumped(value: Any) -> str:
        return json.dumps(value, ensure_ascii=is_ascii)

    written = (space.join((dumped(name), ":", dumped(value))) for name, value in pairs)
    text = "{" + f"{space},{space}".join(draw(st.permutations(list(written)))) + "}"
    return text.encode("utf-8", "surrogatepass")


def _parsed(body: bytes) -> Prompt | None:
    """The call, or None for a refusal; any other exception fails the test that asks."""
    try:
        return parse_chat(decode_object(body))
    except InvalidRequest as refusal:
        json.dumps(refusal.envelope()).encode()
        assert 400 <= refusal.status < 500  # noqa: PT017 (a refusal may be the right answer)
        assert len(refusal.public) < 600  # noqa: PT017
        refusal.public.encode()
        return None


def _names(sent: bytes) -> list[str]:
    """The names of an object's fields as they stand there, doubled ones twice."""
    return [name for name, _ in json.loads(sent, object_pairs_hook=list)]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


@THOROUGH
@given(bodies(), st.integers(1, 10**6))
def test_an_accepted_body_is_rebuilt_from_allowed_fields_only(body: bytes, limit: int) -> None:
    call = _parsed(body)
    event("refused" if call is None else "accepted")
    if call is None:
        return
    asked = json.loads(body)
    assert set(asked) <= FORWARDED | KEPT_BACK
    expected = {key: asked[key] for key in FORWARDED & set(asked) if asked[key] is not None}
    expected["model"] = "upstream's own"
    has_new_name = "max_completion_tokens" in expected
    expected.pop("max_tokens", None)
    expected["max_completion_tokens" if has_new_name else "max_tokens"] = limit
    if asked.get("stream"):
        expected["stream_options"] = {"include_usage": True}
    sent = call.outgoing.write("upstream's own", limit)
    assert json.loads(sent) == expected
    assert len(_names(sent)) == len(expected)


@THOROUGH
@given(bodies())
def test_admission_knows_what_the_body_asks(body: bytes) -> None:
    call = _parsed(body)
    if call is None:
        return
    asked = json.loads(body)
    assert call.model == asked["model"]
    assert call.messages == len(asked["messages"])
    assert call.is_stream is bool(asked.get("stream"))
    assert call.wants_usage is bool((asked.get("stream_options") or {}).get("include_usage"))
    assert call.choices == (asked.get("n") or 1)
    tokens = (asked.get("max_completion_tokens"), asked.get("max_tokens"))
    assert call.output_tokens_asked == next((count for count in tokens if count), None)
    prompt = [asked.get(name) for name in ("messages", "tools", "response_format")]
    assert call.prompt_bytes >= sum(len(text.encode()) for text in _texts(prompt))


@UNHURRIED
@given(st.one_of(st.binary(), JUNK.map(json.dumps).map(str.encode)))
def test_any_bytes_are_a_call_or_refused_without_another_exception(body: bytes) -> None:
    assert _parsed(body) is None, "nothing so small is a chat call"


@UNHURRIED
@given(bodies(), st.data())
def test_a_body_cut_short_is_refused(body: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(body) - 1))
    assert _parsed(body[:cut]) is None


@UNHURRIED
@given(bodies(), st.data())
def test_a_broken_byte_brings_no_other_exception(body: bytes, data: st.DataObject) -> None:
    place, byte = data.draw(st.integers(0, len(body) - 1)), data.draw(st.binary(max_size=3))
    call = _parsed(body[:place] + byte + body[place + 1 :])
    if call is not None:
        sent = call.outgoing.write("m", 1)
        assert set(_names(sent)) <= FORWARDED
