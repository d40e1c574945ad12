"""The relay that everyone's samples show, as a yardstick: Starlette, `websockets`, JSON decoded and encoded, two tasks.

One process, no bus, no signature, no admission, and nothing survives it. `python -m benchmarks.phone.sample --port P
--model URL`. As in the samples, every delta goes to Twilio at once with a mark behind it, and speech of the caller
clears what Twilio has and truncates the answer at the time that has passed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, connect

from benchmarks.phone.realtime import PHONE_SESSION


@dataclass
class Call:
    """What the two directions tell each other."""

    stream: str = ""
    latest_ms: int = 0
    began_ms: int | None = None
    item: str | None = None
    marks: deque[str] = field(default_factory=deque)


async def from_twilio(phone: WebSocket, model: ClientConnection, call: Call) -> None:
    async for text in phone.iter_text():
        message = json.loads(text)
        if message["event"] == "media":
            call.latest_ms = int(message["media"]["timestamp"])
            await model.send(json.dumps({"type": "input_audio_buffer.append", "audio": message["media"]["payload"]}))
        elif message["event"] == "start":
            call.stream = message["start"]["streamSid"]
        elif message["event"] == "mark" and call.marks:
            call.marks.popleft()
        elif message["event"] == "stop":
            break
    await model.close()


async def from_model(phone: WebSocket, model: ClientConnection, call: Call) -> None:
    async for text in model:
        event = json.loads(text)
        if event["type"] == "response.output_audio.delta":
            await phone.send_json({"event": "media", "streamSid": call.stream, "media": {"payload": event["delta"]}})
            if event["item_id"] != call.item:
                call.item, call.began_ms = event["item_id"], call.latest_ms
            call.marks.append("piece")
            await phone.send_json({"event": "mark", "streamSid": call.stream, "mark": {"name": "piece"}})
        elif event["type"] == "input_audio_buffer.speech_started":
            await interrupted(phone, model, call)


async def interrupted(phone: WebSocket, model: ClientConnection, call: Call) -> None:
    if not call.marks or call.began_ms is None:
        return
    truncate: dict[str, Any] = {"type": "conversation.item.truncate", "item_id": call.item, "content_index": 0}
    await model.send(json.dumps(truncate | {"audio_end_ms": call.latest_ms - call.began_ms}))
    await phone.send_json({"event": "clear", "streamSid": call.stream})
    call.marks.clear()
    call.began_ms = call.item = None


def build(model_url: str) -> Starlette:
    async def media_stream(phone: WebSocket) -> None:
        await phone.accept()
        headers = {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
        url = f"{model_url}/realtime?model=gpt-realtime-2.1"
        async with connect(url, additional_headers=headers, proxy=None) as model:
            await model.send(json.dumps({"type": "session.update", "session": PHONE_SESSION}))
            call = Call()
            with contextlib.suppress(WebSocketDisconnect):  # the caller hung up during an answer
                await asyncio.gather(from_twilio(phone, model, call), from_model(phone, model, call))

    return Starlette(routes=[WebSocketRoute("/media-stream", media_stream)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.phone.sample")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True)
    wanted = parser.parse_args()
    uvicorn.run(build(wanted.model), port=wanted.port, log_level="warning")
