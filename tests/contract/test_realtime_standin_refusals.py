"""The Realtime stand-in refuses what the vendor refuses, by the vendor's codes, and the session goes on."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.realtime_caller import calling, manual
from tests.standins.realtime import Say

USER = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}
AUDIO_BY_ASSISTANT = {"type": "message", "role": "assistant", "content": [{"type": "output_audio", "audio": "AAAA"}]}


@pytest.mark.parametrize(
    ("event", "code", "param"),
    [
        ({"type": "session.update"}, "missing_required_parameter", "session"),
        ({"type": "session.update", "session": {}}, "missing_required_parameter", "session.type"),
        ({"type": "session.update", "session": {"type": "transcription"}}, "invalid_value", "session.type"),
        (
            {"type": "session.update", "session": {"type": "realtime", "modalities": ["text"]}},
            "unknown_parameter",
            "session.modalities",
        ),
        (
            {"type": "session.update", "session": {"type": "realtime", "audio": {"output": {"pitch": 2}}}},
            "unknown_parameter",
            "session.audio.output.pitch",
        ),
        (
            {
                "type": "session.update",
                "session": {"type": "realtime", "audio": {"input": {"format": {"type": "audio/pcm", "rate": 16000}}}},
            },
            "invalid_value",
            "session.audio.input.format.rate",
        ),
        ({"type": "session.update", "session": {"type": "realtime", "audio": {"input": None}}}, "invalid_value", None),
        (
            {"type": "session.update", "session": {"type": "realtime", "output_modalities": ["audio", "text"]}},
            "invalid_value",
            "session.output_modalities",
        ),
        ({"type": "session.update", "session": {"type": "realtime", "model": "other"}}, "invalid_value", None),
        ({"type": "input_audio_buffer.append"}, "missing_required_parameter", "audio"),
        ({"type": "input_audio_buffer.append", "audio": "%%"}, "invalid_value", "audio"),
        ({"type": "input_audio_buffer.commit"}, "input_audio_buffer_commit_empty", None),
        ({"type": "conversation.item.create"}, "missing_required_parameter", "item"),
        ({"type": "conversation.item.create", "item": AUDIO_BY_ASSISTANT}, "invalid_value", "item.content[0].type"),
        ({"type": "conversation.item.create", "item": USER | {"mood": 1}}, "unknown_parameter", "item.mood"),
        ({"type": "conversation.item.create", "item": USER | {"id": "so so"}}, "invalid_value", "item.id"),
        ({"type": "conversation.item.create", "item": USER | {"id": "known"}}, "invalid_value", "item.id"),
        (
            {"type": "conversation.item.create", "item": USER, "previous_item_id": "x"},
            "item_create_invalid_previous_item_id",
            "previous_item_id",
        ),
        ({"type": "conversation.item.retrieve", "item_id": "x"}, "item_retrieve_invalid_item_id", "item_id"),
        ({"type": "conversation.item.delete", "item_id": "x"}, "item_delete_invalid_item_id", "item_id"),
        (
            {"type": "conversation.item.truncate", "item_id": "x", "content_index": 0, "audio_end_ms": 0},
            "item_truncate_invalid_item_id",
            "item_id",
        ),
        (
            {"type": "conversation.item.truncate", "item_id": "known", "content_index": 0, "audio_end_ms": 0},
            "unsupported_content_type",
            "item_id",
        ),
        ({"type": "conversation.item.truncate", "item_id": "x"}, "missing_required_parameter", "content_index"),
        ({"type": "response.cancel"}, "response_cancel_not_active", None),
        ({"type": "response.create", "response": {"modalities": ["text"]}}, "unknown_parameter", "response.modalities"),
        ({"type": "response.create", "response": {"conversation": "mine"}}, "invalid_value", "response.conversation"),
        (
            {"type": "response.create", "response": {"metadata": {f"k{n}": "v" for n in range(17)}}},
            "invalid_value",
            "response.metadata",
        ),
        (
            {"type": "response.create", "response": {"input": [{"type": "item_reference", "id": "x"}]}},
            "item_not_found",
            "response.input",
        ),
        ({"type": "output_audio_buffer.clear"}, "invalid_value", "type"),
        ({"type": "daydream"}, "invalid_value", "type"),
    ],
)
async def test_what_is_refused_and_the_session_goes_on(event: dict[str, Any], code: str, param: str | None) -> None:
    async with calling(manual()) as (standin, caller):
        await caller.sdk.conversation.item.create(item=USER | {"id": "known"})
        await caller.until("conversation.item.done")
        before = standin.session.config
        error = await caller.refusal(event)
        assert error["code"] == code
        assert param is None or error["param"] == param
        assert standin.session.config == before
        assert [item["id"] for item in standin.session.items] == ["known"]
        assert (await caller.answer())["status"] == "completed"


async def test_what_is_no_event_is_refused() -> None:
    async with calling() as (_, caller):
        for message in ("{", "[]", "{}", '"x"', b"\x00"):
            await caller.sdk.send_raw(message)
            assert (await caller.until("error"))["error"]["type"] == "invalid_request_error"


async def test_the_voice_is_fixed_once_the_model_has_spoken() -> None:
    async with calling(manual()) as (_, caller):
        await caller.update({"audio": {"output": {"voice": "cedar"}}})
        await caller.answer()
        await caller.update({"audio": {"output": {"voice": "cedar"}}, "instructions": "Be brief."})
        other = {"type": "realtime", "audio": {"output": {"voice": "ash"}}}
        assert (await caller.refusal({"type": "session.update", "session": other}))["code"] == "cannot_update_voice"


async def test_audio_cannot_be_truncated_past_its_end() -> None:
    async with calling(manual(), answer=lambda _: Say("hello ada")) as (standin, caller):
        item = (await caller.answer())["output"][0]
        cut = {"type": "conversation.item.truncate", "item_id": item["id"], "content_index": 0}
        error = await caller.refusal(cut | {"audio_end_ms": 401})
        assert (error["code"], error["message"]) == (
            "invalid_value",
            "Audio content of 400ms is already shorter than 401ms",
        )
        assert standin.session.truncations == []
        await caller.sdk.send(cut | {"audio_end_ms": 400})
        await caller.until("conversation.item.truncated")
