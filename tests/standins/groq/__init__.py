"""A stand-in for Groq: `/openai/v1/audio/transcriptions` and `/openai/v1/chat/completions`, as PROTOCOLS section 2 and
the SDK's types (groq 1.7.0) have them.

It hears the tones of `tests.standins.tones`, and says what it is told to, thoughts and calls of tools included. It
refuses what the vendor would: a missing key, an unknown field, a model that it has no more, settings of reasoning that
a model does not take, a prompt too long. Faults are set on `Groq`, on what it
`hears` and on what it `says`, and go on until unset; `Groq.answers` is asked about each request.
"""

from tests.standins.groq.chat import Manner
from tests.standins.groq.faults import Fault
from tests.standins.groq.server import KEY, Asked, Groq, serve

__all__ = ["KEY", "Asked", "Fault", "Groq", "Manner", "serve"]
