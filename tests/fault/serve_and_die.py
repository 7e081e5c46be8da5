"""Runs ``latchgate serve`` in this process, and kills it at one labelled point of the money engine.

    DIES_AT=hold-made:7 python -m tests.fault.serve_and_die serve --data …

ends with SIGKILL when a hold is made for the seventh time. The engine's own functions run; they are
only wrapped, so that passing a point is counted. Idle leases go back, journals go on in a new
segment and charges are posted much more often than usual, so that a short life has all of it.

Tests call ``live`` in a fresh fork of a process that has this module, which saves them its imports.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from latchgate import app
from latchgate.cli.main import main
from latchgate.gateway import drain, engine, purse, request, segment
from latchgate.gateway.drain import Drain
from latchgate.gateway.engine import Engine
from latchgate.gateway.holds import Hold
from latchgate.gateway.journal import Journal
from latchgate.gateway.purse import Purse
from latchgate.gateway.request import GatewayRequest
from latchgate.services import recovery
from latchgate.storage import charges, leases
from latchgate.storage.store import Store

IDLE_RETURN_S = 0.04
DRAIN_PERIOD_S = 0.03
SEGMENT_BYTES = 6_000

Condition = Callable[..., bool]


class Doom:
    """Counts passages of its point, and ends the process at the one that was asked for."""

    def __init__(self, label: str, passage: int) -> None:
        self.label = label
        self._left = passage
        self._lock = threading.Lock()

    def pass_by(self) -> None:
        """Count; the last passage never returns."""
        with self._lock:
            self._left -= 1
            if self._left:
                return
            os.write(2, f"dies at {self.label}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)


class _Recovering:
    """Whether a recovery runs just now: its writes are told from the drain's by that."""

    def __init__(self) -> None:
        self.is_on = False

    def watch(self) -> None:
        """Note where the recovery begins and ends."""
        original = app.recover

        def recover(*args: Any, **kwargs: Any) -> Any:
            self.is_on = True
            try:
                return original(*args, **kwargs)
            finally:
                self.is_on = False

        app.recover = recover


_recovering = _Recovering()


def _always(*_: Any, **__: Any) -> bool:
    return True


def _while_recovering(*_: Any, **__: Any) -> bool:
    return _recovering.is_on


def _while_serving(*_: Any, **__: Any) -> bool:
    return not _recovering.is_on


def before(owner: Any, name: str, when: Condition = _always) -> Callable[[Doom], None]:
    """A point in front of a function; ``when`` looks at its arguments."""

    def arm(doom: Doom) -> None:
        original = getattr(owner, name)

        @functools.wraps(original)
        def passing(*args: Any, **kwargs: Any) -> Any:
            if when(*args, **kwargs):
                doom.pass_by()
            return original(*args, **kwargs)

        setattr(owner, name, passing)

    return arm


def after(owner: Any, name: str, when: Condition = _always) -> Callable[[Doom], None]:
    """A point behind a function that has returned; ``when`` looks at its result and arguments."""

    def arm(doom: Doom) -> None:
        original = getattr(owner, name)

        @functools.wraps(original)
        def passing(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            if when(result, *args, **kwargs):
                doom.pass_by()
            return result

        @functools.wraps(original)
        async def passing_later(*args: Any, **kwargs: Any) -> Any:
            result = await original(*args, **kwargs)
            if when(result, *args, **kwargs):
                doom.pass_by()
            return result

        is_coroutine = asyncio.iscoroutinefunction(original)
        setattr(owner, name, passing_later if is_coroutine else passing)

    return arm


def _written(function_name: str) -> Callable[[Doom], None]:
    """A point behind the commit of one function's transaction, before its caller hears of it."""

    def is_meant(_result: Any, _store: Store, fn: Any, *_: Any, **__: Any) -> bool:
        return getattr(fn, "__name__", "") == function_name

    return after(Store, "write", is_meant)


def _half_written(doom: Doom) -> None:
    """Half of what the journal writes is in the file."""
    original = segment._write_all

    def write_half(file: int, data: bytes) -> None:
        middle = len(data) // 2
        original(file, data[:middle])
        if data:
            doom.pass_by()
        original(file, data[middle:])

    segment._write_all = write_half


def _last_bytes_sent(doom: Doom) -> None:
    """An answer is on its way: the loop has had a moment to write it to the socket."""
    originals = (GatewayRequest.end_stream, GatewayRequest.send)

    def later(asked: GatewayRequest) -> None:
        asked._protocol.loop.call_later(0.002, doom.pass_by)

    def end_stream(self: GatewayRequest, data: bytes) -> None:
        originals[0](self, data)
        later(self)

    def send(self: GatewayRequest, status: int, body: bytes, *lines: bytes) -> None:
        originals[1](self, status, body, *lines)
        if status == 200:
            later(self)

    request.GatewayRequest.end_stream = end_stream
    request.GatewayRequest.send = send


def _before_the_last_bytes(doom: Doom) -> None:
    """A charge is on the disk, and its client has not heard."""
    before(GatewayRequest, "end_stream")(doom)
    before(GatewayRequest, "send", lambda _self, status, *_: status == 200)(doom)


def _is_hold(result: object, *_: Any, **__: Any) -> bool:
    return isinstance(result, Hold)


def _in_writers_thread(*_: Any) -> bool:
    return threading.current_thread().name == "journal"


def _gives_back(_conn: Any, _epoch: str, _window: Any, amount_nanos: int) -> bool:
    return amount_nanos < 0


#: Every point by its label.
POINTS: dict[str, Callable[[Doom], None]] = {
    # A call on its way.
    "hold-asked": before(Purse, "hold_now"),
    "hold-made": after(Purse, "hold_now", _is_hold),
    "hold-waits": before(Purse, "_freed"),
    "hold-extended": after(Purse, "extend"),
    "open-noted": after(Journal, "open_call"),
    "event-relayed": after(GatewayRequest, "write"),
    "close-coming": before(Journal, "close_call"),
    "close-noted": after(Journal, "close_call"),
    "records-half-written": _half_written,
    "records-written": before(os, "fdatasync", _in_writers_thread),
    "records-synced": after(os, "fdatasync", _in_writers_thread),
    "last-bytes-coming": _before_the_last_bytes,
    "last-bytes-sent": _last_bytes_sent,
    "segment-empty": before(segment, "segment_head"),
    "segment-begun": after(Journal, "_begin_segment"),
    # The drain.
    "drain-coming": before(Drain, "_post"),
    "drain-offset-moved": after(charges, "advance_offset", _while_serving),
    "drain-charges-posted": after(charges, "_post_charges", _while_serving),
    "drain-events-written": after(charges, "insert_events", _while_serving),
    "drain-window-spent": after(charges, "_spend", _while_serving),
    "drain-uncommitted": after(drain, "post_calls"),
    "drain-committed": before(Purse, "on_posted"),
    # Leases.
    "lease-halved": before(leases, "insert_once"),
    "lease-uncommitted": after(purse, "take_lease"),
    "lease-committed": _written("take_lease"),
    "return-halved": before(leases, "move_lease", _gives_back),
    "return-uncommitted": after(purse, "return_lease"),
    "return-committed": _written("return_lease"),
    # A start on what the last life has left.
    "recovery-begun": before(app, "recover"),
    "recovery-offset-moved": after(charges, "advance_offset", _while_recovering),
    "recovery-posted": after(recovery, "post_calls"),
    "recovery-interrupted": after(recovery, "post_interrupted"),
    "recovery-leases-moved": after(leases, "_move_leased", _while_recovering),
    "recovery-uncommitted": after(recovery, "end_epoch"),
    "recovery-committed": _written("recover"),
    "epoch-opened": _written("open_epoch"),
    # A stop that was asked for.
    "stop-journal-closed": after(Journal, "close"),
    "stop-drained": after(Drain, "close"),
    "stop-purse-closed": after(Purse, "close"),
    "stop-epoch-uncommitted": after(engine, "end_epoch"),
    "stop-epoch-ended": after(Engine, "close"),
}


def arm(order: str) -> None:
    """Wrap what ``label:passage`` names, and quicken what is slow."""
    label, _, passage = order.partition(":")
    engine.IDLE_RETURN_S = IDLE_RETURN_S
    drain.PERIOD_S = DRAIN_PERIOD_S
    segment.SEGMENT_BYTES_MAX = SEGMENT_BYTES
    _recovering.watch()
    POINTS[label](Doom(label, int(passage)))


def live(argv: list[str], order: str, log: Path) -> None:
    """Be ``latchgate`` with these words from here on, printing to ``log``; no order, no death."""
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    for name in [name for name in os.environ if name.startswith("LATCHGATE")]:
        del os.environ[name]
    if order:
        arm(order)
    sys.exit(main(argv))


if __name__ == "__main__":
    arm(os.environ["DIES_AT"])
    sys.exit(main())
