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


def test_the_quietest_place_is_the_middle_of_the_longest_silence() -> None:
    loudness = Loudness(RATE_HZ)
    loudness.push(tone(4000, 1000) + tone(30, 240) + tone(4000, 500) + tone(500, 300) + tone(4000, 1000))
    middle_ms = loudness.quietest(0, RATE_HZ * 2 * 3) / 2 / RATE_HZ * 1000
    assert 1100 <= middle_ms <= 1140
    assert loudness.quietest(0, 6400) == 4800, "of equals the last"
    assert loudness.quietest(0, 1000) == 1000, "too short to choose in"
