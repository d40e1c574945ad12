"""What Deepgram says while it listens, and the text that comes of it: Nova (v1) and Flux (v2). Pure.

Times are seconds from the first sample of the stream, and a stream carries one utterance: they are the utterance's own.
"""

from __future__ import annotations

import json
from typing import Any, Protocol

from trunkline.errors import ProviderError

NAME = "deepgram"

KEEP_ALIVE = '{"type":"KeepAlive"}'
"""Nova hangs up on who sends nothing for 10 s (NET-0001); this counts, as text, and has no answer. Flux does not know
it: there, WebSocket pings count. https://developers.deepgram.com/docs/audio-keep-alive"""

FINALIZE = '{"type":"Finalize"}'
"""Nova's: make what was sent final now. Not answered when too little was: https://developers.deepgram.com/docs/finalize"""

CLOSE_STREAM = '{"type":"CloseStream"}'
"""Both: understand all that was sent, tell it, hang up. Always obeyed, so that the end is known even when nothing was
said. Flux does not end the turn for it: its last update is the text, and its close frame has no status.
https://developers.deepgram.com/docs/close-stream, https://developers.deepgram.com/docs/flux/close-stream"""

NORMAL, NO_STATUS, NO_CLOSE_FRAME = 1000, 1005, 1006
"""RFC 6455, 7.4.1."""

SLACK_S = 0.1
"""How much of an utterance's end Nova may leave out of what it calls final: less than a word."""

UPDATE_S = 0.25
"""Flux tells so often what it has understood: https://developers.deepgram.com/docs/flux/state"""


class Understanding(Protocol):
    """The text of one utterance, as the vendor's messages say it."""

    ended: bool
    """The vendor believes that the speaker's turn is over."""

    @property
    def chunk_ms(self) -> int:
        """Audio is sent in pieces of so much."""

    @property
    def at_pause(self) -> str:
        """The message that makes the text so far final; empty if there is none."""

    @property
    def text(self) -> str: ...

    @property
    def confidence(self) -> float | None: ...

    def take(self, message: dict[str, Any]) -> bool:
        """Whether it says something of the audio. Raises ProviderError when it is an error; KeyError, TypeError,
        ValueError and kin when it is unreadable."""

    def settled(self, said_s: float) -> bool:
        """Whether the text of what was said up to `said_s` will not change any more."""

    def complete(self, said_s: float, close_code: int) -> bool:
        """Whether a connection that ended so, after CLOSE_STREAM, has told all up to `said_s`."""


class NovaText:
    """Results: each says again all that was not final, until it is. The utterance is what became final, joined."""

    chunk_ms = 160
    """Deepgram advises 20 to 250 (https://github.com/orgs/deepgram/discussions/224). It speaks about once a second, and
    what comes of a call in messages of 60 is sent to it a third less often than in pieces of 80."""

    at_pause = FINALIZE
    ended = False  # its own endpointing is off: nobody asks it

    def __init__(self) -> None:
        self._finals: list[tuple[str, float]] = []
        """Text and its confidence."""
        self._guess = ""
        self._final_s = 0.0

    @property
    def text(self) -> str:
        return _joined([*(text for text, _ in self._finals), self._guess])

    @property
    def confidence(self) -> float | None:
        return _mean([(confidence, len(text.split())) for text, confidence in self._finals])

    def take(self, message: dict[str, Any]) -> bool:
        match message.get("type"):
            case "Results":
                self._results(message)
                return True
            case "Error":
                # Only what we sent can be wrong here: what fails at Deepgram ends the connection.
                description = f"{message.get('variant')}: {message.get('description')}"
                raise ProviderError(NAME, description, retryable=False)
        return False

    def _results(self, message: dict[str, Any]) -> None:
        best = message["channel"]["alternatives"][0]
        text, until_s = str(best["transcript"]), float(message["start"]) + float(message["duration"])
        if not message.get("is_final"):
            self._guess = text
            return
        if text:
            self._finals.append((text, float(best["confidence"])))
        self._guess, self._final_s = "", max(self._final_s, until_s)

    def settled(self, said_s: float) -> bool:
        return self._final_s >= said_s - SLACK_S

    def complete(self, said_s: float, close_code: int) -> bool:
        return close_code == NORMAL or self.settled(said_s)


class FluxText:
    """Turns: each message has all of its turn's text. The utterance is all of its turns, joined: who goes on after
    Flux has ended a turn is in the next one."""

    chunk_ms = 80
    """What Deepgram advises for it."""

    at_pause = ""  # ForceEndTurn would be one, but it ends the turn, and what comes is understood without what was

    def __init__(self) -> None:
        self.ended = False
        self._expected = False
        """It has announced the end (`EagerEndOfTurn`): the turn's text will be this one, unless it resumes."""
        self._turns: dict[int, str] = {}
        self._confidences: dict[int, list[float]] = {}
        self._until_s = 0.0

    @property
    def text(self) -> str:
        return _joined(self._turns.values())

    @property
    def confidence(self) -> float | None:
        return _mean([(confidence, 1) for words in self._confidences.values() for confidence in words])

    def take(self, message: dict[str, Any]) -> bool:
        match message.get("type"):
            case "TurnInfo":
                self._turn(message)
                return True
            case "Error":
                code = str(message.get("code"))
                text = f"{code}: {message.get('description')}"
                raise ProviderError(NAME, text, retryable=not code.startswith(("UNPARSABLE", "INVALID")))
        return False

    def _turn(self, message: dict[str, Any]) -> None:
        index, text = int(message["turn_index"]), str(message["transcript"])
        confidences = [float(word["confidence"]) for word in message.get("words") or ()]
        self._until_s = max(self._until_s, float(message["audio_window_end"]))
        first_words = bool(text) and not self._turns.get(index)
        self._turns[index] = text
        if confidences or not text:
            self._confidences[index] = confidences
        match message["event"]:
            case "EndOfTurn":
                self.ended, self._expected = True, False
            case "EagerEndOfTurn":
                self._expected = True
            case "StartOfTurn" | "TurnResumed":
                self.ended = self._expected = False
            case _ if first_words:  # its start was never told
                self.ended = False

    def settled(self, said_s: float) -> bool:
        return (self.ended or self._expected) and self._until_s >= said_s

    def complete(self, said_s: float, close_code: int) -> bool:
        if close_code in (NORMAL, NO_STATUS):
            return True
        return close_code == NO_CLOSE_FRAME and self._until_s >= said_s - UPDATE_S


def parse(message: str | bytes) -> dict[str, Any]:
    """A message as Deepgram sends it. Raises ProviderError when it is none."""
    try:
        parsed = json.loads(message)
    except (ValueError, RecursionError) as error:
        raise ProviderError(NAME, f"sent what is no JSON: {message[:60]!r}") from error
    if not isinstance(parsed, dict):
        raise ProviderError(NAME, f"sent what is no object: {message[:60]!r}")
    return parsed


def _joined(texts: Any) -> str:
    return " ".join(text for text in texts if text)


def _mean(weighted: list[tuple[float, int]]) -> float | None:
    """The mean of (value, weight); None without weights."""
    total = sum(weight for _, weight in weighted)
    return sum(value * weight for value, weight in weighted) / total if total else None
