"""Slices of budgets that a gateway process has in memory, and the epochs that own them.

``leased`` in a window is the sum of what every epoch has out; an epoch is one life of one process.
A guarded UPDATE takes a slice only while ``spent + leased + n <= limit``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from latchgate.domain.windows import Window
from latchgate.storage.budgets import open_window
from latchgate.storage.statements import AnyRow, insert_once
from latchgate.storage.tables import budget_windows, epochs, leases

_windows = budget_windows.c
_MOVE = (
    update(leases)
    .where(
        leases.c.epoch_id == bindparam("of_epoch_id"),
        leases.c.budget_id == bindparam("of_budget_id"),
        leases.c.starts_us == bindparam("of_starts_us"),
    )
    .values(leased_nanos=leases.c.leased_nanos + bindparam("moved"))
)


def open_epoch(conn: Connection, *, epoch_id: str, now_us: int) -> None:
    """Begin a process's life; its journal carries the same id."""
    conn.execute(
        insert(epochs).values(id=epoch_id, started_us=now_us, ended_us=None, journal_offset=0)
    )


def list_open_epochs(conn: Connection) -> Sequence[AnyRow]:
    """Epochs that have not ended: (id, journal_offset), the oldest first."""
    query = select(epochs.c.id, epochs.c.journal_offset).where(epochs.c.ended_us.is_(None))
    return conn.execute(query.order_by(epochs.c.started_us)).all()


def end_epoch(conn: Connection, *, epoch_id: str, now_us: int) -> None:
    """End a process's life and give back every slice that it still had."""
    owned = conn.execute(select(leases).where(leases.c.epoch_id == epoch_id)).all()
    for lease in owned:
        _move_leased(conn, Window(lease.budget_id, lease.starts_us), -lease.leased_nanos)
    conn.execute(delete(leases).where(leases.c.epoch_id == epoch_id))
    conn.execute(
        update(epochs)
        .where(epochs.c.id == epoch_id, epochs.c.ended_us.is_(None))
        .values(ended_us=now_us)
    )


def take_lease(
    conn: Connection, *, epoch_id: str, window: Window, wanted_nanos: int, needed_nanos: int
) -> int:
    """Move a slice of a window to an epoch; returns its amount.

    Takes ``wanted_nanos`` if there is so much, else what is left: which may be less than
    ``needed_nanos``, even nothing. As a window runs dry slices shrink to an eighth of the rest, so
    that one process does not sit on what another needs, but never below what is needed. A window
    that has just begun is opened.
    """
    row = _find_window(conn, window)
    if row is None:
        open_window(conn, window)
        row = _find_window(conn, window)
    if row is None:
        return 0  # its budget was switched off meanwhile
    left_nanos: int = max(0, row.limit_nanos - row.spent_nanos - row.leased_nanos)
    amount_nanos = min(left_nanos, max(needed_nanos, min(wanted_nanos, left_nanos // 8)))
    if amount_nanos <= 0:
        return 0
    taken = conn.execute(
        update(budget_windows)
        .where(
            _windows.budget_id == window.budget_id,
            _windows.starts_us == window.starts_us,
            _windows.spent_nanos + _windows.leased_nanos + amount_nanos <= _windows.limit_nanos,
        )
        .values(leased_nanos=_windows.leased_nanos + amount_nanos)
    )
    if taken.rowcount != 1:
        return 0  # somebody else took it between the two statements: the caller asks again
    key = {"epoch_id": epoch_id, "budget_id": window.budget_id, "starts_us": window.starts_us}
    if not insert_once(conn, leases, **key, leased_nanos=amount_nanos):
        move_lease(conn, epoch_id, window, amount_nanos)
    return amount_nanos


def _find_window(conn: Connection, window: Window) -> AnyRow | None:
    return conn.execute(
        select(_windows.limit_nanos, _windows.spent_nanos, _windows.leased_nanos).where(
            _windows.budget_id == window.budget_id, _windows.starts_us == window.starts_us
        )
    ).one_or_none()


def return_lease(conn: Connection, *, epoch_id: str, window: Window, amount_nanos: int) -> int:
    """Give back part of an epoch's slice that no hold uses.

    Returns by how much the window is beyond its limit still: an owner may lower a limit below what
    is spent and leased, and what comes back then must not go out again.
    """
    if amount_nanos:
        _move_leased(conn, window, -amount_nanos)
        move_lease(conn, epoch_id, window, -amount_nanos)
    row = _find_window(conn, window)
    if row is None:
        return 0
    beyond_nanos: int = row.spent_nanos + row.leased_nanos - row.limit_nanos
    return max(0, beyond_nanos)


def advance_offset(conn: Connection, *, epoch_id: str, from_offset: int, to_offset: int) -> bool:
    """Note how far an epoch's journal is posted; it must have stood at ``from_offset``.

    In the same transaction as what the records did, so that each lands exactly once. False: it
    stands at ``to_offset`` already, where a transaction has landed whose end nobody heard of.
    """
    moved = conn.execute(
        update(epochs)
        .where(
            epochs.c.id == epoch_id,
            epochs.c.journal_offset == from_offset,
            epochs.c.ended_us.is_(None),
        )
        .values(journal_offset=to_offset)
    )
    if moved.rowcount == 1:
        return True
    landed = select(epochs.c.id).where(
        epochs.c.id == epoch_id, epochs.c.journal_offset == to_offset, epochs.c.ended_us.is_(None)
    )
    if conn.execute(landed).first() is None:
        raise LookupError(f"epoch {epoch_id} is fenced or not at offset {from_offset}")
    return False


def _move_leased(conn: Connection, window: Window, amount_nanos: int) -> None:
    moved = conn.execute(
        update(budget_windows)
        .where(_windows.budget_id == window.budget_id, _windows.starts_us == window.starts_us)
        .values(leased_nanos=_windows.leased_nanos + amount_nanos)
    )
    expect_one(moved.rowcount, window)


def move_lease(conn: Connection, epoch_id: str, window: Window, amount_nanos: int) -> None:
    """Change what an epoch has of a window; its window's ``leased`` is moved beside it."""
    move_leases(conn, epoch_id, {window: amount_nanos})


def move_leases(conn: Connection, epoch_id: str, amounts: Mapping[Window, int]) -> None:
    """The same for several windows, with one statement."""
    if not amounts:
        return
    rows = [
        {
            "of_epoch_id": epoch_id,
            "of_budget_id": window.budget_id,
            "of_starts_us": window.starts_us,
            "moved": amount_nanos,
        }
        for window, amount_nanos in amounts.items()
    ]
    expect_each(conn.execute(_MOVE, rows).rowcount, list(amounts))


def expect_each(count: int, windows: Sequence[Window]) -> None:
    """Raise LookupError unless a statement met exactly these windows' rows."""
    if len(windows) == 1:
        expect_one(count, windows[0])
    elif count != len(windows):
        raise LookupError(f"{count} rows for {len(windows)} windows: {list(windows[:5])}")


def expect_one(count: int, window: Window) -> None:
    """Raise LookupError unless a statement met exactly the window's row."""
    if count != 1:
        raise LookupError(f"{count} rows for window {window}")
