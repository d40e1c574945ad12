"""What a call costs in the whole gateway, and what the gateway adds to its latency.

`python -m benchmarks gateway [--calls N ...] [--seconds S] [--json FILE]`

`trunkline up` with one gateway, one worker and a Valkey, and a tenant whose backend is the echo: no AI takes part. This
process makes the calls over `/ws`, all at once, and sends each a frame of 20 ms (16 kHz, 640 bytes) every 20 ms, the
calls spread evenly over that time. Every frame carries its number in its first samples, and is looked for in what comes
back. The WebSockets here are plain asyncio protocols that do only what is needed: the generator shares the machine.

- latency_ms: from the write of a frame to the arrival of its echo: wire, gateway, bus, worker, bus, gateway, wire.
- late_ms: how far behind its tick a frame was sent, 99th percentile: this process lacked CPU.
- kept_up: every frame came back within half a second of the end, and 99 % were sent less than a frame late.
- cpu_s_per_call_min: CPU seconds that one call costs in a minute, by process; `generator` is not in the total.
- rss_kib_per_call: what the processes have grown by from before the first call, by call.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import time
from array import array
from collections.abc import Callable, Sequence

from benchmarks.clock import FRAME_MS, FRAME_S, ticks
from benchmarks.figures import Result, json_option, machine, percentiles, print_table, write_json
from benchmarks.processes import CpuMeter, resident_bytes
from benchmarks.stack import Stack, pid_of

LOADS = (10, 50, 100)
SECONDS = 10.0
WARM_UP_S = 1.0
ANSWER_S = 15.0
LAST_ECHOES_S = 0.5
FRAME_BYTES = 640
SILENCE = bytes(FRAME_BYTES - 8)
TENANT = "id: echo\nbackend: echo\n"
PROCESSES = ("gateway", "worker", "redis")

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
FINAL = MASKED = 0x80
NO_MASK = bytes(4)


def message(opcode: int, payload: bytes) -> bytes:
    """A client's WebSocket message, masked with zeros, which change nothing."""
    length = len(payload)
    size = bytes([MASKED | length]) if length < 126 else bytes([MASKED | 126]) + length.to_bytes(2, "big")
    return bytes([FINAL | opcode]) + size + NO_MASK + payload


class Call(asyncio.Protocol):
    """One caller. `attached` is done when a worker answers; then `send` frames."""

    def __init__(self, frames: int, first_measured: int, latency_ms: array[float]) -> None:
        self.attached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.echoed = 0
        self._transport: asyncio.Transport | None = None
        self._upgraded = False
        self._buffer = bytearray()
        self._sent_s = array("d", bytes(8 * frames))
        self._first_measured = first_measured
        self._latency_ms = latency_ms

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )

    def send(self, seq: int) -> float:
        """Send frame `seq`; returns when (monotonic)."""
        assert self._transport is not None
        now_s = self._sent_s[seq] = time.monotonic()
        self._transport.write(message(BINARY, seq.to_bytes(8, "little") + SILENCE))
        return now_s

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._upgraded:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            if b" 101 " not in head.splitlines()[0]:
                self._fail(f"no WebSocket: {head[:80]!r}")
                return
            self._upgraded, self._buffer = True, rest
            start = json.dumps({"type": "start", "tenant": "echo"}).encode()
            assert self._transport is not None
            self._transport.write(message(TEXT, start))
        while (parsed := self._next()) is not None:
            self._take(*parsed)

    def _next(self) -> tuple[int, bytes] | None:
        """Cut one whole message (the server never sends fragments, nor more than 64 KiB) off the buffer."""
        buffer = self._buffer
        if len(buffer) < 4:
            return None
        start, length = (4, int.from_bytes(buffer[2:4], "big")) if buffer[1] == 126 else (2, buffer[1])
        if len(buffer) < start + length:
            return None
        opcode, payload = buffer[0] & 0x0F, bytes(buffer[start : start + length])
        del buffer[: start + length]
        return opcode, payload

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == BINARY:
            self._echo(payload)
        elif opcode == TEXT:
            kind = json.loads(payload)["type"]
            if kind == "backend" and not self.attached.done():
                self.attached.set_result(None)
            elif kind in ("error", "closing"):
                self._fail(payload.decode())
        elif opcode == PING and self._transport is not None:
            self._transport.write(message(PONG, payload))
        elif opcode == CLOSE:
            self._fail(f"closed: {payload!r}")

    def _echo(self, pcm: bytes) -> None:
        now_s = time.monotonic()
        for start in range(0, len(pcm), FRAME_BYTES):
            seq = int.from_bytes(pcm[start : start + 8], "little")
            if seq >= self._first_measured:
                self.echoed += 1
                self._latency_ms.append((now_s - self._sent_s[seq]) * 1000)

    def _fail(self, why: str) -> None:
        if not self.attached.done():
            self.attached.set_exception(ConnectionError(why))

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"connection lost: {exc}")

    def hang_up(self) -> None:
        assert self._transport is not None
        self._transport.write(message(TEXT, b'{"type":"stop"}'))
        self._transport.close()


async def measure(calls: int, seconds: float) -> Result:
    """One run, in processes of its own."""
    about = machine()
    tenants = {"echo.yaml": TENANT}
    async with Stack(gateways=1, workers=1, tenants=tenants, default_tenant="echo", worker_sessions=calls) as stack:
        pids = {kind: pid_of((await stack.ids(kind))[0]) for kind in ("gateway", "worker")}
        meter = CpuMeter({**pids, "redis": stack.redis_pid, "generator": os.getpid()})
        before = {kind: resident_bytes(pid) for kind, pid in pids.items()}
        result = await _talk(stack.port, calls, seconds, meter)
        grown = {kind: round((resident_bytes(pid) - before[kind]) / calls / 1024, 1) for kind, pid in pids.items()}
    return {"calls": calls, "seconds": seconds, "machine": about, **result, "rss_kib_per_call": grown}


async def _talk(port: int, count: int, seconds: float, meter: CpuMeter) -> Result:
    warm_up = int(min(WARM_UP_S, seconds / 2) / FRAME_S)
    frames = warm_up + int(seconds / FRAME_S)
    latency_ms, late_ms = array("d"), array("d")
    calls = await _dial(port, count, lambda: Call(frames, warm_up, latency_ms))
    async for seq, offset_ms, due_s in ticks(frames):
        if (seq, offset_ms) == (warm_up, 0):
            meter.start()
        for call in calls[offset_ms::FRAME_MS]:
            sent_s = call.send(seq)
            if seq >= warm_up:
                late_ms.append((sent_s - due_s) * 1000)
    cpu = meter.per_minute_each(count)
    await asyncio.sleep(LAST_ECHOES_S)
    for call in calls:
        call.hang_up()
    late_p99_ms = percentiles(late_ms)["p99"]
    echoed = sum(call.echoed for call in calls) / len(late_ms)
    return {
        "latency_ms": percentiles(latency_ms),
        "late_ms": {"p99": late_p99_ms},
        "echoed": echoed,
        "kept_up": echoed == 1 and late_p99_ms < FRAME_MS,
        "cpu_s_per_call_min": cpu | {"total": round(sum(cpu[name] for name in PROCESSES), 4)},
    }


async def _dial(port: int, count: int, new_call: Callable[[], Call]) -> list[Call]:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(ANSWER_S):
        calls = [(await loop.create_connection(new_call, "127.0.0.1", port))[1] for _ in range(count)]
        await asyncio.gather(*(call.attached for call in calls))
    return calls


def show(results: Sequence[Result]) -> None:
    columns = ("calls", "kept up", "latency p50 ms", "p99 ms", "late p99 ms")
    costs = ("CPU-s/call-min", *PROCESSES, "(generator)", "gateway KiB/call", "worker KiB/call")
    rows = [
        (
            *(run["calls"], run["kept_up"], *run["latency_ms"].values(), run["late_ms"]["p99"]),
            *(run["cpu_s_per_call_min"][name] for name in ("total", *PROCESSES, "generator")),
            *run["rss_kib_per_call"].values(),
        )
        for run in results
    ]
    print_table("The whole gateway, with the echo", (*columns, *costs), rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks gateway", description="a call's cost and latency")
    parser.add_argument("--calls", type=int, nargs="+", default=LOADS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="measured, after a second to warm up")
    json_option(parser)
    wanted = parser.parse_args(arguments)
    results = [asyncio.run(measure(calls, wanted.seconds)) for calls in wanted.calls]
    show(results)
    write_json(wanted.json, results)
