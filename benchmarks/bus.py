"""What the bus alone costs: round trip, and CPU by process.

`python -m benchmarks bus [--sessions N ...] [--seconds S] [--json FILE]`

Three processes as in production: this one plays the gateway, another the worker, and a private Valkey on a Unix socket
between them. Every session sends 50 frames a second (20 ms of 16 kHz PCM, 640 bytes) as `UplinkAudio`; the worker
answers each with a `DownlinkAudio` of the same size. Both ends use `Outbox` and `Inbox` as the product does. There is
no adapter, session logic or AI.

Sessions start spread evenly over the 20 ms of a frame, as callers do. The frame clock ticks every millisecond, as fine
as asyncio's timers are: with 200 sessions, ten frames are ready at each tick.

- rtt_ms: from `Outbox.send` of a frame to the delivery of its answer, by this process's monotonic clock.
- late_ms: how far behind its tick a frame was sent, 99th percentile: a process that lacks CPU, or a timer.
- kept_up: every frame was answered within half a second of the end, and 99 % were sent less than a frame late.
- cpu_s_per_session_min: CPU seconds that one session costs in a minute. The gateway's holds the frame clock too.

Goals at 200 sessions on two cores: rtt p99 of 1 ms, and 0.12 CPU-s in all.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import time
from array import array
from collections.abc import Sequence

from benchmarks.clock import FRAME_MS, FRAME_S, ticks
from benchmarks.figures import Result, json_option, machine, percentiles, print_table, write_json
from benchmarks.processes import CpuMeter, python, running, running_valkey
from trunkline import loop
from trunkline.bus import keys
from trunkline.bus.connection import Redis
from trunkline.bus.lanes import Inbox, Outbox
from trunkline.bus.messages import DownlinkAudio, Message, UplinkAudio

LOADS = (50, 200, 400)
SECONDS = 10.0
WARM_UP_S = 1.0
LAST_ANSWERS_S = 0.5
START_S = 10.0
LOOK_S = 0.02
FRAME = random.Random(1).randbytes(640)

PROCESSES = ("gateway", "worker", "redis")
GATEWAY, WORKER = "bench-gateway", "bench-worker"


class Gateway:
    """Sends every session's frames on time, and clocks the answers."""

    def __init__(self, redis: Redis, sessions: int, seconds: float, meter: CpuMeter) -> None:
        self.inbox = Inbox(redis, GATEWAY, "gateway")
        self.outbox = Outbox(redis, _lane_gone)
        self._meter = meter
        self._worker = keys.lane(WORKER)
        self._ids = [f"{number:032x}" for number in range(sessions)]
        self._warm_up_frames = int(min(WARM_UP_S, seconds / 2) / FRAME_S)
        self._frames = self._warm_up_frames + int(seconds / FRAME_S)
        self._sent_s = {session: array("d", bytes(8 * self._frames)) for session in self._ids}
        self.rtt_ms = array("d")
        self.late_ms = array("d")
        self.answered = 0
        self.cpu: dict[str, float] = {}

    def deliver(self, message: Message) -> None:
        assert isinstance(message, DownlinkAudio)
        if message.seq >= self._warm_up_frames:
            self.answered += 1
            self.rtt_ms.append((time.monotonic() - self._sent_s[message.session][message.seq]) * 1000)

    async def send(self) -> None:
        """Every frame at its tick: all sessions once in each 20 ms."""
        async for seq, offset_ms, due_s in ticks(self._frames):
            if (seq, offset_ms) == (self._warm_up_frames, 0):
                self._meter.start()
            self._send_all(self._ids[offset_ms::FRAME_MS], seq, due_s)
        self.cpu = self._meter.per_minute_each(len(self._ids))

    def _send_all(self, sessions: Sequence[str], seq: int, due_s: float) -> None:
        for session in sessions:
            now_s = self._sent_s[session][seq] = time.monotonic()
            self.outbox.send(self._worker, UplinkAudio(session, seq, seq * FRAME_MS, FRAME))
            if seq >= self._warm_up_frames:
                self.late_ms.append((now_s - due_s) * 1000)

    async def run(self) -> None:
        await self.inbox.open()
        async with asyncio.TaskGroup() as group:
            serving = [
                group.create_task(self.outbox.run()),
                group.create_task(self.inbox.beat(_nothing)),
                group.create_task(self.inbox.read(self.deliver)),
            ]
            await self.send()
            await asyncio.sleep(LAST_ANSWERS_S)
            for task in serving:
                task.cancel()


async def measure(sessions: int, seconds: float) -> Result:
    """One run."""
    with running_valkey() as (url, valkey_pid), running(python("benchmarks.bus", url)) as worker_pid:
        redis = Redis(url)
        try:
            await _until_listening(redis)
            meter = CpuMeter({"gateway": os.getpid(), "worker": worker_pid, "redis": valkey_pid})
            about = machine()
            gateway = Gateway(redis, sessions, seconds, meter)
            await gateway.run()
        finally:
            await redis.close()
    late_ms = percentiles(gateway.late_ms)["p99"]
    answered = gateway.answered / len(gateway.late_ms)
    return {
        "sessions": sessions,
        "seconds": seconds,
        "machine": about,
        "rtt_ms": percentiles(gateway.rtt_ms),
        "late_ms": {"p99": late_ms},
        "answered": answered,
        "kept_up": answered == 1 and late_ms < FRAME_MS,
        "cpu_s_per_session_min": gateway.cpu | {"total": round(sum(gateway.cpu.values()), 4)},
    }


async def _until_listening(redis: Redis) -> None:
    for _ in range(int(START_S / LOOK_S)):
        if await redis.ask("EXISTS", keys.lane(WORKER)):
            return
        await asyncio.sleep(LOOK_S)
    raise TimeoutError(f"no worker in {START_S:g} s")


async def answer(url: str) -> None:
    """Be the worker, until told to stop."""
    redis = Redis(url)
    inbox = Inbox(redis, WORKER, "worker")
    outbox = Outbox(redis, _lane_gone)
    gateway = keys.lane(GATEWAY)

    def deliver(message: Message) -> None:
        assert isinstance(message, UplinkAudio)
        outbox.send(gateway, DownlinkAudio(message.session, 1, message.seq, 1, message.media_ms, message.pcm))

    await inbox.open()
    async with asyncio.TaskGroup() as group:
        group.create_task(outbox.run())
        group.create_task(inbox.beat(_nothing))
        group.create_task(inbox.read(deliver))


def _lane_gone(lane: str) -> None:
    raise RuntimeError(f"{lane} is gone")


async def _nothing() -> None: ...


def show(results: Sequence[Result]) -> None:
    columns = ("sessions", "kept up", "rtt p50 ms", "p99 ms", "late p99 ms", "CPU-s/session-min", *PROCESSES)
    rows = [
        (
            *(run["sessions"], run["kept_up"], *run["rtt_ms"].values(), run["late_ms"]["p99"]),
            *(run["cpu_s_per_session_min"][name] for name in ("total", *PROCESSES)),
        )
        for run in results
    ]
    print_table("The bus alone", columns, rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks bus", description="round trip and CPU of the bus alone")
    parser.add_argument("--sessions", type=int, nargs="+", default=LOADS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="measured, after a second to warm up")
    json_option(parser)
    wanted = parser.parse_args(arguments)
    results = [loop.run(measure(sessions, wanted.seconds)) for sessions in wanted.sessions]
    show(results)
    write_json(wanted.json, results)


if __name__ == "__main__":
    loop.run(answer(sys.argv[1]))
