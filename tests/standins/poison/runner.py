"""Whatever this backend serves ends the process, a moment after its first audio."""

from __future__ import annotations

import os
import signal
from typing import Any, ClassVar

from trunkline.bus.messages import UplinkAudio
from workers.backend import Session

DEADLY_AFTER = 20
"""Frames of audio."""


class Poison:
    """Kills by a segmentation fault."""

    providers: ClassVar[dict[str, str]] = {"poison": "kills"}

    async def run(self, session: Session) -> None:
        heard = 0
        async for message in session.inbox():
            heard += isinstance(message, UplinkAudio)
            if heard == DEADLY_AFTER:
                os.kill(os.getpid(), signal.SIGSEGV)

    async def close(self) -> None:
        """Nothing to close."""


def backend(tenant: Any, providers: Any) -> Poison:
    return Poison()
