"""The leanest cascade, as a yardstick: one process, a detector of voice a call, sockets by hand, nothing remembered.

No bus, no marks, no pacing, no conversation, no failures. What it adds to latency is what callers, vendors and machine
add by themselves. `python -m benchmarks.cascade.lean --port P --vendors P`.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import json
import random
import re
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from benchmarks.cascade.settings import SETTINGS
from benchmarks.phone.wire import BINARY, TEXT, Socket, accept, between, frame, upgrade
from trunkline.audio.g711 import pcm_to_ulaw, ulaw_to_pcm
from trunkline.loop import run, settle
from workers.turns.endpointing import CHUNK_MS, EdgeKind, Endpointing
from workers.turns.vad import VoiceActivity

RATE_HZ = 8000
PRE_ROLL_FRAMES = 25
_CLAUSE = re.compile(r"(.{20,}?[,.?!])\s", re.DOTALL)
_FORMAT = {"container": "raw", "encoding": "pcm_s16le", "sample_rate": RATE_HZ}


class Vendor(Socket):
    """A socket to a vendor; what is said before it is open, waits."""

    def __init__(self, port: int, path: str, key: str) -> None:
        super().__init__()
        self._upgrade = upgrade(f"127.0.0.1:{port}", path, [("Authorization", key)])
        self._waiting: list[bytes] | None = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.write(self._upgrade)

    def opened(self, first_line: str, headers: dict[str, str]) -> None:
        waiting, self._waiting = self._waiting or [], None
        self.transport.write(b"".join(waiting))

    def say(self, opcode: int, payload: bytes) -> None:
        data = frame(opcode, payload, random.randbytes(4))
        if self._waiting is None:
            self.transport.write(data)
        else:
            self._waiting.append(data)


class Ear(Vendor):
    """Deepgram, for one utterance."""

    def __init__(self, port: int) -> None:
        super().__init__(port, f"/v1/listen?model=nova-3&encoding=linear16&sample_rate={RATE_HZ}", "Token key")
        self._texts: list[str] = []
        self._answer: Callable[[str], None] | None = None

    def text(self, payload: bytes) -> None:
        message = json.loads(payload)
        if message.get("is_final"):
            self._texts.append(message["channel"]["alternatives"][0]["transcript"])
            self._tell()

    def finish(self, answer: Callable[[str], None]) -> None:
        self._answer = answer
        self.say(TEXT, b'{"type":"CloseStream"}')
        self._tell()

    def _tell(self) -> None:
        if self._answer is not None and self._texts:
            answer, self._answer = self._answer, None
            answer(" ".join(self._texts))


class Mind(asyncio.Protocol):
    """Groq, for one answer: a request, and the words as they come."""

    def __init__(self, question: str, say: Callable[[str, bool], None]) -> None:
        body = json.dumps({"model": "any", "stream": True, "messages": [{"role": "user", "content": question}]})
        self._request = (
            "POST /openai/v1/chat/completions HTTP/1.1\r\nHost: groq\r\nAuthorization: Bearer key\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()
        self._say: Callable[[str, bool], None] | None = say
        self._rest = b""
        self._text = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass of it
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data: {"):
                self._take(json.loads(line[6:])["choices"][0])

    def _take(self, choice: dict[str, Any]) -> None:
        if self._say is None:
            return
        self._text += choice["delta"].get("content", "")
        while (clause := _CLAUSE.match(self._text)) is not None:
            self._text = self._text[clause.end() :]
            self._say(clause.group(1) + " ", False)
        if choice["finish_reason"]:
            self._say(self._text, True)
            self.stop()

    def stop(self) -> None:
        self._say = None
        self._transport.close()


class Mouth(Vendor):
    """Cartesia, for all calls."""

    def __init__(self, port: int) -> None:
        super().__init__(port, "/tts/websocket", "Bearer key")
        self.listeners: dict[str, Callable[[bytes], None]] = {}

    def speak(self, name: str, text: str, last: bool) -> None:
        request = {"context_id": name, "transcript": text, "continue": not last, "output_format": _FORMAT}
        self.say(TEXT, json.dumps(request).encode())

    def stop(self, name: str) -> None:
        if self.listeners.pop(name, None) is not None:
            self.say(TEXT, json.dumps({"context_id": name, "cancel": True}).encode())

    def text(self, payload: bytes) -> None:
        message = json.loads(payload)
        listener = self.listeners.get(message["context_id"])
        if listener is not None and message["type"] == "chunk":
            listener(base64.b64decode(message["data"]))
        elif message["type"] == "done":
            self.listeners.pop(message["context_id"], None)


class Phone(Socket):
    """Twilio's side of a call, and what it has of the vendors."""

    _names = itertools.count()

    def __init__(self, group: asyncio.TaskGroup, port: int, mouth: Mouth) -> None:
        super().__init__()
        self._group, self._port, self._mouth = group, port, mouth
        self._activity, self._endpointing = VoiceActivity(RATE_HZ), Endpointing(SETTINGS)
        self._heard_ms = 0
        self._before: deque[bytes] = deque(maxlen=PRE_ROLL_FRAMES)
        self._unsent = b""
        self._ear: Ear | None = None
        self._mind: Mind | None = None
        self._name = ""
        self._stream = self._media = b""

    def opened(self, first_line: str, headers: dict[str, str]) -> None:
        self.transport.write(accept(headers))

    def text(self, payload: bytes) -> None:
        if b'"payload"' in payload:
            self._listen(ulaw_to_pcm(base64.b64decode(between(payload, b'"payload"'))))
        elif b'"start"' in payload:
            self._stream = between(payload, b'"streamSid"')
            self._media = b'{"event":"media","streamSid":"%s","media":{"payload":"' % self._stream

    def _listen(self, pcm: bytes) -> None:
        self._before.append(pcm)
        if self._ear is not None:
            self._unsent += pcm
            if len(self._unsent) >= RATE_HZ * 2 * 80 // 1000:
                self._send_audio(self._ear)
        for probability in self._activity.push(pcm):
            self._heard_ms += CHUNK_MS
            edge = self._endpointing.push(self._heard_ms, probability)
            if edge is not None:
                self._edge(edge.kind)

    def _send_audio(self, ear: Ear) -> None:
        ear.say(BINARY, self._unsent)
        self._unsent = b""

    def _edge(self, kind: EdgeKind) -> None:
        if kind is EdgeKind.STARTED:
            self._hush()
            ear = self._ear = Ear(self._port)
            self._dial(lambda: ear)
            self._unsent = b"".join(self._before)
        elif self._ear is None:
            return
        elif kind is EdgeKind.FELL_SILENT:
            self._send_audio(self._ear)
            self._ear.say(TEXT, b'{"type":"Finalize"}')
        elif kind is EdgeKind.STOPPED:
            ear, self._ear = self._ear, None
            ear.finish(self._answer)

    def _dial(self, vendor: Callable[[], asyncio.Protocol]) -> None:
        self._group.create_task(self._connect(vendor))

    async def _connect(self, vendor: Callable[[], asyncio.Protocol]) -> None:
        await asyncio.get_running_loop().create_connection(vendor, "127.0.0.1", self._port)

    def _answer(self, question: str) -> None:
        name = self._name = f"context-{next(self._names)}"
        self._mouth.listeners[name] = self._speak
        mind = self._mind = Mind(question, lambda text, last: self._mouth.speak(name, text, last))
        self._dial(lambda: mind)

    def _speak(self, pcm: bytes) -> None:
        self.send(b'%s%s"}}' % (self._media, base64.b64encode(pcm_to_ulaw(pcm))))

    def _hush(self) -> None:
        """The caller speaks: nothing more is said to him."""
        if self._mind is not None:
            self._mind.stop()
            self._mind = None
            self._mouth.stop(self._name)
            self.send(b'{"event":"clear","streamSid":"%s"}' % self._stream)

    def connection_lost(self, exc: Exception | None) -> None:
        self._mouth.stop(self._name)
        if self._ear is not None:
            self._ear.close()


async def serve(port: int, vendors: int) -> None:
    """Serve until cancelled."""
    async with asyncio.TaskGroup() as group:
        loop = asyncio.get_running_loop()
        mouth = Mouth(vendors)
        await loop.create_connection(lambda: mouth, "127.0.0.1", vendors)
        server = await loop.create_server(lambda: Phone(group, vendors, mouth), "127.0.0.1", port)
        settle()
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cascade.lean")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--vendors", type=int, required=True)
    wanted = parser.parse_args()
    run(serve(wanted.port, wanted.vendors))
