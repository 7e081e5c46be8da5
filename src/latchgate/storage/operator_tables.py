"""Tables of those who run the installation: the keys of their programs."""

from __future__ import annotations

from sqlalchemy import Column, Index, LargeBinary

from latchgate.storage.columns import (
    id_column,
    int_column,
    ref_column,
    strict_table,
    text_column,
)

# A secret is kept as a peppered HMAC only.
admin_keys = strict_table(
    "admin_keys",
    id_column(),
    ref_column("user_id", "users.id"),  # the operator that it acts for
    text_column("name"),
    text_column("public_id", unique=True),
    text_column("last_four"),
    Column("secret_hash", LargeBinary, nullable=False, unique=True),
    text_column("scopes"),  # a JSON list, in the order of domain/admin_keys.py
    int_column("created_us"),
    text_column("created_by"),  # usr_… or "cli"
    int_column("expires_us", null=True),
    int_column("revoked_us", null=True),
    int_column("last_used_us", null=True),
    text_column("last_used_ip"),
    text_column("form_nonce", null=True, unique=True),  # the form that made it
    Index("ix_admin_keys_user_id", "user_id"),
)
