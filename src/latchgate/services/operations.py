"""The installation as a whole, for its operator: its books, its audit and its condition."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latchgate.domain.ledger import CUSTOMER, FUNDING, LOSS, OVERRUN, REVENUE
from latchgate.services.audit import AuditReport, audit
from latchgate.services.condition import examine
from latchgate.storage import platform_books as rows

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from latchgate.services.billing import InFlight
    from latchgate.services.vault import Vault
    from latchgate.storage.store import Store


@dataclass(frozen=True, slots=True)
class PostingSum:
    """What all postings of a kind add up to, as their accounts see them."""

    kind: str
    count: int
    nanos: int


@dataclass(frozen=True, slots=True)
class PlatformBooks:
    """What the platform has earned, owes and bears, in nano-USD; all exact."""

    #: What usage is worth at list price, what the operator bears of it included.
    revenue_nanos: int
    #: What was given or paid, less what was taken back.
    given_nanos: int
    #: Credit that accounts have and have not spent.
    outstanding_nanos: int
    #: What accounts below zero owe.
    owed_nanos: int
    #: What upstreams counted beyond holds, and what came too late to be anybody's.
    overrun_nanos: int
    loss_nanos: int
    accounts: int
    postings: tuple[PostingSum, ...]

    @property
    def charged_nanos(self) -> int:
        """What accounts were charged: usage without what the operator bears."""
        return self.revenue_nanos - self.overrun_nanos - self.loss_nanos


@dataclass(frozen=True, slots=True)
class Gateway:
    """What a serving process says of itself; nothing where none serves."""

    living: str | None = None
    condition: Callable[[], dict[str, object]] = dict


class Operations:
    """Reads; it changes nothing."""

    def __init__(
        self,
        store: Store,
        vault: Vault,
        journal_folder: Path,
        in_flight: InFlight,
        gateway: Gateway,
    ) -> None:
        self._store = store
        self._vault = vault
        self._journal_folder = journal_folder
        self._in_flight = in_flight
        self._gateway = gateway
        #: Asks for the embedded models' states.
        self.embedded: Callable[[], Iterable[Any]] = tuple

    async def books(self) -> PlatformBooks:
        """The platform's side of the books, as of one moment."""
        await self._in_flight.settle()

        def transaction(conn: Connection) -> PlatformBooks:
            sums = {row.kind: row for row in rows.sum_by_kind(conn)}
            customers = sums.get(CUSTOMER)
            return PlatformBooks(
                revenue_nanos=sums[REVENUE].balance_nanos,
                given_nanos=-sums[FUNDING].balance_nanos,
                outstanding_nanos=customers.above_nanos if customers else 0,
                owed_nanos=-customers.below_nanos if customers else 0,
                overrun_nanos=-sums[OVERRUN].balance_nanos,
                loss_nanos=-sums[LOSS].balance_nanos,
                accounts=rows.count_accounts(conn),
                postings=tuple(PostingSum(*row) for row in rows.sum_postings(conn)),
            )

        return await self._store.read(transaction)

    async def audit(self) -> AuditReport:
        """Derive every figure again from its rows, after posting what is in flight."""
        await self._in_flight.settle()
        return await self._store.read(audit, journal_folder=self._journal_folder)

    async def condition(self) -> dict[str, Any]:
        """How the installation is, for ``latchgate doctor`` and the page of health."""
        found = await examine(
            self._store, self._vault.open, self._journal_folder, living=self._gateway.living
        )
        embedded = [asdict(state) for state in self.embedded()]
        return {**asdict(found), **self._gateway.condition(), "embedded": embedded}
