"""What a caller notices when processes die: `python -m benchmarks.faults [--kills 20] [--json FILE]`.

Real processes (Valkey, gateways, workers), a caller who hears a story or asks questions, and a fault every few seconds.
For each fault: the silence heard beyond what was already at the edge, and whether what was heard in the end is, sample
for sample, what is heard without any fault. Questions: whether the transcript has every word, and the context is kept.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.stack import Stack
from cli.client import Caller
from trunkline.audio.resample import Resampler
from workers.providers import espeak

STORY, COUNT = "tell me a story", "count to twenty"
QUESTION = "hello my name is anna"
CONTEXT_QUESTION, CONTEXT_ANSWER = "what is my name", "Your name is Anna."
RATE_HZ = 16_000
SEED = 7


@dataclass
class Outcome:
    """What a scenario's faults did. Silences in ms, one a fault."""

    name: str
    goal_ms: float | None
    silences_ms: list[float] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    runs: int = 0

    def report(self) -> dict[str, object]:
        ordered = sorted(self.silences_ms) or [0.0]
        p95 = ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]
        return {
            "faults": len(self.silences_ms),
            "goal_ms": self.goal_ms,
            "p50_ms": round(ordered[len(ordered) // 2], 1),
            "p95_ms": round(p95, 1),
            "max_ms": round(ordered[-1], 1),
            "conversations": self.runs,
            "complaints": self.complaints,
        }


async def speech(text: str) -> bytes:
    """A sentence by eSpeak, s16le at `RATE_HZ`."""
    voice = espeak.text_to_speech({})
    resampler = Resampler(voice.rate_hz, RATE_HZ)
    parts = [part async for part in voice.speak(text) if isinstance(part, bytes)]
    pcm = b"".join(map(resampler.push, parts))
    return pcm + resampler.flush()


async def _ready(stack: Stack, workers: int, gateways: int) -> None:
    await stack.until(lambda counts: counts[0] >= gateways and counts[1] >= workers)


async def hear_long(caller: Caller, request: str) -> tuple[int, float]:
    """Ask for something long and wait until it sounds. Returns its turn, and when it began."""
    before = max(caller.answers, default=0)
    caller.type_text(request)
    await caller.until(lambda: max(caller.speaker.first_heard_s, default=0) > before)
    turn = max(caller.speaker.first_heard_s)
    return turn, caller.speaker.first_heard_s[turn]


Fault = Callable[[Stack, Caller], Awaitable[None]]


async def in_mid_answer(
    stack: Stack, outcome: Outcome, fault: Fault, faults: int, expected: bytes, request: str = STORY
) -> None:
    """Faults while a long answer is told, one every 3 s or so, until there were enough. `expected` is its audio."""
    dice = random.Random(SEED)
    while len(outcome.silences_ms) < faults:
        async with Caller(stack.url, tenant="demo") as caller:
            await asyncio.sleep(0.5)
            turn, began_s = await hear_long(caller, request)
            struck: list[float] = []
            while (room_s := len(expected) / 2 / RATE_HZ - (caller.now_s - began_s)) > 3.5:
                await asyncio.sleep(dice.uniform(0.2, 1.0))
                struck.append(caller.now_s)
                await fault(stack, caller)
                if room_s < 6 or len(struck) + len(outcome.silences_ms) >= faults:
                    break
            await caller.answered(60)
            gaps = caller.speaker.gaps(turn)
            for at_s in struck:
                outcome.silences_ms.append(max((gap.ms for gap in gaps if at_s <= gap.at_s < at_s + 3.0), default=0.0))
            heard = caller.speaker.sound_of(turn)
            if heard != expected:
                wanted = len(expected)
                outcome.complaints.append(f"heard {len(heard)} bytes of it, without faults it is {wanted}")
            outcome.runs += 1


async def in_mid_question(stack: Stack, outcome: Outcome, fault: Fault, faults: int) -> None:
    """A fault while the caller speaks; then the transcript must have every word, and the context be kept."""
    dice = random.Random(SEED)
    question, check = await speech(QUESTION), await speech(CONTEXT_QUESTION)
    pause = bytes(RATE_HZ * 2)
    while len(outcome.silences_ms) < faults:
        async with Caller(stack.url, tenant="quiet") as caller:
            await asyncio.sleep(0.3)
            speaking = asyncio.create_task(caller.say(pause[: RATE_HZ // 2] + question + pause))
            await asyncio.sleep(dice.uniform(0.4, 1.6))
            await fault(stack, caller)
            await speaking
            await _answered_or_complain(caller, outcome)
            await caller.say(check + pause)
            await _answered_or_complain(caller, outcome)
            await asyncio.sleep(0.3)  # the final transcript follows the last sound
            said = [transcript.text for transcript in caller.transcripts if transcript.role == "user"]
            if said != [QUESTION, CONTEXT_QUESTION]:
                outcome.complaints.append(f"understood {said}")
            answers = [transcript.text for transcript in caller.transcripts if transcript.role == "assistant"]
            if answers[-1:] != [CONTEXT_ANSWER]:
                outcome.complaints.append(f"answered {answers}")
            first = min(caller.answers, default=0)
            felt = caller.answers[first].felt_ms if first else None
            outcome.silences_ms.append(felt or 0.0)
            outcome.runs += 1


async def _answered_or_complain(caller: Caller, outcome: Outcome) -> None:
    try:
        await caller.answered(15)
    except TimeoutError:
        outcome.complaints.append(f"no answer; understood {[item.text for item in caller.transcripts]}")


# --- faults


async def kill_worker(stack: Stack, caller: Caller) -> None:
    """kill -9 the worker that has the session, and go on once there are two again."""
    os.kill(await stack.worker_pid(caller.session_id), signal.SIGKILL)
    await asyncio.sleep(1.0)
    await _ready(stack, 2, 1)


async def kill_unwatched_worker(stack: Stack, caller: Caller) -> None:
    """The same where nobody announces the death."""
    record = await stack.record(caller.session_id)
    os.kill(await stack.worker_pid(caller.session_id), signal.SIGKILL)
    stack.start_worker()
    await asyncio.sleep(2.5)
    await stack.forget(record.worker)
    await _ready(stack, 2, 1)


async def stop_worker(stack: Stack, caller: Caller) -> None:
    """SIGSTOP: the worker hangs, and wakes when another has its session."""
    pid = await stack.worker_pid(caller.session_id)
    os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(2.0)
    os.kill(pid, signal.SIGCONT)
    await asyncio.sleep(0.7)
    await _ready(stack, 2, 1)


async def drain_worker(stack: Stack, caller: Caller) -> None:
    """SIGTERM: the worker hands its session over at the next moment of rest. Back when that has happened."""
    worker = (await stack.record(caller.session_id)).worker
    os.kill(await stack.worker_pid(caller.session_id), signal.SIGTERM)
    while (await stack.record(caller.session_id)).worker == worker:  # noqa: ASYNC110  (Redis knows)
        await asyncio.sleep(0.1)
    await asyncio.sleep(0.5)
    await _ready(stack, 2, 1)


async def kill_gateway(stack: Stack, caller: Caller) -> None:
    """kill -9 the gateway that has the caller, and go on once there are two again."""
    os.kill(await stack.gateway_pid(caller.session_id), signal.SIGKILL)
    await asyncio.sleep(1.0)
    await _ready(stack, 1, 2)


# --- all of it

DEMO = "id: demo\nbackend: cascade\n"
QUIET = "id: quiet\nbackend: cascade\n"


async def measure(faults: int, only: str, console: Console) -> list[Outcome]:
    """Run the scenarios whose names contain `only`."""
    outcomes: list[Outcome] = []
    plan: list[tuple[str, float | None, str, Fault]] = [
        ("worker kill -9, announced", 300, "supervised", kill_worker),
        ("worker SIGTERM", 0, "supervised", drain_worker),
        ("worker SIGSTOP", 1300, "supervised", stop_worker),
        ("gateway kill -9", 500, "supervised", kill_gateway),
        ("worker kill -9, by lease", 1300, "alone", kill_unwatched_worker),
    ]
    for kind in ("supervised", "alone"):
        chosen = [row for row in plan if row[2] == kind and only in row[0]]
        if not chosen:
            continue
        tenants = {"demo.yaml": DEMO, "quiet.yaml": QUIET}
        async with Stack(gateways=2, workers=2, supervised=kind == "supervised", tenants=tenants) as stack:
            expected = {request: await reference(stack, request) for request in (STORY, COUNT)}
            for name, goal_ms, _, fault in chosen:
                for where in ("in mid-answer", "in mid-question"):
                    began_s = time.monotonic()
                    outcome = Outcome(f"{name}, {where}", goal_ms if where == "in mid-answer" else None)
                    if where == "in mid-answer":
                        request = COUNT if fault is drain_worker else STORY  # a drain lasts to the turn's end
                        await in_mid_answer(stack, outcome, fault, faults, expected[request], request)
                    else:
                        await in_mid_question(stack, outcome, fault, faults)
                    outcomes.append(outcome)
                    console.print(f"{outcome.name}: {outcome.report()} in {time.monotonic() - began_s:.0f} s")
    return outcomes


async def reference(stack: Stack, request: str = STORY) -> bytes:
    """The audio of a long answer without any fault: s16le at `RATE_HZ`."""
    async with Caller(stack.url, tenant="demo") as caller:
        await asyncio.sleep(0.5)
        turn, _ = await hear_long(caller, request)
        await caller.answered(60)
        return caller.speaker.sound_of(turn)


def table(outcomes: list[Outcome]) -> Table:
    columns = ("fault", "faults", "p50 ms", "p95 ms", "max ms", "goal ms", "complaints")
    shown = Table(*columns, title="silence beyond the edge")
    for outcome in outcomes:
        report = outcome.report()
        goal = "" if outcome.goal_ms is None else f"{outcome.goal_ms:g}"
        cells = [str(report[key]) for key in ("faults", "p50_ms", "p95_ms", "max_ms")]
        shown.add_row(outcome.name, *cells, goal, "; ".join(outcome.complaints) or "none")
    shown.caption = "in mid-question: from the end of the caller's speech to the first sound of the answer"
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="faults of each kind")
    parser.add_argument("--only", default="", help="scenarios whose names contain this")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    console = Console(width=150)
    outcomes = asyncio.run(measure(arguments.kills, arguments.only, console))
    console.print(table(outcomes))
    if arguments.json:
        arguments.json.write_text(json.dumps({outcome.name: outcome.report() for outcome in outcomes}, indent=2))
    sys.exit(any(outcome.complaints for outcome in outcomes))


if __name__ == "__main__":
    main()
