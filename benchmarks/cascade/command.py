"""Telephone calls that the cascade answers, from Twilio's side to the vendors': what they cost, and what is added.

`python -m benchmarks cascade [--calls 10,25,50] [--seconds S] [--only SYSTEM] [--repeat N] [--json FILE]`

Systems: `ours` (gateway, worker, Redis, supervisor; Deepgram's Nova as it is spoken, Groq, Cartesia); `lean`, the least
that can be done in one process: a detector of voice a call, no bus, nothing kept; with `--only batch`, `ours` with
Groq's Whisper instead of Nova. Callers and vendors are ours, in processes of their own, and the same for all. The
vendors' latencies are fixed: Nova 120 ms, Whisper 350 ms, Groq 200 ms and 2 ms a token, Cartesia 90 ms.

A call: a spoken question of 2 to 3 s (eSpeak, on a line that hisses), an answer of 5 s, a pause, and again; every third
answer is interrupted by the next question. Silero decides who speaks; a question is over after 480 ms of silence, and
the language model is not asked before (`preemptive: false`). Calls dial spread over one such round, then S seconds are
measured.

- CPU-s/call-min: CPU seconds that one call costs in a minute: all processes of the system together, and each.
- added_ms: what a caller waits for beside the silence that ends his question and the vendors' own latencies. It is the
  sum of uplink_ms: the frame that ends the question is sent, or its text, whichever is later -> the language model has
  the request; between_ms: the model has sent a clause -> the voice has it; downlink_ms: the voice has sent its first
  audio -> it is at the caller. Which frame ends a question is found by Silero once more, after the run.
- barge_in_ms: the first loud frame of an interruption is sent -> `clear` is at the caller. It takes 96 ms of speech
  (`start_ms`) in whole chunks of 32 ms, counted from the call's begin: none can be noticed in less than 96 to 128 ms.
- wrong: answers to what the caller did not say, by the loudness of what speech-to-text was sent. gaps: silences inside
  answers. stale: pieces of an answer that was cleared. All should be none.
- kept_up: no answer wrong or missing, no clear missing, under 1 % of answers over 150 ms, and the generator in time.
- rss_kib_per_call: growth, by process, from after a first call to the end, by call.
- outside: what generator and vendors took of this machine, as a share of all its cores; it is in no other figure.
  others: the same of everything else on this machine; a run beside much else says little about latency.
"""

from __future__ import annotations

from typing import cast

from benchmarks.calls import Kind
from benchmarks.cascade import account
from benchmarks.cascade.settings import SETTINGS
from benchmarks.cascade.speeches import Speaker
from benchmarks.cascade.systems import SYSTEMS
from benchmarks.figures import Result
from benchmarks.phone.account import talk_figures
from benchmarks.phone.caller import Caller
from benchmarks.phone.generator import Conversations, converse, hang_up, rehearse
from benchmarks.phone.systems import System
from benchmarks.processes import resident_bytes


def _call(caller: Caller) -> account.Call:
    mouth = cast(Speaker, caller.mouth)
    return account.Call(mouth.frames, mouth.said, caller.ears.sent, caller.ears.heard)


def _figures(done: Conversations, vendors: Result, late_p99_ms: float) -> Result:
    window = (done.began_s, done.ended_s)
    figures = account.figures([_call(caller) for caller in done.callers], vendors, SETTINGS, window)
    figures |= talk_figures([caller.talk for caller in done.callers], window) | {"lost_calls": done.lost}
    return {"kept_up": account.kept_up(figures, late_p99_ms), **figures, "vendors": vendors["counts"]}


def _row(result: Result) -> list[object]:
    cpu, gaps, outside = result["cpu_s_per_call_min"], result["gaps"], result["outside"]
    return [
        *(result["calls"], result["system"], result["kept_up"], cpu["total"]),
        *(result["uplink_ms"]["p50"], result["between_ms"]["p50"], result["downlink_ms"]["p50"]),
        *result["added_ms"].values(),
        *result["barge_in_ms"].values(),
        *(result["answers"], result["unanswered"], result["wrong"], gaps["count"], gaps["worst_ms"]),
        result["heard_after_clear"],
        *(round(sum(result["rss_kib_per_call"].values())), outside["generator"] + outside["model"], outside["others"]),
    ]


_COLUMNS = (
    *("calls", "system", "kept up", "CPU-s/call-min", "up p50 ms", "between p50", "down p50", "added p50", "p99"),
    *("barge-in p50", "p95", "max", "answers", "missing", "wrong", "gaps", "worst ms", "stale"),
    *("KiB/call", "(outside)", "(others)"),
)

CASCADE: Kind[System, Conversations] = Kind(
    name="cascade",
    about=__doc__ or "",
    loads="10,25,50",
    seconds=20.0,
    world="benchmarks.cascade.vendors",
    systems=SYSTEMS,
    rehearse=lambda system: rehearse(system.dial),
    converse=lambda system, calls, seconds, meter: converse(system.dial, calls, seconds, meter),
    hang_up=hang_up,
    figures=_figures,
    memory=("rss_kib_per_call", resident_bytes),
    columns=_COLUMNS,
    row=_row,
    named=frozenset({"batch"}),
)
