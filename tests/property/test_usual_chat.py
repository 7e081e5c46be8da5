"""The short way of reading a chat call takes nothing that the long way would not take alike."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from latchgate.gateway.dialects.chat import parse_chat
from latchgate.gateway.dialects.usual_chat import find_usual_chat
from latchgate.gateway.prompt import Prompt, decode_object

_ODD = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3))
_MESSAGE = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "system", "assistant", "tool", "king"]),
        "content": st.one_of(st.text(max_size=40), _ODD),
    },
    optional={"name": st.text(max_size=3), "strange": _ODD},
)
_BODY = st.fixed_dictionaries(
    {"model": st.one_of(st.just("m"), _ODD), "messages": st.lists(_MESSAGE, max_size=3)},
    optional={
        "stream": st.one_of(st.booleans(), _ODD),
        "stream_options": st.one_of(
            st.none(), st.fixed_dictionaries({}, optional={"include_usage": st.booleans()})
        ),
        "max_tokens": st.one_of(st.integers(-1, 9), _ODD),
        "max_completion_tokens": st.one_of(st.integers(-1, 9), _ODD),
        "temperature": st.one_of(st.floats(-1, 3), st.integers(-1, 3), _ODD),
        "top_p": st.one_of(st.floats(-1, 2), _ODD),
        "user": st.one_of(st.text(max_size=5), _ODD),
        "seed": _ODD,
    },
)


def _facts(call: Prompt) -> tuple[object, ...]:
    sent: dict[str, Any] = json.loads(call.outgoing.write("up", 7))
    sent.setdefault("stream", False)
    return (
        call.model,
        call.is_stream,
        call.wants_usage,
        call.choices,
        call.output_tokens_asked,
        call.prompt_bytes,
        call.messages,
        call.has_tools,
        sent,
    )


@settings(max_examples=600, deadline=None)
@given(_BODY)
def test_what_the_short_way_takes_the_long_way_reads_alike(body: dict[str, Any]) -> None:
    data = json.dumps(body).encode()
    usual = find_usual_chat(data)
    if usual is not None:
        assert _facts(usual) == _facts(parse_chat(decode_object(data)))


def test_the_short_way_takes_what_apps_send() -> None:
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "Grüße"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 5,
        "temperature": 1,
    }
    usual = find_usual_chat(json.dumps(body).encode())
    assert usual is not None
    assert (usual.model, usual.wants_usage, usual.output_tokens_asked) == ("m", True, 5)


def test_a_doubled_field_means_the_same_both_ways() -> None:
    data = b'{"model":"a","model":"m","messages":[{"role":"user","content":"x","content":"y"}]}'
    usual = find_usual_chat(data)
    assert usual is not None
    assert _facts(usual) == _facts(parse_chat(decode_object(data)))
