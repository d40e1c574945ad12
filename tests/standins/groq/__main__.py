"""`python -m tests.standins.groq --port 0`: the stand-in as a process; one line of JSON says where it is."""

from __future__ import annotations

import argparse

from tests.standins.process import serve_until_stopped
from trunkline import loop

from . import KEY, Groq, serve


async def _serve(port: int, latency_s: float) -> None:
    async with serve(Groq(latency_s=latency_s), port) as standin:
        await serve_until_stopped({"url": standin.url, "key": KEY})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.standins.groq", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency-s", type=float, default=0.3, help="how long it takes to begin to answer")
    arguments = parser.parse_args()
    loop.run(_serve(arguments.port, arguments.latency_s))


if __name__ == "__main__":
    main()
