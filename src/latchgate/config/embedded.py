"""The settings of the embedded models."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from latchgate.config.declare import Kind, boolean, integer, price, setting, text

_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}", re.ASCII)


def _model_name() -> Kind:
    return text(
        "letters, digits and . _ : / -",
        lambda value: _MODEL_NAME.fullmatch(value) is not None,
        may_be_empty=False,
    )


@dataclass(frozen=True, slots=True)
class EmbeddedSettings:
    """The models that come with Latchgate: one that writes, and one for embeddings."""

    enabled: bool = setting(
        default=True, kind=boolean(), description="Run the embedded models beside the server."
    )
    model_path: str = setting(
        "",
        text("the path of a GGUF file that exists", lambda value: Path(value).is_file()),
        "Weights to serve in place of the packaged SmolLM2-135M-Instruct.",
        unit="path",
    )
    model_name: str = setting(
        "smollm2-135m",
        _model_name(),
        "The name under which calls ask for it.",
    )
    parallel: int = setting(
        4, integer(1, 64), "Calls that it answers at once; more wait in line.", unit="calls"
    )
    context_tokens: int = setting(
        4096, integer(256, 1_048_576), "The context window of each call.", unit="tokens"
    )
    threads: int = setting(
        0,
        integer(0, 1024),
        "Processor threads; 0 takes one for each core but one.",
        unit="threads",
    )
    input_price: str = setting(
        "0.10", price(), "What input tokens cost.", unit="USD per million tokens"
    )
    cached_price: str = setting(
        "0.02", price(), "What cached input tokens cost.", unit="USD per million tokens"
    )
    output_price: str = setting(
        "0.40", price(), "What output tokens cost.", unit="USD per million tokens"
    )
    embeddings_enabled: bool = setting(
        default=True,
        kind=boolean(),
        description="Run the embeddings model too, all-MiniLM-L6-v2; it takes `enabled` as well.",
    )
    embeddings_model_name: str = setting(
        "all-minilm-l6-v2", _model_name(), "The name under which calls ask for it."
    )
    embeddings_threads: int = setting(
        0,
        integer(0, 1024),
        "Processor threads of the embeddings model; 0 takes one for each core.",
        unit="threads",
    )
    embeddings_input_price: str = setting(
        "0.02", price(), "What its input tokens cost.", unit="USD per million tokens"
    )
