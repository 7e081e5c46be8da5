"""Second factors, passkeys, one-time tickets, changes of address; when a login was confirmed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TABLES = ("email_changes", "tickets", "passkeys", "recovery_codes", "totp_factors")


def _int(name: str, *, null: bool = False) -> sa.Column[object]:
    return sa.Column(name, _INT64, nullable=null)


def _text(name: str, *, null: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.Text(), nullable=null)


def _bytes(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.LargeBinary(), nullable=False)


def _of_user(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f(f"fk_{table}_user_id"))


def upgrade() -> None:
    counted = "INTEGER" if op.get_bind().dialect.name == "sqlite" else "BIGINT"
    op.execute(f"ALTER TABLE sessions ADD COLUMN confirmed_us {counted} DEFAULT 0 NOT NULL")
    # Whoever is logged in has last shown who he is when he logged in.
    op.execute("UPDATE sessions SET confirmed_us = created_us")
    op.execute(f"ALTER TABLE accounts ADD COLUMN closed_us {counted}")
    _add_factors()
    op.create_table(
        "tickets",
        _bytes("token_hash"),
        _text("purpose"),
        _text("user_id", null=True),
        _text("details"),
        _int("tries"),
        _int("expires_us"),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_tickets")),
        _of_user("tickets"),
        sqlite_strict=True,
    )
    op.create_index("ix_tickets_expires_us", "tickets", ["expires_us"])
    op.create_table(
        "email_changes",
        _text("id"),
        _text("user_id"),
        _text("email"),
        _text("email_key"),
        _bytes("old_token_hash"),
        _bytes("new_token_hash"),
        _int("created_us"),
        _int("expires_us"),
        _int("old_confirmed_us", null=True),
        _int("new_confirmed_us", null=True),
        _int("ended_us", null=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_email_changes")),
        _of_user("email_changes"),
        sa.UniqueConstraint("old_token_hash", name=op.f("uq_email_changes_old_token_hash")),
        sa.UniqueConstraint("new_token_hash", name=op.f("uq_email_changes_new_token_hash")),
        sqlite_strict=True,
    )
    op.create_index("ix_email_changes_user_id", "email_changes", ["user_id"])


def _add_factors() -> None:
    op.create_table(
        "totp_factors",
        _text("user_id"),
        _bytes("secret_sealed"),
        _int("created_us"),
        _int("confirmed_us", null=True),
        _text("session_id"),
        _int("used_step"),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_totp_factors")),
        _of_user("totp_factors"),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name=op.f("fk_totp_factors_session_id")
        ),
        sqlite_strict=True,
    )
    op.create_table(
        "recovery_codes",
        _bytes("code_hash"),
        _text("user_id"),
        _int("created_us"),
        _int("used_us", null=True),
        sa.PrimaryKeyConstraint("code_hash", name=op.f("pk_recovery_codes")),
        _of_user("recovery_codes"),
        sqlite_strict=True,
    )
    op.create_index("ix_recovery_codes_user_id", "recovery_codes", ["user_id"])
    op.create_table(
        "passkeys",
        _text("id"),
        _text("user_id"),
        _bytes("credential_id"),
        _bytes("public_key"),
        _int("sign_count"),
        _text("name"),
        _text("transports"),
        _int("is_backed_up"),
        _int("created_us"),
        _int("used_us", null=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_passkeys")),
        _of_user("passkeys"),
        sa.UniqueConstraint("credential_id", name=op.f("uq_passkeys_credential_id")),
        sqlite_strict=True,
    )
    op.create_index("ix_passkeys_user_id", "passkeys", ["user_id"])


def downgrade() -> None:
    for table in _TABLES:
        op.drop_table(table)
    op.execute("ALTER TABLE accounts DROP COLUMN closed_us")
    op.execute("ALTER TABLE sessions DROP COLUMN confirmed_us")
