"""Embeddings: texts become vectors. A model of this kind reads and writes no text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from latchgate.gateway import fields
from latchgate.gateway.dialects.chat_answers import with_cost
from latchgate.gateway.offers import ModelEntry
from latchgate.gateway.prompt import (
    TAG_CHARS_MAX,
    FieldsBody,
    FieldTable,
    FindModel,
    Prompt,
    decode_object,
    model_name,
    require,
)
from latchgate.upstream.answers import read_embedding_usage

if TYPE_CHECKING:
    from latchgate.gateway.call import Call
    from latchgate.gateway.dialects.base import Events

INPUTS_MAX = 2048
INPUT_BYTES_MAX = 256 * 1024
TOKEN_ID_MAX = 1_000_000
DIMENSIONS_MAX = 16_384


def _check_input(value: Any, param: str) -> None:
    """A text, a list of texts, a list of token ids, or a list of those."""
    if isinstance(value, str):
        _check_text(value, param)
        return
    fields.array(value, param, length_max=INPUTS_MAX)
    if not value:
        raise fields.refuse(f"'{param}' needs at least one item.", "empty_array", param)
    if isinstance(value[0], int):
        _check_token_ids(value, param)
        return
    for index, item in enumerate(value):
        where = f"{param}[{index}]"
        if isinstance(item, list) and isinstance(value[0], list):
            fields.array(item, where, length_max=INPUT_BYTES_MAX)
            _check_token_ids(item, where)
        elif isinstance(item, str) and isinstance(value[0], str):
            _check_text(item, where)
        else:
            raise fields.wrong_type(item, where, "a string, as the first item is")


def _check_text(text: str, param: str) -> None:
    if not text:
        raise fields.refuse(f"Invalid '{param}': an empty text.", "invalid_value", param)
    if len(text.encode("utf-8", "replace")) > INPUT_BYTES_MAX:
        raise fields.refuse(
            f"Invalid '{param}': a text has at most {INPUT_BYTES_MAX} bytes. Send it in parts.",
            "context_length_exceeded",
            param,
        )


def _check_token_ids(ids: list[Any], param: str) -> None:
    if not ids:
        raise fields.refuse(f"'{param}' needs at least one item.", "empty_array", param)
    for number in ids:
        if not isinstance(number, int) or isinstance(number, bool):
            raise fields.wrong_type(number, param, "an array of token ids")
        if not 0 <= number <= TOKEN_ID_MAX:
            raise fields.refuse(
                f"Invalid '{param}': {number} is no token id.", "invalid_value", param
            )


_TABLE = FieldTable(
    checks={
        "model": fields.string(200),
        "input": _check_input,
        "encoding_format": fields.one_of("float", "base64"),
        "dimensions": fields.integer(1, DIMENSIONS_MAX),
        "user": fields.string(TAG_CHARS_MAX),
    },
    not_forwarded=frozenset({"user"}),
)


def peek_embeddings(body: bytes, find_model: FindModel) -> tuple[ModelEntry, Prompt]:
    """The model that a body asks for, and the checked call. Raises NotFound, InvalidRequest."""
    raw = decode_object(body)
    model = find_model(model_name(raw))
    values = _TABLE.check(raw, model.extra_fields)
    require(values, "input")
    forwarded = _TABLE.forwarded(raw, values)
    inputs = values["input"]
    return model, Prompt(
        model=model.name,
        is_stream=False,
        wants_usage=False,
        choices=1,
        output_tokens_asked=None,
        prompt_bytes=len(forwarded["input"]),
        messages=len(inputs) if isinstance(inputs, list) and not isinstance(inputs[0], int) else 1,
        has_tools=False,
        outgoing=FieldsBody(forwarded, None, {}),
        has_output=False,
        has_window=False,
        input_param="input",
    )


class EmbeddingsDialect:
    """Speaks OpenAI's embeddings. There are no streams of them."""

    path = "/embeddings"

    def body(self, prompt: Prompt, model: str, output_tokens: int) -> bytes:
        """The body that goes upstream."""
        return prompt.outgoing.write(model, output_tokens)

    def read(self, call: Call, data: bytes) -> None:
        """Tell the call the usage that an answer states."""
        call.usage, call.usage_json = read_embedding_usage(data)

    def answer(self, call: Call, data: bytes) -> bytes:
        """The client's whole answer, with what it cost."""
        return with_cost(data, call.usage_json, call)

    def events(self, call: Call) -> Events:
        """There are none: no call of this dialect is a stream."""
        raise NotImplementedError(call.prompt.model)


EMBEDDINGS_DIALECT = EmbeddingsDialect()
