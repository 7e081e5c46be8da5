"""Talk to a model in the account's name, without a key."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import StreamingResponse

from latchgate.http.api.shapes import Asked, session_cookie
from latchgate.http.playground import begin_answer
from latchgate.http.sessions import LoggedIn
from latchgate.services.playground import (
    MODEL_CHARS_MAX,
    SYSTEM_CHARS_MAX,
    TOKENS_ASKED_MAX,
    TURN_CHARS_MAX,
    TURNS_MAX,
    Question,
    Turn,
)

router = APIRouter(prefix="/playground", tags=["playground"], dependencies=[session_cookie])

EVENTS = "text/event-stream"


class TurnAsked(Asked):
    """What one side has said."""

    role: Literal["user", "assistant"]
    content: Annotated[str, Field(max_length=TURN_CHARS_MAX)]


class QuestionAsked(Asked):
    """A conversation, of which the user has spoken last."""

    model: Annotated[str, Field(max_length=MODEL_CHARS_MAX, examples=["smollm2-135m"])]
    turns: Annotated[list[TurnAsked], Field(min_length=1, max_length=TURNS_MAX)]
    system: Annotated[str, Field(max_length=SYSTEM_CHARS_MAX)] = ""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=TOKENS_ASKED_MAX)] | None = None


@router.post(
    "",
    operation_id="askPlayground",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "The events of a chat completion, as they come; the last has the cost.",
            "content": {EVENTS: {"schema": {"type": "string"}}},
        }
    },
)
async def ask(asked: QuestionAsked, request: Request, identity: LoggedIn) -> StreamingResponse:
    """The answer as it is written, charged to the account as a call of the app Playground.

    Its receipt is found under the answer's `x-request-id`.
    """
    question = Question(
        model=asked.model,
        turns=tuple(Turn(turn.role, turn.content) for turn in asked.turns),
        system=asked.system,
        temperature=asked.temperature,
        top_p=asked.top_p,
        max_tokens=asked.max_tokens,
    )
    events = await begin_answer(request, identity, question)
    return StreamingResponse(events, media_type=EVENTS, headers={"x-accel-buffering": "no"})
