"""The terms of a key: set when it is made, changed at any time, and binding the next call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from latchgate.clock import DAY_US
from latchgate.domain.errors import InvalidRequest
from latchgate.domain.key_terms import (
    OPEN,
    KeyTerms,
    parse_addresses,
    parse_expiry,
    parse_models,
    parse_scope,
)
from latchgate.services.audit_log import record
from latchgate.services.key_states import KeyView, find_owned, view_of
from latchgate.storage import api_keys as rows
from latchgate.storage.catalog import list_models
from latchgate.storage.key_terms import set_terms, terms_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from latchgate.clock import Clock
    from latchgate.domain.people import Caller
    from latchgate.storage.store import Store

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class TermsAsked:
    """Terms as people write them. None leaves a term as it is; what is empty takes it away."""

    expires_at: str | None = None
    models: Sequence[str] | None = None
    scope: str | None = None
    addresses: Sequence[str] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is asked for."""
        return self == TermsAsked()

    def over(self, before: KeyTerms, now_us: int) -> KeyTerms:
        """The terms that are wanted. Raises InvalidRequest."""
        terms = before
        if self.expires_at is not None and self.expires_at != written_expiry(before):
            terms = replace(terms, expires_us=parse_expiry(self.expires_at, now_us))
        if self.models is not None:
            terms = replace(terms, models=parse_models(self.models))
        if self.scope is not None:
            terms = replace(terms, scope=parse_scope(self.scope))
        if self.addresses is not None:
            terms = replace(terms, addresses=parse_addresses(self.addresses))
        return terms


def _nothing_to_check() -> None:
    """Whoever asks may loosen a key's terms."""


async def _nobody(_key_id: str) -> None:
    """No gateway runs here that terms could bind."""


class TermsOfKeys:
    """One use case. ``on_changed`` is told a key's id after each change of what it may do."""

    def __init__(
        self, store: Store, clock: Clock, on_changed: Callable[[str], Awaitable[None]] = _nobody
    ) -> None:
        self._store = store
        self._clock = clock
        self._on_changed = on_changed

    def first(self, asked: TermsAsked) -> KeyTerms | None:
        """The terms of a key to be made; None where nothing is asked for. Raises InvalidRequest."""
        return None if asked.is_empty else asked.over(OPEN, self._clock.now_us())

    async def change(
        self,
        account_id: str | None,
        key_id: str,
        asked: TermsAsked,
        caller: Caller,
        *,
        check_loosening: Callable[[], None] = _nothing_to_check,
    ) -> KeyView:
        """Give a key other terms: when this returns, they bind its next call.

        ``account_id`` None is the operator's. ``check_loosening`` is called where the key may then
        do more than before, and raises where whoever asks may not let it. Raises InvalidRequest for
        a term, and NotFound for a key that is missing, another account's, or ended.
        """
        now_us = self._clock.now_us()

        def transaction(conn: Connection) -> tuple[KeyView, bool]:
            key = find_owned(conn, account_id, key_id, now_us)
            before = terms_of(key)
            terms = asked.over(before, now_us)
            if terms == before:
                return view_of(rows.get_key(conn, key_id), now_us), False
            if terms.is_looser_than(before):
                check_loosening()
            check_models(conn, terms.models - before.models, at_us=now_us)
            set_terms(conn, key_id, terms)
            record(
                conn,
                at_us=now_us,
                account_id=key.account_id,
                caller=caller,
                action="key.terms",
                target=key_id,
                details={"name": key.name, **details_of(terms), "before": details_of(before)},
            )
            return view_of(rows.get_key(conn, key_id), now_us), True

        view, is_changed = await self._store.write(transaction)
        if is_changed:
            await self._on_changed(key_id)
        return view


def check_models(conn: Connection, names: Iterable[str], *, at_us: int) -> None:
    """Raise InvalidRequest for a model that is not on offer: a slip would lock the key out."""
    wanted = sorted(names)
    if not wanted:
        return
    offered = {row.name for row in list_models(conn, at_us=at_us, with_disabled=True)}
    for name in wanted:
        if name not in offered:
            raise InvalidRequest(
                f"There is no model '{name}' on offer. The page Prices lists those that are.",
                param="models",
            )


def details_of(terms: KeyTerms) -> dict[str, object]:
    """A key's terms as JSON, in the words of the API; those that bind nothing are left out."""
    return {name: value for name, value in facts_of(terms).items() if value not in (None, [])}


def facts_of(terms: KeyTerms) -> dict[str, object]:
    """All of a key's terms as JSON: the same whoever asks, and however."""
    return {
        "expires_at": _moment(terms.expires_us),
        "scope": terms.scope,
        "models": sorted(terms.models),
        "addresses": terms.address_texts,
    }


def written(terms: KeyTerms) -> dict[str, str]:
    """Terms as a form's fields hold them: lists a line each."""
    return {
        "expires_at": written_expiry(terms),
        "scope": terms.scope,
        "models": "\n".join(sorted(terms.models)),
        "addresses": "\n".join(terms.address_texts),
    }


def written_expiry(terms: KeyTerms) -> str:
    """The date of expiry as a form's field holds it: a day where it ends with one."""
    if terms.expires_us is None:
        return ""
    if terms.expires_us % DAY_US == 0:
        return str((_EPOCH + timedelta(microseconds=terms.expires_us - DAY_US)).date())
    return _moment(terms.expires_us) or ""


def _moment(at_us: int | None) -> str | None:
    if at_us is None:
        return None
    moment = _EPOCH + timedelta(microseconds=at_us)
    return moment.isoformat().replace("+00:00", "Z")
