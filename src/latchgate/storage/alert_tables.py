"""The tables of alerts: what an account wants to be told of, and what it was told.

alert_terms    an account's own thresholds; without a row, the usual ones
alerts         thresholds that were passed; those with a mail are also the outbox that it leaves by
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Text, text

from latchgate.storage.columns import (
    id_column,
    int_column,
    ref_column,
    strict_table,
    text_column,
)

alert_terms = strict_table(
    "alert_terms",
    Column("account_id", Text, ForeignKey("accounts.id"), primary_key=True),
    text_column("percents"),  # 50,80,100
    int_column("credit_left_nanos", null=True),  # NULL: shares of what was last added
    int_column("mails_limits"),
    int_column("mails_credit"),
)

_WAITS = "mail_id IS NOT NULL AND mail_ended_us IS NULL"

alerts = strict_table(
    "alerts",
    id_column(),
    ref_column("account_id", "accounts.id"),
    text_column("budget_id"),
    int_column("starts_us"),  # the window's
    int_column("ends_us"),
    text_column("kind"),  # the budget's: credit | account_limit | key_limit
    text_column("period"),
    int_column("threshold"),  # percent; 1: the account's own amount of credit
    int_column("limit_nanos"),  # as it was
    int_column("left_nanos"),
    int_column("created_us"),
    int_column("ended_us", null=True),  # dismissed, or its limit was set anew
    text_column("mail_id", null=True),  # those that were passed together go in one mail
    int_column("mail_tries", default="0"),
    int_column("mail_next_us", default="0"),  # not to be tried before
    int_column("mail_ended_us", null=True),  # sent, or given up
    CheckConstraint("threshold BETWEEN 1 AND 100", name="threshold"),
    Index("ix_alerts_account_id_created_us", "account_id", "created_us"),
    Index(
        "ix_alerts_waiting",
        "mail_next_us",
        sqlite_where=text(_WAITS),
        postgresql_where=text(_WAITS),
    ),
)
