"""The three audio formats of the Realtime API, to and from 16-bit PCM."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trunkline.audio import g711


@dataclass(frozen=True, slots=True)
class Format:
    rate_hz: int
    bytes_per_ms: int
    to_pcm: Callable[[bytes], bytes]
    from_pcm: Callable[[bytes], bytes]

    def ms(self, audio: bytes) -> int:
        """Whole milliseconds that `audio` lasts."""
        return len(audio) // self.bytes_per_ms


def _same(pcm: bytes) -> bytes:
    return pcm[: len(pcm) // 2 * 2]


FORMATS = {
    "audio/pcm": Format(24_000, 48, _same, _same),
    "audio/pcmu": Format(8_000, 8, g711.ulaw_to_pcm, g711.pcm_to_ulaw),
    "audio/pcma": Format(8_000, 8, g711.alaw_to_pcm, g711.pcm_to_alaw),
}
