"""What `trunkline doctor` says of this machine's limits: open files and processors."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator

from cli.checks import Finding
from trunkline.settings import PREFIX, Settings

FILES_BESIDE_SOCKETS = 128
"""Files a gateway has open without any caller: its code, pipes and links to Redis, generously."""


def limits(found: Settings) -> Iterator[Finding]:
    """Open files and processors."""
    yield open_files(found)
    yield processors()


def open_files(found: Settings) -> Finding:
    """Whether a gateway may have as many as its callers need: a WebRTC call has a UDP socket at each address."""
    from trunkline.rtc.ice import Network, local_addresses  # here, for aiortc takes a third of a second

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    sockets = max(1, len(local_addresses(Network(found.rtc_bind_addresses, found.rtc_advertised))))
    need = found.max_connections * sockets + FILES_BESIDE_SOCKETS
    words = "unlimited" if soft == resource.RLIM_INFINITY else str(soft)
    callers = f"{found.max_connections} callers"
    if sockets > 1:
        callers += f", with {sockets} UDP sockets each by WebRTC"
    if soft == resource.RLIM_INFINITY or soft >= need:
        return Finding("ok", "open files", f"{words}, enough for {callers}")
    above = "" if hard == resource.RLIM_INFINITY or hard >= need else f" (as root: the hard limit is {hard})"
    advice = f"ulimit -n {need}{above}, or lower {PREFIX}MAX_CONNECTIONS"
    if sockets > 1:
        advice += f", or name the addresses that browsers reach in {PREFIX}RTC_ADDRESSES"
    return Finding("warning", "open files", f"{words}; {callers} need {need}", advice)


def processors() -> Finding:
    """How many a gateway and its workers share."""
    count = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    if count > 1:
        return Finding("ok", "processors", f"{count}")
    advice = "two or more are better for live speech"
    return Finding("warning", "processors", "1: gateway and workers share it", advice)
