"""The embedded models: what they serve, and how they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from latchgate.config.embedded import EmbeddedSettings
from latchgate.runtime.child import ChildSpec
from latchgate.runtime.weights import (
    EMBEDDINGS_TOKENIZER,
    EMBEDDINGS_WEIGHTS,
    find_packaged,
    find_weights,
    verify_packaged,
    verify_weights,
)

LOG_NAME = "embedded-model.log"
EMBEDDINGS_LOG_NAME = "embedded-embeddings.log"


def chat_spec(settings: EmbeddedSettings, *, data_dir: Path) -> ChildSpec:
    """The model that writes: llama.cpp's server over a GGUF file."""

    def prepare() -> Mapping[str, object]:
        path = find_weights(settings.model_path)
        verify_weights(path, is_packaged=not settings.model_path, data_dir=data_dir)
        return {
            "model_path": str(path),
            "model_name": settings.model_name,
            "parallel": settings.parallel,
            "context_tokens": settings.context_tokens,
            "threads": settings.threads,
        }

    return ChildSpec("embedded model", "latchgate.runtime.llama_child", LOG_NAME, prepare)


def embeddings_spec(settings: EmbeddedSettings, *, data_dir: Path) -> ChildSpec:
    """The model for embeddings: all-MiniLM-L6-v2 behind a small server of our own."""

    def prepare() -> Mapping[str, object]:
        weights, tokenizer = find_embeddings_files(data_dir=data_dir)
        return {
            "model_path": str(weights),
            "tokenizer_path": str(tokenizer),
            "model_name": settings.embeddings_model_name,
            "threads": settings.embeddings_threads,
        }

    return ChildSpec(
        "embedded embeddings model",
        "latchgate.runtime.embeddings_child",
        EMBEDDINGS_LOG_NAME,
        prepare,
    )


def find_embeddings_files(*, data_dir: Path) -> tuple[Path, Path]:
    """The embeddings model's weights and tokenizer, verified. Raises ModelUnavailable."""
    weights, tokenizer = find_packaged(EMBEDDINGS_WEIGHTS), find_packaged(EMBEDDINGS_TOKENIZER)
    verify_packaged(weights, EMBEDDINGS_WEIGHTS, data_dir=data_dir)
    verify_packaged(tokenizer, EMBEDDINGS_TOKENIZER, data_dir=data_dir)
    return weights, tokenizer
