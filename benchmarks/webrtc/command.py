"""WebRTC calls from the caller's side to the model's: through Trunkline, and through the leanest relay with aiortc.

`python -m benchmarks webrtc [--calls 1,4,8] [--seconds S] [--only SYSTEM] [--repeat N] [--json FILE]`

Systems: `ours` (gateway, worker, Redis, supervisor; the worker has the model on a WebSocket); `lean`, one process: a
track received, resampled and appended, the model's audio on a track sent. Caller (aiortc) and model are ours, in
processes of their own, and the same for all. Systems alternate, so that what the machine does meanwhile falls on both.

A call: 2 s of speech, the model's answer, a pause, and again. Two of three answers are single marks of 100 ms, each
sent when nothing else waits; the third is a stream at four times real time, and is interrupted. The model says
`speech_started` with the first sound. Calls dial spread over one such round, then S seconds are measured.

- CPU-s/call-min: CPU seconds that one call costs in a minute: all processes of the system together, and each.
- uplink_ms: the RTP packet that a mark begins in leaves the caller -> the model has the mark's first loud sample.
  downlink_ms: the model sends a mark -> the RTP packet that it begins in is at the caller, below any jitter buffer.
  added_ms: both together, of one call at one time. first_audio_ms: the downlink of answers' first marks.
  as_played_ms: the downlink of one of the calls, as it comes out of aiortc's own receiver.
- barge_in_ms: the first packet of an interruption leaves the caller -> the last one with sound is at him. None of it is
  the model's.
- kept_up: nothing lost, no answer missing, no interruption unnoticed, under 1 % of marks over 150 ms late, and the
  generator itself in time.
- memory_kib_per_call: growth, by process, from after a first call to the end, by call: heaps and stacks.
- outside: what generator and model took of this machine, as a share of all its cores; it is in no other figure.
  others: the same of everything else on this machine; a run beside much else says little about latency.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import Result, json_option, machine, percentiles, print_table, write_json
from benchmarks.phone.command import medians, numbers
from benchmarks.phone.systems import free_port, until_it_listens
from benchmarks.processes import CpuMeter, anonymous_bytes, python, running
from benchmarks.webrtc import account
from benchmarks.webrtc.caller import Caller
from benchmarks.webrtc.generator import Conversations, converse, hang_up, rehearse
from benchmarks.webrtc.speech import speech
from benchmarks.webrtc.systems import SYSTEMS, System
from trunkline.loop import run, settle

LOADS = "1,4,8"
SECONDS = 30.0


async def measure(name: str, calls: int, seconds: float) -> Result:
    """One run of one system, all in processes of its own."""
    about = machine()
    with tempfile.TemporaryDirectory(prefix="trunkline-webrtc-") as folder:
        report, port = Path(folder) / "model.json", free_port()
        with running(python("benchmarks.webrtc.model", "--port", str(port), "--report", str(report))) as model_pid:
            await until_it_listens(port)
            async with SYSTEMS[name](f"ws://127.0.0.1:{port}/v1", calls) as system:
                outside = {"generator": os.getpid(), "model": model_pid}
                done, grown = await _load(system, calls, seconds, outside)
        model = json.loads(report.read_text(encoding="utf-8"))
    head = {"system": name, "calls": calls, "seconds": seconds, "machine": about}
    return head | _figures(done, model, list(system.pids)) | {"memory_kib_per_call": grown}


async def _load(
    system: System, calls: int, seconds: float, outside: Mapping[str, int]
) -> tuple[Conversations, dict[str, float]]:
    speeches = [speech(number) for number in range(calls)]
    await rehearse(system.negotiate, speeches[0])
    before = {process: anonymous_bytes(pid) for process, pid in system.pids.items()}
    meter = CpuMeter({**system.pids, **outside})
    settle()
    done = await converse(system.negotiate, speeches, seconds, meter)
    grown = {
        process: round((anonymous_bytes(pid) - before[process]) / calls / 1024, 1)
        for process, pid in system.pids.items()
    }
    await hang_up(done)
    return done, grown


def _figures(done: Conversations, model: Mapping[str, Any], processes: Sequence[str]) -> Result:
    calls = [_call(caller, model["sessions"]) for caller in done.callers]
    figures = account.figures(calls, (done.began_s, done.ended_s)) | {
        "answers": sum(caller.talk.answers for caller in done.callers),
        "unanswered": sum(caller.talk.unanswered for caller in done.callers),
        "packets_lost": sum(caller.packets_lost for caller in done.callers),
        "lost_calls": done.lost,
    }
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


def _call(caller: Caller, sessions: Sequence[Mapping[str, Any]]) -> account.Call:
    session = sessions[account.session_of(caller.sent, sessions)]
    return account.Call(
        sent=caller.sent,
        heard=caller.heard.marks(),
        as_played=caller.as_played.marks(),
        audible_s=caller.audible_s,
        interruptions_s=caller.talk.interruptions_s,
        appended=session["heard"],
        said=[(at_s, tone) for at_s, tone, _ in session["said"]],
        began=[(at_s, tone) for at_s, tone, first in session["said"] if first],
    )


def _row(result: Result) -> list[object]:
    outside = result["outside"]
    return [
        *(result["calls"], result["system"], result["kept_up"], result["cpu_s_per_call_min"]["total"]),
        *(result["uplink_ms"]["p50"], result["downlink_ms"]["p50"]),
        *result["added_ms"].values(),
        *result["first_audio_ms"].values(),
        *result["barge_in_ms"].values(),
        round(sum(result["memory_kib_per_call"].values())),
        *(outside["generator"] + outside["model"], outside["others"]),
    ]


_COLUMNS = (
    *("calls", "system", "kept up", "CPU-s/call-min", "up p50 ms", "down p50", "added p50", "p99"),
    *("1st audio p50", "p99", "barge-in p50", "p95", "max", "KiB/call", "(outside)", "(others)"),
)


def show(results: Sequence[Result]) -> None:
    """All runs, the processes of each, and how the systems compare."""
    print_table("WebRTC calls", _COLUMNS, [_row(result) for result in results])
    parts = [
        [result["calls"], result["system"], name, cost, result["memory_kib_per_call"][name]]
        for result in results
        for name, cost in result["cpu_s_per_call_min"].items()
        if name != "total"
    ]
    print_table("By process", ("calls", "system", "process", "CPU-s/call-min", "KiB/call"), parts)
    if len({result["system"] for result in results}) > 1:
        columns = ("calls", "system", "CPU-s/call-min", "x lean")
        print_table("Medians, and ratios of CPU", columns, medians(results, ["lean"]))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks webrtc", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
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
