"""A stand-in as a process of its own."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Mapping


async def serve_until_stopped(told: Mapping[str, object]) -> None:
    """Say where it is, in one line of JSON, and return when somebody ends the process."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()
    await stop.wait()
