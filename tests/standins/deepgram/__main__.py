"""`python -m tests.standins.deepgram`: the stand-in as a process; one line of JSON says where: {"url": "ws://..."}."""

from __future__ import annotations

import argparse

from tests.standins.process import serve_until_stopped
from trunkline import loop

from .server import Deepgram


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.standins.deepgram", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--api-key", default="", help="the only key that is let in")
    parser.add_argument("--answer-ms", type=float, default=0, help="how long it takes to understand")
    loop.run(_serve(parser.parse_args()))


async def _serve(arguments: argparse.Namespace) -> None:
    async with Deepgram(**vars(arguments)) as standin:
        await serve_until_stopped({"url": standin.url})


if __name__ == "__main__":
    main()
