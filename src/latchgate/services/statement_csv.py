"""A statement as CSV (RFC 4180): its lines, between the opening and the closing balance.

The amounts between the two balances add up to their difference. A text that a spreadsheet would
take for a formula is quoted with an apostrophe.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from latchgate.domain.money import format_usd
from latchgate.domain.monthly_statements import FullStatement

COLUMNS = (
    "line",
    "day",
    "model",
    "service_tier",
    "calls",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "note",
    "posting",
    "amount_usd",
)
_FORMULA = tuple("=+-@\t\r")


def csv_of(full: FullStatement) -> str:
    """The whole file."""
    written = io.StringIO()
    lines = csv.DictWriter(written, COLUMNS, restval="")
    lines.writeheader()
    lines.writerows(_rows(full))
    return written.getvalue()


def _rows(full: FullStatement) -> Iterator[dict[str, object]]:
    statement = full.statement
    yield _balance("opening balance", str(statement.first_day), statement.opening_nanos)
    for credit in full.credits:
        yield {
            "line": credit.kind,
            "day": credit.day,
            "note": _plain(credit.note),
            "posting": credit.posting_id,
            "amount_usd": _usd(credit.amount_nanos),
        }
    for line in full.usage:
        used = line.used
        yield {
            "line": "usage",
            "day": line.day,
            "model": _plain(line.model),
            "service_tier": line.service_tier,
            "calls": used.calls,
            "input_tokens": used.input_tokens,
            "cached_tokens": used.cached_tokens,
            "output_tokens": used.output_tokens,
            "amount_usd": _usd(-used.charge_nanos),
        }
    yield _balance("closing balance", str(statement.last_day), statement.closing_nanos)


def _balance(line: str, day: str, nanos: int) -> dict[str, object]:
    return {"line": line, "day": day, "amount_usd": _usd(nanos)}


def _usd(nanos: int) -> str:
    return format_usd(nanos, decimals_min=9)


def _plain(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text
