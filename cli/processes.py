"""What runs inside a gateway's and a worker's own process: settings, logging, signals, watchdog."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import signal
import socket
import sys
import threading
import time

from trunkline import loop
from trunkline.bus.connection import Redis
from trunkline.settings import Settings

log = logging.getLogger(__name__)

HANG_SHARE = 0.7
"""A loop that stands still for this share of the lease ends its process, before others take its sessions."""
TICK_SHARE = 0.1
WARM_UP_S = 5.0
EXIT_HUNG = 3


def gateway(settings: Settings, process_id: str | None, listen_fd: int | None) -> None:
    """Be a gateway, on an inherited listening socket or one of our own."""
    from gateway.server import listen, serve

    listener = socket.socket(fileno=listen_fd) if listen_fd is not None else listen(settings.host, settings.port)
    loop.run(serve(settings, listener, process_id))


def worker(settings: Settings, process_id: str | None) -> None:
    """Be a worker: SIGTERM hands its sessions over, SIGINT ends it at once."""
    loop.run(_worker(settings, process_id))


async def _worker(settings: Settings, process_id: str | None) -> None:
    from workers import crumb
    from workers.host import Host
    from workers.providers.registry import Providers

    running_loop = asyncio.get_running_loop()
    trail = crumb.from_environment()
    if trail is not None:
        trail.install(running_loop)
    redis = Redis(settings.redis_url)
    host = Host(settings, redis, Providers(), process_id)
    running = asyncio.current_task()
    assert running is not None
    running_loop.add_signal_handler(signal.SIGTERM, host.drain)
    running_loop.add_signal_handler(signal.SIGINT, running.cancel)
    _watch(running_loop, settings.lease_ms / 1000)
    try:
        await host.run()
    except asyncio.CancelledError:
        log.info("stopped")
    finally:
        await redis.close()


def _watch(watched: asyncio.AbstractEventLoop, lease_s: float) -> None:
    """Start the watchdog thread. It measures by its own clock: a process that was stopped as a whole is no hang."""
    beat = threading.Event()

    def watch() -> None:
        time.sleep(WARM_UP_S)
        still_s = 0.0
        while True:
            beat.clear()
            try:
                watched.call_soon_threadsafe(beat.set)
            except RuntimeError:
                return  # the loop was closed: the process is ending
            before_s = time.monotonic()
            alive = beat.wait(lease_s * TICK_SHARE)
            slept_s = time.monotonic() - before_s
            still_s = 0.0 if alive or slept_s > 3 * lease_s * TICK_SHARE else still_s + slept_s
            if still_s > lease_s * HANG_SHARE:
                sys.stderr.write(f"the event loop has stood still for {still_s:.1f} s; this is where:\n")
                faulthandler.dump_traceback(all_threads=True)
                os._exit(EXIT_HUNG)
            if alive:
                time.sleep(lease_s * TICK_SHARE)

    threading.Thread(target=watch, name="watchdog", daemon=True).start()
