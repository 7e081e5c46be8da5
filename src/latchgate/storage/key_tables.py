"""Tables around API keys: what has used them, and which mails about that are not wanted."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Index, PrimaryKeyConstraint

from latchgate.storage.columns import int_column, ref_column, strict_table, text_column

# What has used an account's keys: an app's name, or a network address. A row is a first use.
key_sightings = strict_table(
    "key_sightings",
    ref_column("account_id", "accounts.id"),
    text_column("kind"),  # app | address
    text_column("value"),
    ref_column("api_key_id", "api_keys.id"),
    int_column("first_us"),
    int_column("told_us", null=True),  # when its owner got a mail; 0: he needs none; NULL: to come
    PrimaryKeyConstraint("account_id", "kind", "value"),
    CheckConstraint("kind IN ('app', 'address')", name="kind"),
    Index("ix_key_sightings_account_id_kind_first_us", "account_id", "kind", "first_us"),
)

# Notices that an account's owner has switched off.
muted_notices = strict_table(
    "muted_notices",
    ref_column("account_id", "accounts.id"),
    text_column("what"),  # new_app | new_address
    PrimaryKeyConstraint("account_id", "what"),
)
