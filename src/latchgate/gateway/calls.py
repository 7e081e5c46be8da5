"""A call to a model, from its head to its last byte: peek, admit, relay, settle."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from latchgate.domain.errors import LatchgateError, NotFound, Unsupported
from latchgate.fibers import in_task
from latchgate.gateway.admit import app_label
from latchgate.gateway.call import Books, Call
from latchgate.gateway.relay import relay_events, relay_whole
from latchgate.gateway.repeats import Repeats
from latchgate.gateway.request import ClientGone

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from latchgate.gateway.admit import Admission, Allowance
    from latchgate.gateway.dialects.base import Dialect
    from latchgate.gateway.dialects.table import ModelEndpoint
    from latchgate.gateway.directory import KeyEntry
    from latchgate.gateway.head import Head
    from latchgate.gateway.kept import KeptResponses
    from latchgate.gateway.offers import ModelEntry
    from latchgate.gateway.prompt import Prompt
    from latchgate.gateway.repeats import Answer, Repeat
    from latchgate.gateway.request import GatewayRequest
    from latchgate.upstream.pool import Pool


@dataclass(frozen=True, slots=True)
class Bounds:
    """Sizes that an endpoint keeps to, in bytes."""

    body_bytes_max: int
    answer_bytes_max: int


class Calls:
    """Runs the calls of every endpoint that calls a model."""

    def __init__(
        self, admission: Admission, books: Books, pool: Pool, bounds: Bounds, kept: KeptResponses
    ) -> None:
        self._admission = admission
        self._books = books
        self._pool = pool
        self._bounds = bounds
        self._kept = kept
        self._repeats = Repeats()
        #: How many calls were let in, by their endpoint.
        self.opened: Counter[str] = Counter()

    def run(
        self, endpoint: ModelEndpoint, request: GatewayRequest, entry: KeyEntry
    ) -> Awaitable[None]:
        """Answer one call. Raises LatchgateError, at once or later."""
        check_content_type(request.head)
        self._admission.check_concurrency(entry)
        if request.more_body:
            return self._run_with_body(endpoint, request, entry)
        return self._run_whole(endpoint, request, entry)

    async def _run_with_body(
        self, endpoint: ModelEndpoint, request: GatewayRequest, entry: KeyEntry
    ) -> None:
        """Answer a call whose body is still on its way."""
        await request.read_body(bytes_max=self._bounds.body_bytes_max)
        if entry.has_ended:  # while the body was on its way
            entry = await in_task(self._admission.get_key(request))
        await self._run_whole(endpoint, request, entry)

    def _run_whole(
        self, endpoint: ModelEndpoint, request: GatewayRequest, entry: KeyEntry
    ) -> Awaitable[None]:
        """Answer a call whose body is here."""
        body = request.whole_body(bytes_max=self._bounds.body_bytes_max)
        repeat = self._repeats.find(
            entry.account_id, endpoint.path, request.headers, body, request.now_s
        )
        if repeat is None:
            return self._run(endpoint, request, entry, body, None)
        return self._run_once(endpoint, request, entry, body, repeat)

    async def _run_once(
        self,
        endpoint: ModelEndpoint,
        request: GatewayRequest,
        entry: KeyEntry,
        body: bytes,
        repeat: Repeat,
    ) -> None:
        """Run a call that may come again, or give the answer of the one that this repeats."""
        while repeat.is_running:
            answer = await self._join(request, repeat)
            if answer is not None:
                request.replay(answer)
                return
            # The call that was joined has failed: this one runs, unless another is quicker.
        if repeat.answer is not None:
            request.replay(repeat.answer)
            return
        repeat.is_running = True
        request.start_recording()
        try:
            await self._run(endpoint, request, entry, body, repeat)
        finally:
            self._repeats.finish(repeat, request.recorded())

    async def _join(self, request: GatewayRequest, repeat: Repeat) -> Answer | None:
        """The answer of a call that runs just now."""
        wait = repeat.join()
        request.on_gone = lambda: wait.fail(ClientGone())
        try:
            return await wait
        finally:
            request.on_gone = None
            repeat.leave(wait)

    async def _run(
        self,
        endpoint: ModelEndpoint,
        request: GatewayRequest,
        entry: KeyEntry,
        body: bytes,
        repeat: Repeat | None,
    ) -> None:
        """Peek, admit, relay, settle. Raises LatchgateError."""
        admission = self._admission
        model, prompt = self._peek(endpoint, body, entry)
        request.error_event = prompt.error_event or request.error_event
        dialect = dialect_for(endpoint, model)
        admission.check_tier(prompt, entry)
        request.rate_lines = admission.admit_rate(entry, prompt, request.now_s)
        is_strict = request.headers.get(b"x-latchgate-strict") == b"1"
        ask = admission.ask(model, prompt, is_strict=is_strict)
        allowance = admission.hold_now(entry, ask)
        if allowance is None:
            allowance = await in_task(admission.hold(entry, ask))
        call = self._open(request, entry, model, prompt, allowance)
        self.opened[endpoint.name] += 1
        call.repeat = repeat
        try:
            outgoing = _outgoing(endpoint, request, call, dialect)
            if prompt.is_stream:
                await relay_events(call, request, self._pool, dialect, outgoing)
            else:
                most = self._bounds.answer_bytes_max
                await relay_whole(call, request, self._pool, dialect, outgoing, bytes_max=most)
        except Exception as error:
            await call.fail(error)
            raise

    def _peek(
        self, endpoint: ModelEndpoint, body: bytes, entry: KeyEntry
    ) -> tuple[ModelEntry, Prompt]:
        """Read a body. Raises NotFound, InvalidRequest."""

        def find_model(name: str) -> ModelEntry:
            return self._admission.get_model(name, entry)

        if endpoint.peek_kept is None:
            return endpoint.peek(body, find_model)
        return endpoint.peek_kept(body, find_model, self._kept.of(entry.account_id))

    def _open(
        self,
        request: GatewayRequest,
        entry: KeyEntry,
        model: ModelEntry,
        prompt: Prompt,
        allowance: Allowance,
    ) -> Call:
        """Begin the call. Nothing waits in here: what is checked still holds when it is open."""
        try:
            request.check_connected()
            self._admission.check_still_welcome(entry, request.head)
        except (LatchgateError, ClientGone):
            allowance.hold.release()
            raise
        head = request.head
        if head.app is None:
            head.app = app_label(head.headers)
        call = Call(self._books, request, entry, model, prompt, allowance, head.app)
        call.open()
        return call


def _outgoing(
    endpoint: ModelEndpoint, request: GatewayRequest, call: Call, dialect: Dialect
) -> bytes:
    """The request that goes upstream."""
    model = call.model
    body = dialect.body(call.prompt, model.upstream_model, call.allowance.output_tokens)
    lines = b""
    if endpoint.head_lines is not None and dialect is endpoint.native:
        lines = endpoint.head_lines(request.headers)
    return model.target.request(dialect.path, body, request.request_id, lines)


def dialect_for(endpoint: ModelEndpoint, model: ModelEntry) -> Dialect:
    """How a model's upstream is asked. Raises NotFound for one that can't be asked here."""
    speaks = model.target.speaks
    if model.kind == endpoint.kind:
        if endpoint.name in speaks:
            return endpoint.native
        if endpoint.adapter is not None and "chat" in speaks:
            return endpoint.adapter
    raise NotFound(
        f"The model '{model.name}' can't be called at /v1{endpoint.path}. GET /v1/models says what "
        "each model is for.",
        code="model_not_found",
        param="model",
    )


def check_content_type(head: Head) -> None:
    """Raise Unsupported unless the body is said to be plain JSON."""
    if head.is_json:
        return
    content_type = head.headers.get(b"content-type", b"")
    if content_type != b"application/json":
        content_type = content_type.partition(b";")[0].strip().lower()
        if content_type != b"application/json":
            raise Unsupported(
                "The request's body must be JSON, with Content-Type: application/json."
            )
    encoding = head.headers.get(b"content-encoding")
    if encoding is not None and encoding.strip().lower() not in (b"", b"identity"):
        raise Unsupported(
            "The request's body must not be compressed.", code="unsupported_content_encoding"
        )
    head.is_json = True
