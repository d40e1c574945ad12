import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from trunkline.errors import SettingsError

pytest.importorskip("espeakng_loader")

from workers.providers import espeak
from workers.providers.base import Word
from workers.providers.espeak import EspeakSpeech, pieces, text_to_speech
from workers.providers.espeak import synthesize as espeak_says


@pytest.fixture
async def speech() -> AsyncIterator[EspeakSpeech]:
    made = text_to_speech({})
    yield made
    await made.close()


async def spoken(speech: EspeakSpeech, text: str) -> bytes:
    return b"".join([part async for part in speech.speak(text) if isinstance(part, bytes)])


async def test_the_same_text_gives_the_same_bytes(speech: EspeakSpeech) -> None:
    first = await spoken(speech, "Hello, this is a test.")
    await spoken(speech, "something else")
    cut_off = speech.speak("this will be cut off very soon indeed")
    await anext(cut_off)
    await cut_off.aclose()
    assert await spoken(speech, "Hello, this is a test.") == first
    assert 1.0 < len(first) / 2 / speech.rate_hz < 4.0


async def test_voices_at_once_do_not_mix(speech: EspeakSpeech) -> None:
    other = text_to_speech({"voice": "de", "rate_wpm": 120, "pitch": 80})
    alone = await spoken(speech, "one two three"), await spoken(other, "eins zwei drei")
    together = await asyncio.gather(
        *(spoken(speech, "one two three") for _ in range(5)), *(spoken(other, "eins zwei drei") for _ in range(5))
    )
    assert together == [alone[0]] * 5 + [alone[1]] * 5
    await other.close()


async def test_closing_stops_a_long_text_at_once(speech: EspeakSpeech, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def synthesize(text: str, *rest: Any) -> None:
        said.append(text)
        espeak_says(text, *rest)

    monkeypatch.setattr(espeak, "synthesize", synthesize)
    text = "a long story about nothing in particular. " * 200
    chunks = speech.speak(text)
    begun = await anext(chunks)
    assert isinstance(begun, bytes)
    assert len(begun) % 2 == 0
    await chunks.aclose()
    await spoken(speech, "next")
    assert said == [next(pieces(text)), "next"]


async def test_says_when_its_words_are(speech: EspeakSpeech) -> None:
    text = "Good day, my friend. It is 10:30 now, übrigens."
    parts = [part async for part in speech.speak(text)]
    words = [part for part in parts if isinstance(part, Word)]
    assert [word.text for word in words] == ["Good", "day", "my", "friend", "It", "is", "10", "30", "now", "übrigens"]
    assert all(word.start_ms < word.end_ms for word in words)
    assert all(before.end_ms <= after.start_ms for before, after in itertools.pairwise(words))
    audio = np.frombuffer(b"".join(part for part in parts if isinstance(part, bytes)), "<i2")
    assert words[-1].end_ms <= len(audio) * 1000 / speech.rate_hz
    pauses = [after.start_ms - before.end_ms for before, after in itertools.pairwise(words)]
    assert max(pauses) == pauses[3] > 100, "the longest is between the sentences"
    for word in words:
        sound = audio[word.start_ms * speech.rate_hz // 1000 : word.end_ms * speech.rate_hz // 1000]
        assert np.abs(sound).max() > 1000, word


async def test_words_of_a_long_text_go_on_counting(speech: EspeakSpeech) -> None:
    text = "a long story about nothing in particular. " * 12
    words = [part async for part in speech.speak(text) if isinstance(part, Word)]
    assert len(list(pieces(text))) == 2
    assert len(words) == 7 * 12
    assert all(before.end_ms <= after.start_ms for before, after in itertools.pairwise(words))


async def test_nothing_to_say(speech: EspeakSpeech) -> None:
    assert await spoken(speech, "  ") == b""


@pytest.mark.parametrize("voice", ["xx-nobody", "../../etc/passwd", ""])
def test_wrong_voices_are_refused(voice: str) -> None:
    with pytest.raises(SettingsError):
        text_to_speech({"voice": voice})


def test_pieces_end_at_sentences_then_at_spaces() -> None:
    assert list(pieces("One two. Three four. Five", 12)) == ["One two.", "Three four.", "Five"]
    assert list(pieces("abc defghij", 6)) == ["abc", "defghi", "j"]
    assert list(pieces("")) == []
