"""N callers on one event loop: they dial one after the other, talk, and what they time is kept."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from benchmarks.calls import Load, NoAnswer
from benchmarks.processes import CpuMeter
from benchmarks.webrtc.caller import Caller, Negotiate
from benchmarks.webrtc.speech import Speech
from benchmarks.webrtc.talk import CYCLE_S

REHEARSAL_S = 15.0
WARM_UP_S = 1.0
"""So long after a call was made, or ended, nothing of that goes on."""
LAST_MARKS_S = 2.0
"""After the measured time, for what is under way: a caller's interruption, and what it stops."""


@dataclass
class Conversations(Load):
    """What N callers saw."""

    callers: list[Caller] = field(default_factory=list)


async def rehearse(negotiate: Negotiate, speech: Speech) -> None:
    """One call until its answer is heard: what is loaded at a first call is loaded then. Raises NoAnswer."""
    caller = Caller(0, speech)
    await caller.dial(negotiate)
    try:
        async with asyncio.timeout(REHEARSAL_S):
            while caller.talk.answers == 0:
                if caller.lost is not None:
                    raise NoAnswer(caller.lost)
                await asyncio.sleep(0.05)
    except TimeoutError as error:
        raise NoAnswer(f"no answer was heard in {REHEARSAL_S:g} s") from error
    finally:
        await caller.hang_up()
    await asyncio.sleep(WARM_UP_S)


async def converse(negotiate: Negotiate, speeches: list[Speech], seconds: float, meter: CpuMeter) -> Conversations:
    """All calls of one run, one for each speech. Raises NoAnswer when one cannot be made."""
    done = Conversations(callers=[Caller(number, speech) for number, speech in enumerate(speeches)])
    spread_s = min(CYCLE_S, seconds)
    async with asyncio.TaskGroup() as group:
        for caller in done.callers:
            group.create_task(_join(caller, negotiate, spread_s * caller.number / len(speeches)))
        await asyncio.sleep(spread_s + WARM_UP_S)
    lost = [caller.lost for caller in done.callers if caller.lost is not None]
    if lost:
        raise NoAnswer(f"{len(lost)} of {len(speeches)} calls: {lost[0]}")
    before = [len(caller.microphone.late_s) for caller in done.callers]
    done.begin(meter)
    await asyncio.sleep(seconds)
    done.end(meter, len(speeches))
    for caller, first in zip(done.callers, before, strict=True):
        done.late_s += caller.microphone.late_s[first:]
    return done


async def hang_up(done: Conversations) -> None:
    """Wait for what is under way, then end all calls."""
    await asyncio.sleep(LAST_MARKS_S)
    done.lost = [caller.lost for caller in done.callers if caller.lost is not None]
    for caller in done.callers:
        await caller.hang_up()


async def _join(caller: Caller, negotiate: Negotiate, after_s: float) -> None:
    await asyncio.sleep(after_s)
    await caller.dial(negotiate)
