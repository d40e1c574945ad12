"""Phone calls from Twilio's side to the model's: through Trunkline, and through two yardsticks that do much less.

`python -m benchmarks phone [--calls 10,50,100] [--seconds S] [--only SYSTEM] [--repeat N] [--json FILE]`

Systems: `ours` (gateway, worker, Redis, supervisor); `starlette`, the relay that everyone's samples show; `lean`, the
least that can be done in one process. Caller and model are ours, in processes of their own, and the same for all.
Systems alternate, so that what the machine does meanwhile falls on all of them.

A call: 3 s of speech, the model's answer of 5 s (sent at four times real time), a pause, and again; every third answer
is interrupted. The model notices speech within one frame of 20 ms. Calls dial spread over one such round, then S
seconds are measured.

- CPU-s/call-min: CPU seconds that one call costs in a minute: all processes of the system together, and each.
- uplink_ms: a frame is sent by the caller -> its append is at the model. downlink_ms: a delta is sent by the model ->
  its media is at the caller, for the first 300 ms of an answer. added_ms: both together, of one call at one time.
  first_audio_ms: the downlink of answers' very first piece. What the machine itself adds, `lean` has too.
- barge_in_ms: the first loud frame is sent -> `clear` is at the caller.
- gaps: silences inside answers. heard_after_clear: pieces of an answer that was cleared. Both should be none.
- frames_behind: the share of frames that took over 20 ms, and how many frames the worst was behind.
- kept_up: nothing lost, no answer or clear missing, under 1 % of frames behind, and the generator itself in time.
- rss_kib_per_call: growth, by process, from after a first call to the end, by call.
- outside: what generator and model took of this machine, as a share of all its cores; it is in no other figure.
  others: the same of everything else on this machine; a run beside much else says little about latency.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.figures import Result, json_option, machine, percentiles, print_table, write_json
from benchmarks.phone import account
from benchmarks.phone.generator import Conversations, converse, hang_up, rehearse
from benchmarks.phone.systems import SYSTEMS, System, free_port, until_it_listens
from benchmarks.phone.times import Times
from benchmarks.processes import CpuMeter, python, resident_bytes, running
from trunkline.loop import run, settle

LOADS = "10,50,100"
SECONDS = 20.0


async def measure(name: str, calls: int, seconds: float) -> Result:
    """One run of one system, all in processes of its own."""
    about = machine()
    with tempfile.TemporaryDirectory(prefix="trunkline-phone-") as folder:
        report, port = Path(folder) / "model.json", free_port()
        with running(python("benchmarks.phone.model", "--port", str(port), "--report", str(report))) as model_pid:
            await until_it_listens(port)
            async with SYSTEMS[name](f"ws://127.0.0.1:{port}/v1", calls) as system:
                outside = {"generator": os.getpid(), "model": model_pid}
                done, grown = await _load(system, calls, seconds, outside)
        model = json.loads(report.read_text(encoding="utf-8"))
    head = {"system": name, "calls": calls, "seconds": seconds, "machine": about}
    return head | _figures(done, model, list(system.pids)) | {"rss_kib_per_call": grown}


async def _load(
    system: System, calls: int, seconds: float, outside: dict[str, int]
) -> tuple[Conversations, dict[str, float]]:
    await rehearse(system.dial)
    before = {process: resident_bytes(pid) for process, pid in system.pids.items()}
    meter = CpuMeter({**system.pids, **outside})
    settle()
    done = await converse(system.dial, calls, seconds, meter)
    grown = {
        process: round((resident_bytes(pid) - before[process]) / calls / 1024, 1)
        for process, pid in system.pids.items()
    }
    await hang_up(done)
    return done, grown


def _figures(done: Conversations, model: Result, processes: Sequence[str]) -> Result:
    window = (done.began_s, done.ended_s)
    appended, spoken = Times.from_json(model["appended"]), Times.from_json(model["spoken"])
    figures = account.latency_figures(done.ears.sent, appended, spoken, done.ears.heard, window)
    figures |= account.talk_figures([caller.talk for caller in done.callers], window) | {"lost_calls": done.lost}
    late_p99_ms = percentiles(done.late_s)["p99"] * 1000
    cpu = done.cpu_s_per_call_min
    cores = os.cpu_count() or 1
    shares = {name: cost * len(done.callers) / 60 / cores for name, cost in cpu.items()}
    busy = done.machine_cpu_s / (done.ended_s - done.began_s) / cores
    return {
        "kept_up": account.kept_up(figures, late_p99_ms),
        "cpu_s_per_call_min": {
            "total": round(sum(cpu[process] for process in processes), 4),
            **{process: cpu[process] for process in processes},
        },
        **figures,
        "outside": {
            "late_p99_ms": round(late_p99_ms, 3),
            **{one: round(shares[one], 3) for one in ("generator", "model")},
            "others": round(max(0.0, busy - sum(shares.values())), 3),
        },
        "model": model["counts"],
    }


def _row(result: Result) -> list[object]:
    cpu, gaps, outside = result["cpu_s_per_call_min"], result["gaps"], result["outside"]
    return [
        *(result["calls"], result["system"], result["kept_up"], cpu["total"]),
        *(result["uplink_ms"]["p50"], result["downlink_ms"]["p50"]),
        *result["added_ms"].values(),
        *result["first_audio_ms"].values(),
        *result["barge_in_ms"].values(),
        *(result["frames_behind"]["worst"], gaps["count"], gaps["worst_ms"], result["heard_after_clear"]),
        *(round(sum(result["rss_kib_per_call"].values())), outside["generator"] + outside["model"], outside["others"]),
    ]


_COLUMNS = (
    *(
        "calls",
        "system",
        "kept up",
        "CPU-s/call-min",
        "up p50 ms",
        "down p50",
        "added p50",
        "p99",
        "1st audio p50",
        "p99",
    ),
    *("barge-in p50", "p95", "max", "behind", "gaps", "worst ms", "stale", "KiB/call", "(outside)", "(others)"),
)
_YARDSTICKS = [name for name in SYSTEMS if name != "ours"]


def show(results: Sequence[Result]) -> None:
    """All runs, the processes of each, and how the systems compare."""
    print_table("Phone calls", _COLUMNS, [_row(result) for result in results])
    parts = [
        [result["calls"], result["system"], name, cost, result["rss_kib_per_call"][name]]
        for result in results
        for name, cost in result["cpu_s_per_call_min"].items()
        if name != "total"
    ]
    print_table("By process", ("calls", "system", "process", "CPU-s/call-min", "KiB/call"), parts)
    if len({result["system"] for result in results}) > 1:
        columns = ("calls", "system", "CPU-s/call-min", *(f"x {name}" for name in _YARDSTICKS))
        print_table("Medians, and ratios of CPU", columns, medians(results, _YARDSTICKS))


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


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks phone", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=numbers, default=LOADS, metavar="N,N", help=f"at once, default {LOADS}")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="measured, after a round to warm up")
    parser.add_argument("--only", choices=list(SYSTEMS), help="one system instead of all")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each, by turns")
    json_option(parser)
    wanted = parser.parse_args(arguments)
    results = []
    for _ in range(wanted.repeat):
        for calls in wanted.calls:
            for name in [wanted.only] if wanted.only else SYSTEMS:
                results.append(run(measure(name, calls, wanted.seconds)))
                print_table("", _COLUMNS, [_row(results[-1])])
    show(results)
    write_json(wanted.json, results)


def numbers(text: str) -> list[int]:
    """`1,4,8`"""
    return [int(part) for part in text.split(",")]
