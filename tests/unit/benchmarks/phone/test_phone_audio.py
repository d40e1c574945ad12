from __future__ import annotations

import base64

from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.phone import audio
from trunkline.audio.g711 import pcm_to_ulaw, ulaw_to_pcm

KEYS = st.builds(audio.key, st.integers(0, 0xFFF), st.integers(0, 0xFFFF))


def piece(number: int, *, loud: bool) -> bytes:
    return base64.b64decode(audio.marked(number, audio.after_marker(audio.FRAME_BYTES, loud=loud)))


@given(st.lists(st.tuples(KEYS, st.booleans()), max_size=8), st.lists(st.integers(1, 400), min_size=1, max_size=8))
@settings(deadline=None)
def test_markers_are_found_wherever_the_audio_is_cut(pieces: list[tuple[int, bool]], cuts: list[int]) -> None:
    line = b"".join(piece(number, loud=loud) for number, loud in pieces)
    finder, found, position = audio.Finder(), [], 0
    while position < len(line):
        for cut in cuts:
            found += finder.feed(line[position : position + cut])
            position += cut
    assert found == [number for number, _ in pieces]


@given(KEYS, st.booleans())
@settings(deadline=None)
def test_a_marked_frame_survives_a_gateway_that_decodes_it(number: int, loud: bool) -> None:
    frame = piece(number, loud=loud)
    assert len(frame) == audio.FRAME_BYTES
    assert pcm_to_ulaw(ulaw_to_pcm(frame)) == frame


@given(KEYS)
@settings(deadline=None)
def test_a_marked_silence_is_silent_and_marked_noise_is_loud(number: int) -> None:
    assert not audio.is_loud(piece(number, loud=False))
    assert audio.is_loud(piece(number, loud=True))


def test_loudness_is_what_the_products_tables_say() -> None:
    for code in range(256):
        sample = int.from_bytes(ulaw_to_pcm(bytes([code])), "little", signed=True)
        assert audio.is_loud(bytes([code])) == (abs(sample) > audio.LOUD)


@given(st.integers(0, 0xFFF), st.integers(0, 1023), st.integers(0, audio.ANSWER_PIECES - 1))
@settings(deadline=None)
def test_a_piece_knows_its_call_and_answer(call: int, answer: int, number: int) -> None:
    key = audio.answer_key(call, answer, number)
    assert (audio.call_of(key), *audio.answer_and_piece(key)) == (call, answer, number)


def test_what_only_begins_like_a_marker_is_none() -> None:
    noise = audio.marker(5)[:-3] + b"\x10" * 20
    assert audio.Finder().feed(noise + audio.marker(6)) == [6]
