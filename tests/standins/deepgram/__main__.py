"""`python -m tests.standins.deepgram`: the stand-in as a process; one line of JSON says where: {"url": "ws://..."}."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys

from trunkline import loop

from .server import Deepgram


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.standins.deepgram", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--api-key", default="", help="the only key that is let in")
    parser.add_argument("--answer-ms", type=float, default=0, help="how long it takes to understand")
    loop.run(_serve(parser.parse_args()))


async def _serve(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Deepgram(**vars(arguments)) as standin:
        sys.stdout.write(json.dumps({"url": standin.url}) + "\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    main()
