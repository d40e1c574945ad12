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

from benchmarks.calls import Kind
from benchmarks.figures import Result
from benchmarks.phone import account
from benchmarks.phone.generator import Conversations, converse, hang_up, rehearse
from benchmarks.phone.systems import SYSTEMS, System
from benchmarks.phone.times import Times
from benchmarks.processes import resident_bytes


def _figures(done: Conversations, model: Result, late_p99_ms: float) -> Result:
    window = (done.began_s, done.ended_s)
    appended, spoken = Times.from_json(model["appended"]), Times.from_json(model["spoken"])
    figures = account.latency_figures(done.ears.sent, appended, spoken, done.ears.heard, window)
    figures |= account.talk_figures([caller.talk for caller in done.callers], window) | {"lost_calls": done.lost}
    return {"kept_up": account.kept_up(figures, late_p99_ms), **figures, "model": model["counts"]}


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

PHONE: Kind[System, Conversations] = Kind(
    name="phone",
    about=__doc__ or "",
    loads="10,50,100",
    seconds=20.0,
    world="benchmarks.phone.model",
    systems=SYSTEMS,
    rehearse=lambda system: rehearse(system.dial),
    converse=lambda system, calls, seconds, meter: converse(system.dial, calls, seconds, meter),
    hang_up=hang_up,
    figures=_figures,
    memory=("rss_kib_per_call", resident_bytes),
    columns=_COLUMNS,
    row=_row,
)
