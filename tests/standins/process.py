"""A stand-in as a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from trunkline import loop


class Serving(Protocol):
    url: str


async def serve_until_stopped(told: Mapping[str, object]) -> None:
    """Say where it is, in one line of JSON, and return when somebody ends the process."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()
    await stop.wait()


def http_vendor(
    module: str, about: str | None, key: str, serve: Callable[[float, int], AbstractAsyncContextManager[Serving]]
) -> None:
    """The `main` of a vendor that is asked by HTTP; `serve(latency_s, port)` is the vendor."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=about)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency-s", type=float, default=0.3, help="how long it takes to begin to answer")
    arguments = parser.parse_args()

    async def run() -> None:
        async with serve(arguments.latency_s, arguments.port) as standin:
            await serve_until_stopped({"url": standin.url, "key": key})

    loop.run(run())
