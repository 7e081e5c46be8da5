"""The playground: an account holder's own calls, from the console, without a key.

They run through the gateway as every call does, under a row of the account's that stands beside its
keys and has no secret. What was said is kept by nobody here: it comes with each question and goes
with its answer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from latchgate.domain.endpoints import CHAT
from latchgate.domain.errors import Conflict, InvalidRequest, LatchgateError
from latchgate.domain.ids import new_id
from latchgate.storage import accounts as account_rows
from latchgate.storage import api_keys as key_rows

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from latchgate.clock import Clock
    from latchgate.services.catalog import Catalog, ModelView
    from latchgate.storage.store import Store

APP = "Playground"
#: How many turns a conversation has at most.
TURNS_MAX = 64
TURN_CHARS_MAX = 32_000
SYSTEM_CHARS_MAX = 8_000
MODEL_CHARS_MAX = 200
TOKENS_ASKED_MAX = 1_000_000
USER, ASSISTANT = "user", "assistant"


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side has said."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Question:
    """A conversation whose next turn is asked for, and how. None: as the model has it."""

    model: str
    turns: tuple[Turn, ...]
    system: str = ""
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of the chat call that it is, in the order in which people write them."""
        turns = [{"role": turn.role, "content": turn.content} for turn in self.turns]
        system = [{"role": "system", "content": self.system}] if self.system.strip() else []
        chosen = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": self.max_tokens,
        }
        return {
            "model": self.model,
            "messages": system + turns,
            **{name: value for name, value in chosen.items() if value is not None},
        }


class RunningAnswer(Protocol):
    """The answer to a question, as the events of a chat completion."""

    async def begin(self) -> None:
        """Run the call up to the first piece of its answer. Raises what it is refused with."""

    def pieces(self) -> AsyncIterator[bytes]:
        """The answer, piece by piece. A reader who leaves has hung up."""

    def hang_up(self, reason: LatchgateError | None = None) -> None:
        """End the call; what has come is charged. The reader is told the reason."""


class Ask(Protocol):
    """How the gateway is asked in an account's name."""

    async def __call__(
        self, account_id: str, body: bytes, *, app: str, request_id: str, ip: str
    ) -> RunningAnswer:
        """A chat call that is yet to begin."""


class Playground:
    """Use cases of the playground."""

    def __init__(self, store: Store, clock: Clock, catalog: Catalog, ask: Ask | None) -> None:
        self._store = store
        self._clock = clock
        self._catalog = catalog
        self._ask = ask

    async def list_models(self, account_id: str) -> list[ModelView]:
        """The models that the account may talk to: its own switch decides about premium ones."""
        account = await self._store.read(account_rows.get_account, account_id)
        upstreams = await self._catalog.list_upstreams()
        able = {upstream.name for upstream in upstreams if CHAT in upstream.speaks}
        return [
            model
            for model in await self._catalog.list_models()
            if model.kind == CHAT
            and model.upstream in able
            and (model.tier == "standard" or account.is_premium_on)
        ]

    async def ask(
        self, account_id: str, question: Question, *, request_id: str, ip: str
    ) -> RunningAnswer:
        """An answer that is yet to begin; its call is noted under ``request_id``.

        Raises InvalidRequest unless the user has spoken last, within bounds; Forbidden for a
        suspended account; Conflict where no gateway runs.
        """
        if self._ask is None:
            raise Conflict("No calls are answered here. Start the server: latchgate serve.")
        check_turns(question.turns)
        await self._open(account_id)
        call = {**question.fields, "stream": True, "stream_options": {"include_usage": True}}
        try:
            body = msgspec.json.encode(call)
        except UnicodeEncodeError:
            raise InvalidRequest(
                "The text has half a character in it. Delete what looks like a box.", param="prompt"
            ) from None
        return await self._ask(account_id, body, app=APP, request_id=request_id, ip=ip)

    async def _open(self, account_id: str) -> None:
        """Make the row that the account's calls from here are noted under, if there is none."""
        if await self._store.read(key_rows.find_playground, account_id) is not None:
            return
        now_us = self._clock.now_us()

        def transaction(conn: Connection) -> None:
            key_rows.insert_playground(conn, new_id("key", now_us), account_id, now_us=now_us)

        await self._store.write(transaction)


def check_turns(turns: tuple[Turn, ...]) -> None:
    """Raise InvalidRequest unless it is the user who speaks last, within bounds."""
    if not turns or turns[-1].role != USER or not turns[-1].content.strip():
        raise InvalidRequest("Write something to send.", param="prompt")
    if len(turns) > TURNS_MAX or any(len(turn.content) > TURN_CHARS_MAX for turn in turns):
        raise InvalidRequest(
            f"A conversation here has at most {TURNS_MAX} turns of {TURN_CHARS_MAX} characters. "
            "Begin a new one.",
            code="conversation_too_long",
            param="prompt",
        )
    if any(turn.role not in (USER, ASSISTANT) for turn in turns):
        raise InvalidRequest("A turn is the user's or the assistant's.", param="turns")
