"""Calls as a file, CSV or JSON: the same columns in both, written piece by piece.

A sheet takes text that begins like a formula for one, and an app's name is whatever the app says:
such text has an apostrophe before it in CSV (https://owasp.org/www-community/attacks/CSV_Injection).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

from latchgate.domain.money import format_usd

if TYPE_CHECKING:
    from latchgate.storage.statements import AnyRow

Format = Literal["csv", "json"]
FORMATS: tuple[Format, ...] = get_args(Format)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def _moment(at_us: int) -> str:
    return (_EPOCH + timedelta(microseconds=at_us)).isoformat(timespec="milliseconds")


def _ms_after(row: AnyRow, at_us: int | None) -> int | None:
    return None if at_us is None else (at_us - row.started_us) // 1000


#: Every column of an export, in its order.
COLUMNS: dict[str, Callable[[AnyRow], Any]] = {
    "started_at": lambda row: _moment(row.started_us),
    "request_id": lambda row: row.request_id,
    "model": lambda row: row.model,
    "tier": lambda row: row.tier,
    "service_tier": lambda row: row.service_tier,
    "app": lambda row: row.app,
    "api_key_id": lambda row: row.api_key_id,
    "key_name": lambda row: row.key_name,
    "input_tokens": lambda row: row.input_tokens,
    "cached_tokens": lambda row: row.cached_tokens,
    "output_tokens": lambda row: row.output_tokens,
    "price_version": lambda row: row.price_version,
    "charge_usd": lambda row: format_usd(row.charge_nanos, decimals_min=9),
    "charge_nanos": lambda row: row.charge_nanos,
    "outcome": lambda row: row.outcome,
    "counted_by": lambda row: row.counted_by,
    "is_stream": lambda row: bool(row.is_stream),
    "http_status": lambda row: row.http_status,
    "first_byte_ms": lambda row: _ms_after(row, row.first_byte_us),
    "duration_ms": lambda row: _ms_after(row, row.ended_us),
    "ip": lambda row: row.ip,
}


def write_piece(rows: Sequence[AnyRow], form: Format, *, is_first: bool, is_last: bool) -> bytes:
    """A piece of the file; the first begins it and the last ends it."""
    if form == "csv":
        return _csv(rows, has_head=is_first)
    lines = [
        msgspec.json.encode({name: value(row) for name, value in COLUMNS.items()}) for row in rows
    ]
    head = b'{"data":[' if is_first else b",\n" if lines else b""
    return head + b",\n".join(lines) + (b"]}\n" if is_last else b"")


def _csv(rows: Sequence[AnyRow], *, has_head: bool) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    if has_head:
        writer.writerow(COLUMNS)
    writer.writerows([_cell(value(row)) for value in COLUMNS.values()] for row in rows)
    return text.getvalue().encode()


def _cell(value: object) -> object:
    match value:
        case str():
            return f"'{value}" if value.startswith(_FORMULA) else value
        case bool():
            return "yes" if value else "no"
        case _:
            return "" if value is None else value
