"""A stand-in for the OpenAI Realtime API over WebSocket and WebRTC, as PROTOCOLS section 1 records it.

async with Realtime(answer=lambda prompt: Say("welcome")) as standin:
    client = openai.AsyncOpenAI(api_key="k", websocket_base_url=standin.url)
    async with client.realtime.connect(model="gpt-realtime-2.1") as connection:
        ...
    assert standin.session.items == ...

async with Realtime(webrtc=True) as standin:
    client = openai.AsyncOpenAI(api_key="k", base_url=standin.http_url)
    call = await client.realtime.calls.create(sdp=offer, session={"type": "realtime", "model": "gpt-realtime-2.1"})
"""

from .faults import (
    Close,
    CloseChannel,
    Drop,
    Expire,
    FailResponse,
    FailTranscription,
    Garbage,
    Mute,
    NeverAnswer,
    NoCandidates,
    Refuse,
    SlowFirstAudio,
    SlowHandshake,
    Stall,
)
from .options import Options
from .script import Call, Fail, Incomplete, Prompt, Reply, Say, echo, text_of
from .server import Realtime
from .session import Session

__all__ = [
    "Call",
    "Close",
    "CloseChannel",
    "Drop",
    "Expire",
    "Fail",
    "FailResponse",
    "FailTranscription",
    "Garbage",
    "Incomplete",
    "Mute",
    "NeverAnswer",
    "NoCandidates",
    "Options",
    "Prompt",
    "Realtime",
    "Refuse",
    "Reply",
    "Say",
    "Session",
    "SlowFirstAudio",
    "SlowHandshake",
    "Stall",
    "echo",
    "text_of",
]
