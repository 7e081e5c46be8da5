"""One admitted call: it holds money, runs, and is settled exactly once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import structlog

from latchgate.clock import SECOND_US
from latchgate.domain.errors import InvalidKey, LatchgateError, LedgerUnavailable
from latchgate.domain.usage import NOTHING, Usage
from latchgate.gateway.admit import SLICE_TOKENS
from latchgate.gateway.repeats import GRACE_S
from latchgate.gateway.request import ClientGone
from latchgate.storage.journal_file import CloseRecord, OpenRecord

if TYPE_CHECKING:
    from latchgate.clock import Clock
    from latchgate.fibers import Wait
    from latchgate.gateway.admit import Allowance
    from latchgate.gateway.directory import KeyEntry
    from latchgate.gateway.drain import Drain
    from latchgate.gateway.journal import Journal
    from latchgate.gateway.offers import ModelEntry
    from latchgate.gateway.prompt import Prompt
    from latchgate.gateway.purse import Purse
    from latchgate.gateway.repeats import Repeat
    from latchgate.gateway.request import GatewayRequest
    from latchgate.observe.histogram import Histogram
    from latchgate.upstream.connection import Connection

log = structlog.get_logger()

Outcome = Literal["answered", "ran_dry", "hung_up", "cut", "failed"]

#: How our own count works where the upstream's is missing or absurd: a published rule. Every piece
#: of text counts as one token, and eight bytes as at least one; a prompt as a token for four bytes.
BYTES_PER_OUTPUT_TOKEN_MAX = 8
#: How a stream's output is estimated as it passes, on the safe side of what models do.
BYTES_PER_OUTPUT_TOKEN_USUAL = 4
#: How far ahead of what has passed a stream holds more, in tokens.
AHEAD_TOKENS = 256


class RanDry(Exception):
    """A stream has used up what there is to hold: it ends here."""


@dataclass(frozen=True, slots=True)
class Books:
    """Where a call's money is noted."""

    clock: Clock
    purse: Purse
    journal: Journal
    drain: Drain
    sent: Histogram


class Call:
    """A call that was let in. Whoever ends it first decides how it ended."""

    def __init__(
        self,
        books: Books,
        request: GatewayRequest,
        entry: KeyEntry,
        model: ModelEntry,
        prompt: Prompt,
        allowance: Allowance,
        app: str,
    ) -> None:
        self._books = books
        self._request = request
        self._entry = entry
        self.model = model
        self.prompt = prompt
        self.allowance = allowance
        #: What it is charged at, from its hold to its end.
        self.price = allowance.price
        self.outcome: Outcome = "answered"
        self.usage: Usage | None = None
        #: The JSON of the usage, as it stands in a whole answer.
        self.usage_json = b""
        self.text_pieces = 0
        self.text_bytes = 0
        self.status = 200
        self.first_byte_us: int | None = None
        self.charge_nanos = 0
        #: The call may come again, and be joined.
        self.repeat: Repeat | None = None
        self._connection: Connection | None = None
        #: Its turn at an upstream that is bounded, while it waits for it.
        self._turn: Wait[None] | None = None
        self._is_sent = False
        #: What passes has used up the hold: nothing more is read until there is more.
        self.needs_more = False
        self._end: Exception | None = None
        self._is_settled = False
        self._opened = OpenRecord(
            request_id=request.request_id,
            account_id=entry.account_id,
            api_key_id=entry.id,
            price_id=allowance.price.id,
            model=model.name,
            app=app,
            hold_nanos=allowance.hold.amount_nanos,
            is_stream=prompt.is_stream,
            started_us=allowance.admitted_us,
            ip=request.head.ip,
        )

    # ── running ─────────────────────────────────────────────────────────────────────────────────
    def open(self) -> None:
        """Note the hold, and be reachable for hang-ups and revocation. Raises LedgerUnavailable."""
        try:
            self._books.journal.open_call(self._opened)
        except LedgerUnavailable:
            if not self.price.is_free:
                self._is_settled = True
                self.allowance.hold.release()
                raise
        self._entry.running.add(self)
        self._request.on_gone = self._on_gone

    def on_queued(self, turn: Wait[None]) -> None:
        """It waits for its turn, and leaves the line when it ends."""
        if self._end is not None:
            raise self._end
        self._turn = turn

    def on_connected(self, connection: Connection) -> None:
        """The upstream's connection is known: from here on the call can be ended in mid-air."""
        if self._end is not None:
            raise self._end
        self._connection = connection
        if not self._is_sent:
            self._is_sent = True
            passed_us = self._books.clock.now_us() - self._request.started_us
            self._books.sent.add(max(0, passed_us) / SECOND_US)  # a clock may be set back

    def note_first_byte(self) -> None:
        """The answer begins."""
        if self.first_byte_us is None:
            self.first_byte_us = self._books.clock.now_us()

    def note_text(self, text_bytes: int) -> None:
        """A whole answer carries so much text: our own count, where its usage is not sane."""
        self.text_bytes = text_bytes
        self.text_pieces = min(1, text_bytes)

    def note_output(self, pieces: int, text_bytes: int) -> None:
        """Pieces of a stream's text have come: hold more ahead of need.

        Where more can't be held without waiting, ``needs_more`` says so.
        """
        self.text_pieces += pieces
        self.text_bytes += text_bytes
        passed = max(self.text_pieces, self.text_bytes // BYTES_PER_OUTPUT_TOKEN_USUAL)
        held = self.allowance.held_tokens
        if passed + AHEAD_TOKENS <= held:
            return
        more, amount_nanos = self._next_slice()
        if more == 0:
            return  # all that it may produce is held already
        if self._books.purse.extend(self.allowance.hold, amount_nanos):
            self.allowance.held_tokens += more
        else:
            self.needs_more = passed >= held

    async def hold_more(self) -> None:
        """Wait for the next slice; a stream for which there is none ends here."""
        self.needs_more = False
        more, amount_nanos = self._next_slice()
        if await self._books.purse.extend_slowly(self.allowance.hold, amount_nanos):
            self.allowance.held_tokens += more
        else:
            self._stop("ran_dry", RanDry())

    def _next_slice(self) -> tuple[int, int]:
        """The output tokens that are held next, and what they cost at most."""
        allowance = self.allowance
        missing = allowance.output_tokens * self.prompt.choices - allowance.held_tokens
        more = max(0, min(missing, SLICE_TOKENS))
        return more, self.price.bound_nanos(0, more)

    def _on_gone(self) -> None:
        if self.repeat is None or self.prompt.is_stream:
            self._stop("hung_up", ClientGone())
        else:
            # Its client may be about to send it again, and would then join this one.
            self._request.call_later(GRACE_S, self._on_gone_for_good)

    def _on_gone_for_good(self) -> None:
        if self.repeat is None or not self.repeat.waiting:
            self._stop("hung_up", ClientGone())
        elif not self._is_settled:
            self._request.call_later(GRACE_S, self._on_gone_for_good)

    def cut(self) -> None:
        """The key has ended: so does the call, and what it has used is charged."""
        self._stop("cut", InvalidKey("This API key has ended while the call was running."))

    def _stop(self, outcome: Outcome, reason: Exception) -> None:
        if self._end is None and not self._is_settled:
            self._end = reason
            self.outcome = outcome
            if self._connection is not None:
                self._connection.fail(reason)
            elif self._turn is not None:
                self._turn.fail(reason)

    # ── the end ─────────────────────────────────────────────────────────────────────────────────
    async def fail(self, error: BaseException) -> None:
        """The call ended before its end: settle by the published rule, and let the error go on.

        What had arrived is paid; a call that broke before anything arrived is free, unless it was
        its own client that hung up. One that had not been sent is free whoever ended it.
        """
        if self.outcome == "answered":
            self.outcome = "failed"
        self.status = error.status if isinstance(error, LatchgateError) else self.status
        is_free = not self._is_sent or (self.outcome == "failed" and not self.text_pieces)
        self.usage = NOTHING if is_free else self.usage
        await self.settle()

    async def settle(self) -> None:
        """Charge what was used, at most the hold, and wait until that is durable.

        Raises LedgerUnavailable when it can't be made durable; the charge is void then.
        """
        if self._is_settled:
            return
        self._is_settled = True
        self._entry.running.discard(self)
        self._connection = None  # it carries other calls from now on
        usage, counted_by = self._counted()
        self.usage = usage
        if self._entry.rates is not None:
            tokens = usage.input_tokens + usage.output_tokens - self.prompt.input_tokens_usual
            self._entry.rates.settle(tokens, self._request.now_s)
        hold = self.allowance.hold
        actual_nanos = self.price.charge_nanos(usage)
        if actual_nanos > hold.amount_nanos:
            self._hold_up_to(actual_nanos)
        self.charge_nanos = min(actual_nanos, hold.amount_nanos)
        record = self._close_record(usage, counted_by, actual_nanos - self.charge_nanos)
        hold.settle(self.charge_nanos)
        try:
            offset = self._books.journal.close_call(record)
            self._books.drain.add(offset, record)
            await self._books.journal.safe(offset)
        except LedgerUnavailable:
            hold.void(self.charge_nanos)
            self.charge_nanos = 0
            if not self.price.is_free:
                raise

    def _hold_up_to(self, actual_nanos: int) -> None:
        """A stream was ahead of its estimate: hold what it may have used, if that is free."""
        tokens = self.allowance.output_tokens * self.prompt.choices
        bound_nanos = self.price.bound_nanos(self.allowance.input_tokens_max, tokens)
        missing_nanos = min(actual_nanos, bound_nanos) - self.allowance.hold.amount_nanos
        if missing_nanos > 0:
            self._books.purse.extend(self.allowance.hold, missing_nanos)

    def _counted(self) -> tuple[Usage, str]:
        if self.usage is not None and self.usage.is_sane:
            return self.usage, "nobody" if self.usage is NOTHING else "upstream"
        if self.usage is not None:
            log.warning("upstream.absurd_usage", upstream=self.model.target.name)
        output_tokens = max(self.text_pieces, -(-self.text_bytes // BYTES_PER_OUTPUT_TOKEN_MAX))
        input_tokens = min(self.prompt.input_tokens_usual, self.allowance.input_tokens_max)
        return Usage(input_tokens, 0, output_tokens), "gateway"

    def _close_record(self, usage: Usage, counted_by: str, overrun_nanos: int) -> CloseRecord:
        opened = self._opened
        return CloseRecord(
            request_id=opened.request_id,
            account_id=opened.account_id,
            api_key_id=opened.api_key_id,
            price_id=opened.price_id,
            model=opened.model,
            app=opened.app,
            hold_nanos=self.allowance.hold.amount_nanos,
            is_stream=opened.is_stream,
            started_us=opened.started_us,
            ip=opened.ip,
            windows=self.allowance.hold.windows,
            input_tokens=usage.input_tokens,
            cached_tokens=usage.cached_tokens,
            output_tokens=usage.output_tokens,
            charge_nanos=self.charge_nanos,
            overrun_nanos=overrun_nanos,
            outcome=self.outcome,
            counted_by=counted_by,
            http_status=self.status,
            first_byte_us=self.first_byte_us,
            ended_us=self._books.clock.now_us(),
        )
