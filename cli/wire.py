"""What comes over the wire of a call, read: server messages, refusals, audio files."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
from websockets.exceptions import InvalidURI
from websockets.uri import parse_uri

from cli.account import CallError
from trunkline.audio.resample import Resampler
from trunkline.audio.wav import parse_wav
from trunkline.errors import AudioError


def checked_address(url: str) -> str:
    """Give `url` back. Raises CallError when it cannot be a WebSocket's."""
    try:
        parse_uri(url)
    except (InvalidURI, ValueError) as error:
        raise CallError(f"{url!r} is no WebSocket address: write ws://host:port/ws or wss://host/ws") from error
    return url


def parsed(message: str) -> dict[str, Any]:
    """Raises CallError for what no server of this protocol sends."""
    try:
        data = json.loads(message)
    except ValueError:
        data = None
    if not isinstance(data, dict) or not isinstance(data.get("type"), str):
        raise CallError(f"it said {message!r:.60}")
    return data


def refusal(url: str, status: int, body: bytes | bytearray | None) -> str:
    """A refused upgrade in words; our gateway gives a hint with it."""
    try:
        hint = json.loads(body or b"")["hint"]
    except (ValueError, KeyError, TypeError):
        hint = {404: "the path is /ws", 403: "not allowed"}.get(status, "is this a Trunkline?")
    return f"{url} refused the call with HTTP {status}: {hint}"


def decode(data: bytes, kind: str, rate_hz: int) -> bytes:
    """A `wav` or `mp3` file that holds one sentence, as s16le mono at `rate_hz`. Raises AudioError."""
    if kind == "wav":
        wav = parse_wav(data)
        return Resampler(wav.rate_hz, rate_hz).push(wav.pcm)
    import av  # takes 0.1 s, and only mp3 needs it

    try:
        with av.open(io.BytesIO(data), mode="r") as container:
            resampler = av.AudioResampler(format="s16", layout="mono", rate=rate_hz)
            frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
            frames += resampler.resample(None)
    except av.FFmpegError as error:
        raise AudioError(f"an {kind} file that cannot be decoded: {error}") from error
    return b"".join(np.asarray(frame.to_ndarray()).astype("<i2").tobytes() for frame in frames)
