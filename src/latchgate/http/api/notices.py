"""Notices: which mails about the key the account's owner gets."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from starlette.requests import Request

from latchgate.http.api.shapes import Answered, Asked, session_cookie
from latchgate.http.sessions import LoggedIn, caller_of, services_of

router = APIRouter(prefix="/notices", tags=["notices"], dependencies=[session_cookie])


class NoticeAsked(Asked):
    """A notice to be switched on or off."""

    what: Literal["new_app", "new_address"]
    is_on: bool


class NoticesAnswered(Answered):
    """Which mails are sent when something uses a key for the first time."""

    new_app: bool
    new_address: bool


@router.get("", operation_id="listNotices")
async def list_notices(request: Request, identity: LoggedIn) -> NoticesAnswered:
    """The notices that can be switched off; security notices can't."""
    switches = await services_of(request).key_notices.switches(identity.account_id)
    return NoticesAnswered(**switches)


@router.put("", operation_id="switchNotice")
async def switch_notice(
    request: Request, identity: LoggedIn, asked: NoticeAsked
) -> NoticesAnswered:
    """Switch a notice on or off.

    Off is 403 `reauthentication_required` for a login that was confirmed some time ago.
    """
    services = services_of(request)
    if not asked.is_on:
        services.confirmations.require(identity, "sensitive")
    await services.key_notices.switch(
        identity.account_id, asked.what, is_on=asked.is_on, caller=caller_of(request, identity)
    )
    return await list_notices(request, identity)
