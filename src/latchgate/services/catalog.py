"""What is on offer: upstreams, and the models they answer for. Prices are in ``prices.py``."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from latchgate.domain.endpoints import CHAT, EMBEDDINGS, SPEAKS_DEFAULT
from latchgate.domain.errors import Conflict, NotFound
from latchgate.domain.ids import new_id
from latchgate.domain.people import CLI, Caller
from latchgate.domain.prices import PRIORITY_PERCENT_USUAL, share_of
from latchgate.domain.upstream_urls import checked_base_url
from latchgate.services.audit_log import record
from latchgate.services.catalog_rules import (
    CONTEXT_TOKENS_MAX,
    as_spoken,
    check_answers_for,
    check_calls_at_once,
    check_extra_fields,
    check_kind,
    check_name,
    check_speaks,
    check_tier,
    check_tokens,
)
from latchgate.storage import catalog as rows
from latchgate.storage.prices import insert_version

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from latchgate.clock import Clock
    from latchgate.services.vault import Vault
    from latchgate.storage.statements import AnyRow
    from latchgate.storage.store import Store

#: The most that a chat template adds around one message, unless the operator says otherwise.
MESSAGE_TOKENS_DEFAULT = 64


@dataclass(frozen=True, slots=True)
class ModelTerms:
    """What one call of a model costs: pico-USD per token, by class."""

    input_picos: int
    cached_picos: int
    output_picos: int

    def share(self, percent: int) -> ModelTerms:
        """So many percent of them."""
        return ModelTerms(
            share_of(self.input_picos, percent),
            share_of(self.cached_picos, percent),
            share_of(self.output_picos, percent),
        )

    def details(self, priority_percent: int) -> dict[str, object]:
        """As the audit log has them."""
        return {**asdict(self), "priority_percent": priority_percent}


@dataclass(frozen=True, slots=True)
class ModelView:
    """A model on offer with the price version in force."""

    name: str
    upstream: str
    upstream_model: str
    kind: str
    takes_images: bool
    tier: str
    #: Not while its upstream is disabled.
    is_offered: bool
    context_tokens: int
    #: Zero for an embeddings model, which writes nothing.
    output_tokens_max: int
    input_picos: int
    cached_picos: int
    output_picos: int
    #: What a call costs that goes ahead of others.
    priority_input_picos: int
    priority_cached_picos: int
    priority_output_picos: int
    price_version: int
    created_us: int

    @property
    def priority_percent(self) -> int:
        """What the priority price is of the usual one, by its dearest part; 0: both are free."""
        usual, priority = max(
            (self.input_picos, self.priority_input_picos),
            (self.output_picos, self.priority_output_picos),
        )
        return round(100 * priority / usual) if usual else 0


@dataclass(frozen=True, slots=True)
class UpstreamView:
    """An upstream without its credential, which can be written and never read."""

    id: str
    name: str
    base_url: str
    has_credential: bool
    is_enabled: bool
    speaks: tuple[str, ...]
    extra_fields: tuple[str, ...]
    #: More wait in line; None: no bound.
    calls_at_once: int | None
    created_us: int


class Catalog:
    """Use cases over upstreams, models and prices. ``on_changed`` is told after every commit.

    ``priority_percent`` is what a priority price is of the usual one, unless the operator says
    otherwise for a model.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        vault: Vault,
        on_changed: Callable[[], Awaitable[None]],
        *,
        priority_percent: int = PRIORITY_PERCENT_USUAL,
    ) -> None:
        self._store = store
        self._clock = clock
        self._vault = vault
        self._on_changed = on_changed
        self._priority_percent = priority_percent

    async def list_models(self, *, with_disabled: bool = False) -> list[ModelView]:
        """Every model on offer, by name, with its price of now.

        ``with_disabled`` also those whose upstream is disabled, for operators.
        """
        found = await self._store.read(
            rows.list_models, at_us=self._clock.now_us(), with_disabled=with_disabled
        )
        return [model_view(row) for row in found]

    async def list_upstreams(self) -> list[UpstreamView]:
        """Every upstream in use, by name."""
        return [_upstream_view(row) for row in await self._store.read(rows.list_upstreams)]

    async def add_upstream(
        self,
        name: str,
        *,
        base_url: str,
        api_key: str | None,
        speaks: Sequence[str] = SPEAKS_DEFAULT,
        extra_fields: Sequence[str] = (),
        calls_at_once: int | None = None,
        caller: Caller = CLI,
    ) -> UpstreamView:
        """Take a model server into use. ``base_url`` is what an OpenAI SDK would be given.

        ``speaks`` names the endpoints that it answers itself; of more than ``calls_at_once`` calls
        the others wait in line. Raises InvalidRequest ``upstream_url_not_allowed``, or Conflict
        when the name is taken.
        """
        check_name(name)
        base_url = checked_base_url(base_url)
        check_speaks(speaks)
        check_extra_fields(extra_fields)
        check_calls_at_once(calls_at_once)
        now_us = self._clock.now_us()
        sealed = self._vault.seal(api_key) if api_key else None

        def transaction(conn: Connection) -> UpstreamView:
            if rows.find_upstream(conn, name) is not None:
                raise Conflict(f"There is an upstream {name} already. Remove it first.")
            rows.insert_upstream(
                conn,
                id=new_id("ups", now_us),
                name=name,
                base_url=base_url,
                speaks=as_spoken(speaks),
                credential_sealed=sealed,
                extra_fields=json.dumps(sorted(set(extra_fields))),
                calls_at_once=calls_at_once,
                created_us=now_us,
                removed_us=None,
            )
            self._record(conn, caller, "upstream.add", name, {"base_url": base_url})
            return _upstream_view(_get_upstream(conn, name))

        view = await self._store.write(transaction)
        await self._on_changed()
        return view

    async def remove_upstream(self, name: str, *, caller: Caller = CLI) -> None:
        """Stop using an upstream. Raises Conflict while a model on offer needs it."""
        now_us = self._clock.now_us()

        def transaction(conn: Connection) -> None:
            upstream = _get_upstream(conn, name)
            count = rows.count_models_of(conn, upstream.id)
            if count:
                raise Conflict(f"{count} models are served by {name}. Remove them first.")
            # The credential goes with it: nothing that is not used is kept.
            rows.set_upstream(conn, upstream.id, removed_us=now_us, credential_sealed=None)
            self._record(conn, caller, "upstream.remove", name, {})

        await self._store.write(transaction)
        await self._on_changed()

    async def add_model(
        self,
        name: str,
        *,
        upstream: str,
        upstream_model: str | None,
        tier: str,
        context_tokens: int,
        output_tokens_max: int | None,
        terms: ModelTerms,
        message_tokens: int = MESSAGE_TOKENS_DEFAULT,
        kind: str = CHAT,
        takes_images: bool = False,
        is_thinking: bool = False,
        caller: Caller = CLI,
    ) -> ModelView:
        """Put a model on offer. Raises InvalidRequest, NotFound for the upstream, or Conflict.

        An embeddings model writes nothing: its ``output_tokens_max`` is zero, whatever is given.
        """
        check_name(name)
        check_tokens(context_tokens, CONTEXT_TOKENS_MAX, "context")
        check_kind(kind, terms.output_picos, is_text_only=not (takes_images or is_thinking))
        if kind == EMBEDDINGS:
            output_tokens_max = 0
        else:
            output_tokens_max = output_tokens_max or context_tokens
            check_tokens(output_tokens_max, context_tokens, "max_output")
        check_tier(tier)
        now_us = self._clock.now_us()

        def transaction(conn: Connection) -> ModelView:
            upstream_id = _get_speaking_upstream(conn, upstream, kind).id
            if rows.find_model(conn, name, at_us=now_us) is not None:
                raise Conflict(f"There is a model {name} already. Remove it first.")
            model_id = new_id("mdl", now_us)
            rows.insert_model(
                conn,
                id=model_id,
                name=name,
                upstream_id=upstream_id,
                upstream_model=upstream_model or name,
                tier=tier,
                context_tokens=context_tokens,
                output_tokens_max=output_tokens_max,
                message_tokens=message_tokens,
                kind=kind,
                takes_images=int(takes_images),
                is_thinking=int(is_thinking),
                created_us=now_us,
                removed_us=None,
            )
            percent = self._priority_percent
            insert_version(
                conn,
                model_id,
                version=1,
                usual=asdict(terms),
                priority=asdict(terms.share(percent)),
                effective_from_us=now_us,
                now_us=now_us,
            )
            self._record(conn, caller, "model.add", name, terms.details(percent))
            return model_view(get_model(conn, name, now_us))

        view = await self._store.write(transaction)
        await self._on_changed()
        return view

    async def remove_model(self, name: str, *, caller: Caller = CLI) -> None:
        """Take a model off the list. Raises NotFound."""
        now_us = self._clock.now_us()

        def transaction(conn: Connection) -> None:
            rows.remove_model(conn, get_model(conn, name, now_us).id, now_us=now_us)
            self._record(conn, caller, "model.remove", name, {})

        await self._store.write(transaction)
        await self._on_changed()

    def _record(
        self, conn: Connection, caller: Caller, action: str, target: str, details: dict[str, object]
    ) -> None:
        record(
            conn,
            at_us=self._clock.now_us(),
            account_id=None,
            caller=caller,
            action=action,
            target=target,
            details=details,
        )


def _get_upstream(conn: Connection, name: str) -> AnyRow:
    row = rows.find_upstream(conn, name)
    if row is None:
        raise NotFound(f"There is no upstream {name}.", param="upstream")
    return row


def _get_speaking_upstream(conn: Connection, name: str, kind: str) -> AnyRow:
    """An upstream that can answer for a model of this kind."""
    row = _get_upstream(conn, name)
    check_answers_for(kind, upstream=name, speaks=json.loads(row.speaks))
    return row


def get_model(conn: Connection, name: str, at_us: int) -> AnyRow:
    """A model on offer, inside the caller's transaction. Raises NotFound."""
    row = rows.find_model(conn, name, at_us=at_us)
    if row is None:
        raise NotFound(f"There is no model {name}.", param="model")
    return row


def _upstream_view(row: AnyRow) -> UpstreamView:
    return UpstreamView(
        id=row.id,
        name=row.name,
        base_url=row.base_url,
        has_credential=row.credential_sealed is not None,
        is_enabled=row.disabled_us is None,
        speaks=tuple(json.loads(row.speaks)),
        extra_fields=tuple(json.loads(row.extra_fields)),
        calls_at_once=row.calls_at_once,
        created_us=row.created_us,
    )


def model_view(row: AnyRow) -> ModelView:
    """What people see of a model's row with a version of its price."""
    return ModelView(
        name=row.name,
        upstream=row.upstream,
        upstream_model=row.upstream_model,
        kind=row.kind,
        takes_images=bool(row.takes_images),
        tier=row.tier,
        is_offered=bool(row.is_offered),
        context_tokens=row.context_tokens,
        output_tokens_max=row.output_tokens_max,
        input_picos=row.input_picos,
        cached_picos=row.cached_picos,
        output_picos=row.output_picos,
        priority_input_picos=row.priority_input_picos,
        priority_cached_picos=row.priority_cached_picos,
        priority_output_picos=row.priority_output_picos,
        price_version=row.price_version,
        created_us=row.created_us,
    )
