"""Password hashes: argon2id, in a bounded pool of threads, with equal work for everybody."""

from __future__ import annotations

import asyncio
import os
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import ARGON2_VERSION

from latchgate.domain import password_policy

if TYPE_CHECKING:
    from latchgate.storage.statements import AnyRow

R = TypeVar("R")

#: RFC 9106's second recommended option: 64 MiB and three passes. Two at a time bound the memory.
_HASHER = PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=1)
THREADS = 2


@cache
def leaked_passwords() -> frozenset[str]:
    """The 30,000 passwords that are found most often among those that leak, in lower case."""
    from zxcvbn.frequency_lists import FREQUENCY_LISTS  # noqa: PLC0415 - slow, and seldom needed

    return frozenset(FREQUENCY_LISTS["passwords"])


def check_password(password: str, *, email: str) -> None:
    """Refuse a weak password, as ``domain.password_policy`` says, or one that leaks often."""
    password_policy.check_password(password, email=email, leaked=leaked_passwords())


class Passwords:
    """Hashes and verifies, off the event loop."""

    def __init__(self, hasher: PasswordHasher = _HASHER) -> None:
        self._hasher = hasher
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="passwords")
        self._decoy = _decoy(hasher)

    async def hash(self, password: str) -> str:
        """An argon2id hash in its usual encoding, with a salt of its own."""
        return await self._run(self._hasher.hash, password)

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether the password is right. For None the same work is done, and the answer is no."""
        if password_hash is None:
            await self._run(self._verify, self._decoy, password)
            return False
        return await self._run(self._verify, password_hash, password)

    def needs_rehash(self, password_hash: str) -> bool:
        """Whether the hash was made with weaker parameters than today's."""
        return self._hasher.check_needs_rehash(password_hash)

    def _verify(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, function: Callable[..., R], *args: str) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()


def hash_of(found: AnyRow | None) -> str | None:
    """The password hash of whoever was found."""
    password_hash: str | None = None if found is None else found.password_hash
    return password_hash


def _decoy(hasher: PasswordHasher) -> str:
    """A hash of no password, in the usual encoding: to verify against it is the usual work."""
    salt, nothing = (
        b64encode(os.urandom(size)).decode().rstrip("=")
        for size in (hasher.salt_len, hasher.hash_len)
    )
    cost = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    return f"$argon2id$v={ARGON2_VERSION}${cost}${salt}${nothing}"
