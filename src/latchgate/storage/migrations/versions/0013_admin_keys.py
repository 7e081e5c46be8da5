"""Operators' keys to the admin API, and upstreams that are switched off for a while."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_UNIQUE = ("public_id", "secret_hash", "form_nonce")


def _int(name: str, *, null: bool = False) -> sa.Column[object]:
    return sa.Column(name, _INT64, nullable=null)


def _text(name: str, *, null: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.Text(), nullable=null)


def upgrade() -> None:
    op.create_table(
        "admin_keys",
        _text("id"),
        _text("user_id"),
        _text("name"),
        _text("public_id"),
        _text("last_four"),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        _text("scopes"),
        _int("created_us"),
        _text("created_by"),
        _int("expires_us", null=True),
        _int("revoked_us", null=True),
        _int("last_used_us", null=True),
        _text("last_used_ip"),
        _text("form_nonce", null=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_admin_keys")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_admin_keys_user_id")),
        *(sa.UniqueConstraint(name, name=op.f(f"uq_admin_keys_{name}")) for name in _UNIQUE),
        sqlite_strict=True,
    )
    op.create_index("ix_admin_keys_user_id", "admin_keys", ["user_id"])
    counted = "INTEGER" if op.get_bind().dialect.name == "sqlite" else "BIGINT"
    op.execute(f"ALTER TABLE upstreams ADD COLUMN disabled_us {counted}")


def downgrade() -> None:
    op.execute("ALTER TABLE upstreams DROP COLUMN disabled_us")
    op.drop_table("admin_keys")
