"""A whole deployment on this machine, of real processes that can be found and killed: for benchmarks and tests."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from cli import valkey
from trunkline.bus import keys
from trunkline.bus.connection import Redis
from trunkline.errors import BusError, TrunklineError
from trunkline.sessions import Record, Records
from workers.host import new_process_id

READY_S = 30.0
ROOT = Path(__file__).parent.parent
TRUNKLINE = [sys.executable, "-m", "cli.main"]


class NotReady(TrunklineError):
    """The deployment did not come up; the message ends with its log."""


class Stack:
    """Valkey, gateways and workers, each a process of its own.

    With `supervised`, gateways and workers are `trunkline up`'s children, and their deaths are announced; else they are
    started here, and only leases tell. Processes are looked up by what they say of themselves on the bus.
    """

    def __init__(
        self,
        *,
        gateways: int = 1,
        workers: int = 2,
        supervised: bool = True,
        tenants: dict[str, str] | None = None,
        vendors: Mapping[str, str] | None = None,
        **settings: object,
    ) -> None:
        """`tenants` maps file names to YAML; `vendors` are variables as vendors' SDKs name them; `settings` are
        TRUNKLINE_ ones, by their lower-case names."""
        self._counts = (gateways, workers)
        self._supervised = supervised
        self._folder = tempfile.TemporaryDirectory(prefix="trunkline-stack-")
        self.directory = Path(self._folder.name)
        self._settings = {f"TRUNKLINE_{name.upper()}": str(value) for name, value in settings.items()}
        self._settings |= vendors or {}
        self._tenants = tenants
        self._processes: list[subprocess.Popen[bytes]] = []
        self._valkey: subprocess.Popen[bytes] | None = None
        self.port = _free_port()
        self.redis = Redis(valkey.url(self.directory))
        self.records = Records(self.redis)
        self.log_path = self.directory / "log"

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    async def __aenter__(self) -> Self:
        self.start_redis()
        try:
            await self._until_redis_answers()
            await self._start()
            await self.until(lambda counts: counts == self._counts)
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.redis.close()
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.send_signal(signal.SIGINT if self._supervised else signal.SIGKILL)
        for process in self._processes:
            await asyncio.to_thread(_reap, process)
        if self._valkey is not None:
            self._valkey.kill()
            await asyncio.to_thread(self._valkey.wait)
        self._folder.cleanup()

    # --- processes

    def start_redis(self) -> None:
        """Start Valkey, empty, on its socket."""
        with self.log_path.open("ab") as log:
            self._valkey = subprocess.Popen(valkey.command(self.directory), stdout=log, stderr=log)

    def kill_redis(self) -> None:
        """Kill Valkey: everything in it is gone."""
        assert self._valkey is not None
        self._valkey.kill()
        self._valkey.wait()

    @property
    def redis_pid(self) -> int:
        assert self._valkey is not None
        return self._valkey.pid

    async def _start(self) -> None:
        gateways, workers = self._counts
        if self._supervised:
            self._spawn("up", "--gateways", str(gateways), "--workers", str(workers))
            return
        self._spawn("up", "--gateways", str(gateways), "--workers", "0")
        await self.until(lambda counts: counts[0] == gateways)  # by then the tenants are loaded
        for _ in range(workers):
            self.start_worker()

    def start_worker(self) -> int:
        """Start a worker of our own, without a supervisor. Returns its PID."""
        return self._spawn("worker", "--process-id", new_process_id())

    def start_gateway(self) -> tuple[int, int]:
        """Start a gateway of our own, on a port of its own, without a supervisor. Returns its PID and that port."""
        port = _free_port()
        return self._spawn("gateway", "--process-id", f"gateway-{secrets.token_hex(6)}", port=port), port

    def _spawn(self, *arguments: str, port: int = 0) -> int:
        tenants = self.directory / "tenants"
        if self._tenants is not None and not tenants.exists():
            tenants.mkdir()
            for name, text in self._tenants.items():
                (tenants / name).write_text(text, encoding="utf-8")
        environment = {
            "TRUNKLINE_REDIS_URL": valkey.url(self.directory),
            "TRUNKLINE_PORT": str(port or self.port),
            "TRUNKLINE_TENANTS_DIR": str(tenants if self._tenants is not None else ROOT / "deploy/tenants"),
            "TRUNKLINE_SECRET": "a secret of the tests only",
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TRUNKLINE_")}
        with self.log_path.open("ab") as log:
            process = subprocess.Popen(
                [*TRUNKLINE, *arguments], cwd=ROOT, env=kept | environment | self._settings, stdout=log, stderr=log
            )
        self._processes.append(process)
        return process.pid

    # --- what is going on

    async def forget(self, lane: str) -> None:
        """What a supervisor does about a process that died."""
        await self.redis.ask("HDEL", keys.PROCESSES, lane.removeprefix("lane:"))

    async def until(self, condition: Callable[[tuple[int, int]], bool]) -> None:
        """Wait until `condition((gateways, workers))` holds. Raises NotReady."""
        deadline_s = time.monotonic() + READY_S
        while time.monotonic() < deadline_s:
            if condition((len(await self.ids("gateway")), len(await self.ids("worker")))):
                return
            await asyncio.sleep(0.05)
        raise NotReady(f"not ready after {READY_S:g} s:\n{self.log_text()[-4000:]}")

    async def ids(self, kind: str) -> list[str]:
        """The process ids of a kind that are on the bus."""
        try:
            raw: Sequence[bytes] = await self.redis.ask("HGETALL", keys.PROCESSES)
        except BusError:
            return []
        pairs = zip(raw[::2], raw[1::2], strict=True)
        return [process_id.decode() for process_id, its_kind in pairs if its_kind.decode() == kind]

    async def record(self, session: str) -> Record:
        """A session's record. Raises KeyError when there is none."""
        record = await self.records.read(session)
        if record is None:
            raise KeyError(session)
        return record

    async def worker_pid(self, session: str) -> int:
        """The PID of the worker that has the session."""
        return pid_of((await self.record(session)).worker.removeprefix("lane:"))

    async def gateway_pid(self, session: str) -> int:
        """The PID of the gateway that has the session's caller."""
        return pid_of((await self.record(session)).gateway.removeprefix("lane:"))

    def log_text(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    async def _until_redis_answers(self) -> None:
        deadline_s = time.monotonic() + READY_S
        while True:
            try:
                await self.redis.ask("PING")
                return
            except BusError as error:
                if time.monotonic() > deadline_s:
                    raise NotReady(f"Valkey does not answer: {error}") from error
                await asyncio.sleep(0.01)


def pid_of(process_id: str) -> int:
    """The PID of the process with this id on its command line. Raises ProcessLookupError."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if process_id.encode() in command and b"--process-id" in command:
                return int(entry.name)
    raise ProcessLookupError(process_id)


def _free_port() -> int:
    """A port that nobody listens on, from below those that systems give to connections: none takes it before we do."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


def _reap(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
