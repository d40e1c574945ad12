"""A sentence's audio, cut for sending."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workers.cascade.pieces import Cutter

RATE_HZ = 8000
FRAME = 320


def test_first_audio_leaves_at_once_but_for_one_frame() -> None:
    cutter = Cutter(RATE_HZ)
    assert cutter.push(bytes(FRAME * 2)) == [bytes(FRAME)]
    assert cutter.finish() == [bytes(FRAME)]


def test_no_audio_is_no_piece() -> None:
    cutter = Cutter(RATE_HZ)
    assert cutter.finish() == []
    assert cutter.total_ms == 0


def test_what_was_heard_is_skipped_and_still_counted() -> None:
    cutter = Cutter(RATE_HZ, skip_ms=40)
    audio = bytes(range(200)) * 8  # 100 ms
    pieces = cutter.push(audio[:700]) + cutter.push(audio[700:]) + cutter.finish()
    assert b"".join(pieces) == audio[2 * FRAME :]
    assert cutter.total_ms == 100


@given(st.lists(st.binary(max_size=2000).map(lambda pcm: pcm[: len(pcm) // 2 * 2]), max_size=8), st.integers(0, 20))
def test_pieces_are_whole_frames_and_lose_nothing(chunks: list[bytes], skip_frames: int) -> None:
    cutter = Cutter(RATE_HZ, skip_ms=skip_frames * 20)
    pieces = [piece for chunk in chunks for piece in cutter.push(chunk)] + cutter.finish()
    audio = b"".join(chunks)
    assert all(piece and len(piece) % FRAME == 0 for piece in pieces)
    assert b"".join(pieces).rstrip(b"\0") == audio[skip_frames * FRAME :].rstrip(b"\0")
    assert cutter.total_ms == -(-len(audio) // FRAME) * 20
