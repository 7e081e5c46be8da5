"""Alerts as rows: they are written in the transaction that posts what passes a threshold.

How far an owner was told of a window stands in the window itself (``alerted``), so that each
threshold is told of once, whoever posts, and whatever dies between.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, bindparam, insert, select, update

from latchgate.domain.alerts import AlertTerms, Level, passed
from latchgate.domain.ids import new_id
from latchgate.domain.windows import Window
from latchgate.storage.alert_tables import alert_terms, alerts
from latchgate.storage.budgets import CREDIT
from latchgate.storage.statements import AnyRow
from latchgate.storage.tables import accounts, budget_windows, budgets, memberships, users

_alerts, _terms, _windows = alerts.c, alert_terms.c, budget_windows.c
_NOTE_TOLD = (
    update(budget_windows)
    .where(
        _windows.budget_id == bindparam("of_budget_id"),
        _windows.starts_us == bindparam("of_starts_us"),
    )
    .values(alerted=bindparam("told"))
)


class Figures(NamedTuple):
    """A running window as it stands, with its account's terms. A plain row: many are read."""

    account_id: str
    window: Window
    kind: str
    period: str
    limit_nanos: int
    spent_nanos: int
    base_nanos: int | None
    told: int
    percents: str | None
    credit_left_nanos: int | None
    mails_limits: int | None
    mails_credit: int | None

    @property
    def terms(self) -> AlertTerms:
        """What its account wants to be told."""
        return _read_terms(
            self.percents, self.credit_left_nanos, self.mails_limits, self.mails_credit
        )

    def level(self, more_nanos: int = 0, call_nanos: int = 0, hold_nanos: int = 0) -> Level:
        """How far it is spent, with so much more."""
        return Level(
            is_credit=self.kind == CREDIT,
            limit_nanos=self.limit_nanos,
            base_nanos=self.limit_nanos if self.base_nanos is None else self.base_nanos,
            spent_nanos=self.spent_nanos + more_nanos,
            told=self.told,
            call_nanos=call_nanos,
            hold_nanos=hold_nanos,
        )


@lru_cache(maxsize=1000)
def _read_terms(
    percents: str | None, left_nanos: int | None, limits: int | None, credit: int | None
) -> AlertTerms:
    if percents is None:
        return AlertTerms()
    numbers = tuple(int(number) for number in percents.split(",") if number)
    return AlertTerms(numbers, left_nanos, bool(limits), bool(credit))


def with_terms(*where: ColumnElement[bool]) -> Select[*tuple[object, ...]]:
    """The query for windows with their budgets and their accounts' terms; see ``figures_of``."""
    return (
        select(
            budgets.c.account_id,
            _windows.budget_id,
            _windows.starts_us,
            _windows.ends_us,
            budgets.c.kind,
            budgets.c.period,
            _windows.limit_nanos,
            _windows.spent_nanos,
            _windows.alert_base_nanos,
            _windows.alerted,
            _terms.percents,
            _terms.credit_left_nanos,
            _terms.mails_limits,
            _terms.mails_credit,
        )
        .select_from(budget_windows)
        .join(budgets, budgets.c.id == _windows.budget_id)
        .outerjoin(alert_terms, _terms.account_id == budgets.c.account_id)
        .where(*where)
    )


def figures_of(row: AnyRow) -> Figures:
    """A row of that query."""
    account_id, budget_id, starts_us, ends_us, *rest = row
    return Figures(account_id, Window(budget_id, starts_us, ends_us), *rest)


def tell_owners(
    conn: Connection, spent: Iterable[tuple[Figures, int, int, int]], *, now_us: int
) -> None:
    """Write an alert for each window that passes a threshold with what it spends now.

    ``spent``: how a window stood before, what it spends more, and what the cheapest call of that
    cost and set aside. What passes none costs no statement; all that do cost two. Those of one
    account share a mail.
    """
    found = []
    for figures, more_nanos, call_nanos, hold_nanos in spent:
        level = figures.level(more_nanos, call_nanos, hold_nanos)
        if mark := passed(figures.terms, level):
            found.append((figures, level, mark))
    if not found:
        return
    # In one order, so that two processes that post at once never wait for each other in a ring.
    found.sort(key=lambda told: (told[0].window.budget_id, told[0].window.starts_us))
    mails: dict[str, str] = {}
    rows = []
    for figures, level, mark in found:
        terms = figures.terms
        wants_mail = terms.mails_credit if level.is_credit else terms.mails_limits
        mail_id = None
        if wants_mail:
            mail_id = mails.setdefault(figures.account_id, new_id("mail", now_us))
        rows.append(_alert_row(figures, level, mark, mail_id, now_us))
    conn.execute(_NOTE_TOLD, [_told(figures.window, mark) for figures, _, mark in found])
    conn.execute(insert(alerts), rows)


def _told(window: Window, mark: int) -> dict[str, object]:
    return {"of_budget_id": window.budget_id, "of_starts_us": window.starts_us, "told": mark}


def _alert_row(
    figures: Figures, level: Level, mark: int, mail_id: str | None, now_us: int
) -> dict[str, object]:
    return {
        "id": new_id("alt", now_us),
        "account_id": figures.account_id,
        "budget_id": figures.window.budget_id,
        "starts_us": figures.window.starts_us,
        "ends_us": figures.window.ends_us,
        "kind": figures.kind,
        "period": figures.period,
        "threshold": mark,
        "limit_nanos": level.limit_nanos,
        "left_nanos": level.left_nanos,
        "created_us": now_us,
        "mail_id": mail_id,
    }


# ── beginning anew ──────────────────────────────────────────────────────────────────────────────
def begin_anew(conn: Connection, account_id: str, *, budget_id: str = "", now_us: int) -> None:
    """Let the thresholds of a budget, or of all of an account's, count from what is spent now.

    For whoever has just set a limit or his thresholds: what he has passed by then he sees, and is
    not told of. What he was told before is no longer shown.
    """
    of = [budgets.c.account_id == account_id, _windows.ends_us > now_us]
    if budget_id:
        of.append(budgets.c.id == budget_id)
    found = [figures_of(row) for row in conn.execute(with_terms(*of)).all()]
    for figures in found:
        mark = passed(figures.terms, replace(figures.level(), told=0))
        conn.execute(_NOTE_TOLD, _told(figures.window, mark))
    _end(conn, account_id, budget_id, now_us)


def note_credit_added(
    conn: Connection, account_id: str, budget_id: str, amount_nanos: int, *, now_us: int
) -> None:
    """From now on shares of the credit are shares of this amount, and none is passed."""
    conn.execute(
        update(budget_windows)
        .where(_windows.budget_id == budget_id)
        .values(alert_base_nanos=amount_nanos, alerted=0)
    )
    _end(conn, account_id, budget_id, now_us)


def _end(conn: Connection, account_id: str, budget_id: str, now_us: int) -> None:
    of = [_alerts.account_id == account_id, _alerts.ended_us.is_(None)]
    if budget_id:
        of.append(_alerts.budget_id == budget_id)
    conn.execute(update(alerts).where(*of).values(ended_us=now_us))


# ── terms and notices ───────────────────────────────────────────────────────────────────────────
def get_terms(conn: Connection, account_id: str) -> AlertTerms:
    """What an account wants to be told: its own terms, or the usual ones."""
    row = conn.execute(select(alert_terms).filter_by(account_id=account_id)).one_or_none()
    if row is None:
        return AlertTerms()
    return _read_terms(row.percents, row.credit_left_nanos, row.mails_limits, row.mails_credit)


def set_terms(conn: Connection, account_id: str, terms: AlertTerms) -> None:
    """Write an account's terms, in place of those that it had."""
    values = {
        "percents": ",".join(map(str, terms.percents)),
        "credit_left_nanos": terms.credit_left_nanos,
        "mails_limits": int(terms.mails_limits),
        "mails_credit": int(terms.mails_credit),
    }
    changed = conn.execute(
        update(alert_terms).where(_terms.account_id == account_id).values(**values)
    )
    if not changed.rowcount:
        conn.execute(insert(alert_terms).values(account_id=account_id, **values))


def list_shown(conn: Connection, account_id: str, *, now_us: int) -> Sequence[AnyRow]:
    """An account's alerts whose window runs and that nobody has dismissed, the newest first."""
    query = (
        select(alerts)
        .join(budgets, budgets.c.id == _alerts.budget_id)
        .where(
            _alerts.account_id == account_id,
            _alerts.ended_us.is_(None),
            _alerts.ends_us > now_us,
            budgets.c.active_since_us.is_not(None),
        )
        .order_by(_alerts.created_us.desc(), _alerts.threshold.desc())
    )
    return conn.execute(query).all()


def dismiss(conn: Connection, account_id: str, *, until_us: int, now_us: int) -> None:
    """Show an account's alerts up to a moment no more."""
    shown = [_alerts.account_id == account_id, _alerts.ended_us.is_(None)]
    conn.execute(
        update(alerts).where(*shown, _alerts.created_us <= until_us).values(ended_us=now_us)
    )


def list_alerts(
    conn: Connection, account_id: str, *, before: str | None, limit: int
) -> Sequence[AnyRow]:
    """All of an account's alerts, the newest first, older than the alert ``before``."""
    query = select(alerts).where(_alerts.account_id == account_id)
    if before is not None:
        query = query.where(_alerts.id < before)
    return conn.execute(query.order_by(_alerts.id.desc()).limit(limit)).all()


# ── the outbox ──────────────────────────────────────────────────────────────────────────────────
def list_waiting(conn: Connection, *, now_us: int, limit: int) -> Sequence[AnyRow]:
    """Alerts whose mail is to be sent now, with their account's zone and its owner's address."""
    due = (
        select(_alerts.mail_id)
        .where(
            _alerts.mail_id.is_not(None),
            _alerts.mail_ended_us.is_(None),
            _alerts.mail_next_us <= now_us,
        )
        .order_by(_alerts.mail_next_us)
        .limit(limit)
    )
    query = (
        select(alerts, users.c.email, accounts.c.closed_us, accounts.c.time_zone)
        .join(accounts, accounts.c.id == _alerts.account_id)
        .join(memberships, memberships.c.account_id == accounts.c.id)
        .join(users, users.c.id == memberships.c.user_id)
        .where(memberships.c.role == "owner", _alerts.mail_id.in_(due))
        .order_by(_alerts.mail_id, _alerts.id)
    )
    return conn.execute(query).all()


def note_try(conn: Connection, mail_id: str, *, next_us: int) -> None:
    """Write down, before it is sent, that a mail is tried, and when again if nothing is heard."""
    conn.execute(
        update(alerts)
        .where(_alerts.mail_id == mail_id)
        .values(mail_tries=_alerts.mail_tries + 1, mail_next_us=next_us)
    )


def end_mail(conn: Connection, mail_id: str, *, now_us: int) -> None:
    """A mail was sent, or is given up."""
    conn.execute(update(alerts).where(_alerts.mail_id == mail_id).values(mail_ended_us=now_us))
