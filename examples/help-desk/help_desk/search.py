"""Finds the passage that a question is about, by the nearness of their embeddings."""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import math
import sqlite3
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import openai

from help_desk.documents import Page, Passage, load_pages

BATCH_PASSAGES_MAX = 64


@dataclass(frozen=True)
class Match:
    """A passage, and how near it is to the question: 1 is the same, 0 has nothing to do with it."""

    passage: Passage
    similarity: float


class Index:
    """The folder's passages and their vectors, kept in step with the files.

    A few thousand passages are compared in milliseconds without any vector database. Vectors are
    kept by the digest of their text, so that neither a restart nor an edit embeds anything twice.
    """

    def __init__(
        self, sdk: openai.AsyncOpenAI, model: str, folder: Path, kept: sqlite3.Connection
    ) -> None:
        self.pages: dict[str, Page] = {}
        self._sdk = sdk
        self._model = model
        self._folder = folder
        self._kept = kept
        self._kept.execute(
            "CREATE TABLE IF NOT EXISTS vectors (digest TEXT PRIMARY KEY, data BLOB)"
        )
        self._files: list[tuple[str, int, int]] = []
        self._vectors: list[tuple[Passage, array[float]]] = []
        self._refreshing = asyncio.Lock()

    async def find(self, question: str, count: int) -> tuple[list[Match], int]:
        """The nearest passages, nearest first, and what finding them cost in nano-dollars."""
        cost_nanos = await self.refresh()
        [asked], asking_nanos = await self._embed([question])
        matches = (Match(passage, _dot(asked, vector)) for passage, vector in self._vectors)
        nearest = heapq.nlargest(count, matches, key=lambda match: match.similarity)
        return nearest, cost_nanos + asking_nanos

    def read_pages(self) -> bool:
        """Read the files again if any has changed; whether one has."""
        stats = [(path.name, path.stat()) for path in sorted(self._folder.glob("*.md"))]
        files = [(name, stat.st_mtime_ns, stat.st_size) for name, stat in stats]
        if files == self._files:
            return False
        self.pages = {page.name: page for page in load_pages(self._folder)}
        self._files = files
        self._vectors = []
        return True

    async def refresh(self) -> int:
        """Embed what is new in the folder; what that cost, in nano-dollars."""
        async with self._refreshing:
            self.read_pages()
            passages = [passage for page in self.pages.values() for passage in page.passages]
            if len(self._vectors) == len(passages):
                return 0
            known = {passage: self._find_kept(passage) for passage in passages}
            new = [passage for passage, vector in known.items() if vector is None]
            cost_nanos = 0
            for start in range(0, len(new), BATCH_PASSAGES_MAX):
                batch = new[start : start + BATCH_PASSAGES_MAX]
                vectors, nanos = await self._embed([passage.searched for passage in batch])
                cost_nanos += nanos
                for passage, vector in zip(batch, vectors, strict=True):
                    known[passage] = vector
                    self._keep(passage, vector)
            self._vectors = [(passage, vector) for passage, vector in known.items() if vector]
            return cost_nanos

    async def _embed(self, texts: list[str]) -> tuple[list[array[float]], int]:
        answer = await self._sdk.embeddings.create(model=self._model, input=texts)
        extra = answer.usage.model_extra or {}
        return [_normal(each.embedding) for each in answer.data], extra.get("cost_nanos", 0)

    def _digest(self, passage: Passage) -> str:
        return hashlib.sha256(f"{self._model}\n{passage.searched}".encode()).hexdigest()

    def _find_kept(self, passage: Passage) -> array[float] | None:
        found = self._kept.execute(
            "SELECT data FROM vectors WHERE digest = ?", (self._digest(passage),)
        ).fetchone()
        return array("f", found[0]) if found else None

    def _keep(self, passage: Passage, vector: array[float]) -> None:
        with self._kept:
            self._kept.execute(
                "INSERT OR REPLACE INTO vectors VALUES (?, ?)",
                (self._digest(passage), vector.tobytes()),
            )


def _normal(vector: Sequence[float]) -> array[float]:
    length = math.sqrt(sum(x * x for x in vector)) or 1.0
    return array("f", (x / length for x in vector))


def _dot(a: array[float], b: array[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))
