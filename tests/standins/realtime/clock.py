"""The clock of the I/O: sessions are told what time it is."""

from __future__ import annotations

import time


def now_ms() -> float:
    return time.monotonic() * 1000
