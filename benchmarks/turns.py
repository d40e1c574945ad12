"""What it costs to know whose turn it is: voice activity alone and in company, the smart turn model, the words.

`python -m benchmarks turns [--seconds 5] [--json FILE]`; about half a minute. Needs no voice: noise is sound enough.

- model: microseconds of one core for a chunk of 32 ms, so many run together; the best of several passes.
- live: sessions in real time, each frame of 20 ms pushed when it is due, half of them sound and half silence. CPU-s
  for a session-minute, everything but the pushing itself taken off; how long a chunk waited for its probability.
- smart turn: milliseconds of one core for its features, and for an answer where a model is installed.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import numpy as np
import onnxruntime

from benchmarks.figures import Result, json_option, machine, percentiles, print_table, write_json
from trunkline.audio.frame import FRAME_MS, bytes_in
from workers.turns.company import SharedVoiceActivity, company
from workers.turns.log_mel import RATE_HZ, WINDOW_S, log_mel
from workers.turns.phrasing import phrase
from workers.turns.smart_turn import SmartTurn, model_path
from workers.turns.vad import CHUNK_MS, VoiceActivity, judge

TOGETHER = (1, 2, 4, 8, 16, 32, 64)
RATES_HZ = (16_000, 8_000)
SESSIONS = (1, 10, 25, 50)
PASSES = 7
TEXT = "I would like to book a table for two, and then we need a taxi to the airport because"


def noise(rate_hz: int, duration_ms: int, seed: int = 0) -> bytes:
    samples = np.random.default_rng(seed).normal(0, 2000, rate_hz * duration_ms // 1000)
    pcm: bytes = samples.astype("<i2").tobytes()
    return pcm


def best_s(work: Callable[[], object], times: int) -> float:
    """CPU seconds of this thread for one `work`: the best of PASSES, for others disturb."""
    found = float("inf")
    for _ in range(PASSES):
        began_s = time.thread_time()
        for _ in range(times):
            work()
        found = min(found, (time.thread_time() - began_s) / times)
    return found


def model(rate_hz: int, together: int) -> float:
    """Microseconds a chunk."""
    streams = [VoiceActivity(rate_hz) for _ in range(together)]
    for seed, stream in enumerate(streams):
        stream.load(noise(rate_hz, CHUNK_MS, seed))
    return best_s(lambda: judge(streams), max(3, 200 // together)) / together * 1e6


Push = Callable[[bytes], Awaitable[Sequence[float]]]


def alone(rate_hz: int) -> Push:
    """As without company: every chunk by itself."""
    activity = VoiceActivity(rate_hz)

    async def push(pcm: bytes) -> list[float]:
        return activity.push(pcm)

    return push


def in_company(rate_hz: int) -> Push:
    """As the cascade does it."""
    activity = SharedVoiceActivity(rate_hz)

    async def push(pcm: bytes) -> list[float]:
        return [await judged(chunk) for chunk in activity.cut(pcm)]

    async def judged(chunk: bytes) -> float:
        later: asyncio.Future[float | Exception] = asyncio.get_running_loop().create_future()
        known = activity.judge(chunk, later.set_result, patient=False)
        if known is not None:
            return known
        found = await later
        if isinstance(found, Exception):
            raise found
        return found

    return push


def nothing(rate_hz: int) -> Push:
    """What pushing costs by itself."""

    async def push(pcm: bytes) -> list[float]:
        return []

    return push


async def session(push: Push, number: int, rate_hz: int, frames: int, waited_ms: list[float]) -> None:
    """One caller: a second of sound, a second of silence, and so on; callers begin anywhere in it."""
    size = bytes_in(FRAME_MS, rate_hz)
    sound, silence = noise(rate_hz, FRAME_MS, number), bytes(size)
    start_s = time.monotonic() + number * FRAME_MS * 0.618 % FRAME_MS / 1000
    for frame in range(frames):
        await asyncio.sleep(start_s + frame * FRAME_MS / 1000 - time.monotonic())
        pcm = sound if (frame + number * 17) // 50 % 2 else silence
        began_s = time.perf_counter()
        if await push(pcm):
            waited_ms.append((time.perf_counter() - began_s) * 1000)


async def live(make: Callable[[int], Push], sessions: int, rate_hz: int, seconds: float) -> Result:
    frames = round(seconds * 1000 / FRAME_MS)
    waited_ms: list[float] = []
    together = company()
    runs, judged = together.runs, together.judged
    began_s = time.process_time()
    async with asyncio.TaskGroup() as group:
        for number in range(sessions):
            group.create_task(session(make(rate_hz), number, rate_hz, frames, waited_ms))
    cpu_s = (time.process_time() - began_s) / sessions * 60 / seconds
    runs, judged = together.runs - runs, together.judged - judged
    return {"cpu_s": cpu_s, "waited_ms": percentiles(waited_ms), "together": judged / runs if runs else 1.0}


def all_live(seconds: float) -> list[Result]:
    results = []
    for rate_hz in RATES_HZ:
        for sessions in SESSIONS:
            idle = asyncio.run(live(nothing, sessions, rate_hz, seconds))
            one = asyncio.run(live(alone, sessions, rate_hz, seconds))
            many = asyncio.run(live(in_company, sessions, rate_hz, seconds))
            result = {"rate_hz": rate_hz, "sessions": sessions, "together": round(many["together"], 1)}
            for name, run in (("alone", one), ("company", many)):
                result[name] = {
                    "cpu_s_per_session_min": round(run["cpu_s"] - idle["cpu_s"], 4),
                    "waited_ms": run["waited_ms"],
                }
            results.append(result)
    return results


def smart_turn() -> Result:
    """Milliseconds of a core, for what was said in 1 to 8 s."""
    heard = noise(RATE_HZ, WINDOW_S * 1000)
    path = model_path()
    asked = None if path is None else SmartTurn(path)
    found: Result = {"features_ms": {}, "answer_ms": {}}
    for seconds in (1, 2, 4, 8):
        pcm = heard[: seconds * RATE_HZ * 2]
        samples = np.frombuffer(pcm, "<i2").astype(np.float32)
        found["features_ms"][seconds] = round(best_s(partial(log_mel, samples), 3) * 1000, 2)
        if asked is not None:
            found["answer_ms"][seconds] = round(best_s(partial(asked.judge, pcm, RATE_HZ), 2) * 1000, 1)
    if asked is not None:
        asked.close()
    return found


def show(results: Result) -> None:
    print_table(
        "Silero, microseconds a chunk of 32 ms",
        ["together", *(f"{rate_hz} Hz" for rate_hz in RATES_HZ)],
        [(many, *(results["model_us"][str(rate_hz)][str(many)] for rate_hz in RATES_HZ)) for many in TOGETHER],
    )
    print_table(
        "Live: CPU-s for a session-minute, and how long a chunk waited",
        ["rate", "sessions", "alone", "company", "together", "alone p50 ms", "p99", "company p50 ms", "p99"],
        [
            (
                *(run["rate_hz"], run["sessions"]),
                *(run[way]["cpu_s_per_session_min"] for way in ("alone", "company")),
                run["together"],
                *(run[way]["waited_ms"][share] for way in ("alone", "company") for share in ("p50", "p99")),
            )
            for run in results["live"]
        ],
    )
    answers = results["smart_turn"]["answer_ms"]
    print_table(
        "Smart turn, ms of a core" + ("" if answers else " (no model is installed)"),
        ["speech s", "features", "answer"],
        [(seconds, cost, answers.get(seconds, "-")) for seconds, cost in results["smart_turn"]["features_ms"].items()],
    )
    print(f"\nThe end of a sentence read: {results['phrase_us']} us")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks turns", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument("--seconds", type=float, default=5, help="of each live run")
    json_option(parser)
    wanted = parser.parse_args(arguments)
    results: Result = {
        "machine": machine(),
        "onnxruntime": onnxruntime.__version__,
        "model_us": {
            str(rate_hz): {str(many): round(model(rate_hz, many), 1) for many in TOGETHER} for rate_hz in RATES_HZ
        },
        "live": all_live(wanted.seconds),
        "smart_turn": smart_turn(),
        "phrase_us": round(best_s(partial(phrase, TEXT), 300) * 1e6, 1),
    }
    show(results)
    write_json(wanted.json, [results])


if __name__ == "__main__":
    main()
