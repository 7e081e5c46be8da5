"""Responses that are kept for a while, so that the next one can go on from them.

They are kept in memory only: a restart forgets them all, and so does time. They are bounded in
bytes, all together and for each account, and the oldest goes first. Another account's response is
not to be told from one that never was.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from latchgate.clock import MINUTE_US
from latchgate.domain.errors import NotFound

#: How much of the room one account may fill: an eighth, so that nobody crowds the others out.
ACCOUNT_SHARE = 8


@dataclass(frozen=True, slots=True)
class Retention:
    """How long responses are kept, and how many bytes of them. No minutes: none is kept."""

    minutes: int = 60
    kept_bytes_max: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class KeptResponse:
    """A response and the conversation that it ends."""

    id: str
    model: str
    #: The JSON of all items so far, this response's output included.
    items: bytes
    #: The response as it was answered.
    answer: bytes
    kept_us: int

    @property
    def size_bytes(self) -> int:
        """How much room it takes."""
        return len(self.items) + len(self.answer)


class KeptResponses:
    """Every account's kept responses. Used from one event loop."""

    def __init__(self, now_us: Callable[[], int], retention: Retention) -> None:
        self._now_us = now_us
        self._retention_us = retention.minutes * MINUTE_US
        self._bytes_max = retention.kept_bytes_max
        self._bytes = 0
        #: Oldest first.
        self._kept: OrderedDict[tuple[str, str], KeptResponse] = OrderedDict()
        self._accounts: dict[str, _Share] = {}

    @property
    def is_on(self) -> bool:
        """Whether anything is kept at all."""
        return self._retention_us > 0

    def of(self, account_id: str) -> AccountResponses:
        """What one account sees of it."""
        return AccountResponses(self, account_id)

    def find(self, account_id: str, response_id: str) -> KeptResponse | None:
        """An account's own kept response."""
        self._forget_old()
        return self._kept.get((account_id, response_id))

    def keep(
        self, account_id: str, response_id: str, model: str, items: bytes, answer: bytes
    ) -> None:
        """Keep a response, if it fits into its account's share."""
        kept = KeptResponse(response_id, model, items, answer, self._now_us())
        share_max = self._bytes_max // ACCOUNT_SHARE
        if not self.is_on or kept.size_bytes > share_max:
            return
        self._forget_old()
        share = self._accounts.setdefault(account_id, _Share(OrderedDict()))
        while share.size_bytes + kept.size_bytes > share_max:
            self.forget(account_id, next(iter(share.ids)))
        while self._bytes + kept.size_bytes > self._bytes_max:
            self.forget(*next(iter(self._kept)))
        # Making room may have emptied the share, and taken it out.
        share = self._accounts.setdefault(account_id, share)
        self._kept[(account_id, response_id)] = kept
        share.ids[response_id] = None
        share.size_bytes += kept.size_bytes
        self._bytes += kept.size_bytes

    def forget(self, account_id: str, response_id: str) -> bool:
        """Let a response go; whether it was there."""
        kept = self._kept.pop((account_id, response_id), None)
        if kept is None:
            return False
        self._bytes -= kept.size_bytes
        share = self._accounts[account_id]
        share.size_bytes -= kept.size_bytes
        del share.ids[response_id]
        if not share.ids:
            del self._accounts[account_id]
        return True

    def _forget_old(self) -> None:
        limit_us = self._now_us() - self._retention_us
        while self._kept:
            name, kept = next(iter(self._kept.items()))
            if kept.kept_us > limit_us:
                return
            self.forget(*name)


@dataclass(slots=True)
class _Share:
    """What one account fills; its ids, oldest first."""

    ids: OrderedDict[str, None]
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class AccountResponses:
    """The kept responses of the account that calls."""

    _all: KeptResponses
    _account_id: str

    @property
    def is_on(self) -> bool:
        """Whether anything is kept at all."""
        return self._all.is_on

    def get(self, response_id: str, *, param: str | None = None) -> KeptResponse:
        """A kept response. Raises NotFound, the same for another account's and for none."""
        kept = self._all.find(self._account_id, response_id)
        if kept is None:
            raise NotFound(
                f"There is no response '{response_id[:100]}' here. Responses are kept for a while "
                "only, and not at all where store is false: send the whole conversation instead.",
                param=param,
            )
        return kept

    def keep(self, response_id: str, model: str, items: bytes, answer: bytes) -> None:
        """Keep a response of this account's."""
        self._all.keep(self._account_id, response_id, model, items, answer)

    def forget(self, response_id: str) -> None:
        """Let a response go. Raises NotFound."""
        self.get(response_id)
        self._all.forget(self._account_id, response_id)
