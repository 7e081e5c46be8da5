"""Many requests' texts, computed together: fair between requests, little padding, bounded memory.

One thread computes. What comes meanwhile waits, and goes into the next round together. In a round
the waiting requests take turns, so that a large one does not hold up small ones; the round's texts
are sorted by length and computed in batches of bounded size.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress

import numpy as np

from latchgate.runtime.encoder import Vectors

#: One round, over all requests: so much is ahead of a text that comes when it begins.
ROUND_TEXTS_MAX = 32
ROUND_TOKENS_MAX = 2048
#: Tokens of one batch, padding included. A processor computes larger ones more slowly: what it
#: works on no longer fits its caches.
BATCH_TOKENS_MAX = 1024
#: Tokens that may wait: a minute or two of work.
WAITING_TOKENS_MAX = 400_000

Tokens = Sequence[int]


class Overloaded(Exception):
    """So much waits already that whoever came last would wait for minutes."""


class _Job:
    """One request: its texts, and their vectors as they come."""

    def __init__(self, texts: Sequence[Tokens], dimensions: int) -> None:
        self.texts = texts
        self.vectors: Vectors = np.empty((len(texts), dimensions), np.float32)
        self.missing = len(texts)
        # Neighbours in the line are of similar length, and pad each other little.
        self.waiting = deque(sorted(range(len(texts)), key=lambda place: len(texts[place])))
        self.future: Future[Vectors] = Future()


class Batcher:
    """Takes texts from any thread; computes in one of its own."""

    def __init__(self, encode: Callable[[Sequence[Tokens]], Vectors], *, dimensions: int) -> None:
        self._encode = encode
        self._dimensions = dimensions
        self._jobs: deque[_Job] = deque()
        self._waiting_tokens = 0
        self._has_come = threading.Condition()
        threading.Thread(target=self._run, name="batcher", daemon=True).start()

    def submit(self, texts: Sequence[Tokens]) -> Future[Vectors]:
        """The texts' vectors, later. Cancel the future when nobody waits for them any more.

        Raises Overloaded.
        """
        job = _Job(texts, self._dimensions)
        with self._has_come:
            tokens = sum(map(len, texts))
            if self._waiting_tokens and self._waiting_tokens + tokens > WAITING_TOKENS_MAX:
                raise Overloaded
            self._waiting_tokens += tokens
            self._jobs.append(job)
            self._has_come.notify()
        return job.future

    def _run(self) -> None:
        while True:
            with self._has_come:
                while not self._jobs:
                    self._has_come.wait()
                taken = self._take_round()
            for batch in _in_batches(taken):
                self._compute(batch)

    def _take_round(self) -> list[tuple[_Job, int]]:
        """A text of each request that waits, in turn; those that are cancelled leave the line."""
        taken: list[tuple[_Job, int]] = []
        tokens = 0
        while self._jobs and len(taken) < ROUND_TEXTS_MAX and tokens < ROUND_TOKENS_MAX:
            job = self._jobs.popleft()
            if job.future.done():  # cancelled, or failed
                self._waiting_tokens -= sum(len(job.texts[place]) for place in job.waiting)
                continue
            place = job.waiting.popleft()
            taken.append((job, place))
            tokens += len(job.texts[place])
            if job.waiting:
                self._jobs.append(job)
        self._waiting_tokens -= tokens
        return taken

    def _compute(self, batch: list[tuple[_Job, int]]) -> None:
        try:
            vectors = self._encode([job.texts[place] for job, place in batch])
        except Exception as failure:  # noqa: BLE001 (whoever waits must hear of it, and others go on)
            for job, _ in batch:
                with suppress(InvalidStateError):
                    job.future.set_exception(failure)
            return
        for (job, place), vector in zip(batch, vectors, strict=True):
            job.vectors[place] = vector
            job.missing -= 1
            if not job.missing:
                with suppress(InvalidStateError):  # cancelled
                    job.future.set_result(job.vectors)


def _in_batches(taken: list[tuple[_Job, int]]) -> Iterator[list[tuple[_Job, int]]]:
    """By length, each batch within its bound."""
    taken.sort(key=lambda entry: len(entry[0].texts[entry[1]]))
    batch: list[tuple[_Job, int]] = []
    for job, place in taken:
        if batch and (len(batch) + 1) * len(job.texts[place]) > BATCH_TOKENS_MAX:
            yield batch
            batch = []
        batch.append((job, place))
    if batch:
        yield batch
