"""Guards terms of keys as rows, on either engine: what an upgrade gives, and what is read again."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import create_engine, text

from latchgate.domain.key_terms import OPEN, KeyTerms, parse_addresses
from latchgate.storage.api_keys import find_by_public_id, find_key
from latchgate.storage.key_sightings import list_sightings
from latchgate.storage.key_terms import set_terms, terms_of
from latchgate.storage.schema import migrate


def test_keys_of_before_are_bound_by_no_terms_and_what_used_them_is_no_news(
    tmp_path: Path, database_url: str
) -> None:
    sqlite_url = f"sqlite:///{tmp_path / 'before.db'}"
    engine = create_engine(database_url.replace("ql:", "ql+psycopg:") or sqlite_url)
    with engine.begin() as conn:
        migrate(conn, to="0010")
        conn.execute(
            text("""INSERT INTO accounts (id, name, state, is_premium_on, time_zone,
                        credit_line_nanos, created_us)
                    VALUES ('acct', 'a', 'active', 0, 'UTC', 0, 1)""")
        )
        conn.execute(
            text("""INSERT INTO api_keys (id, account_id, name, public_id, last_four, secret_hash,
                        state, created_us)
                    VALUES ('key', 'acct', 'mine', 'p', 'last', :hash, 'live', 1)"""),
            {"hash": b"x"},
        )
        conn.execute(
            text("""INSERT INTO upstreams (id, name, base_url, extra_fields, created_us)
                    VALUES ('ups', 'far', 'https://models.example.com/v1', '[]', 1)""")
        )
        conn.execute(
            text("""INSERT INTO models (id, name, upstream_id, upstream_model, tier,
                        context_tokens, output_tokens_max, message_tokens, is_thinking, created_us)
                    VALUES ('mdl', 'm', 'ups', 'm', 'standard', 9, 9, 1, 0, 1)""")
        )
        conn.execute(
            text("""INSERT INTO prices (id, model_id, version, input_picos, cached_picos,
                        output_picos, effective_from_us) VALUES ('prc', 'mdl', 1, 0, 0, 0, 1)""")
        )
        call = """INSERT INTO usage_events (request_id, account_id, api_key_id, price_id, model,
                      app, input_tokens, cached_tokens, output_tokens, hold_nanos, charge_nanos,
                      overrun_nanos, outcome, counted_by, is_stream, http_status, started_us,
                      ended_us, ip)
                  VALUES (:id, 'acct', 'key', 'prc', 'm', 'Desk', 1, 0, 1, 0, 0, 0, 'answered',
                      'upstream', 0, 200, :at, 9, :ip)"""
        for number, ip in enumerate(("192.0.2.7", "192.0.2.7", "2001:db8::1", "")):
            conn.execute(text(call), {"id": f"req_{number}", "at": number, "ip": ip})
        conn.execute(
            text("""INSERT INTO usage_days (account_id, starts_us, api_key_id, app, price_id,
                        calls, input_tokens, cached_tokens, output_tokens, charge_nanos,
                        last_used_us)
                    VALUES ('acct', 0, 'key', 'Desk', 'prc', 4, 4, 0, 4, 0, 3)""")
        )
    with engine.begin() as conn:
        migrate(conn)
        seen = list_sightings(conn, "acct")
        assert {(row.kind, row.value, row.told_us) for row in seen} == {
            ("app", "Desk", 0),
            ("address", "192.0.2.7", 0),
        }
        key = find_key(conn, "key")
        assert key is not None
        assert terms_of(key) is OPEN
        bound = KeyTerms(
            expires_us=2**60,
            models=frozenset({"b", "ä"}),
            scope="read_only",
            addresses=parse_addresses(["192.0.2.7", "2001:db8::/32"]),
        )
        set_terms(conn, "key", bound)
        kept = find_by_public_id(conn, "p")
        assert kept is not None
        assert terms_of(kept) == bound
    engine.dispose()
