"""A price for calls that go ahead of others: a row of its own beside the usual one's."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """ALTER TABLE prices ADD COLUMN service_tier TEXT DEFAULT 'default' NOT NULL
           CONSTRAINT ck_prices_service_tier CHECK (service_tier IN ('default', 'priority'))"""
    )
    op.drop_index("uq_prices_model_id_version", table_name="prices")
    op.create_index(
        "uq_prices_model_id_version_service_tier",
        "prices",
        ["model_id", "version", "service_tier"],
        unique=True,
    )
    # Versions in force get a priority price of twice their own, which is the default setting's;
    # older ones had none when they were charged. No id of ours ends in "_priority".
    op.execute(
        """INSERT INTO prices (id, model_id, version, input_picos, cached_picos, output_picos,
                               effective_from_us, service_tier)
           SELECT id || '_priority', model_id, version, 2 * input_picos, 2 * cached_picos,
                  2 * output_picos, effective_from_us, 'priority'
           FROM prices
           WHERE version = (SELECT max(newest.version) FROM prices AS newest
                            WHERE newest.model_id = prices.model_id)"""
    )


def downgrade() -> None:
    # What was charged refers to its price: an installation that sold priority can't unlearn it.
    op.execute("DELETE FROM prices WHERE service_tier = 'priority'")
    op.drop_index("uq_prices_model_id_version_service_tier", table_name="prices")
    op.create_index("uq_prices_model_id_version", "prices", ["model_id", "version"], unique=True)
    op.execute("ALTER TABLE prices DROP COLUMN service_tier")
