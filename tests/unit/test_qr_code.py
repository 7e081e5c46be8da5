"""Guards the QR code: the drawn shapes are the code's own modules, with light all around them."""

from __future__ import annotations

import re

import pytest
import segno

from latchgate.console.qr_code import qr_svg

URI = "otpauth://totp/Latchgate%3Aada%40example.com?secret=JBSWY3DPEHPK3PXP&issuer=Latchgate"
QUIET = 4


def _drawn(svg: str) -> tuple[int, set[tuple[int, int]]]:
    side = re.search(r'viewBox="0 0 (\d+) \1"', svg)
    assert side
    dark = {
        (int(x) + step, int(y))
        for x, y, width, back in re.findall(r"M(\d+) (\d+)h(\d+)v1h-(\d+)z", svg)
        for step in range(int(width))
        if width == back
    }
    return int(side.group(1)), dark


@pytest.mark.parametrize("text", [URI, "x", URI * 4], ids=["uri", "short", "long"])
def test_every_module_is_drawn_where_it_belongs_and_no_other(text: str) -> None:
    matrix = segno.make_qr(text, error="m").matrix
    side, dark = _drawn(qr_svg(text, label="QR code"))
    assert side == len(matrix) + 2 * QUIET
    assert dark == {
        (x + QUIET, y + QUIET)
        for y, row in enumerate(matrix)
        for x, module in enumerate(row)
        if module
    }


def test_it_is_dark_on_white_in_either_theme_and_named_for_whoever_cannot_see_it() -> None:
    svg = qr_svg(URI, label='the "code"')
    assert 'fill="#fff"' in svg
    assert 'fill="#000"' in svg
    assert 'role="img" aria-label="the &#34;code&#34;"' in svg
    assert "style=" not in svg, "the content security policy lets no inline style through"
