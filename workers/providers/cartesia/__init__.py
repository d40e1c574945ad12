"""Text-to-speech by Cartesia's Sonic models, over one WebSocket for all answers of a worker.

The official SDK is not the client here: on a socket that drops it leaves listeners waiting for ever, dials nothing
again, and keeps what nobody hears without bound (cartesia 4.2.0). It also takes 0.6 s to import, and 38 us for an event
of 100 ms of audio where `protocol.py` takes 29. It is the first client of the stand-in, and its types are the judge of
what goes over the wire (tests/contract/test_cartesia.py).
"""

from __future__ import annotations

from typing import Any

from workers.providers.cartesia.speech import CartesiaOptions, CartesiaSpeech
from workers.providers.options import read_options

__all__ = ["CartesiaOptions", "CartesiaSpeech", "text_to_speech"]


def text_to_speech(options: dict[str, Any]) -> CartesiaSpeech:
    """Raises SettingsError for wrong options, a model that was shut down, or a missing key."""
    return CartesiaSpeech(read_options(CartesiaOptions, options, "text-to-speech 'cartesia'"))
