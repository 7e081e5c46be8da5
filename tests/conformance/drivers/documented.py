"""Replays over plain HTTP what clients that are no packages are documented to send.

The argument says whose: ``codex``, ``claude-code`` or ``open-webui``. Codex's fields are those of
its published request types, Claude Code's those that its users' reports show; Open WebUI's are what
is generally known of it. They are stand-ins: none of the three programs runs here.
"""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
from drivers.loop import CITY_SCHEMA, QUESTION, WEATHER, Job, Told, serve

TIMEOUT_S = 60.0
Events = Iterator[dict[str, Any]]


class Answered(Exception):
    """An answer that is not 200."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__(response.text)
        error = response.json()["error"]
        self.told = {
            "status": response.status_code,
            "code": error.get("code"),
            "message": error["message"],
            "retry_after": response.headers.get("retry-after"),
        }


class BrokeOff(Exception):
    """A stream that says that it has failed."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.told = {"code": error.get("code"), "message": error["message"]}


def refusal(error: Exception) -> Told | None:
    """What a refusal says."""
    return error.told if isinstance(error, Answered | BrokeOff) else None


def _get(job: Job, path: str, headers: dict[str, str]) -> Any:
    answer = httpx.get(f"{job['base_url']}{path}", headers=headers, timeout=TIMEOUT_S)
    if answer.status_code != 200:
        raise Answered(answer)
    return answer.json()


def _post(job: Job, path: str, headers: dict[str, str], body: dict[str, Any]) -> Any:
    url = f"{job['base_url']}{path}"
    answer = httpx.post(url, headers=headers, json=body, timeout=TIMEOUT_S)
    if answer.status_code != 200:
        raise Answered(answer)
    return answer.json()


def _stream(job: Job, path: str, headers: dict[str, str], body: dict[str, Any]) -> Events:
    """The events' data, up to where the caller leaves."""
    url = f"{job['base_url']}{path}"
    with httpx.stream("POST", url, headers=headers, json=body, timeout=TIMEOUT_S) as answer:
        if answer.status_code != 200:
            answer.read()
            raise Answered(answer)
        for line in answer.iter_lines():
            if line.startswith("data: ") and line != "data: [DONE]":
                event = json.loads(line.removeprefix("data: "))
                if event.get("error"):
                    raise BrokeOff(event["error"])
                yield event


# ── Codex: responses, always streamed, never stored ─────────────────────────────────────────────
def _codex_headers(job: Job) -> dict[str, str]:
    conversation = str(uuid.uuid4())
    return {
        "authorization": f"Bearer {job['key']}",
        "accept": "text/event-stream",
        "originator": "codex_cli_rs",
        "user-agent": "codex_cli_rs/0.118.0 (Debian 12.0.0; x86_64) xterm-256color",
        "version": "0.118.0",
        "conversation_id": conversation,
        "session_id": conversation,
    }


def _said(role: str, text: str) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [{"type": "input_text", "text": text}]}


def _codex_body(job: Job, items: list[dict[str, Any]], *, has_tools: bool) -> dict[str, Any]:
    tool = {
        "type": "function",
        "name": "get_weather",
        "description": "Runs a command and returns its output.",
        "strict": False,
        "parameters": CITY_SCHEMA,
    }
    return {
        "model": job["model"],
        "instructions": "You are a coding agent running in the Codex CLI, a terminal-based tool.",
        "input": items,
        "tools": [tool] if has_tools else [],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "reasoning": None,
        "store": False,
        "stream": True,
        "include": [],
        "prompt_cache_key": str(uuid.uuid4()),
    }


CODEX_START = [
    _said("developer", "<permissions instructions>Never ask for approvals.</permissions>"),
    _said("user", "<environment_context>\n  <cwd>/src</cwd>\n</environment_context>"),
    _said("user", QUESTION),
]


def _codex_turn(job: Job, items: list[dict[str, Any]], *, has_tools: bool = False) -> Any:
    """The turn's items and text and last event; Codex fails without ``response.completed``."""
    text, done, event = "", [], {}
    body = _codex_body(job, items, has_tools=has_tools)
    for event in _stream(job, "/v1/responses", _codex_headers(job), body):
        if event["type"] == "response.failed":
            raise BrokeOff(event["response"]["error"])
        if event["type"] == "response.output_text.delta":
            text += event["delta"]
        elif event["type"] == "response.output_item.done":
            done.append(event["item"])
    assert event["type"] == "response.completed", event
    return done, text, event["response"]


def codex_models(job: Job) -> Told:
    """The list of models."""
    listed = _get(job, "/v1/models?client_version=0.118.0", _codex_headers(job))
    return {"models": [model["id"] for model in listed["data"]]}


def codex_stream(job: Job) -> Told:
    """A turn."""
    done, text, response = _codex_turn(job, CODEX_START)
    assert any(item["type"] == "message" for item in done), "Codex reads whole items"
    usage = response["usage"]
    return {"text": text, "usage": [usage["input_tokens"], usage["output_tokens"]]}


def codex_tool(job: Job) -> Told:
    """A turn that calls a tool, and the turn with its result."""
    done, _, _ = _codex_turn(job, CODEX_START, has_tools=True)
    call = next(item for item in done if item["type"] == "function_call")
    again = {name: call[name] for name in ("type", "name", "arguments", "call_id")}
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": WEATHER}
    _, text, _ = _codex_turn(job, [*CODEX_START, again, result], has_tools=True)
    return {"tool": call["arguments"], "text": text}


def codex_hang_up(job: Job) -> Told:
    """Escape, in mid-turn."""
    body = _codex_body(job, CODEX_START, has_tools=False)
    for event in _stream(job, "/v1/responses", _codex_headers(job), body):
        if event["type"] == "response.output_text.delta":
            return {"text": event["delta"]}
    raise AssertionError("the stream ended")


# ── Claude Code: messages, with betas, cache marks and a key as a Bearer ────────────────────────
def _claude_headers(job: Job) -> dict[str, str]:
    return {
        "authorization": f"Bearer {job['key']}",
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14,"
        "context-management-2025-06-27,prompt-caching-scope-2026-01-05,effort-2025-11-24",
        "anthropic-dangerous-direct-browser-access": "true",
        "user-agent": "claude-cli/2.1.185 (external, cli)",
        "x-app": "cli",
        "x-stainless-lang": "js",
        "x-stainless-retry-count": "0",
        "x-stainless-timeout": "600",
    }


def _claude_body(job: Job, turns: list[dict[str, Any]], *, has_tools: bool) -> dict[str, Any]:
    cached = {"cache_control": {"type": "ephemeral"}}
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **CITY_SCHEMA}
    tool = {"name": "get_weather", "description": "Runs a command.", "input_schema": schema}
    return {
        "model": job["model"],
        "messages": turns,
        "system": [
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.185.0d9;"},
            {"type": "text", "text": "You are Claude Code, a command line tool.", **cached},
        ],
        "tools": [tool] if has_tools else [],
        "metadata": {"user_id": f"user_{uuid.uuid4().hex}_account__session_{uuid.uuid4()}"},
        "max_tokens": job.get("output_tokens", 32_000),
        "temperature": 1,
        "stream": True,
    }


CLAUDE_START = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "<system-reminder>\nThe day is Monday.\n</system-reminder>"},
            {"type": "text", "text": QUESTION, "cache_control": {"type": "ephemeral"}},
        ],
    }
]


def _claude_turn(job: Job, turns: list[dict[str, Any]], *, has_tools: bool = False) -> Any:
    """The blocks of a turn, and its usage as the client adds it up."""
    blocks: list[dict[str, Any]] = []
    usage: dict[str, Any] = {}
    kind = ""
    body = _claude_body(job, turns, has_tools=has_tools)
    for event in _stream(job, "/v1/messages?beta=true", _claude_headers(job), body):
        kind = event["type"]
        if kind == "message_start":
            usage = event["message"]["usage"]
        elif kind == "content_block_start":
            blocks.append({**event["content_block"], "json": ""})
        elif kind == "content_block_delta":
            delta = event["delta"]
            if delta["type"] == "text_delta":
                blocks[event["index"]]["text"] += delta["text"]
            elif delta["type"] == "input_json_delta":
                blocks[event["index"]]["json"] += delta["partial_json"]
        elif kind == "message_delta":
            given = {name: count for name, count in event["usage"].items() if count is not None}
            usage = {**usage, **given}
    assert kind == "message_stop", kind
    read = sum(
        usage.get(f"{name}input_tokens") or 0 for name in ("", "cache_read_", "cache_creation_")
    )
    return blocks, [read, usage["output_tokens"]]


def claude_models(job: Job) -> Told:
    """The list, in Anthropic's shape."""
    listed = _get(job, "/v1/models?limit=1000", _claude_headers(job))
    assert all(model["type"] == "model" for model in listed["data"])
    return {"models": [model["id"] for model in listed["data"]]}


def claude_stream(job: Job) -> Told:
    """A turn."""
    blocks, usage = _claude_turn(job, CLAUDE_START)
    return {"text": "".join(block.get("text", "") for block in blocks), "usage": usage}


def claude_tool(job: Job) -> Told:
    """A turn that calls a tool, and the turn with its result."""
    blocks, _ = _claude_turn(job, CLAUDE_START, has_tools=True)
    call = next(block for block in blocks if block["type"] == "tool_use")
    arguments = call["json"]
    again = {"type": "tool_use", "id": call["id"], "name": call["name"]}
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": WEATHER}
    turns = [
        *CLAUDE_START,
        {"role": "assistant", "content": [{**again, "input": json.loads(arguments)}]},
        {"role": "user", "content": [{**result, "cache_control": {"type": "ephemeral"}}]},
    ]
    blocks, _ = _claude_turn(job, turns, has_tools=True)
    return {"tool": arguments, "text": "".join(block.get("text", "") for block in blocks)}


def claude_hang_up(job: Job) -> Told:
    """Escape, in mid-turn."""
    body = _claude_body(job, CLAUDE_START, has_tools=False)
    for event in _stream(job, "/v1/messages?beta=true", _claude_headers(job), body):
        if event["type"] == "content_block_delta":
            return {"text": event["delta"]["text"]}
    raise AssertionError("the stream ended")


def claude_count(job: Job) -> Told:
    """How many tokens a conversation has; free of charge."""
    body = {"model": job["model"], "messages": CLAUDE_START, "tools": []}
    counted = _post(job, "/v1/messages/count_tokens?beta=true", _claude_headers(job), body)
    return {"usage": [counted["input_tokens"], 0]}


# ── Open WebUI: chat completions; titles and tags are calls of their own ────────────────────────
def _webui_headers(job: Job) -> dict[str, str]:
    return {
        "authorization": f"Bearer {job['key']}",
        "user-agent": "Python/3.11 aiohttp/3.14.5",
        "accept": "*/*",
    }


def _webui_body(job: Job, **more: Any) -> dict[str, Any]:
    turns = [{"role": "user", "content": QUESTION}]
    return {"model": job["model"], "messages": turns, **more}


def webui_models(job: Job) -> Told:
    """The list."""
    listed = _get(job, "/v1/models", _webui_headers(job))
    return {"models": [model["id"] for model in listed["data"]]}


def webui_chat(job: Job) -> Told:
    """A title for a conversation, in the background."""
    body = _webui_body(job, stream=False, max_completion_tokens=8)
    answer = _post(job, "/v1/chat/completions", _webui_headers(job), body)
    usage = answer["usage"]
    text = answer["choices"][0]["message"]["content"]
    return {"text": text, "usage": [usage["prompt_tokens"], usage["completion_tokens"]]}


def webui_stream(job: Job) -> Told:
    """An answer in the conversation."""
    options = {"stream_options": {"include_usage": True}, "max_tokens": 8}
    text, usage = "", None
    body = _webui_body(job, stream=True, **options)
    for event in _stream(job, "/v1/chat/completions", _webui_headers(job), body):
        usage = event.get("usage") or usage
        text += "".join(choice["delta"].get("content") or "" for choice in event["choices"])
    assert usage is not None
    return {"text": text, "usage": [usage["prompt_tokens"], usage["completion_tokens"]]}


def webui_hang_up(job: Job) -> Told:
    """The stop button."""
    body = _webui_body(job, stream=True)
    for event in _stream(job, "/v1/chat/completions", _webui_headers(job), body):
        for choice in event["choices"]:
            if choice["delta"].get("content"):
                return {"text": choice["delta"]["content"]}
    raise AssertionError("the stream ended")


def webui_embed(job: Job) -> Told:
    """Passages of a document."""
    body = {"model": job["model"], "input": ["tide", "moon"]}
    answer = _post(job, "/v1/embeddings", _webui_headers(job), body)
    sizes = [len(item["embedding"]) for item in answer["data"]]
    return {"vectors": sizes, "usage": [answer["usage"]["prompt_tokens"], 0]}


TABLES = {
    "codex": {
        "models": codex_models,
        "stream": codex_stream,
        "tool": codex_tool,
        "hang_up": codex_hang_up,
    },
    "claude-code": {
        "models": claude_models,
        "stream": claude_stream,
        "tool": claude_tool,
        "hang_up": claude_hang_up,
        "count": claude_count,
    },
    "open-webui": {
        "models": webui_models,
        "chat": webui_chat,
        "stream": webui_stream,
        "hang_up": webui_hang_up,
        "embed": webui_embed,
    },
}

if __name__ == "__main__":
    serve(TABLES[sys.argv[1]], refusal)
