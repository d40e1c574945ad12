"""The leanest relay that one would write with aiortc, as a yardstick: a track received, a track sent, two tasks.

One process, no bus, no admission, and nothing survives it. `python -m benchmarks.webrtc.lean --port P --model URL`.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import fractions
import json
import os
import time
from typing import cast

import uvicorn
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame, AudioResampler
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from websockets.asyncio.client import ClientConnection, connect

from benchmarks.webrtc.marks import RATE_HZ
from benchmarks.webrtc.model import FORMAT

FRAME_SAMPLES = RATE_HZ // 50
SESSION = {
    "type": "realtime",
    "output_modalities": ["audio"],
    "instructions": "You are a helpful assistant.",
    "audio": {
        "input": {"format": FORMAT, "turn_detection": {"type": "server_vad"}},
        "output": {"format": FORMAT, "voice": "marin"},
    },
}


class Voice(MediaStreamTrack):
    """The model's audio, 20 ms each 20 ms; silence while there is none."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self.pcm = bytearray()
        self._began_s = 0.0
        self._frames = 0

    async def recv(self) -> AudioFrame:
        if self._frames == 0:
            self._began_s = time.monotonic()
        await asyncio.sleep(self._began_s + self._frames * 0.02 - time.monotonic())
        piece = bytes(self.pcm[: FRAME_SAMPLES * 2])
        del self.pcm[: FRAME_SAMPLES * 2]
        frame = AudioFrame(format="s16", layout="mono", samples=FRAME_SAMPLES)
        frame.planes[0].update(piece.ljust(FRAME_SAMPLES * 2, b"\0"))
        frame.sample_rate = RATE_HZ
        frame.time_base = fractions.Fraction(1, RATE_HZ)
        frame.pts = self._frames * FRAME_SAMPLES
        self._frames += 1
        return frame


async def listen(track: MediaStreamTrack, model: ClientConnection) -> None:
    """The caller's audio to the model, until the caller goes."""
    resampler = AudioResampler(format="s16", layout="mono", rate=RATE_HZ)
    while True:
        try:
            frame = await track.recv()
        except MediaStreamError:
            return
        for part in resampler.resample(cast(AudioFrame, frame)):
            pcm = bytes(part.planes[0])[: part.samples * 2]
            audio = base64.b64encode(pcm).decode()
            await model.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))


async def speak(model: ClientConnection, voice: Voice) -> None:
    """The model's audio to the caller; speech of the caller silences it."""
    async for text in model:
        event = json.loads(text)
        if event["type"] == "response.output_audio.delta":
            voice.pcm += base64.b64decode(event["delta"])
        elif event["type"] == "input_audio_buffer.speech_started":
            voice.pcm.clear()


async def relay(model_url: str, track: MediaStreamTrack, voice: Voice) -> None:
    headers = {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
    url = f"{model_url}/realtime?model=gpt-realtime-2.1"
    async with connect(url, additional_headers=headers, proxy=None) as model:
        await model.send(json.dumps({"type": "session.update", "session": SESSION}))
        speaking = asyncio.create_task(speak(model, voice))
        await listen(track, model)
    await speaking


def build(model_url: str) -> Starlette:
    calls = set[RTCPeerConnection]()
    relays = set[asyncio.Task[None]]()

    async def offer(request: Request) -> JSONResponse:
        call, voice = RTCPeerConnection(RTCConfiguration(iceServers=[])), Voice()
        calls.add(call)

        @call.on("track")
        def begins(track: MediaStreamTrack) -> None:
            relays.add(asyncio.create_task(relay(model_url, track, voice)))

        @call.on("connectionstatechange")
        async def changed() -> None:
            if call.connectionState in ("closed", "failed"):
                calls.discard(call)
                await call.close()

        call.addTrack(voice)
        await call.setRemoteDescription(RTCSessionDescription(**await request.json()))
        await call.setLocalDescription(await call.createAnswer())
        return JSONResponse({"type": "answer", "sdp": call.localDescription.sdp})

    return Starlette(routes=[Route("/offer", offer, methods=["POST"])])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.webrtc.lean")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True)
    wanted = parser.parse_args()
    uvicorn.run(build(wanted.model), port=wanted.port, log_level="warning")
