"""Links to models that tests serve, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from openai import AsyncOpenAI
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from workers.relay import protocol, websocket
from workers.relay.link import ModelLink, ModelLost
from workers.relay.websocket import connect, make_client

PATIENT_S = 20.0
"""No test waits so long for something that works."""

SECOND_S = 5.0
"""What is bounded by a second takes no longer than this on the noisiest of machines."""


@contextlib.asynccontextmanager
async def client_of(url: str) -> AsyncIterator[AsyncOpenAI]:
    async with make_client({"OPENAI_API_KEY": "key", websocket.URL_VARIABLE: url}) as client:
        yield client


@contextlib.asynccontextmanager
async def link_to(url: str, audio: protocol.AudioFormat = protocol.PCM) -> AsyncIterator[ModelLink]:
    async with client_of(url) as client:
        link = await connect(client, "gpt-realtime-2.1", audio, timeout_s=PATIENT_S)
        try:
            yield link
        finally:
            await link.close()


async def until(link: ModelLink, kind: str) -> list[dict[str, Any]]:
    """Events up to the first of a kind."""
    seen = []
    async with asyncio.timeout(PATIENT_S):
        async for event in link.events():
            seen.append(event)
            if event["type"] == kind:
                break
    return seen


async def lost(link: ModelLink) -> ModelLost:
    """How the link ends."""
    with pytest.raises(ModelLost) as caught:
        await until(link, "nothing is called this")
    return caught.value


async def refused(url: str, *, timeout_s: float = PATIENT_S) -> ModelLost:
    """How connecting ends."""
    async with client_of(url) as client:
        with pytest.raises(ModelLost) as caught:
            await connect(client, "gpt-realtime-2.1", protocol.PCM, timeout_s=timeout_s)
    return caught.value


@contextlib.asynccontextmanager
async def server(handle: Callable[[ServerConnection], Awaitable[None]], date: str | None = None) -> AsyncIterator[str]:
    """A model of few words, for what the stand-in is too well-behaved to do. `date` is what it takes the time for."""

    def dated(_: ServerConnection, __: Request, response: Response) -> Response:
        if date is not None:
            del response.headers["Date"]
            response.headers["Date"] = date
        return response

    async with serve(
        handle, "127.0.0.1", 0, ping_interval=None, close_timeout=0.1, process_response=dated
    ) as listening:
        yield f"ws://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
