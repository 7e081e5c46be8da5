"""A response in the making: what was asked, who it is, and how it is said in whole.

OpenAI's response object repeats what it was asked for; clients read some of that back. Servers fill
in more or less of it, so the draft has all of it, and an upstream's word goes over the draft's.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from latchgate.clock import SECOND_US

if TYPE_CHECKING:
    from latchgate.domain.errors import LatchgateError
    from latchgate.gateway.call import Call
    from latchgate.gateway.dialects.response_stream import ResponseStream
    from latchgate.gateway.kept import AccountResponses
    from latchgate.gateway.prompt import FieldsBody, Prompt

MAX_OUTPUT = "max_output_tokens"
#: What an upstream's word does not go over: who the response is, and what stays with us.
_OURS = frozenset(
    {
        "id", "object", "created_at", "model", "status", "output", "usage", "error",
        "incomplete_details", "previous_response_id", "store", "background", "metadata", "user",
        "safety_identifier", "prompt_cache_key", "service_tier", "max_output_tokens",
    }
)  # fmt: skip
_encode = msgspec.json.Encoder().encode


class Draft:
    """One call's response, before and while it is answered."""

    def __init__(
        self,
        values: Mapping[str, Any],
        items: list[dict[str, Any]],
        memory: AccountResponses | None,
    ) -> None:
        self.id = f"resp_{secrets.token_hex(24)}"
        self._items = items
        self._memory = memory if memory is not None and memory.is_on else None
        self._is_kept = self._memory is not None and values.get("store") is not False
        self._echo = {
            name: msgspec.Raw(_encode(value))
            for name, value in _echo(values, is_kept=self._is_kept).items()
        }
        #: An upstream's whole answer, once it is read.
        self.given: dict[str, Any] = {}
        #: What has been said of it as a stream, once that has begun.
        self.stream: ResponseStream | None = None

    def whole(
        self,
        call: Call,
        status: str,
        output: Any,
        *,
        usage: Mapping[str, Any] | None = None,
        incomplete: str | None = None,
        error: Mapping[str, Any] | None = None,
        given: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The response object; ``given`` are an upstream's own fields of it."""
        theirs = {name: value for name, value in (given or {}).items() if name not in _OURS}
        return {
            "id": self.id,
            "object": "response",
            "created_at": call.allowance.admitted_us // SECOND_US,
            "status": status,
            "error": error,
            "incomplete_details": None if incomplete is None else {"reason": incomplete},
            "model": call.model.name,
            "output": output,
            **self._echo,
            **theirs,
            "usage": usage,
        }

    def keep(self, call: Call, response: Mapping[str, Any]) -> None:
        """Keep a response that has ended well, so that another can go on from it."""
        if not self._is_kept or self._memory is None:
            return
        items, output = _encode(self._items), _encode(response["output"])
        joint = b"," if len(items) > 2 and len(output) > 2 else b""  # noqa: PLR2004 - []
        conversation = b"".join((items[:-1], joint, output[1:]))
        self._memory.keep(self.id, call.model.name, conversation, _encode(response))

    def error_event(self, error: LatchgateError) -> bytes:
        """How a stream that has begun says that it broke off."""
        return b"" if self.stream is None else self.stream.broken(error)


def _echo(values: Mapping[str, Any], *, is_kept: bool) -> dict[str, Any]:
    """What a response repeats of its request, with OpenAI's defaults for what was left out."""

    def given(name: str, default: Any) -> Any:
        value = values.get(name)
        return default if value is None else value

    tools = [
        {"description": None, "parameters": None, "strict": False, **tool}
        for tool in given("tools", [])
    ]
    return {
        "background": False,
        "instructions": values.get("instructions"),
        "max_output_tokens": values.get("max_output_tokens"),
        "max_tool_calls": values.get("max_tool_calls"),
        "metadata": given("metadata", {}),
        "parallel_tool_calls": given("parallel_tool_calls", True),
        "previous_response_id": values.get("previous_response_id"),
        "prompt_cache_key": values.get("prompt_cache_key"),
        "reasoning": {"effort": None, "summary": None, **given("reasoning", {})},
        "safety_identifier": values.get("safety_identifier"),
        "service_tier": "default",
        "store": is_kept,
        "temperature": given("temperature", 1.0),
        "text": {"format": {"type": "text"}, **given("text", {})},
        "tool_choice": given("tool_choice", "auto"),
        "tools": tools,
        "top_logprobs": given("top_logprobs", 0),
        "top_p": given("top_p", 1.0),
        "truncation": "disabled",
        "user": values.get("user"),
    }


def usage_of(call: Call, details: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
    """The usage that a settled call was charged for; ``details`` are an upstream's finer counts."""
    usage = call.usage
    if usage is None:
        return None
    finer = details or {}
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cache_write_tokens": 0,
            **_details(finer, "input_tokens_details"),
            "cached_tokens": usage.cached_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {
            "reasoning_tokens": 0,
            **_details(finer, "output_tokens_details"),
        },
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "cost_nanos": call.charge_nanos,
    }


def _details(finer: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = finer.get(name)
    return found if isinstance(found, dict) else {}


class ResponsesBody:
    """The outgoing body of a call, and the draft of its response."""

    __slots__ = ("_fields", "draft")

    def __init__(self, body: FieldsBody, draft: Draft) -> None:
        self._fields = body
        self.draft = draft

    def write(self, model: str, output_tokens: int) -> bytes:
        """The body, under the upstream's own name for the model, its output bounded."""
        return self._fields.write(model, output_tokens)


def draft_of(prompt: Prompt) -> Draft:
    """The draft of a call that was peeked as one of responses."""
    body = prompt.outgoing
    if not isinstance(body, ResponsesBody):
        raise TypeError(type(body).__name__)
    return body.draft
