"""The leanest relay, as a yardstick: two sockets a call, audio passed on as the base64 it is, nothing remembered.

One process, no bus, no JSON, no marks, no truncation: about the least that Python can do. What it adds to latency is
what generator, model and machine add by themselves. `python -m benchmarks.phone.lean --port P --model URL`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
from urllib.parse import urlsplit

from benchmarks.phone.realtime import PHONE_SESSION
from benchmarks.phone.wire import TEXT, Socket, WireError, accept, between, frame, upgrade
from trunkline.loop import run, settle


class Phone(Socket):
    """Twilio's side of a call."""

    def __init__(self, group: asyncio.TaskGroup, host: str, port: int) -> None:
        super().__init__()
        self._group = group
        self._address = host, port
        self._stream = self._media = b""
        self._model: Model | None = None

    def opened(self, first_line: str, headers: dict[str, str]) -> None:
        self.transport.write(accept(headers))
        self._group.create_task(self._dial())

    async def _dial(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: Model(self), *self._address)

    def answered(self, model: Model) -> None:
        """The model's session is there; what was said before is lost."""
        self._model = model

    def text(self, payload: bytes) -> None:
        if b'"payload"' in payload:
            if self._model is not None:
                audio = between(payload, b'"payload"')
                self._model.send(b'{"type":"input_audio_buffer.append","audio":"%s"}' % audio)
        elif b'"start"' in payload:
            self._stream = between(payload, b'"streamSid"')
            self._media = b'{"event":"media","streamSid":"%s","media":{"payload":"' % self._stream

    def say(self, audio: bytes) -> None:
        self.send(b'%s%s"}}' % (self._media, audio))

    def clear(self) -> None:
        self.send(b'{"event":"clear","streamSid":"%s"}' % self._stream)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._model is not None:
            self._model.close()


class Model(Socket):
    """The model's side of a call."""

    def __init__(self, phone: Phone) -> None:
        super().__init__()
        self._phone = phone

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        host, port = self.transport.get_extra_info("peername")[:2]
        bearer = ("Authorization", f"Bearer {os.environ['OPENAI_API_KEY']}")
        self.transport.write(upgrade(f"{host}:{port}", "/v1/realtime?model=gpt-realtime-2.1", [bearer]))

    def opened(self, first_line: str, headers: dict[str, str]) -> None:
        if " 101 " not in first_line:
            raise WireError(f"the model refused: {first_line}")
        self.send(json.dumps({"type": "session.update", "session": PHONE_SESSION}).encode())
        self._phone.answered(self)

    def send(self, payload: bytes) -> None:
        self.transport.write(frame(TEXT, payload, random.randbytes(4)))

    def text(self, payload: bytes) -> None:
        if b'"response.output_audio.delta"' in payload:
            self._phone.say(between(payload, b'"delta"'))
        elif b'"input_audio_buffer.speech_started"' in payload:
            self._phone.clear()

    def connection_lost(self, exc: Exception | None) -> None:
        self._phone.close()


async def serve(port: int, model_url: str) -> None:
    """Serve until cancelled."""
    model = urlsplit(model_url)
    assert model.hostname is not None
    assert model.port is not None
    host, model_port = model.hostname, model.port
    async with asyncio.TaskGroup() as group:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Phone(group, host, model_port), "127.0.0.1", port)
        settle()
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.phone.lean")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True)
    wanted = parser.parse_args()
    run(serve(wanted.port, wanted.model))
