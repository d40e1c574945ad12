"""Audio over RTP and events beside it become one order, whatever comes first."""

from __future__ import annotations

from typing import Any

from tests.standins import tones
from workers.relay.output_buffer import EARLY_MS, SILENT_MS, START_S, TAIL_MS, TAIL_S, OutputBuffer
from workers.relay.protocol import AUDIO_FOLLOWS

RATE_HZ = 8000
FRAME_BYTES = 320
SILENCE = bytes(FRAME_BYTES)
LOUD = tones.speak("one", RATE_HZ)[FRAME_BYTES : 2 * FRAME_BYTES]

Event = dict[str, Any]


class Rig:
    """What the conversation is told."""

    def __init__(self) -> None:
        self.buffer = OutputBuffer(RATE_HZ)
        self.told: list[Event] = []

    def event(self, kind: str, **fields: Any) -> None:
        self.told += self.buffer.event({"type": kind, **fields})

    def hear(self, *frames: bytes) -> None:
        for frame in frames:
            self.told += self.buffer.audio(frame)

    def say(self, response: str = "resp_1", item: str = "item_1") -> None:
        """The response has words."""
        self.event("response.output_audio_transcript.delta", response_id=response, item_id=item, content_index=0)

    def start(self, response: str = "resp_1") -> None:
        self.event("output_audio_buffer.started", response_id=response)

    def stop(self, response: str = "resp_1") -> None:
        self.event("output_audio_buffer.stopped", response_id=response)

    def made(self, response: str = "resp_1", status: str = "completed") -> None:
        self.event("response.done", response={"id": response, "status": status})

    @property
    def audio(self) -> list[bytes]:
        return [event["delta"] for event in self.told if event["type"] == "response.output_audio.delta"]

    @property
    def ended(self) -> list[str]:
        """Responses that are over for the conversation."""
        over = [event for event in self.told if event["type"] == "response.done" and not event.get(AUDIO_FOLLOWS)]
        return [event["response"]["id"] for event in over]


def speaking(made: bool = True) -> Rig:
    rig = Rig()
    rig.say()
    rig.start()
    rig.hear(LOUD)
    if made:
        rig.made()
    return rig


def test_a_response_is_over_when_its_audio_is_and_says_before_that_it_is_made() -> None:
    rig = speaking()
    assert rig.told[-1] == {"type": "response.done", "response": {"id": "resp_1", "status": "completed"}} | {
        AUDIO_FOLLOWS: True
    }
    rig.hear(LOUD, SILENCE, LOUD)
    rig.stop()
    assert not rig.ended
    rig.hear(LOUD, *[SILENCE] * (TAIL_MS // 20))
    assert rig.ended == ["resp_1"]
    assert rig.audio.count(LOUD) == 4, "what was in the jitter buffer is heard"
    heard = len(rig.audio)
    rig.hear(SILENCE, LOUD)
    assert len(rig.audio) == heard, "nobody's"
    assert rig.told[1]["type"] == "output_audio_buffer.started"
    delta = next(event for event in rig.told if event["type"] == "response.output_audio.delta")
    assert (delta["response_id"], delta["item_id"], delta["content_index"]) == ("resp_1", "item_1", 0)


def test_where_silence_is_not_sent_an_answer_ends_all_the_same() -> None:
    rig = speaking()
    rig.stop()
    assert rig.buffer.wait_s == TAIL_S
    rig.told += rig.buffer.waited()
    assert rig.ended == ["resp_1"]
    assert rig.buffer.wait_s is None


def test_audio_that_came_before_its_event_is_not_lost_and_silence_before_it_is_not_added() -> None:
    rig = Rig()
    rig.hear(*[SILENCE] * 100, LOUD, LOUD)
    assert not rig.told
    rig.say()
    rig.start()
    assert rig.audio == [LOUD, LOUD]


def test_what_came_long_before_is_nobodys() -> None:
    rig = Rig()
    rig.hear(*[LOUD] * (EARLY_MS // 20 + 50))
    rig.say()
    rig.start()
    assert len(rig.audio) == EARLY_MS // 20


def test_a_response_without_audio_is_over_at_once() -> None:
    rig = Rig()
    rig.made()
    assert rig.ended == ["resp_1"]


def test_a_response_whose_audio_never_comes_is_over_after_a_while() -> None:
    rig = Rig()
    rig.say()
    rig.made()
    assert not rig.ended
    assert rig.buffer.wait_s == START_S
    rig.told += rig.buffer.waited()
    assert rig.ended == ["resp_1"]


def test_one_that_is_silent_for_long_is_over_though_nobody_says_stopped() -> None:
    rig = speaking()
    rig.hear(*[SILENCE] * (round(SILENT_MS) // 20 - 1), LOUD, *[SILENCE] * (round(SILENT_MS) // 20 - 1))
    assert not rig.ended
    rig.hear(SILENCE)
    assert rig.ended == ["resp_1"]


def test_one_that_is_still_being_made_may_be_silent_for_as_long_as_it_likes() -> None:
    rig = speaking(made=False)
    rig.hear(*[SILENCE] * 1000, LOUD)
    assert rig.audio[-1] == LOUD


def test_the_next_answer_ends_the_one_before_and_has_the_audio_after_it() -> None:
    rig = speaking()
    rig.say("resp_2", "item_2")
    rig.made("resp_2")
    assert rig.buffer.wait_s is None, "it waits for its turn"
    assert rig.buffer.waited() == []
    rig.start("resp_2")
    assert rig.ended == ["resp_1"]
    rig.hear(LOUD)
    assert rig.told[-1]["item_id"] == "item_2"


def test_an_answer_that_is_over_leaves_the_one_behind_it_time_to_begin() -> None:
    rig = speaking()
    rig.say("resp_2", "item_2")
    rig.made("resp_2")
    rig.stop()
    rig.hear(*[SILENCE] * 3)
    assert rig.ended == ["resp_1"]
    assert rig.buffer.wait_s == START_S


def test_what_the_model_silences_is_silent_and_its_to_truncate() -> None:
    rig = speaking()
    rig.event("input_audio_buffer.speech_started", item_id="item_9", audio_start_ms=0)
    rig.event("output_audio_buffer.cleared", response_id="resp_1")
    assert rig.ended == ["resp_1"]
    assert not rig.buffer.truncates("item_1")
    assert rig.buffer.truncates("item_0")
    heard = len(rig.audio)
    rig.hear(LOUD, LOUD, SILENCE, LOUD)
    rig.start("resp_2")
    assert rig.audio[heard:] == [LOUD], "what was still on its way is not the next answer's beginning"


def test_one_that_the_model_cancels_while_it_makes_it_is_over_at_once() -> None:
    rig = speaking(made=False)
    rig.made(status="cancelled")
    assert rig.ended == ["resp_1"]
    rig.event("output_audio_buffer.cleared", response_id="resp_1")
    rig.hear(LOUD)
    assert rig.audio == [LOUD]


def test_what_we_end_is_over_before_the_model_obeys_and_ours_to_truncate() -> None:
    rig = speaking()
    rig.event("input_audio_buffer.speech_started", item_id="item_9", audio_start_ms=0)
    rig.told += rig.buffer.cancel()
    assert rig.ended == ["resp_1"]
    assert rig.buffer.truncates("item_1")
    rig.hear(LOUD)
    rig.event("output_audio_buffer.cleared", response_id="resp_1")
    rig.start("resp_2")
    rig.hear(LOUD)
    assert rig.audio == [LOUD, LOUD]
    assert rig.told[-1]["response_id"] == "resp_2"


def test_a_late_word_that_an_answer_was_cleared_does_not_silence_the_next() -> None:
    rig = speaking()
    rig.start("resp_2")
    rig.event("output_audio_buffer.cleared", response_id="resp_1")
    rig.hear(LOUD)
    assert rig.told[-1]["response_id"] == "resp_2"


def test_events_without_what_they_should_have_pass_through() -> None:
    rig = Rig()
    for kind in ("output_audio_buffer.started", "output_audio_buffer.stopped", "output_audio_buffer.cleared"):
        rig.event(kind)
    rig.event("response.done", response=None)
    rig.event("response.output_audio_transcript.delta", response_id=3)
    assert len(rig.told) == 5
