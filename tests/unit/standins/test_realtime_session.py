"""The Realtime stand-in's session in its own time: no socket, no clock."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.standins import tones
from tests.standins.realtime import Drop, Options, Say
from tests.standins.realtime.formats import FORMATS
from tests.standins.realtime.session import Session
from tests.standins.realtime.vad import Edge, LoudnessVad
from tests.standins.realtime.wire import HangUp

WORDS = "one two three four five"  # a second


class Talk:
    def __init__(self, detection: dict[str, Any] | None = None, **options: Any) -> None:
        self.session = Session("t", "m", Options(**options), now_ms=0, wall_s=1000)
        self.now_ms = 0.0
        self.seen: list[tuple[float, dict[str, Any] | HangUp]] = []
        self.session.open()
        session = {"type": "realtime", "audio": {"input": {"turn_detection": detection}}}
        self.send({"type": "session.update", "session": session})

    def send(self, event: dict[str, Any]) -> None:
        self.session.receive(json.dumps(event), self.now_ms)
        self._take()

    def append(self, pcm: bytes) -> None:
        self.send({"type": "input_audio_buffer.append", "audio": base64.b64encode(pcm).decode()})

    def run(self, until_ms: float) -> None:
        """Every step at the very time when it is due."""
        while (due_ms := self.session.next_due_ms) is not None and due_ms <= until_ms:
            self.now_ms = due_ms
            self.session.advance(due_ms)
            self._take()
        self.now_ms = until_ms

    def times(self, kind: str) -> list[float]:
        return [at_ms for at_ms, event in self.seen if isinstance(event, dict) and event["type"] == kind]

    def _take(self) -> None:
        for output in self.session.take():
            if isinstance(output, str):
                self.seen.append((self.now_ms, json.loads(output)))
            elif isinstance(output, HangUp):
                self.seen.append((self.now_ms, output))


@pytest.mark.parametrize(("speed", "apart_ms"), [(1.0, 100), (4.0, 25), (0, 0)])
def test_audio_comes_at_its_speed_after_a_time_to_think(speed: float, apart_ms: float) -> None:
    talk = Talk(answer=lambda _: Say(WORDS), speed=speed, first_audio_ms=70)
    talk.send({"type": "response.create"})
    talk.run(until_ms=3000)
    assert talk.times("response.created") == [0]
    assert talk.times("response.output_audio.delta") == [70 + apart_ms * place for place in range(10)]
    assert talk.times("response.output_audio_transcript.delta") == [70 + 2 * apart_ms * place for place in range(5)]
    assert talk.times("response.done") == [70 + 10 * apart_ms]


def test_a_late_loop_does_not_slow_the_audio() -> None:
    talk = Talk(answer=lambda _: Say(WORDS), speed=4.0, first_audio_ms=0)
    talk.send({"type": "response.create"})
    talk.now_ms = 110
    talk.session.advance(110)
    talk._take()
    assert talk.times("response.output_audio.delta") == [110] * 5
    talk.run(until_ms=1000)
    assert talk.times("response.done") == [250]


def test_a_session_lives_for_its_time() -> None:
    talk = Talk(lifetime_s=3600)
    assert talk.session.expires_at == 4600
    talk.run(until_ms=3_599_999)
    assert talk.times("error") == []
    talk.run(until_ms=3_600_000)
    error, hang_up = (event for _, event in talk.seen[-2:])
    assert isinstance(error, dict)
    assert error["error"]["message"] == "Your session hit the maximum duration of 60 minutes."
    assert hang_up == HangUp(1001, "session expired")


def test_the_idle_timeout_begins_when_the_answer_has_been_played() -> None:
    detection = {"type": "server_vad", "idle_timeout_ms": 5000, "silence_duration_ms": 200}
    talk = Talk(detection, answer=lambda _: Say(WORDS), speed=4.0, first_audio_ms=50)
    talk.append(tones.speak("hello", 24_000) + bytes(48 * 300))
    talk.run(until_ms=6049)
    # 50 ms to think, 1000 ms of audio that take 250 ms to send, 5000 ms of silence.
    assert talk.times("response.done") == [300]
    assert talk.times("input_audio_buffer.timeout_triggered") == []
    talk.run(until_ms=6050)
    assert talk.times("input_audio_buffer.timeout_triggered") == [6050]
    assert talk.times("response.created") == [0, 6050]


def test_who_speaks_is_not_idle() -> None:
    detection = {"type": "server_vad", "idle_timeout_ms": 5000}
    talk = Talk(detection, answer=lambda _: Say("yes"))
    talk.append(tones.speak("hello", 24_000) + bytes(48 * 300))
    talk.run(until_ms=4000)
    talk.append(tones.speak("hello", 24_000))
    talk.run(until_ms=20_000)
    assert talk.times("input_audio_buffer.timeout_triggered") == []


def test_nothing_goes_out_after_the_connection_was_cut() -> None:
    talk = Talk(answer=lambda _: Say(WORDS))
    talk.session.inject(Drop(after_audio_ms=300))
    talk.send({"type": "response.create"})
    talk.run(until_ms=5000)
    assert len(talk.times("response.output_audio.delta")) == 3
    assert talk.seen[-1][1] == HangUp()


@pytest.mark.parametrize("kind", list(FORMATS))
@pytest.mark.parametrize("step", [1, 7, 160, 10_000_000])
def test_the_edges_of_speech_do_not_depend_on_how_audio_is_cut(kind: str, step: int) -> None:
    form = FORMATS[kind]
    pcm = bytes(form.rate_hz // 1000 * 2 * 300) + tones.speak("yes no", form.rate_hz)
    audio = form.from_pcm(pcm + bytes(form.rate_hz // 1000 * 2 * 500))
    vad = LoudnessVad(form, floor_ms=20, silence_ms=200, threshold=0.5, from_ms=0)
    edges = [edge for at in range(0, len(audio), step) for edge in vad.push(audio[at : at + step])]
    assert edges == [Edge(True, 300), Edge(False, 880)]


@pytest.mark.parametrize(("floor_ms", "begins"), [(20, True), (40, True), (60, False)])
def test_speech_begins_after_its_floor_of_loud_audio(floor_ms: int, begins: bool) -> None:
    vad = LoudnessVad(FORMATS["audio/pcm"], floor_ms, 200, 0.5, from_ms=100)
    loud = tones.speak("yes", 24_000)[: 48 * 50]
    assert vad.push(bytes(48 * 100) + loud) == ([Edge(True, 200)] if begins else [])


@pytest.mark.parametrize("kind", list(FORMATS))
def test_line_noise_is_not_speech(kind: str) -> None:
    form = FORMATS[kind]
    hum = form.from_pcm(b"\x40\x01\xc0\xfe" * form.rate_hz)  # +-320
    assert LoudnessVad(form, 20, 200, 0.5, from_ms=0).push(hum) == []
