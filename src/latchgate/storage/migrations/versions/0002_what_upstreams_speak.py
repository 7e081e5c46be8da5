"""What upstreams speak and what models are.

Each column comes by ADD COLUMN: SQLite would otherwise make the table anew, which the references to
it forbid inside a transaction.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE upstreams ADD COLUMN speaks TEXT DEFAULT '[]' NOT NULL")
    op.execute("""UPDATE upstreams SET speaks = '["chat", "completions", "embeddings"]'""")
    op.execute(
        """UPDATE upstreams SET speaks = '["chat", "completions", "responses", "messages"]'
           WHERE base_url = 'embedded:'"""
    )
    # There was one dialect only; what a server speaks now says all that it was there for.
    op.execute("ALTER TABLE upstreams DROP COLUMN dialect")
    op.execute(
        """ALTER TABLE models ADD COLUMN kind TEXT DEFAULT 'chat' NOT NULL
           CONSTRAINT ck_models_kind CHECK (kind IN ('chat', 'embeddings'))"""
    )
    op.execute(
        """ALTER TABLE models ADD COLUMN takes_images {} DEFAULT 0 NOT NULL""".format(
            "INTEGER" if op.get_bind().dialect.name == "sqlite" else "BIGINT"
        )
    )
