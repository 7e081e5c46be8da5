"""A playground's answer on its way to a browser: it ends when the browser goes, or the session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from sqlalchemy.exc import OperationalError
from starlette.requests import Request

from latchgate.domain.errors import LoginFailed
from latchgate.domain.people import Identity
from latchgate.http.sessions import client_ip, request_id, services_of, session_token
from latchgate.services.playground import Question, RunningAnswer

#: How often a running answer asks whether its session still stands, in seconds.
SESSION_CHECK_S = 1.0


async def begin_answer(
    request: Request, identity: Identity, question: Question
) -> AsyncIterator[bytes]:
    """The events of an answer that has begun. Raises what its call is refused with.

    The call has the request's id, which is how its receipt is found. While it runs, a client that
    goes or a session that ends ends it, and what has come is charged.
    """
    answer = await services_of(request).playground.ask(
        identity.account_id, question, request_id=request_id(request), ip=client_ip(request)
    )
    watch = asyncio.create_task(_watch(request, answer))
    try:
        await answer.begin()
    except BaseException:
        watch.cancel()
        raise
    return _watched(answer, watch)


async def _watched(answer: RunningAnswer, watch: asyncio.Task[None]) -> AsyncIterator[bytes]:
    try:
        async for piece in answer.pieces():
            yield piece
    finally:
        watch.cancel()


async def _watch(request: Request, answer: RunningAnswer) -> None:
    """End the answer when nobody may listen any more; over at the latest when nobody does."""
    gone = asyncio.create_task(_until_gone(request))
    try:
        while True:
            await asyncio.wait({gone}, timeout=SESSION_CHECK_S)
            if gone.done():
                answer.hang_up()
                return
            if not await _is_logged_in(request):
                answer.hang_up(
                    LoginFailed("Your session has ended. Log in again.", code="session_expired")
                )
                return
    finally:
        gone.cancel()


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _is_logged_in(request: Request) -> bool:
    try:
        token = session_token(request) or ""
        return await services_of(request).sessions.find_identity(token) is not None
    except OperationalError:  # the database is not there just now: that says nothing of him
        return True
