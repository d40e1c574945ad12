"""A stand-in for OpenAI's speech by REST: `/v1/audio/transcriptions` and `/v1/audio/speech`.

It hears and speaks the tones of `tests.standins.tones`, so that what comes out tells what went in. It refuses what the
vendor would: a missing key, an unknown field or model, a file that is no audio, a text too long. Faults are set on
`Speech` and go on until unset.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Literal

from starlette.applications import Starlette
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.standins import http, tones
from trunkline.audio.wav import parse_wav
from trunkline.errors import AudioError

Fault = Literal[
    "unauthorized", "rate_limited", "broken", "silent", "stalled", "cut", "torn", "garbage", "page", "empty"
]
"""Refusals; no answer at all; mute in the middle; an end in the middle, orderly or not; nonsense in the middle; a web
page instead; nothing instead."""

KEY = "sk-standin"
SPEAKS_HZ = 24_000
LONGEST_INPUT = 4096

_REFUSALS: dict[str, tuple[int, str, dict[str, str]]] = {
    "unauthorized": (401, "Incorrect API key provided.", {}),
    "rate_limited": (429, "Rate limit reached for requests.", {"retry-after": "20"}),
    "broken": (500, "The server had an error while processing your request.", {}),
}
_TRANSCRIBES = {"gpt-transcribe", "gpt-4o-transcribe", "gpt-4o-mini-transcribe", "whisper-1"}
_SPEAKS = {"gpt-4o-mini-tts", "tts-1", "tts-1-hd"}
_FORM = {"file", "model", "language", "prompt", "response_format", "temperature", "stream", "keywords[]", "languages[]"}
_BODY = {"input", "model", "voice", "instructions", "response_format", "speed", "stream_format"}


class _Refused(Exception):
    def __init__(self, message: str, param: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.param = param
        self.status = status


@dataclass(slots=True)
class Heard:
    """One request to transcribe."""

    text: str
    model: str
    prompt: str | None
    language: str | None
    keywords: list[str]
    streamed: bool
    duration_ms: int


@dataclass(slots=True)
class Speech:
    """The stand-in's behaviour, and what it was asked."""

    fault: Fault | None = None
    latency_s: float = 0.0
    """How long it takes to begin to answer."""
    chunk_bytes: int = 4801
    """Audio is sent in pieces of so many: odd, as the network would cut it."""
    transcriptions: list[Heard] = field(default_factory=list)
    spoken: list[dict[str, Any]] = field(default_factory=list)
    requests: int = 0
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client left an answer before its end."""
    url: str = ""

    @property
    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/audio/transcriptions", self.transcribe, methods=["POST"]),
                Route("/v1/audio/speech", self.speak, methods=["POST"]),
            ]
        )

    async def transcribe(self, request: Request) -> Response:
        async with request.form() as form:
            try:
                await self._admit(request)
                heard = await _understood(form)
            except _Refused as refused:
                return _error(refused)
        self.transcriptions.append(heard)
        if instead := await self._instead(request):
            return instead
        if heard.streamed:
            return StreamingResponse(self._events(heard), media_type="text/event-stream")
        return JSONResponse({"text": heard.text, "usage": {"type": "duration", "seconds": 1}})

    async def speak(self, request: Request) -> Response:
        try:
            await self._admit(request)
            body = _checked(json.loads(await request.body()))
        except _Refused as refused:
            return _error(refused)
        self.spoken.append(body)
        if instead := await self._instead(request):
            return instead
        return StreamingResponse(
            self._audio(tones.speak(tones.respelled(body["input"]), SPEAKS_HZ)), media_type="audio/pcm"
        )

    async def _admit(self, request: Request) -> None:
        self.requests += 1
        if request.headers.get("authorization") != f"Bearer {KEY}":
            raise _Refused("Incorrect API key provided.", status=401)

    async def _instead(self, request: Request) -> Response | None:
        """What a fault makes of the answer from its beginning on."""
        if self.fault in _REFUSALS:
            status, message, headers = _REFUSALS[self.fault]
            return _error(_Refused(message, status=status), {"x-request-id": "req_1", **headers})
        if self.fault == "page":
            return PlainTextResponse("<html>502 Bad Gateway</html>", media_type="text/html")
        if self.fault == "empty":
            return Response(b"", media_type="audio/pcm")
        if await http.hung_up_within(60 if self.fault == "silent" else self.latency_s, request):
            self.hung_up.set()
        return None

    async def _events(self, heard: Heard) -> AsyncGenerator[bytes, None]:
        words = heard.text.split(" ")
        events: list[dict[str, Any]] = [
            {"type": "transcript.text.delta", "delta": word if place == 0 else f" {word}"}
            for place, word in enumerate(words)
        ]
        details = {"audio_tokens": 20, "text_tokens": 0}
        usage = {"type": "tokens", "input_tokens": 20, "output_tokens": len(words), "total_tokens": 20 + len(words)}
        done = {"type": "transcript.text.done", "text": heard.text, "usage": {**usage, "input_token_details": details}}
        lines = [f"data: {json.dumps(event)}\n\n".encode() for event in [*events, done]]
        async for line in self._spoilt(lines, b"data: {nonsense\n\n"):
            yield line

    async def _audio(self, pcm: bytes) -> AsyncGenerator[bytes, None]:
        chunks = [pcm[at : at + self.chunk_bytes] for at in range(0, len(pcm), self.chunk_bytes)]
        async for chunk in self._spoilt(chunks, b""):
            yield chunk

    async def _spoilt(self, parts: list[bytes], garbage: bytes) -> AsyncGenerator[bytes, None]:
        """`parts`, with what a fault does to their middle."""
        try:
            for place, part in enumerate(parts):
                if place == 1 and self.fault == "stalled":
                    await asyncio.sleep(60)
                if place == 1 and self.fault == "cut":
                    return
                if place == 1 and self.fault == "torn":
                    raise ConnectionResetError("torn on purpose")
                if place == 1 and self.fault == "garbage":
                    yield garbage
                yield part
                await asyncio.sleep(0.001)
        except (asyncio.CancelledError, GeneratorExit):
            self.hung_up.set()
            raise


def _error(refused: _Refused, headers: dict[str, str] | None = None) -> JSONResponse:
    kind = "invalid_request_error" if refused.status == 400 else "requests"
    error = {"message": str(refused), "type": kind, "param": refused.param, "code": None}
    return JSONResponse({"error": error}, refused.status, headers)


async def _understood(form: FormData) -> Heard:
    unknown = sorted(set(form) - _FORM)
    if unknown:
        raise _Refused(f"Unknown parameter: '{unknown[0]}'.", unknown[0])
    model = str(form.get("model", ""))
    if model not in _TRANSCRIBES:
        raise _Refused(f"The model '{model}' does not exist.", "model", 404)
    file = form.get("file")
    if not isinstance(file, UploadFile) or not (file.filename or "").endswith(".wav"):
        raise _Refused("Unrecognized file format.", "file")
    try:
        audio = parse_wav(await file.read())
    except AudioError as error:
        raise _Refused(f"Audio file might be corrupted or unsupported: {error}", "file") from error
    duration_ms = len(audio.pcm) * 1000 // (2 * audio.rate_hz)
    if duration_ms < 100:
        raise _Refused("Audio file is too short. Minimum audio length is 0.1 seconds.", "file")
    if form.get("keywords[]") is not None and model != "gpt-transcribe":
        raise _Refused("'keywords' is supported by gpt-transcribe only.", "keywords")
    prompt, language = form.get("prompt"), form.get("language")
    return Heard(
        text=tones.hear(audio.pcm, audio.rate_hz),
        model=model,
        prompt=None if prompt is None else str(prompt),
        language=None if language is None else str(language),
        keywords=[str(keyword) for keyword in form.getlist("keywords[]")],
        streamed=form.get("stream") == "true" and model != "whisper-1",
        duration_ms=duration_ms,
    )


def _checked(body: dict[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(body) - _BODY)
    if unknown:
        raise _Refused(f"Unknown parameter: '{unknown[0]}'.", unknown[0])
    if body.get("model") not in _SPEAKS:
        raise _Refused(f"The model '{body.get('model')}' does not exist.", "model", 404)
    if not isinstance(body.get("input"), str) or not 0 < len(body["input"]) <= LONGEST_INPUT:
        raise _Refused(f"String should have 1 to {LONGEST_INPUT} characters.", "input")
    if body.get("response_format") != "pcm":
        raise _Refused("This stand-in speaks pcm only.", "response_format")
    if "instructions" in body and body["model"] != "gpt-4o-mini-tts":
        raise _Refused("'instructions' is not supported with this model.", "instructions")
    return body


@contextlib.asynccontextmanager
async def serve(speech: Speech | None = None, port: int = 0) -> AsyncIterator[Speech]:
    """Run the stand-in; `url` of what it yields is its address, with `/v1`."""
    speech = speech or Speech()
    async with http.serve(speech.app, port) as address:
        speech.url = f"{address}/v1"
        yield speech
