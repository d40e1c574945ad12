"""How the stand-in behaves: its pace, its limits, and its faults on demand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Fault = Literal[
    "unauthorized",  # the connection is refused: 401
    "rate_limited",  # the connection is refused: 429 with Retry-After
    "broken",  # the connection is refused: 500
    "no_answer",  # the connection is taken, and its request for an upgrade never answered
    "hung_up",  # the socket is closed when a text comes
    "dropped",  # the socket is cut after the first chunk of a text
    "mute",  # a text is never answered
    "stalled",  # nothing after the first chunk of a text
    "failed",  # an error instead of a text's audio: 500
    "ended",  # the context is over instead of a text's audio
    "nameless",  # an error of the whole connection instead of a text's audio: 503
    "complaint",  # the vendor finds a text wrong, and does not say in which context
    "quota",  # an error instead of a text's audio: the account has nothing left
    "garbage",  # what is no JSON, after the first chunk of a text
    "bad_audio",  # a chunk that is no base64, after the first chunk of a text
    "torn",  # every chunk ends inside a sample
    "silent",  # a text makes no sound: its end is told, and no audio
    "flushes_twice",  # the end of a text is told twice
    "deaf",  # an utterance is never made final
    "cut_off",  # the socket is cut when an utterance is to be made final
    "misheard",  # an error instead of the final text: 500
    "gibberish",  # what is no JSON instead of the final text
]


@dataclass(slots=True)
class Behaviour:
    """May be changed while it runs; what is being said goes on as it began."""

    api_key: str = "sk_car_standin"
    speed: float = 50.0
    """How many times faster than speech audio is made."""
    first_audio_ms: float = 0.0
    """From a text to its first audio."""
    chunk_ms: int = 100
    word_ms: int = 100
    expire_s: float = 1.0
    """How long after its last audio a context takes more."""
    idle_s: float = 300.0
    """A socket over which nothing was asked for so long is closed."""
    concurrency: int = 1000
    """Contexts at a time; one more is an error."""
    fault: Fault | None = None
    fault_times: int | None = None
    """How often the fault happens; none: until it is unset."""
    retry_after_s: int = 7
    transcribe_ms: float = 0.0
    """From `finalize` to the final text."""

    def fails(self, *faults: Fault) -> Fault | None:
        """The fault that happens now, if it is one of `faults`."""
        fault = self.fault
        if fault not in faults:
            return None
        if self.fault_times is not None:
            self.fault_times -= 1
            if self.fault_times <= 0:
                self.fault, self.fault_times = None, None
        return fault
