"""People who speak in tones are understood word by word, and heard by the detector of real calls."""

from __future__ import annotations

import pytest

from tests.standins import tones
from tests.standins.voiced import LEAD_MS, Person
from trunkline.audio.g711 import pcm_to_ulaw, ulaw_to_pcm
from workers.turns.endpointing import CHUNK_MS
from workers.turns.vad import VoiceActivity

SAID = ["what is the time", "my name is ada", "no tuesday", "wait stop", "yes"]


@pytest.mark.parametrize("rate_hz", [8000, 16_000])
@pytest.mark.parametrize("text", SAID)
async def test_a_detector_hears_a_voice_and_an_ear_every_word(rate_hz: int, text: str) -> None:
    pcm = (await Person.at(rate_hz)).says(text)
    if rate_hz == 8000:
        pcm = ulaw_to_pcm(pcm_to_ulaw(pcm))
    assert tones.hear(pcm, rate_hz) == text
    silence = bytes(rate_hz)
    chunks = [probability > 0.5 for probability in VoiceActivity(rate_hz).push(silence + pcm + silence)]
    spoken_ms = LEAD_MS + len(text.split()) * tones.WORD_MS
    assert len(pcm) == rate_hz // 1000 * 2 * spoken_ms
    assert sum(chunks) * CHUNK_MS > 0.8 * spoken_ms
    first, last = chunks.index(True), len(chunks) - chunks[::-1].index(True)
    assert 500 - CHUNK_MS <= first * CHUNK_MS <= 500 + 150
    assert abs(last * CHUNK_MS - 500 - spoken_ms) < 150
