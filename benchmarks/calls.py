"""Runs of N calls beside an outside world of ours, whatever the calls are: measured, compared and shown alike.

A kind of calls says how its systems are started and talked to (`Kind`); systems alternate, so that what the machine
does meanwhile falls on all of them. Linux only, as `processes`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import tempfile
import time
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from benchmarks.figures import Result, json_option, machine, percentiles, print_table, write_json
from benchmarks.processes import CpuMeter, free_port, machine_cpu_s, python, running, until_it_listens
from trunkline.loop import run, settle


class NoAnswer(Exception):
    """A system under test does not work: a call was not answered."""


class System(Protocol):
    """A system that runs."""

    @property
    def pids(self) -> Mapping[str, int]:
        """Its processes, by name."""


@dataclass
class Load:
    """What N calls took of the machine. Only what happened between `began_s` and `ended_s` (monotonic) counts."""

    began_s: float = 0.0
    ended_s: float = 0.0
    late_s: array[float] = field(default_factory=lambda: array("d"))
    """How far behind its time each frame was sent: the generator lacked CPU."""
    lost: list[str] = field(default_factory=list)
    """Why calls ended that should not have."""
    machine_cpu_s: float = 0.0
    """What everything on this machine used meanwhile."""
    cpu_s_per_call_min: dict[str, float] = field(default_factory=dict)

    def begin(self, meter: CpuMeter) -> None:
        """From now on it counts."""
        self.machine_cpu_s = -machine_cpu_s()
        self.began_s = time.monotonic()
        meter.start()

    def end(self, meter: CpuMeter, calls: int) -> None:
        """Until now it counted."""
        self.ended_s = time.monotonic()
        self.cpu_s_per_call_min = meter.per_minute_each(calls)
        self.machine_cpu_s += machine_cpu_s()


S = TypeVar("S", bound=System)
L = TypeVar("L", bound=Load)

Start = Callable[[int, int], AbstractAsyncContextManager[S]]
"""Starts a system, from the port of the outside world and the number of calls."""


@dataclass(frozen=True)
class Kind(Generic[S, L]):
    """One kind of calls, and how it is measured."""

    name: str
    about: str
    """Explains itself to who asks for help."""
    loads: str
    seconds: float
    world: str
    """The module of the outside world: `--port P --report FILE`; when told to end it writes what it saw to FILE."""
    systems: Mapping[str, Start[S]]
    rehearse: Callable[[S], Awaitable[None]]
    """One call until its answer is heard: what is loaded at a first call is loaded then. Raises NoAnswer."""
    converse: Callable[[S, int, float, CpuMeter], Awaitable[L]]
    """So many calls, for so many seconds. Raises NoAnswer when one cannot be made."""
    hang_up: Callable[[L], Awaitable[None]]
    figures: Callable[[L, Result, float], Result]
    """All of one run but its costs, from what the callers saw, what the world saw, and the generator's p99 of lateness
    (ms)."""
    memory: tuple[str, Callable[[int], int]]
    """What growth is called in the results, and how the bytes of a process are counted."""
    columns: Sequence[str]
    row: Callable[[Result], list[object]]
    named: frozenset[str] = frozenset()
    """Systems that are measured only when they are asked for by name."""

    async def measure(self, name: str, calls: int, seconds: float) -> Result:
        """One run of one system, all in processes of its own."""
        about = machine()
        async with outside_world(self.world) as world, self.systems[name](world.port, calls) as system:
            outside = {"generator": os.getpid(), "model": world.pid}
            done, grown = await self._load(system, calls, seconds, outside)
        late_p99_ms = percentiles(done.late_s)["p99"] * 1000
        head = {"system": name, "calls": calls, "seconds": seconds, "machine": about}
        spent = costs(done, calls, list(system.pids), late_p99_ms)
        return head | self.figures(done, world.report, late_p99_ms) | spent | {self.memory[0]: grown}

    async def _load(self, system: S, calls: int, seconds: float, outside: dict[str, int]) -> tuple[L, dict[str, float]]:
        used = self.memory[1]
        await self.rehearse(system)
        before = {process: used(pid) for process, pid in system.pids.items()}
        meter = CpuMeter({**system.pids, **outside})
        settle()
        done = await self.converse(system, calls, seconds, meter)
        grown = {
            process: round((used(pid) - before[process]) / calls / 1024, 1) for process, pid in system.pids.items()
        }
        await self.hang_up(done)
        return done, grown

    def show(self, results: Sequence[Result]) -> None:
        """All runs, the processes of each, and how the systems compare."""
        print_table(f"{self.name[:1].upper()}{self.name[1:]} calls", self.columns, [self.row(one) for one in results])
        parts = [
            [result["calls"], result["system"], name, cost, result[self.memory[0]][name]]
            for result in results
            for name, cost in result["cpu_s_per_call_min"].items()
            if name != "total"
        ]
        print_table("By process", ("calls", "system", "process", "CPU-s/call-min", "KiB/call"), parts)
        if len({result["system"] for result in results}) > 1:
            yardsticks = [name for name in self.systems if name != "ours" and name not in self.named]
            columns = ("calls", "system", "CPU-s/call-min", *(f"x {name}" for name in yardsticks))
            print_table("Medians, and ratios of CPU", columns, medians(results, yardsticks))

    def main(self, arguments: Sequence[str] | None = None) -> None:
        parser = argparse.ArgumentParser(
            prog=f"python -m benchmarks {self.name.lower()}",
            description=self.about,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        loads, systems = self.loads, [name for name in self.systems if name not in self.named]
        parser.add_argument("--calls", type=numbers, default=loads, metavar="N,N", help=f"at once, default {loads}")
        parser.add_argument("--seconds", type=float, default=self.seconds, help="measured, after a round to warm up")
        parser.add_argument("--only", choices=list(self.systems), help=f"one system instead of {', '.join(systems)}")
        parser.add_argument("--repeat", type=int, default=1, help="runs of each, by turns")
        json_option(parser)
        wanted = parser.parse_args(arguments)
        results = []
        for _ in range(wanted.repeat):
            for calls in wanted.calls:
                for name in [wanted.only] if wanted.only else systems:
                    results.append(run(self.measure(name, calls, wanted.seconds)))
                    print_table("", self.columns, [self.row(results[-1])])
        self.show(results)
        write_json(wanted.json, results)


@dataclass
class World:
    """What systems under test take for their vendors: a process of ours."""

    port: int
    pid: int
    report: Result = field(default_factory=dict)
    """What it saw, once it has ended."""


@contextlib.asynccontextmanager
async def outside_world(module: str) -> AsyncIterator[World]:
    """Run it for as long as the context lasts."""
    with tempfile.TemporaryDirectory(prefix="trunkline-calls-") as folder:
        report, port = Path(folder) / "report.json", free_port()
        with running(python(module, "--port", str(port), "--report", str(report))) as pid:
            await until_it_listens(port)
            world = World(port, pid)
            yield world
        world.report = json.loads(report.read_text(encoding="utf-8"))


def costs(load: Load, calls: int, processes: Sequence[str], late_p99_ms: float) -> Result:
    """CPU seconds that one call cost in a minute, by process; and what share of all cores went elsewhere."""
    cpu = load.cpu_s_per_call_min
    cores = os.cpu_count() or 1
    shares = {name: cost * calls / 60 / cores for name, cost in cpu.items()}
    busy = load.machine_cpu_s / (load.ended_s - load.began_s) / cores
    return {
        "cpu_s_per_call_min": {
            "total": round(sum(cpu[process] for process in processes), 4),
            **{process: cpu[process] for process in processes},
        },
        "outside": {
            "late_p99_ms": round(late_p99_ms, 3),
            **{name: round(share, 3) for name, share in shares.items() if name not in processes},
            "others": round(max(0.0, busy - sum(shares.values())), 3),
        },
    }


def medians(results: Sequence[Result], yardsticks: Sequence[str]) -> list[list[object]]:
    """By calls and system: the median of what they cost, and how many times as much as each yardstick."""
    costs: dict[tuple[int, str], list[float]] = {}
    for result in results:
        costs.setdefault((result["calls"], result["system"]), []).append(result["cpu_s_per_call_min"]["total"])
    median = {run: statistics.median(values) for run, values in costs.items()}
    rows: list[list[object]] = []
    for (calls, system), cost in median.items():
        others = [median.get((calls, name)) for name in yardsticks]
        rows.append([calls, system, cost, *(round(cost / other, 2) if other else "-" for other in others)])
    return rows


def numbers(text: str) -> list[int]:
    """`1,4,8`"""
    return [int(part) for part in text.split(",")]
