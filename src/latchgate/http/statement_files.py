"""A statement's files as answers: the console and the management API give the same ones."""

from __future__ import annotations

from starlette.responses import Response

from latchgate.domain.monthly_statements import FullStatement
from latchgate.services.statement_csv import csv_of


def csv_answer(full: FullStatement) -> Response:
    """The statement as CSV, to be kept as a file."""
    return _file(csv_of(full).encode(), full, "csv", "text/csv; charset=utf-8")


def pdf_answer(full: FullStatement, drawn: bytes) -> Response:
    """The statement as PDF, to be kept as a file."""
    return _file(drawn, full, "pdf", "application/pdf")


def _file(content: bytes, full: FullStatement, ending: str, media_type: str) -> Response:
    name = f"statement-{full.statement.label}.{ending}"  # letters, digits and hyphens alone
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type=media_type, headers=headers)
