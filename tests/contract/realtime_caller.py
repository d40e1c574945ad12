"""The official SDK as the Realtime stand-in's client: each event that comes is held against the SDK's own types."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import openai
from openai.resources.realtime.realtime import AsyncRealtimeConnection

from tests.standins import tones
from tests.standins.realtime import Realtime
from tests.standins.realtime.formats import FORMATS
from tests.standins.realtime.sdk import check_event

MODEL = "gpt-realtime-2.1"
PATIENCE_S = 15.0
FRAME_MS = 20


class Caller:
    def __init__(self, connection: AsyncRealtimeConnection) -> None:
        self.sdk: Any = connection
        """Untyped, because tests also send what the SDK's types forbid."""

        self.events: list[dict[str, Any]] = []
        self.format = "audio/pcm"

    async def next(self) -> dict[str, Any]:
        """The next event, which the SDK must know with all its fields, and parse to the same type."""
        async with asyncio.timeout(PATIENCE_S):
            message = await self.sdk.recv_bytes()
        event: dict[str, Any] = json.loads(message)
        check_event(event)
        assert self.sdk.parse_event(message).type == event["type"]
        self.events.append(event)
        return event

    async def until(self, kind: str, matches: Callable[[dict[str, Any]], bool] = lambda _: True) -> dict[str, Any]:
        """The next event of this type (that matches)."""
        while True:
            event = await self.next()
            if event["type"] == kind and matches(event):
                return event

    async def update(self, session: dict[str, Any]) -> dict[str, Any]:
        """The effective session after an update."""
        await self.sdk.session.update(session={"type": "realtime", **session})
        effective: dict[str, Any] = (await self.until("session.updated"))["session"]
        self.format = effective["audio"]["input"]["format"]["type"]
        return effective

    async def say(self, text: str, silence_ms: int = 400) -> None:
        """Speak in frames of 20 ms, as fast as the socket takes them, and be silent for a while."""
        form = FORMATS[self.format]
        pcm = tones.speak(text, form.rate_hz) + bytes(form.rate_hz * silence_ms // 1000 * 2)
        audio, size = form.from_pcm(pcm), FRAME_MS * form.bytes_per_ms
        for at in range(0, len(audio), size):
            await self.sdk.input_audio_buffer.append(audio=base64.b64encode(audio[at : at + size]).decode())

    async def write(self, text: str) -> None:
        """Put a user's text into the conversation."""
        content = [{"type": "input_text", "text": text}]
        await self.sdk.conversation.item.create(item={"type": "message", "role": "user", "content": content})
        await self.until("conversation.item.done")

    async def answer(self, response: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask for a response; gives what response.done holds."""
        await self.sdk.response.create(**({} if response is None else {"response": response}))
        return await self.done()

    async def done(self) -> dict[str, Any]:
        response: dict[str, Any] = (await self.until("response.done"))["response"]
        return response

    async def refusal(self, event: dict[str, Any]) -> dict[str, Any]:
        """The error that answers a client event."""
        await self.sdk.send({"event_id": "e-1", **event})
        error: dict[str, Any] = (await self.until("error"))["error"]
        assert error["event_id"] == "e-1"
        assert error["type"] == "invalid_request_error"
        return error

    def kinds(self, *but: str) -> list[str]:
        """The types of all events so far, in order; repeated deltas once, and without those that start with `but`."""
        kinds: list[str] = []
        for event in self.events:
            kind = event["type"]
            if not kind.startswith(but or "-") and not (kind.endswith(".delta") and kind in kinds[-2:]):
                kinds.append(kind)
        return kinds

    def audio(self, item_id: str) -> bytes:
        """What came of an item's audio, in the output format."""
        deltas = [each for each in self.events if each["type"] == "response.output_audio.delta"]
        return b"".join(base64.b64decode(each["delta"]) for each in deltas if each["item_id"] == item_id)

    def heard(self, item_id: str) -> str:
        form = FORMATS[self.format]
        return tones.hear(form.to_pcm(self.audio(item_id)), form.rate_hz)


@contextlib.asynccontextmanager
async def connected(standin: Realtime) -> AsyncIterator[Caller]:
    """A connection that has not read anything yet."""
    async with (
        openai.AsyncOpenAI(api_key="key", websocket_base_url=standin.url) as client,
        client.realtime.connect(model=MODEL) as connection,
    ):
        yield Caller(connection)


@contextlib.asynccontextmanager
async def calling(session: dict[str, Any] | None = None, **options: Any) -> AsyncIterator[tuple[Realtime, Caller]]:
    """A stand-in, and a caller who has seen session.created and set the session up."""
    async with Realtime(**options) as standin, connected(standin) as caller:
        await caller.until("session.created")
        if session is not None:
            await caller.update(session)
        yield standin, caller


def manual(**more: Any) -> dict[str, Any]:
    """A session without voice detection."""
    return {"audio": {"input": {"turn_detection": None}}, **more}
