"""The hold's bound: a text never has more tokens than bytes and the two that are put around it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from latchgate.domain.embedded import EMBEDDINGS_MESSAGE_TOKENS
from latchgate.runtime.embedded import find_embeddings_files
from latchgate.runtime.embeddings_api import CLS, SEP, Refused, read

pytestmark = pytest.mark.model

TEXTS = st.one_of(st.text(min_size=1), st.text("a1.é日가\u0390ﷺ \t", min_size=1))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """As the child has it."""
    _, path = find_embeddings_files(data_dir=Path("/nowhere"))
    found = Tokenizer.from_file(str(path))
    found.no_truncation()
    found.no_padding()
    return found


@given(texts=st.lists(TEXTS, min_size=1, max_size=4))
def test_a_text_has_no_more_tokens_than_bytes(tokenizer: Tokenizer, texts: list[str]) -> None:
    asked = read(json.dumps({"model": "m", "input": texts}).encode(), tokenizer)
    for text, tokens in zip(texts, asked.texts, strict=True):
        assert len(tokens) <= len(text.encode()) + EMBEDDINGS_MESSAGE_TOKENS
        assert (tokens[0], tokens[-1]) == (CLS, SEP)


@given(
    body=st.one_of(
        st.binary(),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=4),
        ).map(lambda said: json.dumps({"model": "m", "input": said}).encode()),
    )
)
def test_any_body_is_understood_or_refused(tokenizer: Tokenizer, body: bytes) -> None:
    refused: Refused | None = None
    try:
        asked = read(body, tokenizer)
        assert asked.tokens == sum(map(len, asked.texts)) > 0
    except Refused as refusal:
        refused = refusal
    if refused:
        assert refused.status == 400
        assert set(json.loads(refused.body)["error"]) == {"message", "type", "param", "code"}
