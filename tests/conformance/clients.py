"""The clients, and what each of them can be asked to do."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.server import ROOT

BUILT = ROOT / "build" / "conformance"
PYTHON = str(BUILT / "python" / "bin" / "python")
NODE = str(BUILT / "python" / "bin" / "node")


@dataclass(frozen=True)
class Client:
    """One row of the table: a client in one of its modes."""

    name: str
    #: What its version is a version of; empty for requests that are replayed.
    package: str
    mode: str
    endpoint: str
    command: tuple[str, ...]
    #: What it does, by its driver's words.
    does: frozenset[str]
    #: Whether it can't but wait, as long as it is told, before it says that it calls too fast.
    always_waits: bool = False
    #: How often it makes a call that it was told not to try again. Some have retries of their own.
    tries_of_a_hopeless_call: int = 1
    #: Whether its errors have the code of ours.
    shows_code: bool = True

    @property
    def id(self) -> str:
        """How tests and accounts tell it from the others."""
        return re.sub(r"[^a-z0-9]+", "-", f"{self.name} {self.mode}".lower())

    @property
    def tries_again(self) -> bool:
        """Whether it tries a failed call again by itself: packages do, replays don't."""
        return bool(self.package)

    @property
    def python(self) -> Path | None:
        """The environment that its package is installed in, if that is Python's."""
        return Path(self.command[0]) if self.command[0] != NODE else None


def _python(module: str, *words: str, python: str = PYTHON) -> tuple[str, ...]:
    return (python, "-m", f"drivers.{module}", *words)


def _node(script: str, *words: str) -> tuple[str, ...]:
    return (NODE, str(BUILT / "node" / script), *words)


def _does(words: str) -> frozenset[str]:
    return frozenset(words.split())


CHAT = "chat completions"
RESPONSES = "responses"
MESSAGES = "messages"
TEXT = "completions"
_TALKS = "chat stream hang_up"
_ALL = f"{_TALKS} tool tool_stream image schema"

CLIENTS = (
    Client(
        "openai (Python)",
        "openai",
        "chat",
        CHAT,
        _python("openai_chat", python=sys.executable),
        _does(f"models {_ALL} reasoning embed complete complete_stream"),
    ),
    Client(
        "openai (Python)",
        "openai",
        "responses",
        RESPONSES,
        _python("openai_responses", python=sys.executable),
        _does(f"models {_ALL} reasoning"),
    ),
    Client(
        "openai (Python), the major version before",
        "openai",
        "chat",
        CHAT,
        _python("openai_chat"),
        _does(f"models {_ALL} reasoning embed complete complete_stream"),
    ),
    Client(
        "openai (Node)",
        "openai",
        "chat",
        CHAT,
        _node("openai.mjs", "chat"),
        _does(f"models {_ALL} embed"),
    ),
    Client(
        "openai (Node)",
        "openai",
        "responses",
        RESPONSES,
        _node("openai.mjs", "responses"),
        _does(f"models {_ALL}"),
    ),
    Client(
        "anthropic (Python)",
        "anthropic",
        "messages",
        MESSAGES,
        _python("anthropic_messages"),
        _does(f"models {_TALKS} tool tool_stream image reasoning count"),
        shows_code=False,
    ),
    Client(
        "LangChain",
        "langchain-openai",
        "ChatOpenAI",
        CHAT,
        _python("langchain_chat"),
        _does(f"{_ALL} stream_silent embed"),
    ),
    Client(
        "LangChain",
        "langchain-openai",
        "ChatOpenAI, responses",
        RESPONSES,
        _python("langchain_chat", "responses"),
        _does(_ALL),
    ),
    Client(
        "LlamaIndex",
        "llama-index-llms-openai-like",
        "OpenAILike",
        CHAT,
        _python("llama_index_like"),
        _does(f"{_TALKS} tool image schema embed"),
        tries_of_a_hopeless_call=3,
    ),
    Client(
        "LlamaIndex",
        "llama-index-llms-openai-like",
        "OpenAILike, text",
        TEXT,
        _python("llama_index_like", "completions"),
        _does(_TALKS),
        tries_of_a_hopeless_call=3,
    ),
    Client(
        "Vercel AI SDK",
        "@ai-sdk/openai",
        "chat",
        CHAT,
        _node("ai_sdk.mjs", "chat"),
        _does(f"{_ALL} embed"),
        tries_of_a_hopeless_call=3,
    ),
    Client(
        "Vercel AI SDK",
        "@ai-sdk/openai",
        "default",
        RESPONSES,
        _node("ai_sdk.mjs", "responses"),
        _does(_ALL),
        tries_of_a_hopeless_call=3,
    ),
    Client(
        "llm",
        "llm",
        "prompt",
        CHAT,
        _python("llm_command"),
        _does(f"{_TALKS} tool image schema"),
        always_waits=True,
    ),
    Client(
        "LiteLLM",
        "litellm",
        "SDK",
        CHAT,
        _python("litellm_sdk"),
        _does(f"models {_ALL} reasoning embed"),
    ),
    Client(
        "aider",
        "litellm",
        "its calls, by LiteLLM",
        CHAT,
        _python("litellm_sdk", "aider"),
        _does(_TALKS),
    ),
    Client(
        "Open WebUI",
        "",
        "its requests, replayed",
        CHAT,
        _python("documented", "open-webui", python=sys.executable),
        _does(f"models {_TALKS} embed"),
    ),
    Client(
        "Codex",
        "",
        "its requests, replayed",
        RESPONSES,
        _python("documented", "codex", python=sys.executable),
        _does("models stream hang_up tool"),
    ),
    Client(
        "Claude Code",
        "",
        "its requests, replayed",
        MESSAGES,
        _python("documented", "claude-code", python=sys.executable),
        _does("models stream hang_up tool count"),
        shows_code=False,
    ),
)


def that(*words: str) -> pytest.MarkDecorator:
    """Parametrize a test by the clients that do one of these, and which of them each does."""
    rows = [
        pytest.param(client, word, id=f"{client.id}-{word}")
        for client in CLIENTS
        for word in words
        if word in client.does
    ]
    return pytest.mark.parametrize(("client", "word"), rows)


def that_talk(*, and_try_again: bool = False) -> pytest.MarkDecorator:
    """Parametrize a test by clients, each with the plainest thing that it does."""
    rows = [
        pytest.param(client, "chat" if "chat" in client.does else "stream", id=client.id)
        for client in CLIENTS
        if client.tries_again or not and_try_again
    ]
    return pytest.mark.parametrize(("client", "word"), rows)
