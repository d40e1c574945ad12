"""What the model is told to do, beside its tenant's prompt."""

from __future__ import annotations

from workers.relay.responses import Wish

GO_ON = Wish(
    "A technical fault cut your answer off. The caller heard your last message, and nothing after it. "
    "Go on from exactly there. Do not repeat any of it, do not apologise, do not mention the fault."
)


def greet(greeting: str) -> Wish:
    """Say the tenant's greeting."""
    told = f'Greet the caller. Say exactly this, word for word, and nothing else: "{greeting}"'
    return Wish(told, says=greeting)


def say(rest: str, *, complete: bool) -> Wish:
    """Say what the model had said already, and nobody heard. `complete`: that was all of the answer."""
    more = "and nothing else" if complete else "and then go on with your answer"
    told = f'A technical fault cut your answer off. Say exactly this, word for word, {more}: "{rest}"'
    return Wish(told, says=rest if complete else "")
