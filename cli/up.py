"""`trunkline up`: everything on one machine.

Starts an embedded Valkey (unless TRUNKLINE_REDIS_URL names a Redis), gateways on one shared listening socket, and
workers; restarts what dies, announces deaths so that survivors take over at once, and stops all of it in order.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import socket
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from cli import valkey
from gateway.server import listen
from trunkline.bus import keys
from trunkline.bus.connection import Redis
from trunkline.bus.dispatch import Dispatch
from trunkline.errors import BusError, SettingsError
from trunkline.sessions import Records
from trunkline.settings import PREFIX, Settings
from trunkline.tenants import Directory, Tenant, read_directory
from workers import crumb

log = logging.getLogger(__name__)

BACKOFF_S = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
STEADY_S = 10.0
"""A child that ran this long is restarted at once when it dies, and so is a worker that a session killed."""
START_S = 20.0
STOP_S = 5.0
PR_SET_PDEATHSIG = 1


@dataclass
class Child:
    """A process we keep running."""

    name: str
    command: Callable[[str], list[str]]
    """The command line for a process id, new at each start."""
    pass_fds: tuple[int, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    on_death: Callable[[str], Awaitable[bool]] | None = None
    """Announces it; says whether somebody else is known to be to blame."""
    on_start: Callable[[], Awaitable[None]] | None = None
    process: asyncio.subprocess.Process | None = None
    process_id: str = ""
    failures: int = 0


class Supervisor:
    """Starts, watches, restarts and stops the children."""

    def __init__(self, settings: Settings, gateways: int, workers: int, console: Console) -> None:
        self._settings = settings
        self._counts = (gateways, workers)
        self._console = console
        self._stop = asyncio.Event()
        self._drain = False
        self._folder = tempfile.TemporaryDirectory(prefix="trunkline-")
        self._directory = Path(self._folder.name)
        self._embedded = not settings.redis_url
        self._url = valkey.url(self._directory) if self._embedded else settings.redis_url
        self._redis = Redis(self._url)
        self._children: list[Child] = []
        self._tenants: list[Tenant] = []

    async def run(self) -> None:
        """Until a signal. Raises SettingsError when something cannot start."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._told_to_stop, False)
        loop.add_signal_handler(signal.SIGTERM, self._told_to_stop, True)
        self._tenants = read_directory(self._settings.tenants_dir)
        if not self._tenants:
            raise SettingsError(f"no tenant files (*.yaml) in {self._settings.tenants_dir}; set TRUNKLINE_TENANTS_DIR")
        listener = listen(self._settings.host, self._settings.port) if self._counts[0] else None
        try:
            async with asyncio.TaskGroup() as group:
                watching = await self._start(group, listener)
                await self._stop.wait()
                await self._stop_all()
                for task in watching:
                    task.cancel()
        finally:
            await self._redis.close()
            if listener is not None:
                listener.close()
            self._folder.cleanup()

    def _told_to_stop(self, drain: bool) -> None:
        self._drain = drain
        self._stop.set()

    # --- starting

    async def _start(self, group: asyncio.TaskGroup, listener: socket.socket | None) -> list[asyncio.Task[None]]:
        watching = []
        if self._embedded:
            redis = Child("redis", lambda _: valkey.command(self._directory), on_start=self._load_tenants)
            watching.append(group.create_task(self._keep_running(redis)))
            self._children.append(redis)
        await self._load_tenants()
        gateways, workers = self._counts
        children = [self._worker(number) for number in range(1, workers + 1)]
        if listener is not None:
            children += [self._gateway(number, listener) for number in range(1, gateways + 1)]
        watching += [group.create_task(self._keep_running(child)) for child in children]
        watching.append(group.create_task(self._say_when_ready(listener)))
        return watching

    def _worker(self, number: int) -> Child:
        trail = self._directory / f"worker-{number}.crumb"
        child = Child(
            f"worker {number}",
            lambda process_id: [*_TRUNKLINE, "worker", "--process-id", process_id],
            environment={"TRUNKLINE_CRUMB": str(trail)},
            on_death=lambda process_id: self._worker_died(process_id, trail),
        )
        self._children.append(child)
        return child

    def _gateway(self, number: int, listener: socket.socket) -> Child:
        fd = listener.fileno()
        child = Child(
            f"gateway {number}",
            lambda process_id: [*_TRUNKLINE, "gateway", "--process-id", process_id, "--listen-fd", str(fd)],
            pass_fds=(fd,),
            on_death=self._forget,
        )
        self._children.append(child)
        return child

    async def _load_tenants(self) -> None:
        deadline_s = time.monotonic() + START_S
        while True:
            try:
                await Directory(self._redis).put(self._tenants)
                return
            except BusError as error:
                if time.monotonic() > deadline_s:
                    raise SettingsError(f"Redis at {self._url} does not answer: {error}") from error
                await asyncio.sleep(0.02)

    async def _say_when_ready(self, listener: socket.socket | None) -> None:
        while not await self._all_here():  # noqa: ASYNC110  (Redis knows, no event of ours)
            await asyncio.sleep(0.05)
        gateways, workers = self._counts
        redis = f"an embedded Valkey at {self._url}" if self._embedded else self._url
        self._console.print(f"[green]ready[/]: {gateways} gateway(s), {workers} worker(s), {redis}")
        if listener is not None:
            host, port = listener.getsockname()[:2]
            self._console.print(f"open [bold]http://{'localhost' if host == '127.0.0.1' else host}:{port}/[/] and talk")

    async def _all_here(self) -> bool:
        """Whether our gateways and workers are on the bus. Others may be too, or have been."""
        try:
            known = {name.decode() for name in await self._redis.ask("HKEYS", keys.PROCESSES)}
        except BusError:
            return False
        return known >= {child.process_id for child in self._children if child.name != "redis"}

    # --- watching

    async def _keep_running(self, child: Child) -> None:
        while not self._stop.is_set():
            child.process_id = f"{child.name.partition(' ')[0]}-{uuid.uuid4().hex[:12]}"
            started_s = time.monotonic()
            child.process = await asyncio.create_subprocess_exec(
                *child.command(child.process_id),
                pass_fds=child.pass_fds,
                env=self._environment() | child.environment,
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
            if child.on_start is not None:
                await child.on_start()
            code = await child.process.wait()
            excused = not self._stop.is_set() and await self._announce(child)
            if self._stop.is_set():
                return
            excused = excused or code == 0  # it was told to stop, by somebody else
            child.failures = 0 if excused or time.monotonic() - started_s > STEADY_S else child.failures + 1
            delay_s = BACKOFF_S[min(child.failures, len(BACKOFF_S) - 1)]
            self._console.print(f"[red]{child.name} ended[/] ({_how(code)}); starting it again in {delay_s:g} s")
            await asyncio.sleep(delay_s)

    async def _announce(self, child: Child) -> bool:
        if child.on_death is None:
            return False
        try:
            return await child.on_death(child.process_id)
        except BusError as error:
            log.warning("the death of %s could not be announced, leases will tell: %s", child.name, error)
            return False

    async def _worker_died(self, process_id: str, trail: Path) -> bool:
        """Put its sessions up again: survivors wait for just that. Blame the one whose code was running."""
        await self._forget(process_id)
        guilty = crumb.take(trail)
        dispatch = Dispatch(self._redis)
        found = [
            entry
            for backend in self._settings.backend_names
            for entry in await dispatch.pending_of(backend, process_id)
        ]
        blamed = guilty in {entry.session for entry in found}
        if blamed:
            times = await Records(self._redis).blame(guilty or "")
            self._console.print(f"[yellow]session {guilty} was running when it ended[/] ({times} of 3)")
        for entry in found:
            await dispatch.redispatch(entry)
        for backend in self._settings.backend_names:
            await dispatch.forget_consumer(backend, process_id)
        return blamed

    async def _forget(self, process_id: str) -> bool:
        await self._redis.ask("DEL", keys.lane(process_id))
        await self._redis.ask("HDEL", keys.PROCESSES, process_id)
        return False

    def _environment(self) -> dict[str, str]:
        return os.environ | {
            PREFIX + "REDIS_URL": self._url,
            PREFIX + "SECRET": self._settings.secret,
            PREFIX + "HOST": self._settings.host,
            PREFIX + "PORT": str(self._settings.port),
        }

    # --- stopping

    async def _stop_all(self) -> None:
        """Gateways first, so that nobody new comes in; then workers; Redis last."""
        self._console.print("stopping: gateways, workers, redis")
        worker_signal = signal.SIGTERM if self._drain and not self._embedded else signal.SIGINT
        patience_s = self._settings.drain_s + STOP_S if worker_signal is signal.SIGTERM else STOP_S
        await self._end("gateway", signal.SIGTERM, STOP_S)
        await self._end("worker", worker_signal, patience_s)
        await self._end("redis", signal.SIGTERM, STOP_S)
        self._console.print("stopped")

    async def _end(self, kind: str, how: signal.Signals, patience_s: float) -> None:
        processes = [
            child.process
            for child in self._children
            if child.name.startswith(kind) and child.process is not None and child.process.returncode is None
        ]
        for process in processes:
            process.send_signal(how)
        try:
            async with asyncio.timeout(patience_s):
                for process in processes:
                    await process.wait()
        except TimeoutError:
            for process in processes:
                if process.returncode is None:
                    process.kill()
                    await process.wait()


_TRUNKLINE = [sys.executable, "-m", "cli.main"]


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _how(code: int) -> str:
    return f"exit {code}" if code >= 0 else signal.Signals(-code).name


async def up(settings: Settings, gateways: int, workers: int) -> None:
    """Run everything until told to stop. Raises SettingsError."""
    await Supervisor(settings, gateways, workers, Console(stderr=True, highlight=False)).run()
