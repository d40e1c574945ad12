"""The benchmark's model, heard by the official SDK's types: a turn, a barge-in, what it refuses."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from openai.types.realtime import RealtimeServerEvent
from pydantic import BaseModel, TypeAdapter
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from benchmarks.phone import audio
from benchmarks.phone.model import MarkedMulaw, Timed
from benchmarks.phone.realtime import PHONE_SESSION
from benchmarks.phone.session import Model, Session

PATIENCE_S = 20.0
ANSWER = [
    *("response.created", "rate_limits.updated", "response.output_item.added", "conversation.item.added"),
    "response.content_part.added",
    *["response.output_audio_transcript.delta", "response.output_audio.delta"] * audio.ANSWER_PIECES,
    *("response.output_audio.done", "response.output_audio_transcript.done", "response.content_part.done"),
    *("response.output_item.done", "conversation.item.done", "response.done"),
]
TAKEN = [
    *("input_audio_buffer.speech_stopped", "input_audio_buffer.committed"),
    *("conversation.item.added", "conversation.item.done"),
]
EVENT: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)


class Server:
    def __init__(self, timed: Timed, port: int) -> None:
        self.timed = timed
        self.url = f"ws://127.0.0.1:{port}/v1/realtime?model=gpt-realtime-2.1"


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    timed = Timed()
    model = Model(lambda: MarkedMulaw(timed))
    listener = await asyncio.get_running_loop().create_server(lambda: Session(model), "127.0.0.1", 0)
    yield Server(timed, listener.sockets[0].getsockname()[1])
    listener.close()
    await listener.wait_closed()


def client(server: Server) -> connect:
    return connect(server.url, additional_headers={"Authorization": "Bearer key"}, proxy=None)


async def ready(line: ClientConnection) -> None:
    assert (await event(line))["type"] == "session.created"
    await line.send(json.dumps({"type": "session.update", "session": PHONE_SESSION}))
    updated = await event(line)
    assert updated["type"] == "session.updated"
    assert updated["session"]["audio"]["input"]["format"] == {"type": "audio/pcmu"}
    assert updated["session"]["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 500


async def event(line: ClientConnection) -> dict[str, Any]:
    """The next event, as the SDK's types have it and with nothing that they do not know."""
    async with asyncio.timeout(PATIENCE_S):
        found: dict[str, Any] = json.loads(await line.recv())
    parsed = EVENT.validate_python(found)
    assert parsed.type == found["type"]
    if not found["type"].startswith("session."):  # there they type the request, which has no id
        assert unknown_fields(parsed) == []
    return found


def unknown_fields(parsed: object) -> list[str]:
    if isinstance(parsed, list):
        return [name for one in parsed for name in unknown_fields(one)]
    if not isinstance(parsed, BaseModel):
        return []
    inner = [name for field in type(parsed).model_fields for name in unknown_fields(getattr(parsed, field))]
    return [*(parsed.model_extra or {}), *inner]


async def say(line: ClientConnection, frames: int, *, loud: bool, first: int = 0) -> None:
    rest = audio.after_marker(audio.FRAME_BYTES, loud=loud)
    for seq in range(first, first + frames):
        marked = audio.marked(audio.key(7, seq), rest)
        await line.send(json.dumps({"type": "input_audio_buffer.append", "audio": marked}))


async def until(line: ClientConnection, kind: str) -> list[dict[str, Any]]:
    events = [await event(line)]
    while events[-1]["type"] != kind:
        events.append(await event(line))
    return events


async def test_an_utterance_is_answered_in_the_order_of_the_real_one(server: Server) -> None:
    async with client(server) as line:
        await ready(line)
        await say(line, 5, loud=True)
        assert [(await event(line))["type"]] == ["input_audio_buffer.speech_started"]
        await say(line, 25, loud=False, first=5)
        events = await until(line, "response.done")
    assert [one["type"] for one in events] == TAKEN + ANSWER
    assert events[-1]["response"]["status"] == "completed"
    assert [key for key, _ in server.timed.appended] == [audio.key(7, seq) for seq in range(30)]
    sent = [key for key, _ in server.timed.spoken]
    assert sent == [audio.answer_key(7, 0, piece) for piece in range(audio.ANSWER_PIECES)]
    finder = audio.Finder()
    deltas = [one["delta"] for one in events if one["type"] == "response.output_audio.delta"]
    assert [key for delta in deltas for key in finder.feed(base64.b64decode(delta))] == sent


async def test_one_loud_frame_cancels_the_answer(server: Server) -> None:
    async with client(server) as line:
        await ready(line)
        await say(line, 1, loud=True)
        await say(line, 25, loud=False)
        await until(line, "response.output_audio.delta")
        await say(line, 1, loud=True)
        await until(line, "input_audio_buffer.speech_started")
        done = (await until(line, "response.done"))[-1]["response"]
    assert (done["status"], done["status_details"]["reason"]) == ("cancelled", "turn_detected")
    assert 0 < len(server.timed.spoken) < audio.ANSWER_PIECES


async def test_what_a_client_may_ask_for_by_itself(server: Server) -> None:
    async with client(server) as line:
        await ready(line)
        await line.send(json.dumps({"type": "response.cancel"}))
        assert (await event(line))["error"]["code"] == "response_cancel_not_active"
        await line.send(json.dumps({"type": "response.create"}))
        await until(line, "response.output_audio.delta")
        await line.send(json.dumps({"type": "response.create"}))
        assert (await until(line, "error"))[-1]["error"]["code"] == "conversation_already_has_active_response"
        await line.send(json.dumps({"type": "response.cancel"}))
        done = (await until(line, "response.done"))[-1]["response"]
        assert done["status_details"]["reason"] == "client_cancelled"
        cut = {"item_id": "item_A0", "content_index": 0, "audio_end_ms": 120}
        await line.send(json.dumps({"type": "conversation.item.truncate", **cut}))
        truncated = await event(line)
        assert {name: truncated[name] for name in cut} == cut
        await line.send(json.dumps({"type": "foo.bar", "event_id": "mine"}))
        assert (await event(line))["error"]["event_id"] == "mine"


async def test_audio_that_is_no_telephones_is_refused(server: Server) -> None:
    async with client(server) as line:
        assert (await event(line))["type"] == "session.created"  # and pcm at 24 kHz until told
        await say(line, 1, loud=True)
        assert (await event(line))["type"] == "error"


async def test_a_client_without_a_key_is_refused(server: Server) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(server.url, proxy=None):
            pass
    assert refused.value.response.status_code == 401
