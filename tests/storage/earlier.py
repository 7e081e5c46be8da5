"""A filled installation of any released schema, as that version would have left it in a crash.

Rows are dictionaries of all columns that there have ever been; each revision takes those that it
knows. Whoever adds a column that must be given adds it here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, MetaData, insert, inspect, text

from latchgate.services.vault import Vault
from latchgate.storage.journal_file import (
    CloseRecord,
    OpenRecord,
    encode,
    journal_path,
    segment_head,
)

NOW_US = 1_790_000_000_000_000
MONTH_US = NOW_US - NOW_US % 1000
EPOCH = "epo_crashed"
VAULT_KEY = b"v" * 32
WINDOWS = (("bgt_a", 0), ("bgt_month", MONTH_US))
DAY_US = 86_400_000_000
#: Tables of sums, and how long the time of a row is.
SUMS_US = {"usage_days": DAY_US, "usage_hours": DAY_US // 24, "usage_quarters": DAY_US // 96}
Row = dict[str, Any]

_ACCOUNTS: list[Row] = [
    {
        "id": f"acct_{name}",
        "name": f"{name}@example.com",
        "state": state,
        "is_premium_on": 1,
        "time_zone": "Europe/Berlin",
        "credit_line_nanos": line,
        "created_us": 1,
    }
    for name, state, line in (("a", "active", 0), ("b", "suspended", 5000))
]
_USERS: list[Row] = [
    {
        "id": "usr_a",
        "email": "A@example.com",
        "email_key": "a@example.com",
        "password_hash": "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2g",
        "is_operator": 1,
        "created_us": 1,
        "password_changed_us": 1,
    }
]
_SESSIONS: list[Row] = [
    {
        "id": "ses_a",
        "token_hash": b"\x01" * 32,
        "user_id": "usr_a",
        "created_us": 1,
        "seen_us": 2,
        "expires_us": 2**60,
        "ip": "127.0.0.1",
        "user_agent": "Mozilla/5.0",
    }
]
_KEYS: list[Row] = [
    {
        "id": f"key_{name}",
        "account_id": account,
        "name": "laptop",
        "public_id": f"public{name}",
        "last_four": "wxyz",
        "secret_hash": name.encode() * 8,
        "state": state,
        "created_us": 1,
    }
    for name, account, state in (
        ("old", "acct_a", "replaced"),
        ("a", "acct_a", "live"),
        ("b", "acct_b", "live"),
    )
]
_UPSTREAMS: list[Row] = [
    {
        "id": f"ups_{name}",
        "name": name,
        "base_url": url,
        "dialect": "openai",
        "credential_sealed": sealed,
        "extra_fields": "[]",
        "created_us": 1,
    }
    for name, url, sealed in (
        ("far", "https://models.example.com/v1", Vault(VAULT_KEY).seal("up-key")),
        ("own", "embedded:", None),
    )
]
_MODELS: list[Row] = [
    {
        "id": "mdl_m",
        "name": "m",
        "upstream_id": "ups_far",
        "upstream_model": "m-large",
        "tier": "standard",
        "context_tokens": 8192,
        "output_tokens_max": 1000,
        "message_tokens": 8,
        "is_thinking": 0,
        "created_us": 1,
    }
]
_PRICES: list[Row] = [
    {
        "id": f"prc_{version}",
        "model_id": "mdl_m",
        "version": version,
        "input_picos": 100_000,
        "cached_picos": 20_000,
        "output_picos": 400_000,
        "effective_from_us": version,
    }
    for version in (1, 2)
]
_LEDGER_ACCOUNTS: list[Row] = [
    *(
        {"id": kind, "kind": kind, "account_id": None, "balance_nanos": nanos}
        for kind, nanos in (
            ("funding", -1_000_700),
            ("revenue", 11_180),
            ("overrun", -2_000),
            ("loss", 0),
        )
    ),
    *(
        {"id": f"customer:{a}", "kind": "customer", "account_id": a, "balance_nanos": nanos}
        for a, nanos in (("acct_a", 991_320), ("acct_b", 200))
    ),
]
_POSTINGS: list[tuple[str, str, str | None, int, Row]] = [
    ("gift_a", "gift", "acct_a", 1_000_000, {"funding": -1_000_000, "customer:acct_a": 1_000_000}),
    ("gift_b", "gift", "acct_b", 700, {"funding": -700, "customer:acct_b": 700}),
    ("use_a", "usage", "acct_a", -8_680, {"customer:acct_a": -8_680, "revenue": 8_680}),
    ("use_b", "usage", "acct_b", -500, {"customer:acct_b": -500, "revenue": 500}),
    ("over", "overrun", None, 0, {"overrun": -2_000, "revenue": 2_000}),
]
#: id, account, key, input, cached, output, hold, charge, overrun, outcome, posting
_CALLS: list[tuple[str, str, str, int, int, int, int, int, int, str, str | None]] = [
    ("req_1", "acct_a", "key_old", 12, 0, 5, 5_000, 3_200, 0, "answered", "use_a"),
    ("req_2", "acct_a", "key_a", 10, 4, 2, 1_480, 1_480, 0, "hung_up", "use_a"),
    ("req_3", "acct_a", "key_a", 20, 0, 10, 4_000, 4_000, 2_000, "answered", "use_a"),
    ("req_4", "acct_a", "key_a", 0, 0, 0, 4_000, 0, 0, "failed", None),
    ("req_5", "acct_b", "key_b", 1, 0, 1, 900, 500, 0, "answered", "use_b"),
]
#: In the journal only: answered, and charged 3,200; and one that was running.
UNPOSTED, RUNNING = "req_6", "req_7"
_BUDGETS: list[Row] = [
    {
        "id": budget,
        "account_id": account,
        "kind": kind,
        "period": period,
        "target": "",
        "limit_nanos": limit,
        "active_since_us": 1,
    }
    for budget, account, kind, period, limit in (
        ("bgt_a", "acct_a", "credit", "none", 1_000_000),
        ("bgt_b", "acct_b", "credit", "none", 5_700),
        ("bgt_month", "acct_a", "account_limit", "month", 50_000),
    )
]
_BUDGET_WINDOWS: list[Row] = [
    {
        "budget_id": budget,
        "starts_us": starts,
        "ends_us": ends,
        "limit_nanos": limit,
        "ceiling_nanos": limit,
        "spent_nanos": spent,
        "leased_nanos": leased,
    }
    for budget, starts, ends, limit, spent, leased in (
        ("bgt_a", 0, 2**62, 1_000_000, 8_680, 20_000),
        ("bgt_b", 0, 2**62, 5_700, 500, 0),
        ("bgt_month", MONTH_US, MONTH_US + 30 * DAY_US, 50_000, 8_680, 20_000),
    )
]


def fill(conn: Connection, journal: Path) -> None:
    """Fill a database that is at any revision, and write its crashed epoch's journal."""
    tables = MetaData()
    tables.reflect(conn)

    def add(table: str, rows: list[Row]) -> None:
        known = tables.tables[table].columns.keys()
        for row in rows:
            kept = {name: value for name, value in row.items() if name in known}
            conn.execute(insert(tables.tables[table]).values(kept))

    rows = {
        "accounts": _ACCOUNTS,
        "users": _USERS,
        "memberships": [{"user_id": "usr_a", "account_id": "acct_a", "role": "owner"}],
        "sessions": _SESSIONS,
        "api_keys": _KEYS,
        "upstreams": _UPSTREAMS,
        "models": _MODELS,
        "prices": _PRICES,
        "ledger_accounts": _LEDGER_ACCOUNTS,
        "budgets": _BUDGETS,
        "budget_windows": _BUDGET_WINDOWS,
    }
    for table, table_rows in rows.items():
        add(table, table_rows)
    if "service_tier" in tables.tables["prices"].columns:
        add("prices", [{**_PRICES[-1], "id": "prc_ahead", "service_tier": "priority"}])
    for posting_id, kind, account, amount, entries in _POSTINGS:
        posting = {"id": posting_id, "kind": kind, "account_id": account, "amount_nanos": amount}
        add("postings", [{**posting, "created_us": NOW_US, "actor": "cli", "note": ""}])
        for name, nanos in entries.items():
            entry = {"posting_id": posting_id, "ledger_account_id": name, "amount_nanos": nanos}
            add("ledger_entries", [entry])
    add("usage_events", [_event(number, call) for number, call in enumerate(_CALLS)])
    for table, width_us in SUMS_US.items():
        if table in tables.tables:
            _sum_up(conn, table, width_us)
    posted = _write_journal(journal)
    add("epochs", [{"id": EPOCH, "started_us": 1, "ended_us": None, "journal_offset": posted}])
    lease = {"epoch_id": EPOCH, "leased_nanos": 20_000}
    add("leases", [{**lease, "budget_id": budget, "starts_us": at} for budget, at in WINDOWS])


def _event(number: int, call: tuple[Any, ...]) -> Row:
    names = (
        *("request_id", "account_id", "api_key_id", "input_tokens", "cached_tokens"),
        *("output_tokens", "hold_nanos", "charge_nanos", "overrun_nanos", "outcome", "posting_id"),
    )
    return {
        **dict(zip(names, call, strict=True)),
        "price_id": "prc_1",
        "model": "m",
        "app": "letters",
        "counted_by": "upstream",
        "is_stream": number % 2,
        "http_status": 200,
        "started_us": NOW_US + number * DAY_US,
        "first_byte_us": NOW_US + number * DAY_US + 1,
        "ended_us": NOW_US + number * DAY_US + 2,
        "ip": "127.0.0.1",
    }


def _sum_up(conn: Connection, table: str, width_us: int) -> None:
    """What a version that keeps sums of a day, or of less, has added to them."""
    start = f"started_us - started_us % {width_us}"
    conn.execute(
        text(
            f"""INSERT INTO {table} (account_id, starts_us, api_key_id, app, price_id, calls,
                    input_tokens, cached_tokens, output_tokens, charge_nanos, last_used_us)
                SELECT account_id, {start}, api_key_id, app, price_id, count(*), sum(input_tokens),
                    sum(cached_tokens), sum(output_tokens), sum(charge_nanos), max(started_us)
                FROM usage_events GROUP BY account_id, {start}, api_key_id, app, price_id"""
        )
    )


def _write_journal(folder: Path) -> int:
    """The crashed epoch's journal; up to where it is posted."""
    calls = [_event(number, call) for number, call in enumerate(_CALLS)]
    unposted = {**calls[0], "api_key_id": "key_a", "request_id": UNPOSTED}
    records = [part for call in calls for part in (_open(call), _close(call))]
    posted = sum(len(encode(record)) for record in records)
    records += [_open({**unposted, "request_id": RUNNING}), _open(unposted), _close(unposted)]
    path = journal_path(folder, EPOCH)
    path.write_bytes(segment_head(0) + b"".join(encode(record) for record in records))
    return posted


def _open(call: Row) -> OpenRecord:
    names = OpenRecord.__struct_fields__
    known = {name: call[name] for name in names if name in call}
    return OpenRecord(**{**known, "is_stream": bool(call["is_stream"])})


def _close(call: Row) -> CloseRecord:
    names = CloseRecord.__struct_fields__
    windows = WINDOWS if call["account_id"] == "acct_a" else (("bgt_b", 0),)
    known = {name: call[name] for name in names if name in call}
    return CloseRecord(windows=windows, **{**known, "is_stream": bool(call["is_stream"])})


def rows_of(conn: Connection) -> dict[str, list[Row]]:
    """Every row of every table, as the database's present revision knows it."""
    tables = MetaData()
    tables.reflect(conn)
    assert set(tables.tables) == set(inspect(conn).get_table_names())
    return {
        name: [dict(row._mapping) for row in conn.execute(table.select())]
        for name, table in tables.tables.items()
        if name != "alembic_version"
    }
