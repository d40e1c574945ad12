"""`python -m tests.standins.cartesia`: the stand-in as a process; one line of JSON says where it is and for which key.

{"url": "ws://127.0.0.1:PORT", "api_key": "sk_car_standin"}
Trunkline finds it by TRUNKLINE_CARTESIA_WS_URL and CARTESIA_API_KEY.
"""

from __future__ import annotations

import argparse

from tests.standins.process import serve_until_stopped
from trunkline import loop

from .behaviour import Behaviour
from .server import Cartesia


def main() -> None:
    plain = Behaviour()
    parser = argparse.ArgumentParser(prog="python -m tests.standins.cartesia", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--first-audio-ms", type=float, default=90.0, help="default: %(default)s, as the vendor says")
    parser.add_argument("--speed", type=float, default=5.0, help="times faster than speech; default: %(default)s")
    parser.add_argument("--word-ms", type=int, default=250, help="default: %(default)s")
    parser.add_argument("--chunk-ms", type=int, default=plain.chunk_ms, help="default: %(default)s")
    parser.add_argument("--concurrency", type=int, default=plain.concurrency, help="contexts at a time")
    arguments = vars(parser.parse_args())
    loop.run(_serve(arguments.pop("port"), Behaviour(**arguments)))


async def _serve(port: int, behaviour: Behaviour) -> None:
    async with Cartesia(behaviour, port) as vendor:
        await serve_until_stopped({"url": vendor.url, "api_key": behaviour.api_key})


if __name__ == "__main__":
    main()
