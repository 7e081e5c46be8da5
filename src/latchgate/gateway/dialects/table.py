"""The endpoints that call a model: what each takes, and how its answers are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from latchgate.domain.endpoints import CHAT, EMBEDDINGS
from latchgate.gateway.dialects import chat_answers
from latchgate.gateway.dialects.base import Dialect
from latchgate.gateway.dialects.chat import peek_chat
from latchgate.gateway.dialects.completions import peek_completions
from latchgate.gateway.dialects.embeddings import EMBEDDINGS_DIALECT, peek_embeddings
from latchgate.gateway.dialects.messages import peek_messages
from latchgate.gateway.dialects.messages_adapter import ADAPTED
from latchgate.gateway.dialects.messages_answers import MESSAGES, version_lines
from latchgate.gateway.dialects.responses import peek_responses
from latchgate.gateway.dialects.responses_adapter import RESPONSES_ADAPTER
from latchgate.gateway.dialects.responses_answers import RESPONSES
from latchgate.gateway.kept import AccountResponses
from latchgate.gateway.offers import ModelEntry
from latchgate.gateway.prompt import FindModel, Prompt

Peek = Callable[[bytes, FindModel], tuple[ModelEntry, Prompt]]
#: The same for calls that may go on from a response that was kept for their account.
PeekKept = Callable[[bytes, FindModel, AccountResponses], tuple[ModelEntry, Prompt]]


@dataclass(frozen=True, slots=True)
class ModelEndpoint:
    """One row: a path, the kind of model it calls, and what is done with a call's body."""

    path: str
    #: What an upstream that answers it itself is said to speak (``domain/endpoints.py``).
    name: str
    kind: str
    peek: Peek
    native: Dialect
    #: How an upstream that speaks only chat completions is asked instead.
    adapter: Dialect | None = None
    #: Used instead of ``peek`` where answers are kept.
    peek_kept: PeekKept | None = None
    #: The header lines of the client's that go to an upstream which answers it itself.
    head_lines: Callable[[Mapping[bytes, bytes]], bytes] | None = None


MESSAGES_ENDPOINT = ModelEndpoint(
    "/messages",
    "messages",
    CHAT,
    peek_messages,
    MESSAGES,
    ADAPTED,
    head_lines=version_lines,
)
CHAT_ENDPOINT = ModelEndpoint("/chat/completions", "chat", CHAT, peek_chat, chat_answers.CHAT)
MODEL_ENDPOINTS = (
    CHAT_ENDPOINT,
    ModelEndpoint("/completions", "completions", CHAT, peek_completions, chat_answers.COMPLETIONS),
    ModelEndpoint(
        "/responses",
        "responses",
        CHAT,
        peek_responses,
        RESPONSES,
        RESPONSES_ADAPTER,
        peek_kept=peek_responses,
    ),
    MESSAGES_ENDPOINT,
    ModelEndpoint("/embeddings", "embeddings", EMBEDDINGS, peek_embeddings, EMBEDDINGS_DIALECT),
)
