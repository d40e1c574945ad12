"""`python -m tests.standins.realtime --port 0`: the stand-in as a process; one line of JSON says where it is.

{"url": "ws://127.0.0.1:PORT/v1", "control": "http://127.0.0.1:PORT/control", "http_url": "http://127.0.0.1:OTHER/v1"}
(`http_url`, for calls over WebRTC, is empty without --webrtc.)
"""

from __future__ import annotations

import argparse
import importlib

from tests.standins.process import serve_until_stopped
from trunkline import loop

from .options import Options
from .script import Answer
from .server import Realtime


def main() -> None:
    arguments = _parser().parse_args()
    loop.run(_serve(arguments))


async def _serve(arguments: argparse.Namespace) -> None:
    arguments.addresses = tuple(arguments.addresses) or Options().addresses
    async with Realtime(**vars(arguments)) as standin:
        control = standin.url.replace("ws://", "http://").removesuffix("/v1") + "/control"
        await serve_until_stopped({"url": standin.url, "control": control, "http_url": standin.http_url})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.standins.realtime", description=__doc__)
    plain = Options()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument(
        "--script", dest="answer", type=_script, default=plain.answer, metavar="MODULE:FUNCTION", help="what it says"
    )
    for name in ("speed", "first_audio_ms", "transcribe_ms", "lifetime_s"):
        _add(parser, name, float, getattr(plain, name))
    for name in ("chunk_ms", "word_ms", "vad_floor_ms"):
        _add(parser, name, int, getattr(plain, name))
    parser.add_argument("--webrtc", action="store_true", help="serve calls over WebRTC too")
    parser.add_argument("--http-port", type=int, default=0, help="where those are asked for")
    parser.add_argument(
        "--address",
        dest="addresses",
        action="append",
        default=[],
        help="where a call's UDP sockets are bound; several are possible; default: 127.0.0.1",
    )
    parser.add_argument(
        "--nominations-only", action="store_true", help="ignore STUN checks without USE-CANDIDATE, as OpenAI does"
    )
    parser.add_argument("--api-key", help="the only key that is let in")
    parser.add_argument("--verify", action="store_true", help="check what is sent against the SDK's types")
    parser.add_argument("--forget-audio", dest="keep_audio", action="store_false", help="for long benchmarks")
    return parser


def _add(parser: argparse.ArgumentParser, name: str, kind: type, default: object) -> None:
    parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=default, help="default: %(default)s")


def _script(name: str) -> Answer:
    module, _, function = name.partition(":")
    answer: Answer = getattr(importlib.import_module(module), function)
    return answer


if __name__ == "__main__":
    main()
