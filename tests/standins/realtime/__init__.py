"""A stand-in for the OpenAI Realtime API over WebSocket, as PROTOCOLS section 1 records it.

async with Realtime(answer=lambda prompt: Say("welcome")) as standin:
    client = openai.AsyncOpenAI(api_key="k", websocket_base_url=standin.url)
    async with client.realtime.connect(model="gpt-realtime-2.1") as connection:
        ...
    assert standin.session.items == ...
"""

from .faults import (
    Close,
    Drop,
    Expire,
    FailResponse,
    FailTranscription,
    Garbage,
    Mute,
    NeverAnswer,
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
    "Drop",
    "Expire",
    "Fail",
    "FailResponse",
    "FailTranscription",
    "Garbage",
    "Incomplete",
    "Mute",
    "NeverAnswer",
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
