"""Cartesia: text-to-speech by Sonic, over one WebSocket for all answers of a worker; speech-to-text by Ink.

The official SDK is not the client here: on a socket that drops it leaves listeners waiting for ever, dials nothing
again, and keeps what nobody hears without bound (cartesia 4.2.0). It also takes 0.6 s to import, and 38 us for an event
of 100 ms of audio where `protocol.py` takes 28. It is the first client of the stand-in, and its types are the judge of
what goes over the wire (tests/contract/cartesia).
"""

from __future__ import annotations

from typing import Any

from workers.providers.cartesia.ink import InkOptions, InkSpeech
from workers.providers.cartesia.speech import CartesiaOptions, CartesiaSpeech
from workers.providers.options import read_options

__all__ = ["CartesiaOptions", "CartesiaSpeech", "InkOptions", "InkSpeech", "speech_to_text", "text_to_speech"]


def text_to_speech(options: dict[str, Any]) -> CartesiaSpeech:
    """Raises SettingsError for wrong options, a model that was shut down, or a missing key."""
    return CartesiaSpeech(read_options(CartesiaOptions, options, "text-to-speech 'cartesia'"))


def speech_to_text(options: dict[str, Any]) -> InkSpeech:
    """Raises SettingsError for wrong options, or a missing key."""
    return InkSpeech(read_options(InkOptions, options, "speech-to-text 'cartesia'"))
