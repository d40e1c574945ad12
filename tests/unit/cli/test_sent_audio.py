"""What a caller keeps of its own audio."""

from __future__ import annotations

import numpy as np
import pytest

from cli.sent_audio import KEEP_MS, SentAudio
from trunkline.errors import AudioError

RATE_HZ = 8000
FRAME_SAMPLES = 160


def frame(number: int) -> bytes:
    return np.full(FRAME_SAMPLES, number, "<i2").tobytes()


def filled(frames: int) -> SentAudio:
    sent = SentAudio(RATE_HZ)
    for number in range(1, frames + 1):
        sent.push(frame(number))
    return sent


def drain(sent: SentAudio) -> bytes:
    return b"".join(iter(sent.take, b""))


def test_live_audio_goes_out_frame_by_frame() -> None:
    sent = SentAudio(RATE_HZ)
    for number in range(1, 4):
        sent.push(frame(number))
        assert sent.take() == frame(number)
    assert sent.take() == b""
    assert sent.end_ms == 60


def test_what_waits_goes_out_in_blocks_of_100_ms() -> None:
    sent = filled(12)
    assert sent.waiting_ms == 240
    sizes = [len(piece) for piece in iter(sent.take, b"")]
    assert sizes == [1600, 1600, 640]


@pytest.mark.parametrize("media_ms", [0, 20, 30.5, 100, 239, 240])
def test_it_sends_again_from_any_media_time(media_ms: float) -> None:
    sent = filled(12)
    whole = drain(sent)
    sent.seek(media_ms)
    assert drain(sent) == whole[round(media_ms * RATE_HZ / 1000) * 2 :]
    assert sent.lost_ms == 0


def test_a_media_time_yet_to_come_is_now() -> None:
    sent = filled(2)
    sent.seek(10_000)
    assert drain(sent) == b""
    sent.push(frame(3))
    assert drain(sent) == frame(3)


def test_what_is_no_longer_kept_is_silence_and_nothing_shifts() -> None:
    forgotten_ms = 200
    frames = (KEEP_MS + forgotten_ms) // 20
    sent = filled(frames)
    sent.seek(0)
    again = drain(sent)
    assert len(again) == frames * FRAME_SAMPLES * 2
    assert again == bytes(forgotten_ms * 16) + b"".join(frame(n) for n in range(11, frames + 1))
    assert sent.lost_ms == forgotten_ms


def test_a_new_session_begins_at_zero() -> None:
    sent = filled(3)
    sent.restart()
    assert (sent.end_ms, drain(sent)) == (0, b"")


def test_half_a_sample_is_refused() -> None:
    with pytest.raises(AudioError, match="16-bit samples"):
        SentAudio(RATE_HZ).push(b"\0")
