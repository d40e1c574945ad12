"""The page comes back, and the answer to that is lost on its way: by a line that swallows it, everything else real."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from benchmarks.stack import Stack
from tests.browser.calls.console import AS_IT_IS, LISTEN, RATE_HZ, REFUSED, TENANTS, Console, answer_to, report
from tests.browser.conftest import Expected, OpenPage, write_wav

pytestmark = [pytest.mark.browser, pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]

STORY = "tell me a story"
NO_ANSWER = "Failed to load resource"
UPGRADED = b"\r\n\r\n"


class Line:
    """A TCP line to a port of this machine. `cut` breaks it. Of the answers to so many calls as it is `swallowing`
    nothing comes through: by a WebSocket all that follows the upgrade, over WebRTC the answer to an offer."""

    def __init__(self, to_port: int) -> None:
        self.swallowing = 0
        self.swallowed = 0
        self.port = 0
        self._to_port = to_port
        self._open: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._to_port)
        mute = asyncio.Event()
        self._open |= {writer, back}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._up(reader, back, mute))
                group.create_task(self._down(there, writer, mute))
        finally:
            self._open -= {writer, back}
            for end in (writer, back):
                end.transport.abort()

    async def _up(self, reader: asyncio.StreamReader, back: asyncio.StreamWriter, mute: asyncio.Event) -> None:
        while data := await _read(reader):
            if self.swallowing and (data.startswith(b"GET /ws ") or b"POST /api/realtime/webrtc/bridge" in data):
                self.swallowing -= 1
                mute.set()
            back.write(data)
        back.transport.abort()

    async def _down(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter, mute: asyncio.Event) -> None:
        upgraded = False
        while data := await _read(there):
            if not mute.is_set():
                writer.write(data)
            elif data.startswith(b"HTTP/1.1 101") and not upgraded:
                upgraded = True
                head, _, _ = data.partition(UPGRADED)
                writer.write(head + UPGRADED)
            else:
                self.swallowed += 1
        writer.transport.abort()

    def cut(self) -> None:
        for end in list(self._open):
            end.transport.abort()


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(65536)
    except ConnectionError:
        return b""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[Stack]:
    async with Stack(gateways=2, workers=1, tenants=TENANTS) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def line(stack: Stack) -> AsyncIterator[Line]:
    made = Line(stack.port)
    async with await asyncio.start_server(made.serve, "127.0.0.1", 0) as server:
        made.port = server.sockets[0].getsockname()[1]
        yield made
        made.cut()


@pytest.mark.parametrize("transport", ["websocket", "webrtc"])
async def test_the_conversation_goes_on_when_the_answer_to_coming_back_is_lost(
    stack: Stack, line: Line, open_page: OpenPage, console_errors: Expected, tmp_path: Path, transport: str
) -> None:
    console_errors.fragments += [REFUSED, NO_ANSWER]
    wav = write_wav(tmp_path / "microphone.wav", np.zeros(60 * RATE_HZ, np.int16), RATE_HZ)
    url = f"http://127.0.0.1:{line.port}/?tenant=quiet"
    async with open_page(url, wav=wav, init=AS_IT_IS + LISTEN, transport=transport) as page:
        console = Console(page)
        await console.start()
        session = await console.session()
        await console.type(STORY)
        await console.event("state", state="speaking")
        await asyncio.sleep(1.5)
        line.swallowing = 1
        if transport == "websocket":
            line.cut()
        else:
            os.kill(await stack.gateway_pid(session), signal.SIGKILL)
        statuses = await _back(console)
        await asyncio.sleep(2)
        await page.click("#interrupt")
        await console.event("transcript", role="assistant")
        await console.type("what did i say")
        await console.event("response_done")
        words = await console.words()
        assert await page.is_hidden("#problem")
        assert await console.events("restarted") == []
        record = await stack.record(session)

    assert line.swallowed, "nothing was lost"
    assert [who for who, _ in words] == ["You", "Trunkline", "You", "Trunkline"]
    assert answer_to(STORY).startswith(words[1][1])
    assert len(words[1][1].split()) > 8
    assert words[-1] == ("Trunkline", f"Before this, you said: {STORY}.")
    assert record.link == 2, "the first use of the token was superseded by the second"
    report("an answer that was lost", transport=transport, away_ms=round(statuses))


async def _back(console: Console) -> float:
    """Wait until it is back; how many ms it was away."""
    async with asyncio.timeout(20):
        while True:
            told = [(event.detail, event.ms) for event in await console.events("status")]
            names = [name for name, _ in told]
            if names[-2:] == ["reconnecting", "ready"]:
                return told[-1][1] - told[-2][1]
            await asyncio.sleep(0.05)
