"""A statement as PDF: the same bytes whenever it is asked for.

Drawn with reportlab, with the typeface that it brings (Bitstream Vera), which has the Latin
alphabets; a letter that it lacks stands as a question mark, and is itself on the page and in the
CSV.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

from latchgate.domain.money import format_usd
from latchgate.domain.monthly_statements import FullStatement, Used
from latchgate.services.statement_words import KINDS, model_words

FONT, BOLD = "Vera", "VeraBd"
_SIZE, _SMALL = 8.5, 7.5
_INK, _FAINT, _LINE = "#1b1a17", "#716d64", "#cbc6bb"
_MARGIN, _PADDING = 50, 6
_ROOM_FOR_ROWS = 90
_NOTE_CHARS = 60
_MODEL_CHARS = 34


def pdf_of(full: FullStatement) -> bytes:
    """The whole file. It takes some milliseconds a page: call it off the event loop."""
    from reportlab.lib.pagesizes import A4  # noqa: PLC0415 - most processes never draw
    from reportlab.pdfgen.canvas import Canvas  # noqa: PLC0415
    from reportlab.platypus import SimpleDocTemplate  # noqa: PLC0415

    _register_fonts()
    statement = full.statement
    written = io.BytesIO()
    document = SimpleDocTemplate(
        written,
        pagesize=A4,
        leftMargin=_MARGIN,
        rightMargin=_MARGIN,
        topMargin=_MARGIN,
        bottomMargin=_MARGIN,
        title=f"Statement {statement.label}",
        author="Latchgate",
        subject=statement.month,
        invariant=1,
    )

    def foot(canvas: Canvas, _document: object) -> None:
        canvas.setFont(FONT, _SMALL)
        canvas.setFillColor(_FAINT)
        left, right = _MARGIN + _PADDING, A4[0] - _MARGIN - _PADDING
        canvas.drawString(left, _MARGIN / 2, f"Latchgate · Statement {statement.label}")
        canvas.drawRightString(right, _MARGIN / 2, f"Page {canvas.getPageNumber()}")

    document.build(list(_story(full)), onFirstPage=foot, onLaterPages=foot)
    return written.getvalue()


@cache
def _register_fonts() -> None:
    from reportlab.pdfbase.pdfmetrics import registerFont  # noqa: PLC0415
    from reportlab.pdfbase.ttfonts import TTFont  # noqa: PLC0415

    for name in (FONT, BOLD):
        registerFont(TTFont(name, f"{name}.ttf"))


@cache
def _letters() -> frozenset[int]:
    """The letters that both faces have."""
    from reportlab.pdfbase.pdfmetrics import getFont  # noqa: PLC0415

    return frozenset(getFont(FONT).face.charToGlyph) & frozenset(getFont(BOLD).face.charToGlyph)


def _known(text: str, chars_max: int = 200) -> str:
    bounded = text if len(text) <= chars_max else f"{text[: chars_max - 1]}…"
    return "".join(letter if ord(letter) in _letters() else "?" for letter in bounded)


def _story(full: FullStatement) -> Iterator[Any]:
    """The file's parts, from its top to its end."""
    statement = full.statement
    yield _paragraph(f"Statement for {statement.month}", BOLD, 17)
    yield _facts(
        [
            ("Number", statement.label),
            ("Account", f"{statement.holder} ({statement.account_id})"),
            (
                "Period",
                f"{statement.first_day} to {statement.last_day}, time zone {statement.time_zone}",
            ),
        ]
    )
    yield _facts(
        [
            ("Opening balance", _usd(statement.opening_nanos)),
            ("Credit", _usd(full.credit_nanos)),
            ("Usage", _usd(-full.used.charge_nanos)),
            ("Closing balance", _usd(statement.closing_nanos)),
        ],
        right=True,
    )
    if full.credits:
        yield from _heading("Credit")
        yield _table(
            ("Day", "What", "Note", "Amount"),
            [
                (
                    str(line.day),
                    KINDS.get(line.kind, line.kind),
                    _known(line.note, _NOTE_CHARS),
                    _usd(line.amount_nanos),
                )
                for line in full.credits
            ],
            widths=(62, 88, 245, 100),
            numbers_from=3,
        )
    if full.usage:
        yield from _heading("Usage by model")
        yield _usage_table(
            "Model",
            [
                (_known(model_words(*key), _MODEL_CHARS), used)
                for key, used in full.by_model.items()
            ],
        )
        yield from _heading("Usage by day")
        yield _usage_table("Day", [(str(day), used) for day, used in full.by_day.items()])
        yield from _heading("Usage by day and model")
        yield _usage_table(
            "Day and model",
            [
                (
                    _known(
                        f"{line.day}  {model_words(line.model, line.service_tier)}", _MODEL_CHARS
                    ),
                    line.used,
                )
                for line in full.usage
            ],
        )
    if not full.credits and not full.usage:
        yield _paragraph("Nothing was posted in this month.", FONT, _SIZE)


def _usage_table(title: str, lines: Sequence[tuple[str, Used]]) -> Any:
    return _table(
        (title, "Calls", "Tokens in", "Cached", "Tokens out", "Charge"),
        [
            (
                name,
                f"{used.calls:,}",
                f"{used.input_tokens:,}",
                f"{used.cached_tokens:,}",
                f"{used.output_tokens:,}",
                _usd(used.charge_nanos),
            )
            for name, used in lines
        ],
        widths=(185, 45, 60, 55, 60, 90),
        numbers_from=1,
    )


def _heading(text: str) -> Iterator[Any]:
    """A table's title, on the next page where this one has no room for its first rows."""
    from reportlab.platypus import CondPageBreak  # noqa: PLC0415

    yield CondPageBreak(_ROOM_FOR_ROWS)
    yield _paragraph(text, BOLD, 11)


def _paragraph(text: str, font: str, size: float) -> Any:
    from reportlab.lib.styles import ParagraphStyle  # noqa: PLC0415
    from reportlab.platypus import Paragraph  # noqa: PLC0415

    style = ParagraphStyle(
        font + str(size),
        fontName=font,
        fontSize=size,
        leading=size * 1.35,
        textColor=_INK,
        spaceBefore=14,
        spaceAfter=6,
    )
    return Paragraph(text, style)


def _facts(rows: Sequence[tuple[str, str]], *, right: bool = False) -> Any:
    """Names and values, without a head."""
    style: list[tuple[Any, ...]] = [("TEXTCOLOR", (0, 0), (0, -1), _FAINT)]
    if right:
        style += [
            ("ALIGN", (1, 0), (1, -1), "RIGHT"),
            ("LINEABOVE", (0, -1), (-1, -1), 0.5, _LINE),
            ("FONTNAME", (0, -1), (-1, -1), BOLD),
        ]
    known = [(name, _known(value)) for name, value in rows]
    return _drawn(known, (110, 130) if right else (110, 385), style, repeated=0)


def _table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    widths: Sequence[float],
    numbers_from: int,
) -> Any:
    """Rows under a head that stands on each page again."""
    style = [
        ("TEXTCOLOR", (0, 0), (-1, 0), _FAINT),
        ("LINEBELOW", (0, 0), (-1, 0), 0.5, _LINE),
        ("ALIGN", (numbers_from, 0), (-1, -1), "RIGHT"),
    ]
    return _drawn([head, *rows], widths, style, repeated=1)


def _drawn(
    rows: Sequence[Sequence[str]],
    widths: Sequence[float],
    style: Sequence[tuple[Any, ...]],
    *,
    repeated: int,
) -> Any:
    from reportlab.platypus import Table, TableStyle  # noqa: PLC0415

    build: Callable[..., Any] = Table
    drawn = build(
        [list(row) for row in rows],
        colWidths=list(widths),
        repeatRows=repeated,
        hAlign="LEFT",
        spaceAfter=8,
    )
    drawn.setStyle(
        TableStyle(
            [
                ("FONT", (0, 0), (-1, -1), FONT, _SIZE),
                ("TEXTCOLOR", (0, 0), (-1, -1), _INK),
                ("LEFTPADDING", (0, 0), (-1, -1), 0),
                ("RIGHTPADDING", (0, 0), (-1, -1), 4),
                ("TOPPADDING", (0, 0), (-1, -1), 2.5),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 2.5),
                *style,
            ]
        )
    )
    return drawn


def _usd(nanos: int) -> str:
    sign = "-" if nanos < 0 else ""
    return f"{sign}${format_usd(abs(nanos), decimals_min=9)}"
