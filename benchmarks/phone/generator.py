"""N callers on one event loop: they dial one after the other, talk, and what they time is kept."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from benchmarks.calls import Load, NoAnswer
from benchmarks.clock import FRAME_MS, FRAME_S, ticks
from benchmarks.phone.caller import Caller, Ears
from benchmarks.phone.systems import Dial
from benchmarks.phone.talk import CYCLE_S
from benchmarks.processes import CpuMeter

REHEARSAL = 0xFFF
REHEARSAL_S = 15.0
LAST_FRAMES_S = 0.5
"""After the measured time, for what is under way."""


@dataclass
class Conversations(Load):
    """What N callers saw."""

    ears: Ears = field(default_factory=Ears)
    callers: list[Caller] = field(default_factory=list)


async def rehearse(dial: Dial) -> None:
    """One call until its answer is heard: what is loaded at a first call is loaded then. Raises NoAnswer."""
    ears = Ears()
    caller = await dial(REHEARSAL, ears)
    async for tick in ticks(int(REHEARSAL_S / FRAME_S)):
        if caller.lost is not None:
            raise NoAnswer(caller.lost)
        if tick.offset_ms == 0:
            caller.tick()
        if caller.talk.answers:
            caller.hang_up()
            await asyncio.sleep(LAST_FRAMES_S)
            return
    raise NoAnswer(f"no answer was heard in {REHEARSAL_S:g} s")


async def converse(dial: Dial, calls: int, seconds: float, meter: CpuMeter) -> Conversations:
    """All calls of one run. Raises NoAnswer when one cannot be made."""
    done = Conversations()
    slots: list[list[Caller]] = [[] for _ in range(FRAME_MS)]
    spread_s = min(CYCLE_S, seconds)
    warm_up = int((spread_s + 1) / FRAME_S)
    async with asyncio.TaskGroup() as group:
        for number in range(calls):
            group.create_task(_join(dial, number, spread_s * number / calls, done, slots))
        async for tick in ticks(warm_up + int(seconds / FRAME_S)):
            if (tick.seq, tick.offset_ms) == (warm_up, 0):
                if len(done.callers) < calls:
                    raise NoAnswer(f"{len(done.callers)} of {calls} calls were connected")
                done.begin(meter)
            for caller in slots[tick.offset_ms]:
                if caller.lost is None:
                    sent_s = caller.tick()
                    if tick.seq >= warm_up:
                        done.late_s.append(sent_s - tick.due_s)
    done.end(meter, calls)
    return done


async def hang_up(done: Conversations) -> None:
    """Wait for what is under way, then end all calls."""
    await asyncio.sleep(LAST_FRAMES_S)
    done.lost = [caller.lost for caller in done.callers if caller.lost is not None]
    for caller in done.callers:
        caller.hang_up()
    await asyncio.sleep(LAST_FRAMES_S)


async def _join(dial: Dial, number: int, after_s: float, done: Conversations, slots: list[list[Caller]]) -> None:
    await asyncio.sleep(after_s)
    caller = await dial(number, done.ears)
    done.callers.append(caller)
    slots[number % FRAME_MS].append(caller)
