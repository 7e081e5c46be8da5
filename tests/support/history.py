"""A long history, written by a few statements: what many calls of an account leave in the database.

Most calls are of a few apps and models; one app calls once in ten thousand times. The first key was
replaced half way. Calls come evenly, and their figures differ.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

from latchgate.storage.accounts import insert_account
from latchgate.storage.ledger import open_account_books

ACCOUNT = "acct_" + "0" * 25 + "1"
KEYS = ("key_" + "0" * 25 + "1", "key_" + "0" * 25 + "2")
APPS = ("Letter desk", "Help desk", "Playground", "curl")
RARE_APP, RARELY = "Once in a while", 10_000
MODELS = ("small", "middle", "large")
TIME_ZONE = "Asia/Kolkata"
END_US = 1_800_000_000_000_000
_QUARTER_US, _HOUR_US, _DAY_US = 900_000_000, 3_600_000_000, 86_400_000_000

_NUMBERS = {
    "sqlite": """WITH RECURSIVE numbers(n) AS
                 (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < :calls)""",
    "postgresql": "WITH numbers(n) AS (SELECT generate_series(CAST(0 AS bigint), :calls - 1))",
}
#: Spreads neighbouring numbers: a multiplicative hash, Knuth's constant.
_HASH = "((n * 2654435761) % 4294967296)"
_EVENTS = f"""
    INSERT INTO usage_events
    {{numbers}}
    SELECT 'req_' || substr('00000000000000000000000000' || n, length('' || n) + 1), :account,
           CASE WHEN n * 2 < :calls THEN :old_key ELSE :new_key END,
           'prc_' || ({_HASH} % 3), CASE {_HASH} % 3 WHEN 0 THEN 'small' WHEN 1 THEN 'middle'
           ELSE 'large' END,
           CASE WHEN n % :rarely = :rarely / 2 THEN :rare_app ELSE
             CASE {_HASH} / 16 % 8 WHEN 0 THEN 'curl' WHEN 1 THEN 'Playground' WHEN 2 THEN
             'Help desk' WHEN 3 THEN 'Help desk' ELSE 'Letter desk' END END,
           n % 4000, n % 1000, {_HASH} % 700, 1000000000,
           2 * (n % 4000) - n % 1000 + 4 * ({_HASH} % 700), 0,
           'answered', 'upstream', 1, 200, :start + n * :step, :start + n * :step + 900000,
           :start + n * :step + 2000000, '192.0.2.7', NULL
    FROM numbers"""
_SUMS = """
    INSERT INTO {table}
    SELECT account_id, {at} - {at} % {width}, api_key_id, app, price_id, {calls},
           sum(input_tokens), sum(cached_tokens), sum(output_tokens), sum(charge_nanos), max({last})
    FROM {source} GROUP BY account_id, {at} - {at} % {width}, api_key_id, app, price_id"""


def write_account(conn: Connection) -> None:
    """Write the account whose history it is by default."""
    insert_account(
        conn,
        id=ACCOUNT,
        name="Ada",
        state="active",
        is_premium_on=1,
        time_zone=TIME_ZONE,
        credit_line_nanos=0,
        created_us=1,
    )
    open_account_books(conn, account_id=ACCOUNT, now_us=1)


def _write_catalog(conn: Connection, account_id: str) -> None:
    for key, state in zip(KEYS, ("replaced", "live"), strict=True):
        sql = """INSERT INTO api_keys (id, account_id, name, public_id, last_four, secret_hash,
                 state, created_us) VALUES (:id, :account, :id, :id, 'xxxx', :hash, :state, 1)"""
        conn.execute(text(sql), {"id": key, "account": account_id, "hash": b"\0", "state": state})
    conn.execute(
        text(
            """INSERT INTO upstreams (id, name, base_url, extra_fields, created_us)
               VALUES ('ups_h', 'history', 'http://localhost', '[]', 1)"""
        )
    )
    for number, name in enumerate(MODELS):
        values = {"n": str(number), "name": name}
        conn.execute(
            text(
                """INSERT INTO models (id, name, upstream_id, upstream_model, tier, context_tokens,
                     output_tokens_max, message_tokens, is_thinking, created_us)
                   VALUES ('mdl_' || :n, :name, 'ups_h', :name, 'standard', 100, 100, 1, 0, 1)"""
            ),
            values,
        )
        conn.execute(
            text(
                """INSERT INTO prices (id, model_id, version, input_picos, cached_picos,
                     output_picos, effective_from_us)
                   VALUES ('prc_' || :n, 'mdl_' || :n, 1, 2000, 1000, 4000, 1)"""
            ),
            values,
        )


def write_history(
    conn: Connection, *, calls: int, days: int, account_id: str = ACCOUNT, end_us: int = END_US
) -> None:
    """Write so many calls over so many days, up to ``end_us``, and what they add up to."""
    _write_catalog(conn, account_id)
    step_us = days * _DAY_US // calls
    conn.execute(
        text(_EVENTS.format(numbers=_NUMBERS[conn.dialect.name])),
        {
            "calls": calls,
            "account": account_id,
            "old_key": KEYS[0],
            "new_key": KEYS[1],
            "rare_app": RARE_APP,
            "rarely": RARELY,
            "start": end_us - calls * step_us,
            "step": step_us,
        },
    )
    of_quarters = {"at": "started_us", "calls": "count(*)", "last": "started_us"}
    of_days = {"at": "starts_us", "calls": "sum(calls)", "last": "last_used_us"}
    for table, source, width, names in (
        ("usage_quarters", "usage_events", _QUARTER_US, of_quarters),
        ("usage_hours", "usage_quarters", _HOUR_US, of_days),
        ("usage_days", "usage_hours", _DAY_US, of_days),
    ):
        conn.execute(text(_SUMS.format(table=table, source=source, width=width, **names)))
