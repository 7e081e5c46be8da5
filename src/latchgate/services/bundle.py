"""All use cases in one place: what the console, the management API and the commands are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latchgate.clock import Clock
    from latchgate.config import Settings
    from latchgate.services.accounts import Accounts
    from latchgate.services.admin_keys import AdminKeys
    from latchgate.services.alerts import Alerts
    from latchgate.services.api_keys import APIKeys
    from latchgate.services.audit_log import AuditLog
    from latchgate.services.auto_top_ups import AutoTopUps
    from latchgate.services.billing import Billing
    from latchgate.services.catalog import Catalog
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
    from latchgate.services.operations import Operations
    from latchgate.services.operator_accounts import OperatorAccounts
    from latchgate.services.passkeys import Passkeys
    from latchgate.services.password_changes import PasswordChanges
    from latchgate.services.payments import Payments
    from latchgate.services.plans import Plans
    from latchgate.services.playground import Playground
    from latchgate.services.price_corrections import PriceCorrections
    from latchgate.services.price_import import PriceImport
    from latchgate.services.prices import Prices
    from latchgate.services.redemption_codes import RedemptionCodes
    from latchgate.services.reports import Reports
    from latchgate.services.rescues import Rescues
    from latchgate.services.second_factors import SecondFactors
    from latchgate.services.sessions import Sessions
    from latchgate.services.upstreams import Upstreams
    from latchgate.services.usage import UsageService


@dataclass(frozen=True, slots=True)
class Services:
    """One object for each subject; they share the store, the clock and the settings."""

    settings: Settings
    clock: Clock
    accounts: Accounts
    operator_accounts: OperatorAccounts
    admin_keys: AdminKeys
    rescues: Rescues
    logins: Logins
    password_changes: PasswordChanges
    confirmations: Confirmations
    second_factors: SecondFactors
    passkeys: Passkeys
    email_changes: EmailChanges
    exports: Exports
    closings: Closings
    sessions: Sessions
    invitations: Invitations
    audit_log: AuditLog
    api_keys: APIKeys
    key_terms: TermsOfKeys
    key_notices: KeyNotices
    billing: Billing
    redemption_codes: RedemptionCodes
    monthly_statements: MonthlyStatements
    payments: Payments
    auto_top_ups: AutoTopUps
    limits: Limits
    alerts: Alerts
    usage: UsageService
    reports: Reports
    catalog: Catalog
    prices: Prices
    price_import: PriceImport
    price_corrections: PriceCorrections
    plans: Plans
    playground: Playground
    upstreams: Upstreams
    operations: Operations
    embedded: EmbeddedModels
    mail: Mail
