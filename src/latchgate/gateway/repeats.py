"""Declared retries: a call that its client sends again is run, and charged, once.

A client declares a retry with an ``Idempotency-Key``, or, as OpenAI's SDKs do, with an
``x-stainless-retry-count`` above 0 for the same body. While the first call runs, the retry waits
for its answer; when it has been answered, the answer is given again. Calls that declare nothing are
calls of their own, however much they are alike; so is what an SDK says is its first try.

Answers are kept in memory only, for ten minutes, within bounds of number and size.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field

from latchgate.domain.errors import Conflict, InvalidRequest
from latchgate.fibers import Wait

KEPT_S = 600.0
CALLS_MAX = 10_000
ANSWER_BYTES_MAX = 1024 * 1024
ANSWERS_BYTES_MAX = 64 * 1024 * 1024
KEY_CHARS_MAX = 255
#: How long a call whose client has gone waits for the retry, in seconds.
GRACE_S = 3.0

_Name = tuple[str, str, bytes]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call was answered with, as it can be given again."""

    body: bytes
    lines: tuple[bytes, ...]
    is_stream: bool


@dataclass(slots=True, eq=False)
class Repeat:
    """One call that may come again, and who waits for its answer."""

    name: _Name
    digest: bytes
    expires_s: float
    is_running: bool = True
    answer: Answer | None = None
    waiting: list[Wait[Answer | None]] = field(default_factory=list)

    def join(self) -> Wait[Answer | None]:
        """Wait for the answer of the call that runs; None: there is none, the call has failed."""
        wait: Wait[Answer | None] = Wait()
        self.waiting.append(wait)
        return wait

    def leave(self, wait: Wait[Answer | None]) -> None:
        """Its client has gone too."""
        if wait in self.waiting:
            self.waiting.remove(wait)


class Repeats:
    """Every account's calls that may come again. Used from one event loop."""

    def __init__(self) -> None:
        self._calls: OrderedDict[_Name, Repeat] = OrderedDict()
        self._bytes = 0

    def find(
        self, account_id: str, path: str, headers: dict[bytes, bytes], body: bytes, now_s: float
    ) -> Repeat | None:
        """The call that this one is, or is a retry of; None for one that nobody can repeat.

        One that is neither running nor answered is the caller's to run. Raises Conflict for a key
        that was used with another body, InvalidRequest for one that is too long.
        """
        key = headers.get(b"idempotency-key")
        count = headers.get(b"x-stainless-retry-count")
        if key is None and count is None:
            return None
        digest = hashlib.blake2b(body, digest_size=16).digest()
        if key is not None and len(key) > KEY_CHARS_MAX:
            raise InvalidRequest(
                f"An Idempotency-Key has at most {KEY_CHARS_MAX} characters.",
                code="string_above_max_length",
                param="Idempotency-Key",
            )
        self._forget_old(now_s)
        name = (account_id, path, b"k" + key if key is not None else b"b" + digest)
        found = self._calls.get(name)
        if found is not None and key is None and count == b"0":
            # No retry: a call of its own, and from now on the one that a retry means.
            if found.is_running:
                return None
            self._drop(name)
            found = None
        if found is not None and found.digest != digest:
            raise Conflict(
                "This Idempotency-Key was used with another body. Use a new key for a new call.",
                code="idempotency_key_reused",
            )
        return found or self._begin(name, digest, now_s)

    def _begin(self, name: _Name, digest: bytes, now_s: float) -> Repeat:
        repeat = Repeat(name, digest, now_s + KEPT_S, is_running=False)
        self._calls[name] = repeat
        if len(self._calls) > CALLS_MAX:
            self._drop(next(iter(self._calls)))
        return repeat

    def finish(self, repeat: Repeat, answer: Answer | None) -> None:
        """The call has ended: with an answer to keep, or without, and then a retry runs anew."""
        repeat.is_running = False
        if self._calls.get(repeat.name) is repeat:
            self._keep(repeat, answer)
        waiting, repeat.waiting = repeat.waiting, []
        for wait in waiting:
            wait.set(answer)

    def _keep(self, repeat: Repeat, answer: Answer | None) -> None:
        if answer is not None and len(answer.body) <= ANSWER_BYTES_MAX:
            repeat.answer = answer
            self._bytes += len(answer.body)
            while self._bytes > ANSWERS_BYTES_MAX:
                self._drop(next(iter(self._calls)))

    def _forget_old(self, now_s: float) -> None:
        while self._calls:
            name, repeat = next(iter(self._calls.items()))
            if repeat.expires_s > now_s or repeat.is_running:
                return
            self._drop(name)

    def _drop(self, name: _Name) -> None:
        repeat = self._calls.pop(name)
        if repeat.answer is not None:
            self._bytes -= len(repeat.answer.body)
