"""Real processes to measure: a private Valkey and our own commands, and what each of them uses. Linux only."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from cli import valkey

STOP_S = 5.0
READY_S = 15.0


@contextlib.contextmanager
def running(command: list[str], environment: Mapping[str, str] | None = None) -> Iterator[int]:
    """Run a command for as long as the context lasts; gives its pid."""
    process = subprocess.Popen(
        command,
        env=os.environ | (environment or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def running_valkey() -> Iterator[tuple[str, int]]:
    """A Valkey as `trunkline up` has it; gives its URL and pid."""
    with tempfile.TemporaryDirectory(prefix="trunkline-bench-") as folder:
        directory = Path(folder)
        with running(valkey.command(directory)) as pid:
            deadline_s = time.monotonic() + STOP_S
            while not _listens(valkey.socket_path(directory)):
                if time.monotonic() > deadline_s:
                    raise TimeoutError(f"Valkey did not start in {STOP_S:g} s")
                time.sleep(0.01)
            yield valkey.url(directory), pid


def _listens(path: Path) -> bool:
    """Whether a server takes connections there. (Its file is there a moment earlier.)"""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def python(*arguments: str) -> list[str]:
    """The command line of a module in this Python."""
    return [sys.executable, "-m", *arguments]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def until_it_listens(port: int) -> None:
    """Wait for a process that was just started. Raises TimeoutError."""
    async with asyncio.timeout(READY_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.05)
                continue
            writer.close()
            return


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[1])


def machine_cpu_s() -> float:
    """CPU seconds of all cores since boot in which something ran, or another guest in our place: proc_stat(5)."""
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text("ascii").split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """CPU seconds that a process has used, by all its threads: the clock of clock_getcpuclockid(3). Raises
    ProcessLookupError when it has ended."""
    try:
        return time.clock_gettime(~pid << 3 | 2)
    except OSError as error:
        raise ProcessLookupError(f"process {pid} has ended") from error


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


def anonymous_bytes(pid: int) -> int:
    """Resident memory that is no file's: heaps and stacks, whoever else maps the same libraries. proc_pid_smaps(5)."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    return int(rollup.partition("\nAnonymous:")[2].split()[0]) * 1024


class CpuMeter:
    """What named processes use between `start` and `stop`."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = pids
        self.start()

    def start(self) -> None:
        self._began_s = time.monotonic()
        self._before = {name: cpu_s(pid) for name, pid in self._pids.items()}

    def per_minute_each(self, count: int) -> dict[str, float]:
        """CPU seconds that one of `count` sessions cost in a minute, by process."""
        minutes = (time.monotonic() - self._began_s) / 60
        return {name: round((cpu_s(pid) - self._before[name]) / count / minutes, 4) for name, pid in self._pids.items()}
