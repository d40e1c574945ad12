"""`python -m tests.standins.webrtc --url http://127.0.0.1:8000 --say "hello"`: one caller; JSON says what it heard."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from itertools import pairwise
from typing import Any

import httpx

from trunkline import loop

from .caller import WebRtcCaller
from .network import LOOPBACK, Weather


def main() -> int:
    arguments = _parser().parse_args()
    try:
        said = loop.run(_call(arguments))
    except httpx.HTTPStatusError as error:
        said = {"refused": error.response.status_code, "body": error.response.text}
    except (ConnectionError, TimeoutError, httpx.TransportError) as error:
        said = {"failed": f"{type(error).__name__}: {error}"}
    sys.stdout.write(json.dumps(said) + "\n")
    return 0 if "heard" in said else 1


async def _call(arguments: argparse.Namespace) -> dict[str, Any]:
    weather = Weather(arguments.loss, arguments.jitter_ms, arguments.reorder, arguments.duplicate, arguments.seed)
    async with WebRtcCaller(
        arguments.url,
        tenant=arguments.tenant,
        label=arguments.label,
        trickle=arguments.trickle,
        weather=weather,
        addresses=arguments.addresses or LOOPBACK,
    ) as caller:
        began_s = asyncio.get_running_loop().time()
        if arguments.say:
            await caller.say(arguments.say)
        await asyncio.sleep(arguments.seconds - (asyncio.get_running_loop().time() - began_s))
        return _said(caller)


def _said(caller: WebRtcCaller) -> dict[str, Any]:
    hearing = caller.hearings[-1]
    packets = list(hearing.packets.values())
    gaps_ms = [(later.at_s - earlier.at_s) * 1000 for earlier, later in pairwise(packets)]
    return {
        "session_id": caller.bridged.session_id,
        "conversation_id": caller.bridged.conversation_id,
        "timings_ms": caller.timings_ms,
        "heard": caller.heard,
        "packets": len(packets),
        "lost": hearing.lost,
        "late": hearing.late,
        "longest_gap_ms": round(max(gaps_ms, default=0.0), 1),
        "sent": len(caller.line.departures),
        "events": [event.get("type") for event in caller.events],
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.standins.webrtc", description=__doc__)
    parser.add_argument("--url", required=True, help="the gateway's origin")
    parser.add_argument("--tenant")
    parser.add_argument("--say", default="", help="words of tests/standins/tones.py")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long the call lasts; default: %(default)s")
    parser.add_argument("--label", default="trunkline", choices=["trunkline", "oai-events"])
    parser.add_argument("--trickle", action="store_true", help="send the candidates after the offer")
    parser.add_argument("--address", dest="addresses", action="append", help="where UDP is bound; default: 127.0.0.1")
    for name, what in (("loss", "share lost"), ("reorder", "share held back"), ("duplicate", "share sent twice")):
        parser.add_argument(f"--{name}", type=float, default=0.0, help=f"of the packets sent: {what}")
    parser.add_argument("--jitter-ms", type=float, default=0.0, help="how late a packet may be sent")
    parser.add_argument("--seed", type=int, default=1)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
