"""The outside world of a benchmark: a server in a process of its own, which tells at its end what it saw."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trunkline.loop import run, settle


def main(module: str, connection: Callable[[], asyncio.Protocol], report: Callable[[], dict[str, Any]]) -> None:
    """`python -m MODULE --port P --report FILE`: serve until SIGTERM, then write the report to FILE."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--report", type=Path, required=True)
    wanted = parser.parse_args()
    run(_serve(wanted.port, connection))
    wanted.report.write_text(json.dumps(report()), encoding="utf-8")


async def _serve(port: int, connection: Callable[[], asyncio.Protocol]) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    server = await loop.create_server(connection, "127.0.0.1", port)
    settle()
    await ended.wait()
    server.close()
