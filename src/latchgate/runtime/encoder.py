"""all-MiniLM-L6-v2: from tokens to vectors of length one, in a batch.

The model gives a vector for each token. A text's vector is their mean over its own tokens, brought
to length one, as the model's card prescribes (sentence-transformers/all-MiniLM-L6-v2, "Usage").
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

#: A row of numbers for each text, or one such row.
Vectors: TypeAlias = NDArray[np.float32]

DIMENSIONS = 384


class Encoder:
    """One ONNX session. ``encode`` is called from one thread; it lets others run meanwhile."""

    def __init__(self, path: Path, *, threads: int) -> None:
        import onnxruntime  # noqa: PLC0415 (loading it belongs to running, not to importing)

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or os.cpu_count() or 1
        options.inter_op_num_threads = 1
        # Threads that spin burn a core between calls; a plan of memory is kept for each shape, and
        # nearly every batch has a shape of its own.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.enable_mem_pattern = False
        self._session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )

    def encode(self, texts: Sequence[Sequence[int]]) -> Vectors:
        """A row for each text, of which none is empty; shorter ones are padded to the longest."""
        shape = (len(texts), max(map(len, texts)))
        ids, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = text
            mask[row, : len(text)] = 1
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        (states,) = self._session.run(["last_hidden_state"], feed)
        means = np.einsum("rtd,rt->rd", states, mask.astype(np.float32))
        means /= mask.sum(axis=1, keepdims=True, dtype=np.float32)
        lengths = np.linalg.norm(means, axis=1, keepdims=True)
        vectors: Vectors = (means / lengths).astype(np.float32)
        return vectors
