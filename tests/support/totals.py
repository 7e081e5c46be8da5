"""Totals as pages, files and answers show them, read back as whole numbers."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from pypdf import PdfReader

Sums = tuple[int, ...]

_HTML_AMOUNT = re.compile(r'<td class="num end">\+?(−?)\$(\d+)\.(\d{9})</td>')
_PDF_AMOUNT = re.compile(r"^(-?)\$(\d+)\.(\d{9})$", re.MULTILINE)
_NAMES = ("input_tokens", "cached_tokens", "output_tokens", "charge_nanos")
_AMOUNT = r"(?:<span title=\")?(−?)\$([\d.]+)"


def nanos(text: str) -> int:
    """Dollars with any number of decimals, as nano-USD."""
    return int(Decimal(text) * 10**9)


def figure(page: str, name: str) -> int:
    """One of a page's figures that is an amount, exactly, in nano-USD."""
    found = re.search(rf'<dt>{name}[^<]*</dt><dd class="value">{_AMOUNT}', page)
    assert found, name
    return nanos(found[2]) * (-1 if found[1] else 1)


def usage_figures(page: str) -> Sums:
    """Calls, tokens in, cached and out, and nano-USD, as the figures of the usage page say them."""
    calls, tokens_in, tokens_out = (
        int(re.search(rf"<dt>{name}</dt><dd class=\"value\">([\d,]+)<", page)[1].replace(",", ""))  # type: ignore[index]
        for name in ("Calls", "Tokens in", "Tokens out")
    )
    cached = re.search(r"([\d,]+) of them cached", page)
    assert cached
    return calls, tokens_in, int(cached[1].replace(",", "")), tokens_out, figure(page, "Spent, ")


def chart_table(page: str) -> int:
    """What the chart's table sums up to, in nano-USD."""
    cells = re.findall(r'data-label="Together" class="num">\$([\d.]+)<', page)
    return sum(nanos(cell) for cell in cells)


def section_sum(page: str, section: str) -> int:
    """What the last column of a section's table adds up to, in nano-USD."""
    inside = page.partition(f'aria-labelledby="{section}"')[2].partition("</section>")[0]
    return sum(_signed(*found) for found in _HTML_AMOUNT.findall(inside))


def answered(totals: dict[str, Any]) -> Sums:
    """What an answer of the API says that calls come to."""
    assert nanos(totals["charge_usd"]) == totals["charge_nanos"]
    return (totals["calls"], *(totals[name] for name in _NAMES))


def added(rows: list[dict[str, Any]]) -> Sums:
    """What the rows of a list or a file come to."""
    return (len(rows), *(sum(int(row[name]) for row in rows) for name in _NAMES))


def together(parts: Iterable[Sums]) -> Sums:
    """What parts come to together."""
    return tuple(sum(column) for column in zip((0,) * 5, *parts, strict=True))


def statement_csv(written: str, head: dict[str, Any]) -> tuple[int, int]:
    """A statement's credit and usage, as its CSV says them between its two balances."""
    opening, *lines, closing = csv.DictReader(io.StringIO(written, newline=""))
    amounts = [(line["line"], int(line["amount_usd"].replace(".", ""))) for line in lines]
    assert int(opening["amount_usd"].replace(".", "")) == head["opening_nanos"]
    assert int(closing["amount_usd"].replace(".", "")) == head["closing_nanos"]
    usage_nanos = -sum(amount for line, amount in amounts if line == "usage")
    return sum(amount for line, amount in amounts if line != "usage"), usage_nanos


def statement_pdf(drawn: bytes) -> list[int]:
    """What the credit and the three tables of usage add up to, as it was drawn."""
    pages = PdfReader(io.BytesIO(drawn)).pages
    text_of = "\n".join(page.extract_text() for page in pages)
    parts = re.split(
        r"^(?:Usage by model|Usage by day|Usage by day and model)$", text_of, flags=re.MULTILINE
    )
    credit = parts[0].partition("Closing balance\n")[2].partition("\n")[2]
    tables = [credit, *(parts[1:] or [""] * 3)]
    return [sum(_signed(*found) for found in _PDF_AMOUNT.findall(part)) for part in tables]


def _signed(sign: str, whole: str, decimals: str) -> int:
    return int(f"{'-' if sign else ''}{whole}{decimals}")
