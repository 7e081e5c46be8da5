"""Runs a world for others: one port, the embedded model, and the command line's socket."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
import uvicorn

from latchgate import commands
from latchgate.app import World, open_world
from latchgate.console import STATIC, build_routers, render_error
from latchgate.domain.errors import Conflict
from latchgate.embedded import Embedded
from latchgate.http.admin import admin_api
from latchgate.http.application import build_application
from latchgate.http.control import ControlSocket

if TYPE_CHECKING:
    from latchgate.config import Settings

log = structlog.get_logger()

#: How long running calls may take to end when the server is told to stop, in seconds.
GRACE_S = 30
#: Objects made before the collector looks at the youngest; rounds of it before the older ones.
#: Pages leave many for it: so few at a time are gone within milliseconds, for which calls wait.
GC_THRESHOLDS = (10_000, 5, 1000)
#: How long a thread may keep the interpreter while another waits for it, in seconds.
SWITCH_INTERVAL_S = 0.0001


@dataclass(slots=True)
class Health:
    """Whether calls can be answered just now."""

    is_ready: bool = False

    def __call__(self) -> bool:
        """What ``/healthz`` asks."""
        return self.is_ready


class Server(uvicorn.Server):
    """uvicorn, told to stop rather than killed, so that the world can be closed after it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to ``serve``."""
        yield


async def serve(settings: Settings, *, on_ready: Callable[[str], None] = lambda _url: None) -> None:
    """Serve until SIGTERM or SIGINT; then let running calls end, and post what is left.

    ``on_ready`` is told the address once calls are answered. Raises Conflict ``port_in_use`` or
    ``data_dir_in_use``, and ModelUnavailable.
    """
    listener = _listen(settings.server.host.strip("[]"), settings.server.port)
    port: int = listener.getsockname()[1]
    settings = replace(settings, server=replace(settings.server, port=port))
    try:
        world = await open_world(settings, serving=True)
        try:
            await _serve(world, listener, on_ready)
        finally:
            await world.close()
    finally:
        listener.close()


def _listen(host: str, port: int) -> socket.socket:
    """Take the port before anything else, so that a refused start changes nothing."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise Conflict(
            f"{host} port {port} cannot be listened on: {error.strerror}. Another server may run "
            "there; choose another port with --port.",
            code="port_in_use",
        ) from None


async def _serve(world: World, listener: socket.socket, on_ready: Callable[[str], None]) -> None:
    health = Health()
    server = Server(_config(world, health))
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_log_unhandled)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop, server)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_run_beside(world, server, health, on_ready))
        tasks.create_task(server.serve(sockets=[listener]))


def settle_memory() -> None:
    """Tune the interpreter for a process that serves.

    What is there by now stays: freezing it spares the collector the walk, and with more room
    between its rounds it hardly shows (a tenth of a call's time otherwise). Threads hand over the
    interpreter sooner, since every charge waits for the journal's.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(SWITCH_INTERVAL_S)


def _log_unhandled(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What nobody has caught: the loop's own words, and where it was raised, but not its text."""
    log.error("loop.unhandled", what=context["message"], exc_info=context.get("exception"))


def _stop(server: Server) -> None:
    if server.should_exit:
        server.force_exit = True  # asked twice: do not wait for running calls
    server.should_exit = True


def _config(world: World, health: Health) -> uvicorn.Config:
    if world.engine is None:
        raise ValueError("a world that serves has an engine")
    server = world.settings.server
    application = build_application(
        world.services,
        routers=[*build_routers(), admin_api(partial(commands.run, world))],
        render_error=render_error,
        static=STATIC,
        health=health,
        metrics=world.metrics,
    )
    return uvicorn.Config(
        application,
        http=world.engine.protocol(),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_S,
        ssl_certfile=server.tls_certificate or None,
        ssl_keyfile=server.tls_key or None,
    )


async def _run_beside(
    world: World, server: Server, health: Health, on_ready: Callable[[str], None]
) -> None:
    """The embedded models and the control socket, for as long as the server runs."""
    control = ControlSocket(world.data.control_socket, _handler(world))
    embedded = Embedded(world)
    world.services.operations.embedded = embedded.states
    if world.metrics is not None:
        world.metrics.embedded = embedded.states
    try:
        while not server.started:
            if server.should_exit:
                return
            await asyncio.sleep(0.01)
        await control.start()
        await embedded.start()
        health.is_ready = True
        settle_memory()
        url = world.settings.server.base_url
        log.info("serving", url=url, data=str(world.data.path))
        on_ready(url)
        while not server.should_exit:  # noqa: ASYNC110 - nor for this
            await asyncio.sleep(0.1)
    finally:
        server.should_exit = True
        health.is_ready = False
        await control.close()
        await _wait_for_calls(world)
        await embedded.stop()


def _handler(world: World) -> Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]:
    async def handle(verb: str, args: dict[str, Any]) -> dict[str, Any]:
        return await commands.run(world, verb, args)

    return handle


async def _wait_for_calls(world: World) -> None:
    """Keep the embedded models up until the calls that they answer have ended, within reason."""
    for _ in range(GRACE_S * 10):
        if not world.directory.running_calls:
            return
        await asyncio.sleep(0.1)
