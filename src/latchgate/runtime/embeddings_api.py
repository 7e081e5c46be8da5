"""``POST /v1/embeddings`` in OpenAI's shape: what a body may say, and the answer's bytes.

https://platform.openai.com/docs/api-reference/embeddings/create
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec

from latchgate.domain.embedded import EMBEDDINGS_WINDOW_TOKENS
from latchgate.runtime.encoder import DIMENSIONS, Vectors

INPUTS_MAX = 2048
#: A longer text is not even cut into tokens: they would be more than the window holds.
TEXT_CHARS_MAX = 16_384
#: Texts that are cut into tokens at a time: too much is found before all of it is in memory.
TEXTS_AT_A_TIME = 32
#: All inputs of one request together: half a minute of two cores.
REQUEST_TOKENS_MAX = 100_000
#: What BERT puts around every text.
CLS, SEP = 101, 102
VOCABULARY_TOKENS = 30_522


class Refused(Exception):
    """A request that gets no vectors: the answer's status and OpenAI's error."""

    def __init__(self, status: int, message: str, *, code: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        kind = "invalid_request_error" if status < 500 else "server_error"  # noqa: PLR2004
        error = {"message": message, "type": kind, "param": param, "code": code}
        self.body = msgspec.json.encode({"error": error})


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    model: str
    input: str | list[str | int | list[int]]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None
    user: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was understood: its texts as tokens, the two around each included."""

    texts: list[list[int]]
    is_base64: bool

    @property
    def tokens(self) -> int:
        """What is computed, and what is charged."""
        return sum(map(len, self.texts))


class Encoded(Protocol):
    """A text's tokens, as the tokenizer gives them."""

    @property
    def ids(self) -> list[int]:
        """Their ids."""
        ...


class Tokenizer(Protocol):
    """What is used of ``tokenizers.Tokenizer``."""

    def encode_batch_fast(self, input: list[str], /) -> Sequence[Encoded]:  # noqa: A002 (its name)
        """Every text's tokens, the two around it included."""
        ...


_decode = msgspec.json.Decoder(_Body).decode


def read(body: bytes, tokenizer: Tokenizer) -> Asked:
    """Check a body and cut its texts into tokens. Raises Refused."""
    try:
        said = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _invalid(f"The body is not what this endpoint takes: {error}.", None) from None
    if said.dimensions not in {None, DIMENSIONS}:
        raise _invalid(
            f"This model's vectors have {DIMENSIONS} dimensions; shortened, they lose their sense.",
            "dimensions",
        )
    texts, tokens = [], 0
    for text in _texts(_inputs(said.input), tokenizer):
        if len(text) > EMBEDDINGS_WINDOW_TOKENS:
            raise _too_long(f"{len(text)} tokens")
        tokens += len(text)
        if tokens > REQUEST_TOKENS_MAX:
            raise Refused(
                400,
                f"The inputs of one request have at most {REQUEST_TOKENS_MAX} tokens together. "
                "Send fewer at a time.",
                code="max_tokens_per_request",
                param="input",
            )
        texts.append(text)
    return Asked(texts, is_base64=said.encoding_format == "base64")


def _inputs(said: str | list[str | int | list[int]]) -> list[str] | list[list[int]]:
    """The four shapes of ``input`` as two: texts, or lists of token ids."""
    if isinstance(said, str):
        return [said]
    if said and all(isinstance(token, int) for token in said):
        return [[token for token in said if isinstance(token, int)]]
    texts = [text for text in said if isinstance(text, str)]
    lists = [tokens for tokens in said if isinstance(tokens, list)]
    if not 0 < len(said) <= INPUTS_MAX:
        raise _invalid(f"input has 1 to {INPUTS_MAX} items.", "input")
    if len(texts) != len(said) and len(lists) != len(said):
        raise _invalid("input is a text, a list of texts, or token ids.", "input")
    return texts or lists


def _texts(inputs: list[str] | list[list[int]], tokenizer: Tokenizer) -> Iterator[list[int]]:
    if not all(inputs):
        raise _invalid("An input can't be empty.", "input")
    texts = [text for text in inputs if isinstance(text, str)]
    if not texts:
        yield from (_around(tokens) for tokens in inputs if isinstance(tokens, list))
        return
    longest = max(map(len, texts))
    if longest > TEXT_CHARS_MAX:
        raise _too_long(f"{longest} characters")
    for start in range(0, len(texts), TEXTS_AT_A_TIME):
        for encoded in tokenizer.encode_batch_fast(texts[start : start + TEXTS_AT_A_TIME]):
            yield list(encoded.ids)


def _around(tokens: list[int]) -> list[int]:
    """Token ids as a client cut them, with what the model expects around them."""
    if not all(0 <= token < VOCABULARY_TOKENS for token in tokens):
        raise _invalid(
            f"A token id of this model is 0 to {VOCABULARY_TOKENS - 1}. Other models' tokens mean "
            "nothing to it: send texts.",
            "input",
        )
    return [CLS, *tokens, SEP]


def _invalid(message: str, param: str | None) -> Refused:
    return Refused(400, message, code="invalid_value", param=param)


def _too_long(size: str) -> Refused:
    return Refused(
        400,
        f"An input has {size}; this model's window is {EMBEDDINGS_WINDOW_TOKENS} tokens, those "
        "that begin and end the text included. Cut it into shorter pieces.",
        code="context_length_exceeded",
        param="input",
    )


def answer(asked: Asked, vectors: Vectors, *, model: str) -> bytes:
    """The body that carries the vectors. Each number is the shortest that gives it exactly."""
    data = [
        {
            "object": "embedding",
            "index": place,
            "embedding": _as_base64(row) if asked.is_base64 else _as_numbers(row),
        }
        for place, row in enumerate(vectors)
    ]
    usage = {"prompt_tokens": asked.tokens, "total_tokens": asked.tokens}
    return msgspec.json.encode({"object": "list", "data": data, "model": model, "usage": usage})


def _as_base64(row: Vectors) -> str:
    return base64.b64encode(row.astype("<f4").tobytes()).decode()


def _as_numbers(row: Vectors) -> msgspec.Raw:
    # Through double precision, each number would have twice as many digits, all of them noise.
    return msgspec.Raw(f"[{','.join(row.astype(str).tolist())}]".encode())
