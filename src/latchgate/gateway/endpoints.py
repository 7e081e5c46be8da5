"""The API's endpoints: one table of paths, and what each does.

Paths are taken with and without ``/v1``, where the console does not use them; a POST is never
redirected.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote

import msgspec

from latchgate.clock import SECOND_US
from latchgate.domain.errors import MethodNotAllowed, NotFound
from latchgate.fibers import in_task
from latchgate.gateway import counting, replies
from latchgate.gateway.dialects.messages_errors import speak_messages
from latchgate.gateway.dialects.table import MODEL_ENDPOINTS

if TYPE_CHECKING:
    from latchgate.domain.key_terms import Act
    from latchgate.gateway.admit import Admission
    from latchgate.gateway.calls import Calls
    from latchgate.gateway.directory import Directory, KeyEntry
    from latchgate.gateway.head import Head
    from latchgate.gateway.kept import KeptResponses
    from latchgate.gateway.offers import ModelEntry
    from latchgate.gateway.request import GatewayRequest

_ANSWER_TO_OPTIONS = (
    b"access-control-allow-methods: GET, POST, DELETE, OPTIONS\r\n"
    b"access-control-max-age: 7200\r\nvary: access-control-request-headers\r\n"
)

QUERY_BYTES_MAX = 4096

Handler = Callable[["GatewayRequest", "KeyEntry"], Awaitable[None]]


#: What a key's holder may read of his account: path, account, key, the key's label, query; as JSON.
Report = Callable[[str, str, str, str, dict[str, list[str]]], Coroutine[Any, Any, dict[str, Any]]]

REPORTS = (
    "/key",
    "/generation",
    "/organization/usage/completions",
    "/organization/usage/embeddings",
    "/organization/costs",
)
#: Paths that are ours without ``/v1`` too: those that the console does not use.
_BARE_PATHS = frozenset(
    {"/v1", "/models", counting.PATH, *(endpoint.path for endpoint in MODEL_ENDPOINTS)}
)


def owns(path: str) -> bool:
    """Whether a path is the gateway's; all others are the console's."""
    return path.startswith(("/v1/", "/models/", "/responses/")) or path in _BARE_PATHS


class Endpoints:
    """Answers the gateway's requests."""

    def __init__(
        self,
        directory: Directory,
        admission: Admission,
        calls: Calls,
        counts: counting.Counting,
        kept: KeptResponses,
        report: Report,
    ) -> None:
        self._directory = directory
        self._admission = admission
        self._kept = kept
        self._report_of = report
        self._table: dict[str, dict[str, Handler]] = {
            **{
                endpoint.path: {"POST": partial(calls.run, endpoint)}
                for endpoint in MODEL_ENDPOINTS
            },
            counting.PATH: {"POST": counts.run},
            "/models": {"GET": self._list_models},
            **{path: {"GET": self._report} for path in REPORTS},
        }

    def handle(self, request: GatewayRequest) -> Awaitable[None]:
        """Find the endpoint, check the key, and answer. Raises LatchgateError, at once or later."""
        head = request.head
        handler = head.handler
        if handler is None:
            if head.method == "OPTIONS":
                return self._answer_options(request)
            head.speaks_messages = _speaks_messages(head)
        if head.speaks_messages:
            speak_messages(request)
        if handler is None:
            handler = head.handler = self._find_handler(head)
            head.act = _act_of(head.path)
        entry = head.key
        if entry is None or entry.has_ended:
            entry = self._admission.find_key(request)
            if entry is None:
                return self._handle_slowly(request, handler)
        if head.terms is not entry.terms or entry.terms.expires_us is not None:
            self._admission.check_terms(entry, head)
        return handler(request, entry)

    async def _handle_slowly(self, request: GatewayRequest, handler: Handler) -> None:
        """Answer a request whose key is in the database, if it is anywhere."""
        await handler(request, await in_task(self._admission.get_key(request)))

    def _find_handler(self, head: Head) -> Handler:
        path = head.path.removeprefix("/v1")
        methods = self._table.get(path)
        if methods is None and path.startswith("/models/"):
            methods = {"GET": self._get_model}
        elif methods is None and path.startswith("/responses/"):
            methods = {"GET": self._get_response, "DELETE": self._delete_response}
        if methods is None:
            raise NotFound(
                f"Unknown request URL: {head.method} {head.path[:200]}. Check the path for "
                "typos; the API's base URL ends in /v1.",
                code="unknown_url",
            )
        handler = methods.get(head.method)
        if handler is None:
            allowed = ", ".join((*methods, "OPTIONS"))
            raise MethodNotAllowed(
                f"{head.method} is not something that {head.path[:200]} does; use {allowed}.",
                headers={"allow": allowed},
            )
        return handler

    async def _answer_options(self, request: GatewayRequest) -> None:
        wanted = request.headers.get(b"access-control-request-headers", b"")[:2000]
        allowed = wanted.decode("latin-1") or "authorization, content-type"
        request.send(
            204, b"", _ANSWER_TO_OPTIONS, replies.header("access-control-allow-headers", allowed)
        )

    # ── models and the key ──────────────────────────────────────────────────────────────────────
    async def _list_models(self, request: GatewayRequest, entry: KeyEntry) -> None:
        models = self._admission.permitted(entry)
        if b"anthropic-version" in request.headers:
            listed = [_as_anthropic(model) for model in models]
            ends = (listed[0]["id"], listed[-1]["id"]) if listed else (None, None)
            answer = {"data": listed, "has_more": False, "first_id": ends[0], "last_id": ends[1]}
        else:
            answer = {"object": "list", "data": [_as_openai(model) for model in models]}
        request.send_json(200, msgspec.json.encode(answer))

    async def _get_model(self, request: GatewayRequest, entry: KeyEntry) -> None:
        name = unquote(request.head.path.partition("/models/")[2])
        model = self._admission.get_model(name, entry)
        shape = _as_anthropic if b"anthropic-version" in request.headers else _as_openai
        request.send_json(200, msgspec.json.encode(shape(model)))

    async def _report(self, request: GatewayRequest, entry: KeyEntry) -> None:
        path, query_text = request.head.path.removeprefix("/v1"), request.head.query
        query = parse_qs(query_text[:QUERY_BYTES_MAX].decode("latin-1"), max_num_fields=100)
        answer = await in_task(
            self._report_of(path, entry.account_id, entry.id, entry.label, query)
        )
        request.send_json(200, msgspec.json.encode(answer))

    # ── kept responses ──────────────────────────────────────────────────────────────────────────
    async def _get_response(self, request: GatewayRequest, entry: KeyEntry) -> None:
        kept = self._kept.of(entry.account_id).get(_last_part(request.head.path))
        request.send_json(200, kept.answer)

    async def _delete_response(self, request: GatewayRequest, entry: KeyEntry) -> None:
        response_id = _last_part(request.head.path)
        self._kept.of(entry.account_id).forget(response_id)
        deleted = {"id": response_id, "object": "response", "deleted": True}
        request.send_json(200, msgspec.json.encode(deleted))


def _last_part(path: str) -> str:
    """What a path names behind its collection."""
    return unquote(path.partition("/responses/")[2])


def _act_of(path: str) -> Act:
    """What an endpoint is for: what a key's scope covers, or does not."""
    path = path.removeprefix("/v1")
    if path == "/models" or path.startswith("/models/"):
        return "list"
    return "report" if path in REPORTS else "call"


def _speaks_messages(head: Head) -> bool:
    """Whether a request comes from a client of Anthropic's API."""
    if head.path.startswith(("/v1/messages", "/messages")):
        return True
    return "/models" in head.path and b"anthropic-version" in head.headers


def _as_openai(model: ModelEntry) -> dict[str, object]:
    return {
        "id": model.name,
        "object": "model",
        "created": model.created_us // SECOND_US,
        "owned_by": model.target.name,
        "kind": model.kind,
        "context_window": model.context_tokens,
        "max_output_tokens": model.output_tokens_max,
    }


def _as_anthropic(model: ModelEntry) -> dict[str, object]:
    created = datetime.fromtimestamp(model.created_us // SECOND_US, UTC)
    return {
        "type": "model",
        "id": model.name,
        "display_name": model.name,
        "created_at": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
