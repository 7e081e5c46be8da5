"""What browsers post."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request

from latchgate.domain.errors import InvalidRequest, Unsupported

FIELDS_MAX = 30
_FORM = "application/x-www-form-urlencoded"


async def read_form(request: Request, *, fields_max: int = FIELDS_MAX) -> Mapping[str, str]:
    """A form's fields; the edge has bounded its size. Raises Unsupported or InvalidRequest."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise Unsupported("This page takes a form. Open it in a browser.")
    try:
        text = (await request.body()).decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=fields_max, errors="strict")
    except ValueError:
        raise InvalidRequest("The form is damaged. Reload the page and try again.") from None
    if any("\x00" in value for _, value in pairs):
        raise InvalidRequest("The form is damaged. Reload the page and try again.")
    form = dict(pairs)
    request.state.form = form  # what was typed is not lost when he is first asked who he is
    return form


def local_path(text: str, *, otherwise: str) -> str:
    """A path of this site to go on to; anything that could lead elsewhere is not taken."""
    parts = urlsplit(text)
    is_local = (
        text.startswith("/")
        and not text.startswith(("//", "/\\"))
        and not parts.scheme
        and not parts.netloc
        and text.isprintable()
        and "\\" not in text
    )
    return text if is_local else otherwise
