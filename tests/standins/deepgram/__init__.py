"""A stand-in for Deepgram's live transcription, v1 (Nova) and v2 (Flux), on loopback.

It holds to PROTOCOLS section 4, to developers.deepgram.com, and to the official SDK, which is its first client
(tests/contract/test_deepgram.py). It understands the tones of `tests.standins.tones`, and is as quick as it is told.

    async with Deepgram(answer_ms=120) as standin:
        ... standin.url ...
        standin.inject(Refuse(429, retry_after_s=7))

`python -m tests.standins.deepgram` runs one.
"""

from .faults import Close, Drop, Garbage, Mute, NeverAnswer, Refuse
from .server import Deepgram, Stream

__all__ = ["Close", "Deepgram", "Drop", "Garbage", "Mute", "NeverAnswer", "Refuse", "Stream"]
