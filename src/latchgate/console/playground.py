"""The playground: talk to a model in the account's name, see what it costs, take the code along.

Without JavaScript the page is a form that carries the conversation and answers with all of it. With
it, static/playground.js asks the management API, and shows the answer as it is written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote_plus

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from latchgate.console.forms import read_form
from latchgate.console.playground_answers import Heard, hear
from latchgate.console.playground_code import Sample, samples_of
from latchgate.console.rendering import api_base_url, page
from latchgate.domain.errors import InvalidRequest, LatchgateError
from latchgate.domain.people import Identity
from latchgate.http.playground import begin_answer
from latchgate.http.sessions import LoggedIn, request_id, services_of
from latchgate.services.playground import (
    ASSISTANT,
    SYSTEM_CHARS_MAX,
    TOKENS_ASKED_MAX,
    TURN_CHARS_MAX,
    TURNS_MAX,
    USER,
    Question,
    Turn,
)

router = APIRouter()

#: What the form holds before anybody has touched it.
USUAL = {"system": "", "temperature": "0.7", "top_p": "1", "max_tokens": "512", "prompt": ""}
#: Problems with these are said beside them; all others above the message.
FIELDS = ("model", "system", "temperature", "top_p", "max_tokens", "prompt")
#: Behind what a refusal says: where to do something about it.
REMEDIES = {
    "credit_balance_exhausted": ("Add credit", "/billing"),
    "organization_spend_limit_exceeded": ("Limits", "/limits"),
    "model_not_found": ("Prices", "/prices"),
    "session_expired": ("Log in", "/login?next=/playground"),
    "conversation_too_long": ("New conversation", "/playground"),
    "request_too_large": ("New conversation", "/playground"),
}
#: A conversation is carried in a form, of which the edge takes 64 KiB: what its next turn needs
#: beside it, at most, must fit as well.
CARRIED_BYTES_MAX = 40_000


@router.get("/playground")
async def show(request: Request, identity: LoggedIn) -> Response:
    """An empty conversation; ``?model=`` chooses who to talk to."""
    typed = {**USUAL, "model": request.query_params.get("model", "")}
    return await _page(request, identity, typed, ())


@router.post("/playground")
async def ask(request: Request, identity: LoggedIn) -> Response:
    """The conversation with its next answer, for browsers without JavaScript."""
    typed = await _typed(request)
    turns = _turns(typed)
    try:
        question = _question(typed, (*turns, Turn(USER, typed["prompt"])))
        heard = await hear(await begin_answer(request, identity, question))
    except LatchgateError as error:
        return await _page(request, identity, typed, turns, error=error)
    if heard.text or heard.error is None:
        turns = (*question.turns, Turn(ASSISTANT, heard.text))
        typed = {**typed, "prompt": ""}
    return await _page(request, identity, typed, turns, heard=heard, error=heard.error)


@router.post("/playground/code")
async def show_code(request: Request, identity: LoggedIn) -> Response:
    """The same call as code, for an app: with a placeholder where its key goes."""
    typed = await _typed(request)
    turns = carried = _turns(typed)
    if typed["prompt"].strip() or not turns:
        turns = (*turns, Turn(USER, typed["prompt"].strip() or "Say hello."))
    elif turns[-1].role == ASSISTANT:  # what has an answer already is the call to show
        turns = turns[:-1]
    try:
        question = _question(typed, turns)
    except LatchgateError as error:
        return await _page(request, identity, typed, carried, error=error)
    samples = samples_of(question.fields, api_base_url(request))
    return await _page(request, identity, typed, carried, samples=samples)


async def _page(
    request: Request,
    identity: Identity,
    typed: Mapping[str, str],
    turns: tuple[Turn, ...],
    *,
    heard: Heard | None = None,
    samples: Sequence[Sample] = (),
    error: LatchgateError | None = None,
) -> Response:
    services = services_of(request)
    models = await services.playground.list_models(identity.account_id)
    carried = json.dumps([{"role": turn.role, "content": turn.content} for turn in turns])
    return page(
        request,
        "playground.html",
        identity=identity,
        status=error.status if error else 200,
        models=models,
        chosen=next((model for model in models if model.name == typed["model"]), None),
        typed=typed,
        usual=USUAL,
        turns=turns,
        carried=carried,
        is_full=len(turns) > TURNS_MAX - 1 or len(quote_plus(carried)) > CARRIED_BYTES_MAX,
        heard=heard,
        samples=samples,
        call_id=request_id(request),
        error=error,
        fields=FIELDS,
        remedies=REMEDIES,
        bounds={"prompt": TURN_CHARS_MAX, "system": SYSTEM_CHARS_MAX, "tokens": TOKENS_ASKED_MAX},
    )


async def _typed(request: Request) -> dict[str, str]:
    form = await read_form(request)
    typed = {name: form.get(name, "") for name in (*FIELDS, "conversation")}
    # Browsers post line ends as CR LF (HTML standard, 4.10.21.8); a prompt has plain ones.
    return {name: value.replace("\r\n", "\n") for name, value in typed.items()}


def _turns(typed: Mapping[str, str]) -> tuple[Turn, ...]:
    """The conversation that the form has carried. Raises InvalidRequest for anything else."""
    try:
        carried = json.loads(typed["conversation"] or "[]")
        turns = tuple(Turn(_text(turn["role"]), _text(turn["content"])) for turn in carried)
    except (ValueError, TypeError, KeyError, RecursionError):
        raise InvalidRequest("The form is damaged. Reload the page and try again.") from None
    return turns


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _question(typed: Mapping[str, str], turns: tuple[Turn, ...]) -> Question:
    """What the form asks. Raises InvalidRequest; bounds are the gateway's to check."""
    if not typed["model"]:
        raise InvalidRequest("Choose a model.", param="model")
    if len(typed["system"]) > SYSTEM_CHARS_MAX:
        raise InvalidRequest(
            f"A system prompt here has at most {SYSTEM_CHARS_MAX} characters.", param="system"
        )
    most = _number(typed, "max_tokens")
    if isinstance(most, float):
        raise InvalidRequest("Write a whole number, such as 512.", param="max_tokens")
    return Question(
        model=typed["model"],
        turns=turns,
        system=typed["system"],
        temperature=_number(typed, "temperature"),
        top_p=_number(typed, "top_p"),
        max_tokens=most,
    )


#: What a number in the form may be; the gateway takes no others.
_BOUNDS = {"temperature": (0, 2), "top_p": (0.01, 1), "max_tokens": (1, TOKENS_ASKED_MAX)}


def _number(typed: Mapping[str, str], name: str) -> int | float | None:
    """A field's number; None where it was left empty. Raises InvalidRequest."""
    text = typed[name].strip()
    if not text:
        return None
    least, most = _BOUNDS[name]
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not least <= value <= most:
        raise InvalidRequest(f"Write a number from {least} to {most}.", param=name)
    return int(value) if value.is_integer() else value
