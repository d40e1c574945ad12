"""Every kind of event that the Realtime stand-in sends is one that the official SDK knows, with all its fields."""

from __future__ import annotations

import pytest

from tests.contract.realtime_caller import Caller, calling, manual
from tests.standins.realtime import Call, FailTranscription, Prompt, Realtime, Reply, Say
from tests.standins.realtime.sdk import SERVER_EVENTS, check_event


async def tour(standin: Realtime, caller: Caller) -> None:
    """Everything that a client, or its silence, can bring about."""
    await caller.write("call")
    call = (await caller.answer({"tool_choice": "required"}))["output"][0]
    await caller.refusal({"type": "response.cancel"})
    await caller.sdk.conversation.item.retrieve(item_id=call["id"])
    await caller.until("conversation.item.retrieved")
    await caller.sdk.conversation.item.delete(item_id=call["id"])
    await caller.until("conversation.item.deleted")
    spoken = (await caller.answer({"output_modalities": ["audio"]}))["output"][0]
    await caller.sdk.conversation.item.truncate(item_id=spoken["id"], content_index=0, audio_end_ms=100)
    await caller.until("conversation.item.truncated")
    await caller.answer()
    await caller.sdk.input_audio_buffer.clear()
    await caller.until("input_audio_buffer.cleared")
    detection = {"type": "server_vad", "idle_timeout_ms": 10}
    await caller.update({"audio": {"input": {"transcription": {"model": "whisper-1"}, "turn_detection": detection}}})
    await caller.say("hello")
    await caller.until("conversation.item.input_audio_transcription.completed")
    standin.session.inject(FailTranscription())
    await caller.until("input_audio_buffer.timeout_triggered")
    await caller.until("conversation.item.input_audio_transcription.failed")


async def test_every_kind_of_event_is_one_the_sdk_knows() -> None:
    """`Caller.next` checks each event; here all kinds come by that exist over a WebSocket without MCP."""

    def answer(prompt: Prompt) -> Reply:
        return Call("look") if "tool_choice" in prompt.response else Say("hello")

    session = manual(output_modalities=["text"])
    async with calling(session, answer=answer, transcribe_ms=0, speed=0) as (standin, caller):
        await tour(standin, caller)
        never = set(SERVER_EVENTS) - {event["type"] for event in caller.events}
    assert len(SERVER_EVENTS) == 46
    assert {kind for kind in never if "mcp" not in kind} == {
        "conversation.created",  # the vendor no longer sends it
        "conversation.item.created",  # the beta's
        "conversation.item.input_audio_transcription.segment",  # diarisation
        "input_audio_buffer.dtmf_event_received",  # SIP
        "output_audio_buffer.cleared",  # WebRTC and SIP, these three
        "output_audio_buffer.started",
        "output_audio_buffer.stopped",
    }


def test_the_check_finds_what_the_sdk_does_not_know() -> None:
    good = {"type": "input_audio_buffer.committed", "event_id": "event_1", "item_id": "item_1"}
    check_event(good)
    with pytest.raises(ValueError, match="colour"):
        check_event(good | {"colour": "blue"})
    with pytest.raises(ValueError, match="item_id"):
        check_event({"type": "input_audio_buffer.committed", "event_id": "event_1"})
    with pytest.raises(ValueError, match=r"response\.audio\.delta"):
        check_event(good | {"type": "response.audio.delta"})
    nested = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi", "mood": 1}]}
    with pytest.raises(ValueError, match=r"item\.content\[0\]\.mood"):
        check_event({"type": "conversation.item.added", "event_id": "event_1", "item": nested})
