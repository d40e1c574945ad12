"""Sound, silence and the quietest place."""

import numpy as np
import pytest

from trunkline.audio.loudness import QUIETEST_RMS, Loudness

RATE_HZ = 8000


def tone(rms: float, length_ms: int) -> bytes:
    """A square wave: each of its frames has exactly this RMS."""
    return np.resize([rms, -rms], RATE_HZ * length_ms // 1000).astype("<i2").tobytes()


@pytest.mark.parametrize("size", [1, 2, 100, 320, 321, 5000])
def test_frames_are_the_same_however_the_audio_is_cut(size: int) -> None:
    pcm = tone(1000, 100) + tone(200, 50) + tone(3000, 30)
    loudness = Loudness(RATE_HZ)
    levels = [level for at in range(0, len(pcm), size) for level in loudness.push(pcm[at : at + size])]
    assert levels == loudness.rms
    assert levels == pytest.approx([1000] * 5 + [200] * 2 + [((200**2 + 3000**2) / 2) ** 0.5, 3000], rel=1e-3)


@pytest.mark.parametrize(
    ("audio", "quiet_rms"),
    [
        (b"", QUIETEST_RMS),
        (tone(20, 400), QUIETEST_RMS),
        (tone(0, 300) + tone(4000, 400), 200),  # 26 dB below the loudest
        (tone(300, 300) + tone(4000, 400), 600),  # twice the noise
        (tone(4000, 400), 1000),  # no gap to hear the noise in
    ],
)
def test_what_is_silence_depends_on_the_call(audio: bytes, quiet_rms: float) -> None:
    loudness = Loudness(RATE_HZ)
    loudness.push(audio)
    assert loudness.quiet_rms() == pytest.approx(quiet_rms, rel=0.01)


def test_sound_is_looked_for_where_it_is_asked_for() -> None:
    loudness = Loudness(RATE_HZ)
    loudness.push(tone(0, 200) + tone(60, 20) + tone(0, 200))
    second = RATE_HZ * 2
    assert loudness.sounds(0, second)
    assert loudness.sounds(second // 5, second // 5 + 2)
    assert not loudness.sounds(0, second // 5)
    assert not loudness.sounds(second * 22 // 100, second)


def quietest_ms(*audio: bytes) -> float:
    loudness = Loudness(RATE_HZ)
    loudness.push(b"".join(audio))
    place = loudness.quietest(0, RATE_HZ * 2 * 10)
    assert place % 2 == 0, "between two samples"
    return place / 2 / RATE_HZ * 1000


LOUD = tone(4000, 1000)


def test_the_quietest_place_is_the_middle_of_the_longest_silence() -> None:
    assert 1100 <= quietest_ms(LOUD, tone(30, 240), LOUD, tone(30, 100), LOUD) <= 1140
    assert 1100 <= quietest_ms(LOUD, tone(30, 300), LOUD, tone(500, 400), LOUD) <= 1200


def test_it_is_in_the_gap_between_two_words_however_short() -> None:
    assert 2000 < quietest_ms(LOUD, LOUD, tone(30, 40), LOUD) < 2040
    words = [tone(4000, 160), tone(30, 40)] * 20
    assert quietest_ms(*words) % 200 > 160


def test_of_equals_it_is_the_last_and_where_there_is_no_choice_the_end() -> None:
    assert 700 <= quietest_ms(LOUD) <= 1000
    loudness = Loudness(RATE_HZ)
    loudness.push(LOUD)
    assert loudness.quietest(0, 1000) == 1000
    assert loudness.quietest(0, 16_001) <= 16_000
