"""Guards each field of a chat call at its edges: what is taken, what is refused, and as what."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from latchgate.domain.errors import InvalidRequest
from latchgate.gateway.dialects.chat import parse_chat
from latchgate.gateway.prompt import Prompt, decode_object, model_name

HELLO = [{"role": "user", "content": "hi"}]


def _call(*extra: str, messages: Any = HELLO) -> Prompt:
    """A good call with further fields, each as the JSON text of its name and value."""
    pairs = ['"model":"m"', f'"messages":{json.dumps(messages)}', *extra]
    return parse_chat(decode_object(("{" + ",".join(pairs) + "}").encode()))


def _refusal(*extra: str, messages: Any = HELLO) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        _call(*extra, messages=messages)
    return caught.value


def _sent(call: Prompt) -> bytes:
    return call.outgoing.write("theirs", 9)


def _tool(parameters: Any) -> str:
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    return f'"tools":{json.dumps([tool])}'


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("max_tokens", ["1", "2147483648", "null"], ["0", "-1", "2147483649", "1.0", "1e2", '"5"']),
        ("max_completion_tokens", ["1"], ["0", "true", "[1]"]),
        ("n", ["1", "128"], ["0", "129", "1.5", "false"]),
        ("temperature", ["0", "-0.0", "2", "0.7", "2e0"], ["-0.1", "2.0000001", "true", '"1"']),
        ("top_p", ["1", "0.0001"], ["0", "-0.0", "1.1", "{}"]),
        ("presence_penalty", ["-2", "2"], ["-2.1", "2.1"]),
        ("seed", ["-9223372036854775808", "0"], ["9223372036854775808", "1" + "0" * 400, "0.5"]),
        ("top_logprobs", ["0", "20"], ["-1", "21"]),
        ("stream", ["true", "false", "null"], ["1", '"true"', "[]"]),
        ("stop", ['""', '["a","b","c","d"]', "[]"], ['["a","b","c","d","e"]', "[1]", "5", "{}"]),
        ("logit_bias", ["{}", '{"0":-100}'], ['{"a":1}', '{"-1":1}', '{"٣":1}', '{"1":101}', "[]"]),
        ("metadata", ['{"a":"b"}'], ['{"a":1}', '{"a":null}', "[]", f'{{"{"k" * 65}":"v"}}']),
        ("reasoning_effort", ['"low"'], ['"Low"', '""', "[]", "1"]),
        ("service_tier", ['"auto"', '"default"', '"priority"'], ['"flex"', '"scale"', '""', "1"]),
        ("tool_choice", ['"auto"', "{}"], ['"any"', "1", "[]"]),
        ("response_format", ['{"type":"text"}'], ["{}", '{"type":["text"]}', '{"type":"xml"}']),
        ("user", ['""', '"' + "u" * 512 + '"'], ['"' + "u" * 513 + '"', "7"]),
    ],
)
def test_a_field_is_taken_within_its_bounds_only(
    name: str, good: list[str], bad: list[str]
) -> None:
    for value in good:
        assert _call(f'"{name}":{value}').model == "m"
    for value in bad:
        assert str(_refusal(f'"{name}":{value}').param).startswith(name), value


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "1e999", "0x1", "01", "+1", ".5"]
)
def test_what_json_does_not_call_a_number_is_refused(number: str) -> None:
    assert _refusal(f'"temperature":{number}').code == "invalid_json"


@pytest.mark.parametrize(
    "extra",
    ['"user":"\\ud800"', '"user":"\\udfff\\ud800"', '"\\ud800":1', '"metadata":{"\\udc00":"x"}'],
)
def test_half_a_character_is_refused(extra: str) -> None:
    assert _refusal(extra).code == "invalid_json"


def test_a_whole_pair_of_halves_is_a_character_and_goes_on_as_one() -> None:
    call = _call(messages=[{"role": "user", "content": "🔑"}])
    assert "🔑".encode() in _sent(call)


@pytest.mark.parametrize("digits", [20, 400, 4301, 100_000])
@pytest.mark.parametrize("name", ["seed", "max_tokens", "temperature", "n", "top_logprobs"])
def test_a_number_of_any_length_is_judged(name: str, digits: int) -> None:
    assert _refusal(f'"{name}":{"9" * digits}').status == 400
    assert _refusal(f'"{name}":-{"9" * digits}').status == 400


@pytest.mark.parametrize("digits", [8, 400, 4301, 100_000], ids=str)
def test_a_token_id_of_any_length_is_judged(digits: int) -> None:
    assert _refusal(f'"logit_bias":{{"{"9" * digits}":1}}').param == "logit_bias"


@pytest.mark.parametrize("depth", [40, 900, 5_000, 100_000], ids=str)
@pytest.mark.parametrize("name", ["messages", "metadata", "tools", "response_format", "stop"])
def test_a_value_nested_without_end_is_refused(name: str, depth: int) -> None:
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        refusal = _refusal(f'"{name}":{opening * depth}1{closing * depth}')
        assert refusal.status == 400


@pytest.mark.parametrize(("depth", "is_taken"), [(28, True), (40, False)])
def test_what_model_servers_can_parse_is_the_depth_that_is_taken(
    depth: int, *, is_taken: bool
) -> None:
    nested: Any = "x"
    for _ in range(depth):
        nested = {"a": nested}
    if is_taken:
        assert _call(_tool({"default": nested})).has_tools
    else:
        assert "nested too deeply" in _refusal(_tool({"default": nested})).public


@pytest.mark.parametrize("value", [[], {}, [1], {"a": 1}, 5, None, True, ""])
@pytest.mark.parametrize("field", ["role", "content", "tool_calls", "tool_call_id"])
def test_a_message_with_a_field_of_another_type_is_refused_by_name(field: str, value: Any) -> None:
    message = {"role": "tool", "content": "x", "tool_call_id": "call_1", field: value}
    assert str(_refusal(messages=[message]).param).startswith("messages[0]")


def test_a_chain_of_references_is_followed_or_refused_however_long_it_is() -> None:
    names = [f"d{number}" for number in range(1500)]
    chain: dict[str, Any] = {
        name: {"$ref": f"#/$defs/{after}"} for name, after in itertools.pairwise(names)
    }
    chain[names[-1]] = {"type": "string"}
    tools = _tool({"$ref": "#/$defs/d0", "$defs": chain})
    try:
        assert _call(tools).has_tools
    except InvalidRequest as refusal:
        assert refusal.code == "invalid_function_parameters"  # noqa: PT017 (either is right)


def test_of_a_doubled_field_the_one_that_was_checked_is_sent() -> None:
    call = _call('"n":1', '"n":2', '"n":3', '"model":"b"')
    assert (call.model, call.choices) == ("b", 3)
    assert _sent(call).count(b'"n":') == 1
    assert _sent(call).count(b'"model":') == 1
    assert _refusal('"n":1', '"n":500').param == "n"


def test_a_key_doubled_inside_a_field_hides_nothing_from_the_checks() -> None:
    image = '[{"type":"image_url","image_url":{"url":"http://localhost/"}}]'
    doubled = f'[{{"role":"user","content":{image},"content":"hi"}}]'
    try:
        sent = _sent(_call(f'"messages":{doubled}'))
    except InvalidRequest:
        sent = b""
    assert b"image_url" not in sent


def test_the_model_named_before_and_after_the_checks_is_the_same() -> None:
    raw = decode_object(b'{"model":"a","messages":[{"role":"user","content":"x"}],"model":"b"}')
    assert model_name(raw) == parse_chat(raw).model == "b"


def test_what_the_upstream_says_it_takes_goes_on_and_nothing_else_does() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}],"top_k":40}'
    call = parse_chat(decode_object(body), extra_fields=frozenset({"top_k"}))
    assert json.loads(_sent(call))["top_k"] == 40
    assert _refusal('"top_k":40').code == "unknown_parameter"
    deep = body.replace(b"40", b"[" * 50 + b"]" * 50)
    with pytest.raises(InvalidRequest, match="nested too deeply"):
        parse_chat(decode_object(deep), extra_fields=frozenset({"top_k"}))
