"""Guards the schema: migrations give what tables.py says, and what the database itself refuses."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import CheckConstraint, Connection, create_engine, inspect, text
from sqlalchemy.pool import NullPool

from latchgate.domain.embedded import EMBEDDED_URL
from latchgate.domain.endpoints import SPEAKS_DEFAULT
from latchgate.storage.catalog import find_model
from latchgate.storage.schema import migrate, newest_revision, revision_of
from latchgate.storage.tables import metadata
from tests.storage.books import Books
from tests.support.postgres import TEMPLATE, PostgresServer

#: Tables that are Alembic's own.
FOREIGN = {"alembic_version"}
#: Endings of names that tell a unit, which is always counted in whole numbers.
COUNTED = ("_nanos", "_picos", "_us", "_tokens", "_tokens_max", "_offset")


@pytest.fixture
def migrated(tmp_path: Path) -> Iterator[Connection]:
    """A database that every migration has run over."""
    engine = create_engine(f"sqlite:///{tmp_path / 'migrated.db'}")
    with engine.begin() as conn:
        migrate(conn)
        yield conn
    engine.dispose()


@pytest.fixture
def migrated_either(tmp_path: Path, database_url: str) -> Iterator[Connection]:
    """The same on either engine."""
    sqlite_url = f"sqlite:///{tmp_path / 'migrated.db'}"
    engine = create_engine(database_url.replace("ql:", "ql+psycopg:") or sqlite_url)
    with engine.begin() as conn:
        migrate(conn)
        yield conn
    engine.dispose()


def _schema(conn: Connection) -> dict[str, list[str]]:
    """Each table's and index's statement, as a list of its parts in an order that is ours."""
    rows = conn.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")).all()
    return {name: _parts(sql) for name, sql in rows if name not in FOREIGN}


def _parts(sql: str) -> list[str]:
    # A column that was added later stands in the same line as the one before it.
    one_line = re.sub(r"\s+(?=CONSTRAINT)", ", ", sql)
    parts = (re.sub(r"\s+", " ", part).strip(" ,") for part in re.split(r"[\n,]", one_line))
    return sorted(part for part in parts if part)


def _tables(conn: Connection) -> list[str]:
    return sorted(set(inspect(conn).get_table_names()) - FOREIGN)


# ── migrations ──────────────────────────────────────────────────────────────────────────────────
def test_migrations_give_exactly_the_tables_that_are_declared(migrated: Connection) -> None:
    declared = create_engine("sqlite://")
    with declared.begin() as conn:
        metadata.create_all(conn)
        assert _schema(migrated) == _schema(conn)
    declared.dispose()


def test_a_new_migration_would_have_nothing_to_do(migrated_either: Connection) -> None:
    context = MigrationContext.configure(migrated_either, opts={"compare_type": True})
    assert compare_metadata(context, metadata) == []


def test_columns_stand_in_their_declared_order(migrated_either: Connection) -> None:
    reflected = inspect(migrated_either)
    found = {
        name: [column["name"] for column in reflected.get_columns(name)]
        for name in _tables(migrated_either)
    }
    assert found == {name: list(table.columns.keys()) for name, table in metadata.tables.items()}


def test_postgresql_counts_in_64_bits_and_keeps_every_condition(
    postgres: PostgresServer,
) -> None:
    engine = create_engine(postgres.url(TEMPLATE).replace("ql:", "ql+psycopg:"), poolclass=NullPool)
    with engine.connect() as conn:
        wrong = text(
            """SELECT table_name, column_name FROM information_schema.columns
               WHERE table_schema = 'public' AND data_type IN ('integer', 'smallint', 'numeric')"""
        )
        assert conn.execute(wrong).all() == []
        checks = text("SELECT conname FROM pg_constraint WHERE contype = 'c'")
        partial = text("SELECT indexrelid::regclass::text FROM pg_index WHERE indpred IS NOT NULL")
        kept = {*conn.execute(checks).scalars(), *conn.execute(partial).scalars()}
    declared = {
        str(part.name)
        for table in metadata.tables.values()
        for part in (*table.constraints, *table.indexes)
        if isinstance(part, CheckConstraint)
        or part.dialect_options["postgresql"].get("where") is not None
    }
    assert kept >= declared
    assert {"ck_budget_windows_ceiling", "uq_api_keys_one_live"} <= kept


def test_migrating_again_changes_nothing(migrated: Connection) -> None:
    before = _schema(migrated)
    assert revision_of(migrated) == newest_revision() is not None
    migrate(migrated)
    assert (_schema(migrated), revision_of(migrated)) == (before, newest_revision())


def test_a_migration_that_is_undone_leaves_an_empty_database(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "undone.db", isolation_level=None)) as plain:
        engine = create_engine("sqlite://", creator=lambda: plain)
        with engine.connect() as conn:
            conn.exec_driver_sql("BEGIN IMMEDIATE")
            migrate(conn)
            assert _tables(conn)
            plain.execute("ROLLBACK")
            assert plain.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
            assert revision_of(conn) is None
        engine.dispose()


def test_upstreams_and_models_of_before_speak_and_are_what_they_did_and_were(
    tmp_path: Path, database_url: str
) -> None:
    sqlite_url = f"sqlite:///{tmp_path / 'before.db'}"
    engine = create_engine(database_url.replace("ql:", "ql+psycopg:") or sqlite_url)
    with engine.begin() as conn:
        migrate(conn, to="0001")
        upstream = """INSERT INTO upstreams (id, name, base_url, dialect, extra_fields, created_us)
                      VALUES (:id, :id, :url, 'openai', '[]', 1)"""
        conn.execute(text(upstream), {"id": "own", "url": EMBEDDED_URL})
        conn.execute(text(upstream), {"id": "far", "url": "https://models.example.com/v1"})
        model = """INSERT INTO models (id, name, upstream_id, upstream_model, tier, context_tokens,
                       output_tokens_max, message_tokens, is_thinking, created_us)
                   VALUES ('mdl', 'm', 'far', 'm', 'standard', 9, 9, 1, 0, 1)"""
        conn.execute(text(model))
    with engine.begin() as conn:
        migrate(conn)
        rows = conn.execute(text("SELECT id, speaks FROM upstreams")).all()
        spoken = {row.id: tuple(json.loads(row.speaks)) for row in rows}
        own = ("chat", "completions", "responses", "messages")
        assert spoken == {"own": own, "far": SPEAKS_DEFAULT}
        assert conn.execute(text("SELECT kind, takes_images FROM models")).one() == ("chat", 0)
    engine.dispose()


def test_prices_of_before_stay_and_those_in_force_have_one_for_priority(
    tmp_path: Path, database_url: str
) -> None:
    sqlite_url = f"sqlite:///{tmp_path / 'before.db'}"
    engine = create_engine(database_url.replace("ql:", "ql+psycopg:") or sqlite_url)
    with engine.begin() as conn:
        migrate(conn, to="0004")
        conn.execute(
            text("""INSERT INTO upstreams (id, name, base_url, extra_fields, created_us)
                    VALUES ('ups', 'far', 'https://models.example.com/v1', '[]', 1)""")
        )
        conn.execute(
            text("""INSERT INTO models (id, name, upstream_id, upstream_model, tier,
                        context_tokens, output_tokens_max, message_tokens, is_thinking, created_us)
                    VALUES ('mdl', 'm', 'ups', 'm', 'standard', 9, 9, 1, 0, 1)""")
        )
        for version in (1, 2):
            price = """INSERT INTO prices (id, model_id, version, input_picos, cached_picos,
                           output_picos, effective_from_us)
                       VALUES (:id, 'mdl', :v, :v, 0, 10 * :v, :v)"""
            conn.execute(text(price), {"id": f"prc_{version}", "v": version})
    with engine.begin() as conn:
        migrate(conn)
        query = """SELECT id, version, service_tier, input_picos, cached_picos, output_picos
                   FROM prices ORDER BY version, service_tier"""
        first, second, priority = (tuple(row) for row in conn.execute(text(query)))
        assert first == ("prc_1", 1, "default", 1, 0, 10)
        assert second == ("prc_2", 2, "default", 2, 0, 20)
        assert priority[1:] == (2, "priority", 4, 0, 40)
        offer = find_model(conn, "m", at_us=3)
        assert offer is not None
        assert (offer.price_id, offer.priority_price_id) == ("prc_2", priority[0])
    engine.dispose()


def test_the_price_in_force_stays_in_force_whatever_the_clock_said_when_it_was_set(
    tmp_path: Path, database_url: str
) -> None:
    sqlite_url = f"sqlite:///{tmp_path / 'before.db'}"
    engine = create_engine(database_url.replace("ql:", "ql+psycopg:") or sqlite_url)
    with engine.begin() as conn:
        migrate(conn, to="0012")
        conn.execute(
            text("""INSERT INTO upstreams (id, name, base_url, extra_fields, created_us)
                    VALUES ('ups', 'far', 'https://models.example.com/v1', '[]', 1)""")
        )
        conn.execute(
            text("""INSERT INTO models (id, name, upstream_id, upstream_model, tier,
                        context_tokens, output_tokens_max, message_tokens, is_thinking, created_us)
                    VALUES ('mdl', 'm', 'ups', 'm', 'standard', 9, 9, 1, 0, 1)""")
        )
        for version, at_us in ((1, 70), (2, 90), (3, 80)):  # the clock was put back
            for tier in ("default", "priority"):
                price = """INSERT INTO prices (id, model_id, version, input_picos, cached_picos,
                               output_picos, effective_from_us, service_tier)
                           VALUES (:id, 'mdl', :v, :v, 0, 0, :at, :tier)"""
                row = {"id": f"prc_{version}_{tier}", "v": version, "at": at_us, "tier": tier}
                conn.execute(text(price), row)
    with engine.begin() as conn:
        migrate(conn)
        offers = [find_model(conn, "m", at_us=at_us) for at_us in (70, 89, 90, 100)]
        assert [offer and offer.price_version for offer in offers] == [1, 1, 3, 3]
    engine.dispose()


def test_whoever_was_logged_in_before_has_confirmed_it_when_he_logged_in(
    tmp_path: Path, database_url: str
) -> None:
    sqlite_url = f"sqlite:///{tmp_path / 'before.db'}"
    engine = create_engine(database_url.replace("ql:", "ql+psycopg:") or sqlite_url)
    with engine.begin() as conn:
        migrate(conn, to="0006")
        conn.execute(
            text("""INSERT INTO users (id, email, email_key, password_hash, is_operator,
                        created_us, password_changed_us)
                    VALUES ('usr', 'a@example.com', 'a@example.com', 'x', 0, 1, 1)""")
        )
        conn.execute(
            text("""INSERT INTO sessions (id, token_hash, user_id, created_us, seen_us,
                        expires_us, ip, user_agent)
                    VALUES ('ses', :hash, 'usr', 7, 8, 9, '', '')"""),
            {"hash": b"x"},
        )
    with engine.begin() as conn:
        migrate(conn)
        assert conn.execute(text("SELECT id, confirmed_us FROM sessions")).one() == ("ses", 7)
    engine.dispose()


# ── tables ──────────────────────────────────────────────────────────────────────────────────────
def test_every_table_is_strict(migrated: Connection) -> None:
    rows = migrated.exec_driver_sql("PRAGMA table_list").mappings()
    strict = {row["name"]: row["strict"] for row in rows if row["name"] in metadata.tables}
    assert strict == dict.fromkeys(metadata.tables, 1)


def test_no_column_may_hold_a_fraction_or_anything_at_all(migrated: Connection) -> None:
    types = {
        (name, row["name"]): row["type"]
        for name in _tables(migrated)
        for row in migrated.exec_driver_sql(f"PRAGMA table_info({name})").mappings()
    }
    assert set(types.values()) == {"TEXT", "INTEGER", "BLOB"}
    counted = {place: kind for place, kind in types.items() if place[1].endswith(COUNTED)}
    assert set(counted.values()) == {"INTEGER"}
    money = {place for place in counted if place[1].endswith(("_nanos", "_picos"))}
    assert {("postings", "amount_nanos"), ("prices", "output_picos")} < money


def test_money_is_64_bits_wide(migrated: Connection) -> None:
    widest = 2**63 - 1
    sql = "INSERT INTO ledger_accounts (id, kind, balance_nanos) VALUES ('x', 'x', ?)"
    migrated.exec_driver_sql(sql, (widest,))
    stored = migrated.exec_driver_sql("SELECT balance_nanos FROM ledger_accounts").scalar()
    assert stored == widest
    with pytest.raises(OverflowError):
        migrated.exec_driver_sql(sql, (widest + 1,))


def test_every_reference_is_declared_so_that_the_database_holds_it(migrated: Connection) -> None:
    declared = {
        (name, column.name): key.target_fullname
        for name, table in metadata.tables.items()
        for column in table.columns
        for key in column.foreign_keys
    }
    reflected = {
        (
            name,
            key["constrained_columns"][0],
        ): f"{key['referred_table']}.{key['referred_columns'][0]}"
        for name in _tables(migrated)
        for key in inspect(migrated).get_foreign_keys(name)
    }
    assert reflected == declared


# ── what the database refuses, whoever asks ─────────────────────────────────────────────────────
COPY_OF_CALL = """
    INSERT INTO usage_events SELECT * FROM usage_events WHERE request_id = :call
"""
REFUSALS = {
    "a call twice": (COPY_OF_CALL, "UNIQUE"),
    "a call charged above its hold": (
        "UPDATE usage_events SET charge_nanos = hold_nanos + 1 WHERE request_id = :call",
        "ck_usage_events_charge",
    ),
    "a call charged below zero": ("UPDATE usage_events SET charge_nanos = -1", "charge"),
    "a call of no key": ("UPDATE usage_events SET api_key_id = 'key_none'", "FOREIGN KEY"),
    "a call at no price": ("DELETE FROM prices WHERE id = :price", "FOREIGN KEY"),
    "a price's version twice": ("UPDATE prices SET version = 1", "UNIQUE"),
    "a price of no known service tier": (
        "UPDATE prices SET service_tier = 'flex'",
        "ck_prices_service_tier",
    ),
    "a second live key": (
        "UPDATE api_keys SET state = 'live' WHERE account_id = 'acct_test'",
        "UNIQUE",
    ),
    "a second pending key": (
        "UPDATE api_keys SET state = 'pending' WHERE account_id = 'acct_test'",
        "UNIQUE",
    ),
    "a key in no known state": ("UPDATE api_keys SET state = 'lost'", "ck_api_keys_state"),
    "a key of no known scope": ("UPDATE api_keys SET scope = 'admin'", "ck_api_keys_scope"),
    "an account in no known state": ("UPDATE accounts SET state = 'x'", "ck_accounts_state"),
    "a model in no known tier": ("UPDATE models SET tier = 'x'", "ck_models_tier"),
    "a model of no known kind": ("UPDATE models SET kind = 'x'", "ck_models_kind"),
    "an entry of no posting": (
        "INSERT INTO ledger_entries VALUES ('pst_none', 'funding', 1)",
        "FOREIGN KEY",
    ),
    "a posting gone before its entries": ("DELETE FROM postings WHERE id = :gift", "FOREIGN KEY"),
    "two entries of a posting in one ledger account": (
        "INSERT INTO ledger_entries VALUES (:gift, 'funding', 1)",
        "UNIQUE",
    ),
    "a posting twice": ("INSERT INTO postings SELECT * FROM postings WHERE id = :gift", "UNIQUE"),
    "a window spent beyond its ceiling": (
        "UPDATE budget_windows SET spent_nanos = ceiling_nanos + 1, leased_nanos = 0",
        "ck_budget_windows_ceiling",
    ),
    "a window leased beyond its ceiling": (
        "UPDATE budget_windows SET leased_nanos = ceiling_nanos - spent_nanos + 1",
        "ck_budget_windows_ceiling",
    ),
    "a window leased below zero": (
        "UPDATE budget_windows SET leased_nanos = -1",
        "ck_budget_windows_signs",
    ),
    "a limit above its ceiling": (
        "UPDATE budget_windows SET limit_nanos = ceiling_nanos + 1",
        "ck_budget_windows_limit",
    ),
    "a lease below zero": ("UPDATE leases SET leased_nanos = -1", "ck_leases_sign"),
    "a second credit budget": (
        "INSERT INTO budgets SELECT 'bgt_x', account_id, kind, period, target, 0, 0 FROM budgets",
        "UNIQUE",
    ),
    "half a nano-USD": ("UPDATE ledger_accounts SET balance_nanos = 0.5", "REAL value in INTEGER"),
    "a word for money": ("UPDATE postings SET amount_nanos = 'much'", "TEXT value in INTEGER"),
    "no amount": ("UPDATE ledger_entries SET amount_nanos = NULL", "NOT NULL"),
}


@pytest.mark.parametrize(("sql", "why"), REFUSALS.values(), ids=REFUSALS)
def test_the_database_refuses(books: Books, sql: str, why: str) -> None:
    with closing(sqlite3.connect(books.folder / "latchgate.db")) as conn:
        conn.execute("PRAGMA foreign_keys = ON")
        with pytest.raises(sqlite3.IntegrityError, match=why), conn:
            conn.execute(sql, books.names)
    assert books.audit().findings == ()
