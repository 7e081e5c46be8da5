"""The embedded model: what it serves, and how it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from latchgate.config.settings import EmbeddedSettings
from latchgate.runtime.child import ChildAddress, ChildSpec, ModelChild
from latchgate.runtime.weights import find_weights, verify_weights

LOG_NAME = "embedded-model.log"


def chat_child(
    settings: EmbeddedSettings,
    *,
    data_dir: Path,
    on_address_changed: Callable[[ChildAddress], None] | None = None,
) -> ModelChild:
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

    spec = ChildSpec("embedded model", "latchgate.runtime.llama_child", LOG_NAME, prepare)
    return ModelChild(spec, data_dir=data_dir, on_address_changed=on_address_changed)
