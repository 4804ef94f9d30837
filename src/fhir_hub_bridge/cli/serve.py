"""`serve`: the FHIR API and the console, with a worker process beside them that is kept running."""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import os
import socket
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fhir_hub_bridge.cli.opening import say_json, settings_of
from fhir_hub_bridge.cli.options import AsJson, Database, StopWithParent
from fhir_hub_bridge.errors import BadSetting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fhir_hub_bridge.processes import KeptChild
    from fhir_hub_bridge.settings import Settings
    from fhir_hub_bridge.wiring import Bridge

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_STOP_WITHIN = 40.0  # seconds: a send that has begun may take thirty


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command(epilog="Example: fhir-hub-bridge serve --open --port 8480")(serve)


def serve(
    *,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port; 0 is any free one.")
    ] = 8480,
    open_mode: Annotated[
        bool, typer.Option("--open", help="No login; on this machine's own address only.")
    ] = False,
    no_workers: Annotated[
        bool, typer.Option("--no-workers", help="Doors only; workers run elsewhere.")
    ] = False,
    stop_with_parent: StopWithParent = False,
    database: Database = "",
    as_json: AsJson = False,
) -> None:
    """Serve the FHIR API and the console, until stopped by SIGTERM or Ctrl-C."""
    started = time.monotonic()
    gc.disable()  # nothing that is imported is garbage; looking for it is a tenth of the start
    if not open_mode:
        raise BadSetting(
            "There is no access control yet, so serve starts only with --open: "
            "no login, and on this machine's own address (127.0.0.1) only."
        )
    if not _is_loopback(host):
        raise BadSetting("--open asks nobody who they are: --host must be 127.0.0.1 or ::1.")
    settings = settings_of(database)
    listener = _listening(host, port)
    base = _address(listener)
    if "base_url" not in settings.model_fields_set:
        settings = settings.model_copy(update={"base_url": f"{base}/fhir"})

    from fhir_hub_bridge.logs import set_up_logs

    set_up_logs(process="serve")

    def ready(workers: list[int]) -> None:
        if as_json:
            said = {"fhir": f"{base}/fhir", "console": f"{base}/console", "pid": os.getpid()}
            seconds = round(time.monotonic() - started, 3)
            say_json({"ready": True, **said, "workers": workers, "seconds": seconds})
        else:
            typer.echo(f"Ready. Console: {base}/console  FHIR: {base}/fhir")

    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(
            _serve(
                settings,
                listener,
                workers=not no_workers,
                stop_with_parent=stop_with_parent,
                ready=ready,
            )
        )


async def _serve(
    settings: Settings,
    listener: socket.socket,
    *,
    workers: bool,
    stop_with_parent: bool,
    ready: Callable[[list[int]], None],
) -> None:
    from fhir_hub_bridge.processes import follow_parent, set_on_signals
    from fhir_hub_bridge.wiring import open_bridge

    stop = asyncio.Event()
    set_on_signals(stop)
    following = (
        asyncio.create_task(follow_parent(hint=asyncio.Event(), gone=stop))
        if stop_with_parent
        else None
    )
    async with open_bridge(settings) as bridge, _worker(settings, wanted=workers) as worker:
        await _mention_missing_operator(bridge)
        await _answer_until(stop, bridge, listener, worker=worker, ready=ready)
    if following is not None:
        following.cancel()


async def _mention_missing_operator(bridge: Bridge) -> None:
    """A caller who names nobody is the operator; say so when that is nobody either."""
    import structlog

    from fhir_hub_bridge.store.partners import all_partners

    operator = bridge.settings.operator
    if operator and operator not in {p.id for p in await bridge.store.read(all_partners)}:
        structlog.get_logger().warning("The operator is not registered: partner add FILE.toml.")


async def _answer_until(
    stop: asyncio.Event,
    bridge: Bridge,
    listener: socket.socket,
    *,
    worker: KeptChild | None,
    ready: Callable[[list[int]], None],
) -> None:
    import structlog
    import uvicorn

    from fhir_hub_bridge.doors import build_doors

    opened = asyncio.Event()

    class Server(uvicorn.Server):
        """Says when it listens, and leaves the signals to us: what is open must be closed first."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            opened.set()

        def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
            return nullcontext()

    doors = build_doors(bridge, open_mode=True)
    server = Server(
        uvicorn.Config(
            _hinting(doors, worker.hint) if worker else doors,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=10,
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    await _first_of(serving, opened)
    gc.freeze()
    gc.enable()
    if opened.is_set() and not stop.is_set():
        ready([worker.pid] if worker and worker.pid else [])
        structlog.get_logger().info("The doors are open.", port=listener.getsockname()[1])
    await _first_of(serving, stop)
    server.should_exit = True
    await serving


async def _first_of(task: asyncio.Task[None], event: asyncio.Event) -> None:
    """Wait until the task has ended or the event is set."""
    waiting = asyncio.create_task(event.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


@asynccontextmanager
async def _worker(settings: Settings, *, wanted: bool) -> AsyncIterator[KeptChild | None]:
    """A worker process beside us, started again whenever it dies."""
    if not wanted:
        yield None
        return
    import structlog

    from fhir_hub_bridge.processes import STOP_WITH_PARENT, KeptChild, this_program

    log = structlog.get_logger()

    def ended(exit_code: int, pause: float) -> None:
        log.error("The worker ended; another is started.", exit_code=exit_code, pause_seconds=pause)

    child = KeptChild(
        this_program("work", STOP_WITH_PARENT),
        # Not on the command line, where every user of the machine could read a password.
        env={
            "FHIR_HUB_BRIDGE_DATABASE": settings.database_url,
            "FHIR_HUB_BRIDGE_BASE_URL": settings.base_url,  # what it writes points here, too
        },
        on_end=ended,
    )
    await child.start()
    try:
        yield child
    finally:
        await child.stop(within=_STOP_WITHIN)


def _hinting(app: App, hint: Callable[[], None]) -> App:
    """The application, with a hint to the worker after each write that was taken."""

    async def hinting(scope: Scope, receive: Receive, send: Send) -> None:
        is_write = scope["type"] == "http" and scope["method"] in ("POST", "PUT")

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and 200 <= message["status"] < 300:
                hint()
            await send(message)

        await app(scope, receive, sending if is_write else send)

    return hinting


def _listening(host: str, port: int) -> socket.socket:
    """A listening socket. Raises BadSetting when the address is not to be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise BadSetting(
            f"{host}:{port} cannot be listened on ({error.strerror}); choose another with --port."
        ) from None
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
