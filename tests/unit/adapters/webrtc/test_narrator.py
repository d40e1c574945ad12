"""A session told as a Realtime model would: in the API's order, in the SDK's own types."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.webrtc.narrator import Event, Narrator
from tests.standins.realtime.sdk import check_event

OURS = "trunkline."


class Client:
    """Takes what a narrator tells, and holds it to the official SDK's types."""

    def __init__(self) -> None:
        self.narrator = Narrator("s1")
        self.events: list[Event] = []
        self._seq = 0
        self.take(self.narrator.began())

    def take(self, events: Iterable[Event]) -> None:
        for event in events:
            if not event["type"].startswith(OURS):
                check_event(event)
            self.events.append(event)

    def told(self, name: str, **data: Any) -> None:
        """The bus has an event."""
        self._seq += 1
        self.take(self.narrator.tell(self._seq, name, data))

    def playing(self, turn: int) -> None:
        self.take(self.narrator.playing(turn))

    @property
    def kinds(self) -> list[str]:
        """Since the last look, one word each."""
        kinds = [event["type"] for event in self.events]
        self.events.clear()
        return kinds

    def one(self, kind: str) -> Event:
        (found,) = [event for event in self.events if event["type"] == kind]
        return found


@pytest.fixture
def client() -> Client:
    made = Client()
    made.events.clear()
    return made


OPENED = [
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
]
CLOSED = [
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "response.output_item.done",
    "conversation.item.done",
    "response.done",
]
DELTA = "response.output_audio_transcript.delta"


def test_the_first_event() -> None:
    client = Client()
    assert client.one("session.created")["session"]["id"] == "s1"


def test_a_spoken_turn_in_the_order_of_the_guide(client: Client) -> None:
    client.told("speech_started", media_ms=320)
    client.told("speech_stopped", media_ms=2140)
    client.told("transcript", role="user", turn=1, text="Is Tuesday free?")
    client.told("transcript_delta", role="assistant", turn=2, delta="Yes, ")
    client.playing(2)
    client.playing(2)
    client.told("transcript_delta", role="assistant", turn=2, delta="ten is free.")
    client.told("response_done", turn=2)
    said = client.one("conversation.item.input_audio_transcription.completed")
    assert (said["transcript"], said["usage"]["seconds"]) == ("Is Tuesday free?", 1.82)
    assert client.one("response.output_audio_transcript.done")["transcript"] == "Yes, ten is free."
    assert client.one("response.done")["response"]["status"] == "completed"
    user, answer = (
        client.one("input_audio_buffer.committed")["item_id"],
        client.one("response.done")["response"]["output"],
    )
    links = [(each["item"]["id"], each["previous_item_id"]) for each in client.events if each["type"] == ADDED]
    assert links == [(user, None), (answer[0]["id"], user)]
    assert client.kinds == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "conversation.item.input_audio_transcription.completed",
        *OPENED,
        DELTA,
        "output_audio_buffer.started",
        DELTA,
        *CLOSED,
        "output_audio_buffer.stopped",
    ]


ADDED = "conversation.item.added"


def test_what_was_said_is_there_before_its_answer_although_its_text_comes_later(client: Client) -> None:
    for at_ms in (0, 5000):
        client.told("speech_started", media_ms=at_ms)
        client.told("speech_stopped", media_ms=at_ms + 1000)
        client.playing(2 + at_ms // 2500)
        client.told("response_done", turn=2 + at_ms // 2500)
    assert [each["item"]["role"] for each in client.events if each["type"] == ADDED] == ["user", "assistant"] * 2
    client.events.clear()
    client.told("transcript", role="user", turn=3, text="the second")
    client.told("transcript", role="user", turn=1, text="the first")
    assert [(each["item_id"], each["transcript"]) for each in client.events] == [
        ("item_at_5000", "the second"),
        ("item_at_0", "the first"),
    ]


def test_an_interruption(client: Client) -> None:
    client.told("transcript_delta", role="assistant", turn=2, delta="We have many")
    client.playing(2)
    client.told("speech_started", media_ms=4000)
    client.kinds  # noqa: B018
    client.told("clear", turn=2, ms=740)
    done, cut = client.one("response.done")["response"], client.one("conversation.item.truncated")
    assert (done["status"], done["status_details"]["reason"]) == ("cancelled", "turn_detected")
    assert done["output"][0]["status"] == "incomplete"
    assert (cut["item_id"], cut["audio_end_ms"]) == (done["output"][0]["id"], 740)
    assert client.kinds == [*CLOSED, "output_audio_buffer.cleared", "conversation.item.truncated"]
    client.told("transcript", role="assistant", turn=2, text="We have", interrupted=True)
    (heard,) = client.events
    assert (heard["type"], heard["text"], heard["interrupted"]) == ("trunkline.transcript", "We have", True)


def test_a_client_that_cancels_is_told_that_it_did(client: Client) -> None:
    client.playing(2)
    client.narrator.cancelled()
    client.told("clear", turn=2, ms=100)
    assert client.one("response.done")["response"]["status_details"]["reason"] == "client_cancelled"
    client.playing(4)
    client.events.clear()
    client.told("clear", turn=4, ms=100)
    assert client.one("response.done")["response"]["status_details"]["reason"] == "turn_detected"


def test_an_answer_cut_before_its_first_sound_is_over_too(client: Client) -> None:
    client.told("transcript_delta", role="assistant", turn=2, delta="We")
    client.told("state", state="listening")
    assert client.one("response.done")["response"]["status"] == "cancelled"
    client.told("transcript_delta", role="assistant", turn=4, delta="Yes")
    client.events.clear()
    client.told("transcript_delta", role="assistant", turn=6, delta="No")
    assert client.one("response.done")["response"]["id"] == "resp_4"
    client.events.clear()
    client.told("transcript_delta", role="assistant", turn=4, delta=" late")
    assert client.kinds == ["trunkline.transcript_delta"]


def test_an_answer_begun_while_the_one_before_is_played(client: Client) -> None:
    client.told("transcript_delta", role="assistant", turn=2, delta="One moment.")
    client.playing(2)
    client.told("transcript_delta", role="assistant", turn=3, delta="It is ten.")
    assert client.one("response.done")["response"]["id"] == "resp_2"
    client.kinds  # noqa: B018
    client.told("response_done", turn=2)
    assert client.kinds == ["output_audio_buffer.stopped"]
    client.playing(3)
    client.told("response_done", turn=3)
    assert client.kinds == ["output_audio_buffer.started", *CLOSED, "output_audio_buffer.stopped"]


def test_a_cough_is_no_utterance(client: Client) -> None:
    client.playing(2)
    client.told("speech_started", media_ms=1000)
    client.told("pause", turn=2)
    client.told("speech_stopped", media_ms=1100)
    client.told("resume", turn=2)
    client.told("speech_started", media_ms=3000)
    client.told("resume", turn=2)
    client.told("speech_stopped", media_ms=4000)
    client.events.clear()
    client.told("transcript", role="user", turn=3, text="Thanks")
    assert client.one("conversation.item.input_audio_transcription.completed")["item_id"] == "item_at_3000"


def test_what_was_typed_is_an_item_of_its_own(client: Client) -> None:
    client.told("speech_started", media_ms=0)
    client.told("speech_stopped", media_ms=500)
    client.narrator.typed("Hello", "mine")
    client.narrator.typed("Hello", None)
    client.events.clear()
    client.told("transcript", role="user", turn=1, text="Hello")
    client.told("transcript", role="user", turn=3, text="Hello")
    items = [each["item"] for each in client.events if each["type"] == ADDED]
    assert [(each["id"], each["content"][0]["type"]) for each in items] == [
        ("mine", "input_text"),
        ("item_3", "input_text"),
    ]


def test_an_utterance_that_the_client_ended_itself(client: Client) -> None:
    client.told("transcript", role="user", turn=1, text="Push to talk")
    assert client.kinds == [
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "conversation.item.input_audio_transcription.completed",
    ]


def test_an_utterance_that_began_before_the_channel(client: Client) -> None:
    client.told("speech_stopped", media_ms=1000)
    client.told("transcript", role="user", turn=1, text="Hello")
    assert client.one("conversation.item.input_audio_transcription.completed")["item_id"] == "item_at_1000"


def test_a_tool_of_the_clients(client: Client) -> None:
    client.playing(2)
    client.kinds  # noqa: B018
    client.told("tool_call", call_id="call_7", tool="find_slot", arguments={"day": "Di"})
    asked = client.one("response.function_call_arguments.done")
    assert (asked["call_id"], asked["name"], asked["arguments"]) == ("call_7", "find_slot", '{"day": "Di"}')
    done = client.one("response.done")["response"]
    assert (done["status"], done["output"][0]["type"]) == ("completed", "function_call")
    assert client.kinds == [
        *OPENED[:3],
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
    ]
    client.narrator.answered("call_7", '{"slots":[]}', None)
    client.told("tool_result", call_id="call_7", tool="find_slot", ok=True, ms=80)
    assert client.one(ADDED)["item"]["output"] == '{"slots":[]}'
    assert client.kinds == ["conversation.item.added", "conversation.item.done", "trunkline.tool_result"]
    client.told("tool_result", call_id="theirs", tool="knowledge", ok=True, ms=5)
    client.narrator.answered("call_8", "late", None)
    client.told("tool_result", call_id="call_8", tool="find_slot", ok=False, ms=5)
    assert client.kinds == ["trunkline.tool_result"] * 2


def test_what_the_api_has_no_word_for(client: Client) -> None:
    client.told("latency", turn=2, total_ms=480, parts=[["endpoint", 300], ["model", 180]])
    (event,) = client.events
    assert event == {
        **{"type": "trunkline.latency", "event_id": "event_1_1", "seq": 1, "turn": 2, "total_ms": 480},
        "parts": [["endpoint", 300], ["model", 180]],
    }


def test_errors(client: Client) -> None:
    client.told("error", code="provider", message="the model failed", hint="say it again", fatal=False)
    client.take(client.narrator.wrong("bad_text", "text without a text", "text: hello", "e-9"))
    server, own = (event["error"] for event in client.events)
    assert (server["type"], server["code"]) == ("server_error", "provider")
    assert server["message"] == "the model failed (say it again)"
    assert (own["type"], own["code"], own["event_id"]) == ("invalid_request_error", "bad_text", "e-9")


def test_what_comes_again_has_the_same_ids() -> None:
    first, second = Narrator("s1"), Narrator("s1")
    data = {"role": "assistant", "turn": 2, "delta": "Yes"}
    first.tell(6, "state", {"state": "thinking"})
    assert first.tell(7, "transcript_delta", data) == second.tell(7, "transcript_delta", data)


TURNS = st.integers(1, 8)
BUS = st.one_of(
    st.tuples(st.just("speech_started"), st.fixed_dictionaries({"media_ms": st.integers(0, 5)})),
    st.tuples(st.just("speech_stopped"), st.fixed_dictionaries({"media_ms": st.integers(0, 5)})),
    st.tuples(
        st.sampled_from(["transcript"]),
        st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "turn": TURNS, "text": st.just("hi")}),
    ),
    st.tuples(
        st.just("transcript_delta"),
        st.fixed_dictionaries({"role": st.just("assistant"), "turn": TURNS, "delta": st.just("a")}),
    ),
    st.tuples(st.sampled_from(["response_done", "clear", "resume"]), st.fixed_dictionaries({"turn": TURNS})),
    st.tuples(st.just("state"), st.fixed_dictionaries({"state": st.sampled_from(["listening", "speaking"])})),
    st.tuples(st.just("playing"), st.fixed_dictionaries({"turn": TURNS})),
    st.tuples(st.just("typed"), st.just({"text": "hi"})),
)


@given(st.lists(BUS, max_size=40))
def test_the_order_holds_whatever_happens(story: list[tuple[str, dict[str, Any]]]) -> None:
    client = Client()
    for name, data in story:
        if name == "playing":
            client.playing(data["turn"])
        elif name == "typed":
            client.narrator.typed(data["text"], None)
        else:
            client.told(name, **data)
    open_response, audible, done = None, None, set()
    assert len({event["event_id"] for event in client.events}) == len(client.events)
    for event in client.events:
        match event["type"]:
            case "response.created":
                assert open_response is None
                open_response = event["response"]["id"]
                assert open_response not in done
            case "response.done":
                assert event["response"]["id"] == open_response
                done.add(open_response)
                open_response = None
            case "output_audio_buffer.started":
                assert audible is None
                audible = event["response_id"]
            case "output_audio_buffer.stopped" | "output_audio_buffer.cleared":
                assert event["response_id"] == audible
                audible = None
            case kind if kind.startswith("response."):
                assert event["response_id"] == open_response
