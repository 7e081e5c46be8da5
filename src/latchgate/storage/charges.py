"""Journal records become rows: usage events, postings and spent budgets, each exactly once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, update

from latchgate.domain import ledger
from latchgate.domain.ids import new_id
from latchgate.domain.windows import Window
from latchgate.storage.alerts import Figures, figures_of, tell_owners, with_terms
from latchgate.storage.api_keys import playground_ids
from latchgate.storage.budgets import KEY_LIMIT
from latchgate.storage.journal_file import CloseRecord, OpenRecord
from latchgate.storage.leases import advance_offset, expect_each, move_leases
from latchgate.storage.ledger import post_new
from latchgate.storage.tables import budget_windows, budgets
from latchgate.storage.usage_days import add_events
from latchgate.storage.usage_events import insert_events

_windows = budget_windows.c
#: Bound once: to build a statement costs more than to run it.
_SPEND = (
    update(budget_windows)
    .where(
        _windows.budget_id == bindparam("of_budget_id"),
        _windows.starts_us == bindparam("of_starts_us"),
    )
    .values(
        spent_nanos=_windows.spent_nanos + bindparam("leased") + bindparam("beside"),
        leased_nanos=_windows.leased_nanos - bindparam("leased"),
        ceiling_nanos=_windows.ceiling_nanos + bindparam("beside"),
    )
)


@dataclass(slots=True)
class Spent:
    """What a batch spends of a window: from the epoch's lease, and beside it, in nano-USD."""

    leased_nanos: int = 0
    beside_nanos: int = 0
    #: What the cheapest of its calls cost, and set aside.
    cheapest: tuple[int, int] = (0, 0)

    def note(self, calls: Sequence[CloseRecord]) -> None:
        """Keep the cheapest."""
        least = min((call.charge_nanos, call.hold_nanos) for call in calls)
        self.cheapest = min(self.cheapest, least) if self.cheapest[0] else least


def post_calls(
    conn: Connection,
    records: Sequence[CloseRecord],
    *,
    epoch_id: str,
    from_offset: int,
    to_offset: int,
    now_us: int,
) -> dict[Window, Spent]:
    """Post a batch of ended calls and move the journal's offset, all in the caller's transaction.

    One posting for each account, its amount the sum of its usage events. Returns what each window
    has spent, so that the purse can take it off its slices. A batch that has landed gives the same,
    and is not posted again. Raises LookupError when the epoch is fenced or the offset is not where
    it should be; nothing may be committed then.
    """
    if not advance_offset(conn, epoch_id=epoch_id, from_offset=from_offset, to_offset=to_offset):
        return _spent(conn, [record for record in records if record.charge_nanos])[0]
    posting_ids = _post_charges(conn, records, now_us)
    if records:
        events = [_event(record, posting_ids) for record in records]
        insert_events(conn, events)
        add_events(conn, events)
    spent, before = _spent(conn, [record for record in records if record.charge_nanos])
    _spend(conn, epoch_id, spent)
    tell_owners(
        conn,
        (
            (before[window], now.leased_nanos + now.beside_nanos, *now.cheapest)
            for window, now in spent.items()
            if window in before
        ),
        now_us=now_us,
    )
    return spent


def _spent(
    conn: Connection, records: Sequence[CloseRecord]
) -> tuple[dict[Window, Spent], dict[Window, Figures]]:
    """What each window spends, and how those stood that run.

    A window spends by the calls that hold it, and by those that fell into it.

    A charge counts in every window of its account that was running when the call was let in, save
    that the playground's calls do not count in a key's. Where the limit came after the call, no
    lease carries the charge.
    """
    if not records:
        return {}, {}
    spent: dict[Window, Spent] = defaultdict(Spent)
    running, before = _running_windows(conn, records)
    unkeyed = _unkeyed(conn, running)
    alike: defaultdict[tuple[str, bool, tuple[tuple[str, int], ...]], list[CloseRecord]]
    alike = defaultdict(list)
    for record in records:
        is_unkeyed = record.api_key_id in unkeyed
        alike[record.account_id, is_unkeyed, record.windows].append(record)
    for (account_id, is_unkeyed, windows), calls in alike.items():
        held = {Window(budget_id, starts_us) for budget_id, starts_us in windows}
        for window in held:
            spent[window].leased_nanos += sum(call.charge_nanos for call in calls)
            spent[window].note(calls)
        for window, kind in running[account_id]:
            if is_unkeyed and kind == KEY_LIMIT:
                continue
            inside = [call for call in calls if window.holds(call.started_us)]
            if window not in held and inside:
                spent[window].beside_nanos += sum(call.charge_nanos for call in inside)
                spent[window].note(inside)
    return spent, before


#: The windows that run, with their budgets' kinds, by account.
_Running = defaultdict[str, list[tuple[Window, str]]]


def _unkeyed(conn: Connection, running: _Running) -> set[str]:
    """The ids under which calls without a key are noted, where that makes a difference."""
    limited = [
        account_id
        for account_id, windows in running.items()
        if any(kind == KEY_LIMIT for _, kind in windows)
    ]
    return playground_ids(conn, limited) if limited else set()


def _running_windows(
    conn: Connection, records: Sequence[CloseRecord]
) -> tuple[_Running, dict[Window, Figures]]:
    query = with_terms(
        budgets.c.account_id.in_({record.account_id for record in records}),
        budgets.c.active_since_us.is_not(None),
        _windows.ends_us > min(record.started_us for record in records),
    )
    running: _Running = defaultdict(list)
    before: dict[Window, Figures] = {}
    for row in conn.execute(query):
        figures = figures_of(row)
        running[figures.account_id].append((figures.window, figures.kind))
        before[figures.window] = figures
    return running, before


def _spend(conn: Connection, epoch_id: str, spent: Mapping[Window, Spent]) -> None:
    """Turn leased into spent, in all windows at once: charges that the journal has made durable."""
    if not spent:
        return
    # In one order, so that two processes that post at once never wait for each other in a ring.
    windows = sorted(spent, key=lambda window: (window.budget_id, window.starts_us))
    changed = conn.execute(
        _SPEND,
        [
            {
                "of_budget_id": window.budget_id,
                "of_starts_us": window.starts_us,
                "leased": spent[window].leased_nanos,
                "beside": spent[window].beside_nanos,
            }
            for window in windows
        ],
    )
    expect_each(changed.rowcount, windows)
    from_leases = {w: -spent[w].leased_nanos for w in windows if spent[w].leased_nanos}
    move_leases(conn, epoch_id, from_leases)


def post_interrupted(conn: Connection, records: Sequence[OpenRecord], *, now_us: int) -> None:
    """Show calls that a crash has cut: interrupted, not charged."""
    if records:
        events = [_interrupted_event(record, now_us) for record in records]
        insert_events(conn, events)
        add_events(conn, events)


def _post_charges(conn: Connection, records: Sequence[CloseRecord], now_us: int) -> dict[str, str]:
    charges: dict[str, list[int]] = defaultdict(list)
    overruns: list[int] = []
    for record in records:
        if record.charge_nanos:
            charges[record.account_id].append(record.charge_nanos)
        if record.overrun_nanos:
            overruns.append(record.overrun_nanos)
    posting_ids = {account_id: new_id("pst", now_us) for account_id in charges}
    postings = [
        ledger.usage_posting(posting_ids[account_id], account_id, sum(amounts), len(amounts))
        for account_id, amounts in charges.items()
    ]
    if overruns:
        posting_id = new_id("pst", now_us)
        postings.append(ledger.overrun_posting(posting_id, sum(overruns), len(overruns)))
    post_new(conn, postings, now_us=now_us)
    return posting_ids


def _event(record: CloseRecord, posting_ids: dict[str, str]) -> tuple[object, ...]:
    """A usage event's row; a call that ended before its answer began has no first byte."""
    return (
        record.request_id,
        record.account_id,
        record.api_key_id,
        record.price_id,
        record.model,
        record.app,
        record.input_tokens,
        record.cached_tokens,
        record.output_tokens,
        record.hold_nanos,
        record.charge_nanos,
        record.overrun_nanos,
        record.outcome,
        record.counted_by,
        int(record.is_stream),
        record.http_status,
        record.started_us,
        record.first_byte_us,
        record.ended_us,
        record.ip,
        posting_ids[record.account_id] if record.charge_nanos else None,
    )


def _interrupted_event(record: OpenRecord, now_us: int) -> tuple[object, ...]:
    return (
        record.request_id,
        record.account_id,
        record.api_key_id,
        record.price_id,
        record.model,
        record.app,
        0,
        0,
        0,
        record.hold_nanos,
        0,
        0,
        "interrupted",
        "nobody",
        int(record.is_stream),
        0,
        record.started_us,
        None,
        now_us,
        record.ip,
        None,
    )
