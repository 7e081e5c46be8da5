"""What the management API's requests and answers have in common.

Amounts are exact twice: ``…_nanos`` is an integer of nano-USD, ``…_usd`` the same as decimal text.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import Path, Query, Security
from fastapi.security import APIKeyCookie
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from latchgate.domain.errors import Unsupported
from latchgate.domain.password_policy import PASSWORD_BYTES_MAX
from latchgate.http.cross_site import media_type
from latchgate.http.sessions import COOKIE, SECURE_PREFIX
from latchgate.services.billing import PAGE_ROWS_MAX
from latchgate.services.second_factors import CODE_CHARS_MAX
from latchgate.services.sessions import TOKEN_CHARS_MAX

EMAIL_CHARS_MAX = 512
ID_CHARS_MAX = 64
PAGE_ROWS_USUAL = 50
_JSON = "application/json"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Asked(BaseModel):
    """A request's body: no field that we do not know, and no value that has to be converted."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class Answered(BaseModel):
    """An answer's body."""

    model_config = ConfigDict(frozen=True)


class Complaint(Answered):
    """What is wrong, in four keys that are always there."""

    message: str
    type: str
    param: str | None
    code: str


class Refusal(Answered):
    """The body of every answer that refuses."""

    error: Complaint


Email = Annotated[str, Field(max_length=EMAIL_CHARS_MAX, examples=["ada@example.com"])]
Password = Annotated[str, Field(max_length=PASSWORD_BYTES_MAX)]
Code = Annotated[str, Field(max_length=CODE_CHARS_MAX, examples=["492039"])]
Token = Annotated[str, Field(max_length=TOKEN_CHARS_MAX)]
PathID = Annotated[str, Path(max_length=ID_CHARS_MAX)]
Before = Annotated[
    str | None,
    Query(max_length=ID_CHARS_MAX, description="The last page's `next`: where this page begins."),
]
Limit = Annotated[int, Query(ge=1, le=PAGE_ROWS_MAX, description="Rows of a page.")]

#: For the OpenAPI document alone: who is logged in is found by ``http.sessions``.
session_cookie = Security(
    APIKeyCookie(
        name=SECURE_PREFIX + COOKIE,
        scheme_name="session",
        description="Set by POST /api/session. Without TLS its name is `latchgate`.",
        auto_error=False,
    )
)


async def require_json(request: Request) -> None:
    """Raise Unsupported when a body comes as anything but JSON."""
    if await request.body() and media_type(request.headers) != _JSON:
        raise Unsupported(f"A body here is JSON: send it with content-type {_JSON}.")


def at(time_us: int) -> datetime:
    """Our microseconds as the API writes them: RFC 3339, UTC."""
    return _EPOCH + timedelta(microseconds=time_us)


def at_or_none(time_us: int | None) -> datetime | None:
    """As ``at``, for what may not have happened yet."""
    return None if time_us is None else at(time_us)
