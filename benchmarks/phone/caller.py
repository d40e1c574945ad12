"""A telephone call as Twilio's media stream brings it: a frame each 20 ms, playout at real time, marks, clear."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from benchmarks.phone import audio
from benchmarks.phone.talk import Talk
from benchmarks.phone.times import Times
from benchmarks.phone.wire import TEXT, Socket, WireError, between, frame

_ZERO_MASK = bytes(4)  # changes nothing, so it costs us nothing; the other side cannot know and must unmask
_SILENCE = audio.after_marker(audio.FRAME_BYTES, loud=False)
_NOISES = [audio.after_marker(audio.FRAME_BYTES, loud=True, seed=seed) for seed in range(16)]


class Mouth(Protocol):
    """What a caller sounds like."""

    def lengths(self) -> Iterator[int] | None:
        """As `Talk` takes them."""

    def frame(self, key: int, *, speaks: bool) -> str:
        """The next 20 ms, whose number is `key`, as base64 of mu-law."""


class Noise:
    """Loud noise, silence between it, and each frame says its number."""

    def __init__(self) -> None:
        self._frames = 0

    def lengths(self) -> None:
        return None

    def frame(self, key: int, *, speaks: bool) -> str:
        self._frames += 1
        return audio.marked(key, _NOISES[self._frames % len(_NOISES)] if speaks else _SILENCE)


@dataclass
class Ears:
    """What callers time, together or each by himself: frames as they are sent, answers' pieces as they are heard."""

    sent: Times = field(default_factory=Times)
    heard: Times = field(default_factory=Times)


class Caller(Socket):
    """One call, from the upgrade on. `ready` is done when the stream is open; then `tick` it each 20 ms."""

    mask = _ZERO_MASK

    def __init__(
        self,
        number: int,
        ears: Ears,
        head: bytes,
        parameters: Mapping[str, str],
        call_sid: str,
        mouth: Mouth | None = None,
    ) -> None:
        """`head` is the upgrade; `parameters` are those that the TwiML gave the stream. No `mouth`: Noise."""
        super().__init__()
        self.mouth = mouth or Noise()
        self.talk = Talk(number, self.mouth.lengths())
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost: str | None = None
        self._number = number
        self.ears = ears
        self._upgrade = head
        self._finder = audio.Finder()
        self._frames = 0
        self._messages = 1
        self._marks: deque[tuple[float, bytes]] = deque()
        self._stream = f"MZ{number:032x}"
        self._start: dict[str, Any] = {
            "event": "start",
            "sequenceNumber": "1",
            "streamSid": self._stream,
            "start": {
                "streamSid": self._stream,
                "accountSid": f"AC{0:032x}",
                "callSid": call_sid,
                "tracks": ["inbound"],
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
                "customParameters": dict(parameters),
            },
        }

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.write(self._upgrade)

    def opened(self, first_line: str, headers: dict[str, str]) -> None:
        if " 101 " not in first_line:
            self._end(f"no WebSocket: {first_line}")
            self.transport.close()
            return
        self.send(b'{"event":"connected","protocol":"Call","version":"1.0.0"}')
        self.send(json.dumps(self._start).encode())
        self.ready.set_result(None)

    def tick(self) -> float:
        """Send the next frame; returns when (monotonic)."""
        now_s = time.monotonic()
        while self._marks and self._marks[0][0] <= now_s:
            self._echo(self._marks.popleft()[1])
        speaks = self.talk.speaks(now_s)
        self._frames += 1
        self._messages += 1
        key = audio.key(self._number, self._frames)
        message = (
            f'{{"event":"media","sequenceNumber":"{self._messages}","streamSid":"{self._stream}","media":{{'
            f'"track":"inbound","chunk":"{self._frames}","timestamp":"{self._frames * 20}",'
            f'"payload":"{self.mouth.frame(key, speaks=speaks)}"}}}}'
        )
        data = frame(TEXT, message.encode(), _ZERO_MASK)
        sent_s = time.monotonic()
        self.ears.sent.note(key, sent_s)
        self.transport.write(data)
        return sent_s

    def text(self, payload: bytes) -> None:
        if b'"payload"' in payload:
            self._media(base64.b64decode(between(payload, b'"payload"')))
            return
        message = json.loads(payload)
        if message.get("streamSid") != self._stream:
            raise WireError(f"a message for another stream: {payload!r}")
        if message["event"] == "mark":
            if self.talk.played_until_s <= self.received_s:
                self._echo(payload)
            else:
                self._marks.append((self.talk.played_until_s, payload))
        elif message["event"] == "clear":
            self.talk.clear(self.received_s)
            while self._marks:
                self._echo(self._marks.popleft()[1])
        else:
            raise WireError(f"Twilio knows no such event: {payload!r}")

    def _media(self, mulaw: bytes) -> None:
        for key in self._finder.feed(mulaw):
            self.ears.heard.note(key, self.received_s)
            answer, piece = audio.answer_and_piece(key)
            self.talk.piece(self.received_s, answer, last=piece == audio.ANSWER_PIECES - 1)
        self.talk.audio(self.received_s, len(mulaw) / audio.RATE_PER_MS / 1000)

    def _echo(self, mark: bytes) -> None:
        name = json.loads(mark)["mark"]["name"]
        self._messages += 1
        echo = {"event": "mark", "sequenceNumber": str(self._messages), "streamSid": self._stream}
        self.send(json.dumps(echo | {"mark": {"name": name}}).encode())

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(f"connection lost: {exc}")

    def _end(self, why: str) -> None:
        self.lost = self.lost or why
        if not self.ready.done():
            self.ready.set_exception(WireError(why))

    def hang_up(self) -> None:
        """Say that the call is over, and close."""
        if self.lost is None:
            self.lost = "hung up"
            ids = {name: self._start["start"][name] for name in ("accountSid", "callSid")}
            stop = {"event": "stop", "sequenceNumber": str(self._messages + 1), "streamSid": self._stream, "stop": ids}
            self.send(json.dumps(stop).encode())
            self.close()
