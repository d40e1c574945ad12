"""How a stand-in behaves when nothing is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass

from tests.standins import tones

from .script import Answer, echo


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    answer: Answer = echo
    speed: float = 4.0
    """How many times faster than real time audio is sent; 0: all at once."""

    first_audio_ms: float = 50.0
    """From response.created to the first word."""

    chunk_ms: int = 100
    """Audio in one response.output_audio.delta."""

    word_ms: int = tones.WORD_MS
    """How long a word lasts, of the model and of who talks to it."""

    transcribe_ms: float = 30.0
    """From the commit of a user's audio to its transcript, where transcription is on."""

    vad_floor_ms: int = 20
    """Loud audio that begins speech."""

    lifetime_s: float = 3600.0
    """The vendor ends a session after 60 minutes."""

    api_key: str | None = None
    """The only key that is let in; none: any."""

    keep_audio: bool = True
    """Whether all of a session's uplink stays in memory for tests to look at."""

    webrtc: bool = False
    """Serve calls over WebRTC too, at `http_url`."""

    addresses: tuple[str, ...] = ("127.0.0.1",)
    """Where a call's UDP sockets are bound; none: at every address but loopback."""

    nominations_only: bool = False
    """Ignore STUN checks without USE-CANDIDATE once a pair is nominated, as OpenAI does (elixir-webrtc/ex_ice#110)."""

    verify: bool = True
    """Check every event that is sent against the SDK's types; a fault fails the test when the stand-in closes."""
