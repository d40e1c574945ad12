"""The Realtime stand-in speaks the protocol of PROTOCOLS section 1: the official SDK is its client."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.contract.realtime_caller import calling, connected, manual
from tests.standins import tones
from tests.standins.realtime import Call, Fail, Incomplete, Prompt, Realtime, Reply, Say, text_of
from tests.standins.realtime.formats import FORMATS

USER_TURN = [
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
]
SPOKEN_ANSWER = [
    "response.created",
    "rate_limits.updated",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_audio_transcript.delta",
    "response.output_audio.delta",
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "response.output_item.done",
    "conversation.item.done",
    "response.done",
]
CALL = [
    "response.created",
    "rate_limits.updated",
    "response.output_item.added",
    "conversation.item.added",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "response.output_item.done",
    "conversation.item.done",
    "response.done",
]
LONG = "once upon a time there was a king who had three ships and the sea was here and the sun"
TRANSCRIBED = {"audio": {"input": {"transcription": {"model": "gpt-transcribe"}}}}


async def test_a_session_begins_with_its_defaults() -> None:
    async with Realtime() as standin, connected(standin) as caller:
        created = await caller.next()
        assert created["type"] == "session.created"
        assert created["session"]["id"] == standin.session.id
        assert created["session"]["expires_at"] == standin.session.expires_at
        assert created["session"]["audio"]["input"]["turn_detection"]["type"] == "server_vad"


@pytest.mark.parametrize("kind", list(FORMATS))
async def test_a_spoken_turn(kind: str) -> None:
    form = {"type": kind}
    async with calling({"audio": {"input": {"format": form}, "output": {"format": form}}}) as (standin, caller):
        del caller.events[:]
        await caller.say("hello my name is ada")
        response = await caller.done()
        assert caller.kinds() == USER_TURN + SPOKEN_ANSWER
        item = response["output"][0]
        assert response["status"] == "completed"
        assert item["content"] == [{"type": "output_audio", "transcript": "you said hello my name is ada"}]
        assert caller.heard(item["id"]) == "you said hello my name is ada"
        pieces = [e["delta"] for e in caller.events if e["type"] == "response.output_audio_transcript.delta"]
        assert pieces == ["you ", "said ", "hello ", "my ", "name ", "is ", "ada"]
        assert standin.session.heard == "hello my name is ada"
        assert standin.session.appended_ms == 1400
        numbers = [int(event["event_id"].removeprefix("event_")) for event in caller.events]
        assert numbers == sorted(set(numbers))


async def test_where_speech_began_and_ended() -> None:
    detection = {"type": "server_vad", "prefix_padding_ms": 100, "silence_duration_ms": 300}
    async with calling({"audio": {"input": {"turn_detection": detection}}}) as (standin, caller):
        await caller.say("", silence_ms=500)
        await caller.say("yes")
        started = await caller.until("input_audio_buffer.speech_started")
        stopped = await caller.until("input_audio_buffer.speech_stopped")
        assert started["audio_start_ms"] == pytest.approx(400, abs=10)
        # 500 ms of silence, 180 ms of tone, 300 ms of silence.
        assert stopped["audio_end_ms"] == pytest.approx(980, abs=10)
        await caller.done()
        await caller.say("no")
        second = await caller.until("input_audio_buffer.speech_started")
        assert second["audio_start_ms"] == pytest.approx(1000, abs=10)
        committed = await caller.until("input_audio_buffer.committed")
        assert committed["previous_item_id"] == standin.session.items[1]["id"]
        assert second["item_id"] == committed["item_id"]
        await caller.done()


async def test_what_the_user_said_is_transcribed_and_sent() -> None:
    async with calling(TRANSCRIBED, transcribe_ms=0) as (standin, caller):
        await caller.say("book tuesday")
        completed = await caller.until("conversation.item.input_audio_transcription.completed")
        deltas = [e["delta"] for e in caller.events if e["type"].endswith("input_audio_transcription.delta")]
        assert "".join(deltas) == completed["transcript"] == "book tuesday"
        assert completed["usage"]["total_tokens"] > 0
        assert completed["item_id"] == standin.session.items[0]["id"]
        assert standin.session.items[0]["content"][0]["transcript"] == "book tuesday"
        await caller.done()


async def test_barge_in() -> None:
    async with calling(answer=lambda _: Say(LONG), speed=1.0) as (standin, caller):
        await caller.say("hello")
        first = await caller.until("response.output_audio.delta")
        await caller.until("response.output_audio.delta")
        del caller.events[:]
        await caller.say("stop", silence_ms=0)
        response = await caller.done()
        assert caller.kinds("response.output_audio.delta", "response.output_audio_transcript.delta") == [
            "input_audio_buffer.speech_started",
            "response.output_audio.done",
            "response.output_audio_transcript.done",
            "response.content_part.done",
            "response.output_item.done",
            "conversation.item.done",
            "response.done",
        ]
        assert response["id"] == first["response_id"]
        assert response["status"] == "cancelled"
        assert response["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
        item = response["output"][0]
        assert item["status"] == "incomplete"
        assert LONG.startswith(item["content"][0]["transcript"])

        await caller.sdk.conversation.item.truncate(item_id=item["id"], content_index=0, audio_end_ms=150)
        truncated = await caller.until("conversation.item.truncated")
        assert truncated["audio_end_ms"] == 150
        assert standin.session.truncations == [{"item_id": item["id"], "content_index": 0, "audio_end_ms": 150}]
        assert standin.session.items[1]["content"] == [{"type": "output_audio"}]

        await caller.say("", silence_ms=400)
        again = await caller.until("response.created")
        assert again["response"]["id"] != response["id"]


async def test_without_interruption_speech_does_not_cancel_and_its_own_response_fails() -> None:
    detection = {"type": "server_vad", "interrupt_response": False}
    session = {"audio": {"input": {"turn_detection": detection}}}
    async with calling(session, answer=lambda _: Say(LONG), speed=2.0) as (_, caller):
        await caller.say("hello")
        await caller.until("response.output_audio.delta")
        await caller.say("stop")
        error = await caller.until("error")
        assert error["error"]["code"] == "conversation_already_has_active_response"
        assert (await caller.done())["status"] == "completed"


async def test_without_automatic_responses_a_turn_is_only_committed() -> None:
    detection = {"type": "semantic_vad", "eagerness": "high", "create_response": False}
    async with calling({"audio": {"input": {"turn_detection": detection}}}) as (_, caller):
        del caller.events[:]
        await caller.say("hello")
        await caller.until("conversation.item.done")
        response = await caller.answer()
        assert caller.kinds() == USER_TURN + SPOKEN_ANSWER
        assert response["output"][0]["content"][0]["transcript"] == "you said hello"


async def test_push_to_talk() -> None:
    async with calling(manual()) as (standin, caller):
        del caller.events[:]
        await caller.say("no no no", silence_ms=0)
        await caller.sdk.input_audio_buffer.clear()
        await caller.until("input_audio_buffer.cleared")
        await caller.say("yes", silence_ms=0)
        await caller.sdk.input_audio_buffer.commit()
        await caller.until("conversation.item.done")
        response = await caller.answer()
        assert caller.kinds() == ["input_audio_buffer.cleared", *USER_TURN[2:], *SPOKEN_ANSWER]
        assert response["output"][0]["content"][0]["transcript"] == "you said yes"
        received = [event["type"] for event in standin.session.received]
        assert received[1:] == ["input_audio_buffer.clear", "input_audio_buffer.commit", "response.create"]


async def test_a_typed_turn() -> None:
    async with calling(manual(output_modalities=["text"])) as (_, caller):
        await caller.write("Tell me a story, Tom!")
        del caller.events[:]
        response = await caller.answer()
        assert caller.kinds("response.output_text.delta") == [
            *SPOKEN_ANSWER[:5],
            "response.output_text.done",
            *SPOKEN_ANSWER[9:],
        ]
        text = "you said tell me a story tom"
        assert response["output"][0]["content"] == [{"type": "output_text", "text": text}]
        assert "".join(e["delta"] for e in caller.events if e["type"] == "response.output_text.delta") == text
        usage = response["usage"]
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0


def with_tools(prompt: Prompt) -> Reply:
    last = prompt.last
    if last is not None and last["type"] == "function_call_output":
        return Say(f"yes {tones.known(last['output'])}")
    return Call("find_slot", {"day": "tuesday"}, say_first="one moment please")


async def test_a_function_call() -> None:
    tool = {"type": "function", "name": "find_slot", "parameters": {"type": "object", "properties": {}}}
    async with calling(manual(tools=[tool]), answer=lambda _: Call("find_slot", {"day": "tuesday"})) as (_, caller):
        await caller.write("is tuesday free")
        del caller.events[:]
        response = await caller.answer()
        assert caller.kinds() == CALL
        call = response["output"][0]
        assert (call["name"], call["arguments"]) == ("find_slot", '{"day": "tuesday"}')
        pieces = [e["delta"] for e in caller.events if e["type"] == "response.function_call_arguments.delta"]
        assert "".join(pieces) == call["arguments"]
        done = next(e for e in caller.events if e["type"] == "response.function_call_arguments.done")
        assert (done["name"], done["call_id"]) == ("find_slot", call["call_id"])


async def test_words_then_a_function_call_then_its_output() -> None:
    async with calling(manual(), answer=with_tools) as (standin, caller):
        await caller.write("is tuesday free")
        response = await caller.answer()
        said, call = response["output"]
        assert said["content"][0]["transcript"] == "one moment please"
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": '{"slot": "Tuesday ten"}'}
        await caller.sdk.conversation.item.create(item=output)
        await caller.until("conversation.item.done")
        answer = await caller.answer()
        assert answer["output"][0]["content"][0]["transcript"] == "yes slot tuesday ten"
        kinds = [item["type"] for item in standin.session.items]
        assert kinds == ["message", "message", "function_call", "function_call_output", "message"]


@pytest.mark.parametrize(
    ("reply", "status", "details", "said"),
    [
        (
            Fail("insufficient_quota", "You exceeded your current quota."),
            "failed",
            {"error": {"type": "insufficient_quota", "code": "insufficient_quota"}},
            [],
        ),
        ([Say("hello"), Fail()], "failed", {"error": {"type": "server_error", "code": None}}, ["completed"]),
        (Incomplete(), "incomplete", {"reason": "max_output_tokens"}, []),
        ([Say("hello"), Incomplete("content_filter")], "incomplete", {"reason": "content_filter"}, ["completed"]),
    ],
)
async def test_a_response_that_does_not_succeed(
    reply: Reply, status: str, details: dict[str, Any], said: list[str]
) -> None:
    async with calling(manual(), answer=lambda _: reply) as (_, caller):
        response = await caller.answer()
        assert (response["status"], response["status_details"]["type"]) == (status, status)
        for name, value in details.items():
            found = response["status_details"][name]
            assert (found | value if isinstance(value, dict) else value) == found
        assert [item["status"] for item in response["output"]] == said


async def test_out_of_band_responses_run_beside_the_conversation() -> None:
    async with calling(manual(), answer=lambda p: Say("wait" if p.response else LONG), speed=2.0) as (standin, caller):
        await caller.sdk.response.create()
        await caller.until("response.output_audio.delta")
        filler = {"conversation": "none", "input": [], "metadata": {"kind": "filler"}}
        response = await caller.answer(filler)
        assert response["metadata"] == {"kind": "filler"}
        assert response["conversation_id"] is None
        assert response["output"][0]["content"][0]["transcript"] == "wait"
        assert [each["id"] for each in standin.session.items] != [response["output"][0]["id"]]
        error = await caller.refusal({"type": "response.create"})
        assert error["code"] == "conversation_already_has_active_response"
        await caller.sdk.response.cancel()
        cancelled = await caller.done()
        assert cancelled["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
        assert len(standin.session.items) == 1


async def test_the_default_script() -> None:
    async with calling(manual(output_modalities=["text"]), first_audio_ms=0) as (_, caller):

        async def says(response: dict[str, Any] | None = None) -> str:
            return text_of((await caller.answer(response))["output"][0])

        assert await says() == "hello"
        assert await says({"instructions": 'Say exactly: "Welcome to Acme."'}) == "Welcome to Acme."
        await caller.write("Xylophone")
        assert await says() == "you said nothing"
        only = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "good morning"}]}
        assert await says({"input": [only], "conversation": "none"}) == "you said good morning"


async def test_items_keep_their_order() -> None:
    async with calling(manual()) as (standin, caller):
        for name, after in (("b", None), ("a", "root"), ("d", None), ("c", "b")):
            content = [{"type": "input_text", "text": name}]
            item = {"id": name, "type": "message", "role": "system", "content": content}
            more = {} if after is None else {"previous_item_id": after}
            await caller.sdk.conversation.item.create(item=item, **more)
            await caller.until("conversation.item.done")
        added = [(e["item"]["id"], e["previous_item_id"]) for e in caller.events if e["type"].endswith("item.added")]
        assert added == [("b", None), ("a", None), ("d", "b"), ("c", "b")]
        await caller.sdk.conversation.item.delete(item_id="b")
        await caller.until("conversation.item.deleted")
        assert [item["id"] for item in standin.session.items] == ["a", "c", "d"]


async def test_a_retrieved_item_has_its_audio() -> None:
    async with calling(manual()) as (standin, caller):
        await caller.say("hello ada", silence_ms=0)
        await caller.sdk.input_audio_buffer.commit()
        done = await caller.until("conversation.item.done")
        assert "audio" not in done["item"]["content"][0]
        await caller.sdk.conversation.item.retrieve(item_id=done["item"]["id"])
        item = (await caller.until("conversation.item.retrieved"))["item"]
        assert tones.hear(base64.b64decode(item["content"][0]["audio"]), 24_000) == "hello ada"
        assert base64.b64decode(item["content"][0]["audio"]) == standin.session.audio


async def test_an_update_changes_what_it_names() -> None:
    async with calling() as (_, caller):
        effective = await caller.update({"instructions": "Be brief.", "audio": {"output": {"voice": "cedar"}}})
        assert effective["instructions"] == "Be brief."
        assert effective["audio"]["output"] == {
            "format": {"type": "audio/pcm", "rate": 24_000},
            "voice": "cedar",
            "speed": 1.0,
        }
        assert effective["audio"]["input"]["turn_detection"]["type"] == "server_vad"
        semantic = {"audio": {"input": {"turn_detection": {"type": "semantic_vad"}, "format": {"type": "audio/pcmu"}}}}
        effective = await caller.update(semantic)
        assert effective["audio"]["input"]["format"] == {"type": "audio/pcmu"}
        assert effective["audio"]["input"]["turn_detection"] == {
            "type": "semantic_vad",
            "eagerness": "auto",
            "create_response": True,
            "interrupt_response": True,
        }


async def test_a_silent_user_is_spoken_to_after_the_idle_timeout() -> None:
    detection = {"type": "server_vad", "idle_timeout_ms": 100}
    session = {"audio": {"input": {"turn_detection": detection}}}
    async with calling(session, speed=0, first_audio_ms=0) as (standin, caller):
        await caller.say("hello")
        await caller.done()
        await caller.say("", silence_ms=500)
        del caller.events[:]
        await caller.done()
        assert caller.kinds() == ["input_audio_buffer.timeout_triggered", *USER_TURN[2:], *SPOKEN_ANSWER]
        triggered = caller.events[0]
        assert triggered["audio_end_ms"] - triggered["audio_start_ms"] == 100
        assert triggered["item_id"] == standin.session.items[2]["id"]
