"""The tables of what shows that a user is he.

totp_factors, recovery_codes   the second factor, and the way in without its phone
passkeys                       public keys of authenticators; nothing secret is here
tickets                        random tokens that open one step, once, for some minutes
email_changes                  a new address, until both have confirmed it
"""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, LargeBinary, Text

from latchgate.storage.columns import (
    id_column,
    int_column,
    ref_column,
    strict_table,
    text_column,
)

totp_factors = strict_table(
    "totp_factors",
    Column("user_id", Text, ForeignKey("users.id"), primary_key=True),
    Column("secret_sealed", LargeBinary, nullable=False),  # encrypted: it is used again
    int_column("created_us"),
    int_column("confirmed_us", null=True),  # NULL: shown, and not yet proven by a code
    ref_column("session_id", "sessions.id"),  # the login that it was shown to, and to no other
    int_column("used_step"),  # the step of the last code that was taken: none works twice
)

recovery_codes = strict_table(
    "recovery_codes",
    Column("code_hash", LargeBinary, primary_key=True),  # a peppered HMAC of user and code
    ref_column("user_id", "users.id"),
    int_column("created_us"),
    int_column("used_us", null=True),
    Index("ix_recovery_codes_user_id", "user_id"),
)

passkeys = strict_table(
    "passkeys",
    id_column(),
    ref_column("user_id", "users.id"),
    Column("credential_id", LargeBinary, nullable=False, unique=True),
    Column("public_key", LargeBinary, nullable=False),  # COSE
    int_column("sign_count"),  # a count that does not rise is a copy's
    text_column("name"),
    text_column("transports"),  # JSON list: how the browser can reach it
    int_column("is_backed_up"),
    int_column("created_us"),
    int_column("used_us", null=True),
    Index("ix_passkeys_user_id", "user_id"),
)

tickets = strict_table(
    "tickets",
    Column("token_hash", LargeBinary, primary_key=True),
    text_column("purpose"),
    ref_column("user_id", "users.id", null=True),  # NULL: for whoever comes with a passkey
    text_column("details"),  # JSON object: a challenge, where he wanted to go
    int_column("tries"),
    int_column("expires_us"),
    Index("ix_tickets_expires_us", "expires_us"),
)

email_changes = strict_table(
    "email_changes",
    id_column(),
    ref_column("user_id", "users.id"),
    text_column("email"),  # the new one, as its owner writes it
    text_column("email_key"),
    Column("old_token_hash", LargeBinary, nullable=False, unique=True),
    Column("new_token_hash", LargeBinary, nullable=False, unique=True),
    int_column("created_us"),
    int_column("expires_us"),
    int_column("old_confirmed_us", null=True),
    int_column("new_confirmed_us", null=True),
    int_column("ended_us", null=True),  # done, or called off
    Index("ix_email_changes_user_id", "user_id"),
)
