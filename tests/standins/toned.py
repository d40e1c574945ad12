"""Providers of a cascade that hear and speak tones, as the Realtime model's stand-in does."""

from __future__ import annotations

from array import array

from tests.standins import tones
from tests.standins.voices import RATE_HZ, ScriptedStt, ScriptedTts

LOUD_PEAK = 200
CHUNK_BYTES = RATE_HZ * 32 // 1000 * 2


class ToneVad:
    """Speech is what is loud, in chunks of 32 ms like the real one's."""

    def __init__(self, rate_hz: int) -> None:
        assert rate_hz == RATE_HZ
        self._buffer = b""

    async def push(self, pcm: bytes, *, patient: bool = False) -> list[float]:
        self._buffer += pcm
        result = []
        while len(self._buffer) >= CHUNK_BYTES:
            chunk, self._buffer = self._buffer[:CHUNK_BYTES], self._buffer[CHUNK_BYTES:]
            result.append(1.0 if max(array("h", chunk)) > LOUD_PEAK else 0.0)
        return result


class ToneStt(ScriptedStt):
    def words(self, pcm: bytes) -> str:
        return tones.hear(pcm, RATE_HZ)


class ToneTts(ScriptedTts):
    def sound(self, text: str) -> bytes:
        return tones.speak(tones.known(text), RATE_HZ, self.WORD_MS)
