"""A QR code as one path of an SVG of ours: dark on white in either theme, as cameras want it."""

from __future__ import annotations

import segno
from markupsafe import Markup

#: Light modules around it, without which it cannot be found (ISO/IEC 18004, 7.3.8).
_QUIET = 4


def qr_svg(text: str, *, label: str) -> Markup:
    """Draw it; ``label`` says to those who cannot see it what it is."""
    code = segno.make_qr(text, error="m")
    side = code.symbol_size(border=_QUIET)[0]
    runs = []
    for y, row in enumerate(code.matrix, _QUIET):
        x = _QUIET
        while x - _QUIET < len(row):
            width = _run(row, x - _QUIET)
            if width:
                runs.append(f"M{x} {y}h{width}v1h-{width}z")
            x += width or 1
    return Markup(
        '<svg class="qr" viewBox="0 0 {side} {side}" role="img" aria-label="{label}" '
        'shape-rendering="crispEdges"><rect width="{side}" height="{side}" fill="#fff"/>'
        '<path fill="#000" d="{path}"/></svg>'
    ).format(side=side, label=label, path="".join(runs))


def _run(row: bytearray, start: int) -> int:
    """How many dark modules stand in a row from here on."""
    end = start
    while end < len(row) and row[end]:
        end += 1
    return end - start
