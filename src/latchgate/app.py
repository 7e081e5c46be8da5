"""Builds the world: the one place where parts are made and joined.

``open_world`` takes the data directory, brings the schema up to date, settles what a crash has
left, and makes the services. A serving world also has the gateway's engine; its memory is told of
every change that a service makes, and tells the services what is in flight.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict

import structlog
from sqlalchemy.exc import OperationalError

from latchgate.clock import Clock, SystemClock
from latchgate.config import Settings
from latchgate.data_directory import DataDirectory
from latchgate.domain.people import Caller
from latchgate.gateway.call_log import CallLog
from latchgate.gateway.directory import Directory, KeyEntry
from latchgate.gateway.engine import Engine, EngineSettings
from latchgate.gateway.kept import Retention
from latchgate.gateway.metrics import Metrics
from latchgate.gateway.rates import RateTerms
from latchgate.gateway.traces import Traces
from latchgate.services.accounts import Accounts
from latchgate.services.admin_keys import AdminKeys
from latchgate.services.alerts import Alerts
from latchgate.services.api_keys import APIKeys
from latchgate.services.audit import AuditReport
from latchgate.services.audit_log import AuditLog
from latchgate.services.auto_top_ups import AutoTopUps
from latchgate.services.backups import copy_database
from latchgate.services.billing import Billing, InFlight
from latchgate.services.bundle import Services
from latchgate.services.ceremonies import Ceremonies
from latchgate.services.closings import Closings
from latchgate.services.confirmations import Confirmations
from latchgate.services.email_changes import EmailChanges
from latchgate.services.embedded import EmbeddedModels
from latchgate.services.exports import Exports
from latchgate.services.invitations import Invitations
from latchgate.services.key_notices import KeyNotices
from latchgate.services.key_terms import TermsOfKeys
from latchgate.services.limits import Limits
from latchgate.services.logins import Logins
from latchgate.services.mail import Mail
from latchgate.services.monthly_statements import MonthlyStatements
from latchgate.services.notices import Notices
from latchgate.services.operations import Gateway, Operations
from latchgate.services.operator_accounts import OperatorAccounts
from latchgate.services.passkeys import Passkeys
from latchgate.services.password_changes import PasswordChanges
from latchgate.services.passwords import Passwords
from latchgate.services.payments import Payments
from latchgate.services.plans import Plans
from latchgate.services.playground import Playground
from latchgate.services.price_corrections import PriceCorrections
from latchgate.services.pricing import build_pricing
from latchgate.services.recovery import recover
from latchgate.services.redemption_codes import RedemptionCodes
from latchgate.services.reports import Reports
from latchgate.services.rescues import Rescues
from latchgate.services.second_factors import SecondFactors
from latchgate.services.sessions import Sessions
from latchgate.services.throttles import Throttles
from latchgate.services.upstreams import Traffic, Upstreams
from latchgate.services.usage import UsageService
from latchgate.services.vault import Vault, load_or_create_secret, opener
from latchgate.storage.ledger import open_platform_books
from latchgate.storage.schema import migrate
from latchgate.storage.store import Store, unavailable
from latchgate.upstream.connection import Deadlines

if TYPE_CHECKING:
    from latchgate.storage.copies import DatabaseCopy

log = structlog.get_logger()

_MS = 1000


@dataclass(slots=True)
class World:
    """Everything that one process has of an installation."""

    settings: Settings
    clock: Clock
    data: DataDirectory
    store: Store
    directory: Directory
    passwords: Passwords
    services: Services
    engine: Engine | None
    #: What can be read at ``/metrics``, where the configuration opens it.
    metrics: Metrics | None = None
    #: Writes a line for each ended call, where the configuration asks for it.
    call_log: CallLog | None = None
    #: Sends a span for each ended call, where the configuration names a collector.
    traces: Traces | None = None
    _copying: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def audit(self) -> AuditReport:
        """Derive every figure again from its rows, after posting what is in flight."""
        return await self.services.operations.audit()

    async def condition(self) -> dict[str, Any]:
        """How the installation is, for ``latchgate doctor``."""
        return await self.services.operations.condition()

    async def copy_database(self) -> DatabaseCopy:
        """Copy the database into the data directory, for a backup; one copy at a time."""
        async with self._copying:
            return await copy_database(self.store, self.data)

    async def close(self) -> None:
        """Post what is left, close everything, and give the data directory back."""
        await self.services.monthly_statements.stop()
        await self.services.auto_top_ups.stop()
        await self.services.alerts.stop()
        if self.engine is not None:
            await self.engine.close()
        # The last calls may have been news, and news are mails.
        await self.services.key_notices.flush()
        await self.services.mail.close()
        for listener in (self.metrics, self.call_log, self.traces):
            if listener is not None:
                listener.close()
        self.passwords.close()
        self.store.close()
        self.data.give_back()


async def open_world(settings: Settings, *, serving: bool = False) -> World:
    """Build the world over ``settings.data_dir``; ``serving`` gives it an engine.

    Raises Conflict ``data_dir_in_use`` when another process has the directory, and
    ``database_unavailable`` when the database can't be reached or another installation uses it.
    """
    clock = SystemClock()
    data = DataDirectory(settings.data_dir)
    data.take()
    try:
        return await _build(settings, clock, data, serving=serving)
    except BaseException:
        data.give_back()
        raise


async def _build(settings: Settings, clock: Clock, data: DataDirectory, *, serving: bool) -> World:
    store = await _open_store(settings, data)
    await store.write(open_platform_books)
    await _settle_the_dead(store, clock, data)
    pepper = load_or_create_secret(data.pepper)
    vault = Vault(load_or_create_secret(data.vault_key))
    directory = Directory(store, clock, pepper, opener(vault))
    engine = None
    if serving:
        engine = Engine(store, clock, directory, _engine_settings(settings, data))
    passwords = Passwords()
    services = _services(
        _Parts(settings, clock, data, store, directory, engine, passwords, pepper, vault)
    )
    if engine is not None:
        directory.on_ended_key_used = services.api_keys.note_use_after_end
        await _start(engine, services)
        services.monthly_statements.start()
        services.auto_top_ups.start()
        engine.drain.on_posted.append(services.key_notices.note)
        services.alerts.start()
    world = World(settings, clock, data, store, directory, passwords, services, engine)
    if engine is not None and settings.metrics.token:
        world.metrics = Metrics(engine, directory, clock)
    if engine is not None and settings.log.calls:
        world.call_log = CallLog()
        engine.drain.on_posted.append(world.call_log.add)
    if engine is not None and settings.traces.endpoint:
        traces = settings.traces
        world.traces = Traces(traces.endpoint, traces.authorization, engine.epoch_id)
        engine.drain.on_posted.append(world.traces.add)
    return world


async def _open_store(settings: Settings, data: DataDirectory) -> Store:
    store = Store(data.database, settings.storage.url, is_alone=True)
    try:
        await store.write(migrate)
    except OperationalError as error:
        store.close()
        raise unavailable(error) from error
    return store


async def _settle_the_dead(store: Store, clock: Clock, data: DataDirectory) -> None:
    found = await store.write(recover, journal_folder=data.journal, now_us=clock.now_us())
    for epoch in found:
        log.warning(
            "recovered",
            epoch=epoch.epoch_id,
            calls_posted=epoch.calls_posted,
            calls_interrupted=epoch.calls_interrupted,
        )


def _engine_settings(settings: Settings, data: DataDirectory) -> EngineSettings:
    gateway, journal = settings.gateway, settings.journal
    return EngineSettings(
        journal_folder=data.journal,
        journal_interval_ms=journal.interval_ms if journal.sync == "interval" else None,
        deadlines=Deadlines(
            connect_s=gateway.connect_timeout_ms / _MS,
            first_byte_s=gateway.first_byte_timeout_ms / _MS,
            idle_s=gateway.idle_timeout_ms / _MS,
        ),
        connections_max=gateway.upstream_connections_max,
        queued_calls_max=gateway.queued_calls_max,
        running_per_key_max=gateway.streams_per_key_max,
        hold_wait_s=gateway.hold_wait_ms / _MS,
        rates=RateTerms(settings.rates.requests_per_minute, settings.rates.tokens_per_minute),
        header_bytes_max=gateway.header_bytes_max,
        body_bytes_max=gateway.body_bytes_max,
        answer_bytes_max=gateway.answer_bytes_max,
        trusted_proxies=frozenset(settings.server.trusted_proxies),
        retention=Retention(
            minutes=settings.responses.retention_minutes,
            kept_bytes_max=settings.responses.kept_bytes_max,
        ),
    )


@dataclass(frozen=True, slots=True)
class _Parts:
    """What services are made of."""

    settings: Settings
    clock: Clock
    data: DataDirectory
    store: Store
    directory: Directory
    engine: Engine | None
    passwords: Passwords
    pepper: bytes
    vault: Vault


class _People(TypedDict):
    """The services about who people are."""

    accounts: Accounts
    admin_keys: AdminKeys
    rescues: Rescues
    logins: Logins
    password_changes: PasswordChanges
    confirmations: Confirmations
    second_factors: SecondFactors
    passkeys: Passkeys
    email_changes: EmailChanges
    sessions: Sessions
    invitations: Invitations
    closings: Closings
    exports: Exports


def _people(parts: _Parts, mail: Mail, billing: Billing, in_flight: InFlight) -> _People:
    settings, clock, store, passwords = parts.settings, parts.clock, parts.store, parts.passwords
    base_url, on_account_changed = settings.server.base_url, parts.directory.on_account_changed
    throttles, notices = Throttles(clock), Notices(mail, clock, base_url)
    factors = SecondFactors(store, clock, parts.vault, parts.pepper, throttles, notices)
    logins = Logins(store, clock, settings, passwords, throttles, factors, notices, parts.pepper)
    confirmations = Confirmations(
        store, clock, settings.sessions, passwords, throttles, factors, notices
    )
    return _People(
        accounts=Accounts(
            store,
            clock,
            settings,
            passwords,
            throttles,
            mail,
            logins,
            on_account_changed,
        ),
        admin_keys=AdminKeys(store, clock, parts.pepper, throttles, notices),
        rescues=Rescues(store, clock, notices),
        logins=logins,
        password_changes=PasswordChanges(
            store, clock, settings, passwords, throttles, mail, confirmations
        ),
        confirmations=confirmations,
        second_factors=factors,
        passkeys=Passkeys(
            store, clock, Ceremonies(base_url), throttles, logins, confirmations, notices
        ),
        email_changes=EmailChanges(store, clock, mail, notices, throttles, base_url),
        sessions=Sessions(store, clock, settings.sessions),
        invitations=Invitations(store, clock, mail, base_url),
        closings=Closings(store, clock, billing, notices, on_account_changed),
        exports=Exports(store, clock, in_flight, throttles),
    )


def _services(parts: _Parts) -> Services:
    settings, clock, store = parts.settings, parts.clock, parts.store
    directory, engine = parts.directory, parts.engine
    mail = Mail(settings.mail, parts.data.outbox, clock)
    in_flight = _in_flight(engine)
    on_credit = _nothing if engine is None else engine.purse.on_credit
    on_limits_changed = _nobody if engine is None else engine.on_limits_changed
    billing = Billing(store, clock, in_flight, on_credit, on_limits_changed)
    limits = Limits(store, clock, in_flight, on_limits_changed)
    usage, throttles = UsageService(store, clock, in_flight), Throttles(clock)
    percent = settings.gateway.priority_price_percent
    pricing = build_pricing(
        store, clock, parts.vault, directory.load_models, priority_percent=percent
    )
    ask = None if engine is None else engine.call_from_inside
    payments = Payments(store, clock, settings, throttles, on_credit, on_limits_changed, mail)
    base_url = settings.server.base_url
    key_notices = KeyNotices(store, clock, mail, Notices(mail, clock, base_url), base_url)
    return Services(
        **_people(parts, mail, billing, in_flight),
        **pricing,
        price_corrections=PriceCorrections(store, clock, in_flight, on_credit, on_limits_changed),
        settings=settings,
        clock=clock,
        audit_log=AuditLog(store),
        operator_accounts=OperatorAccounts(store, clock, in_flight),
        api_keys=APIKeys(
            store, clock, parts.pepper, directory.on_key_changed, key_notices.tell_replaced
        ),
        key_notices=key_notices,
        key_terms=TermsOfKeys(store, clock, directory.on_terms_changed),
        billing=billing,
        redemption_codes=RedemptionCodes(store, clock, parts.pepper, throttles, on_credit),
        monthly_statements=MonthlyStatements(store, clock, in_flight),
        payments=payments,
        auto_top_ups=AutoTopUps(store, clock, settings, throttles, payments),
        limits=limits,
        alerts=Alerts(store, clock, in_flight, mail, settings.server.base_url),
        usage=usage,
        reports=Reports(store, clock, in_flight, usage, limits),
        plans=Plans(
            store, clock, on_limits_changed, lambda: {key.account_id for key in directory.keys}
        ),
        playground=Playground(store, clock, pricing["catalog"], ask),
        upstreams=Upstreams(
            store, clock, parts.vault, _traffic(engine, directory), directory.load_models
        ),
        operations=Operations(store, parts.vault, parts.data.journal, in_flight, _gateway(engine)),
        embedded=EmbeddedModels(store, clock, directory.load_models),
        mail=mail,
    )


def _in_flight(engine: Engine | None) -> InFlight:
    """What a serving process has in memory; without one, everything is in the database already."""
    if engine is None:
        return InFlight(settle=_settled, held_nanos=lambda _window: 0)

    async def settle() -> None:
        await engine.drain.flush()

    return InFlight(settle=settle, held_nanos=engine.held_nanos)


def _gateway(engine: Engine | None) -> Gateway:
    return Gateway() if engine is None else Gateway(engine.epoch_id, engine.condition)


def _traffic(engine: Engine | None, directory: Directory) -> Traffic:
    if engine is None:
        return Traffic()
    return Traffic(
        lambda: engine.pool.states(),  # noqa: PLW0108 - no pool before the engine has started
        lambda: (call.model.target.name for key in directory.keys for call in key.running),
    )


async def _start(engine: Engine, services: Services) -> None:
    async def activate(entry: KeyEntry) -> None:
        await services.api_keys.confirm(entry.account_id, entry.id, Caller(actor=entry.id))

    await engine.start(activate=activate, report=services.reports.get)


async def _settled() -> None:
    """Nothing is in flight."""


async def _nobody(_account_id: str, _budget_id: str) -> None:
    """No gateway runs here that a limit could bind."""


def _nothing() -> None:
    """Nobody needs to be told."""
