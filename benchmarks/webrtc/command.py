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

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.calls import Kind
from benchmarks.figures import Result
from benchmarks.processes import CpuMeter, anonymous_bytes
from benchmarks.webrtc import account
from benchmarks.webrtc.caller import Caller
from benchmarks.webrtc.generator import Conversations, converse, hang_up, rehearse
from benchmarks.webrtc.speech import speech
from benchmarks.webrtc.systems import SYSTEMS, System


async def _rehearse(system: System) -> None:
    await rehearse(system.negotiate, speech(0))


async def _converse(system: System, calls: int, seconds: float, meter: CpuMeter) -> Conversations:
    return await converse(system.negotiate, [speech(number) for number in range(calls)], seconds, meter)


def _figures(done: Conversations, model: Result, late_p99_ms: float) -> Result:
    calls = [_call(caller, model["sessions"]) for caller in done.callers]
    figures = account.figures(calls, (done.began_s, done.ended_s)) | {
        "answers": sum(caller.talk.answers for caller in done.callers),
        "unanswered": sum(caller.talk.unanswered for caller in done.callers),
        "packets_lost": sum(caller.packets_lost for caller in done.callers),
        "lost_calls": done.lost,
    }
    return {"kept_up": account.kept_up(figures, late_p99_ms), **figures, "model": model["counts"]}


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

WEBRTC: Kind[System, Conversations] = Kind(
    name="WebRTC",
    about=__doc__ or "",
    loads="1,4,8",
    seconds=30.0,
    world="benchmarks.webrtc.model",
    systems=SYSTEMS,
    rehearse=_rehearse,
    converse=_converse,
    hang_up=hang_up,
    figures=_figures,
    memory=("memory_kib_per_call", anonymous_bytes),
    columns=_COLUMNS,
    row=_row,
)
