"""What comes down to a caller of `/ws`: audio, which goes to the loudspeaker, and what is said of the call."""

from __future__ import annotations

import base64
from typing import Any, Literal

from cli.account import Answer, Arrival, Transcript
from cli.speaker import Speaker
from cli.wire import decode, parsed
from trunkline.audio.frame import duration_ms

Output = Literal["pcm", "wav", "mp3"]
"""How its audio comes over the wire."""


class Downlink:
    """One call's. Times are seconds since it began. `keep_audio=False` keeps account of the audio, not the sound."""

    def __init__(self, rate_hz: int, *, keep_audio: bool) -> None:
        self.speaker = Speaker(rate_hz, 0.0, keep_pcm=keep_audio)
        self.transcripts: list[Transcript] = []
        self.arrivals: list[Arrival] = []
        self.answers: dict[int, Answer] = {}
        self.state = ""
        self.last_error = ""
        """Why the server is about to hang up, if it said so."""
        self.received = {"turn": 0, "ms": 0, "seq": 0}
        """What a server is told to which the caller comes back."""
        self._rate_hz = rate_hz
        self._keep_audio = keep_audio
        self._next = (0, 0.0)
        """Turn and ms at which the next binary message belongs."""
        self._format = "pcm"

    def restart(self, now_s: float) -> None:
        """The server began a new session."""
        self.speaker.reset(now_s)
        self.received |= {"turn": 0, "ms": 0}
        self.answers.clear()

    def take(self, message: str | bytes, now_s: float) -> tuple[str, dict[str, Any]] | None:
        """Take a message of the server's. Returns its type and its fields; None when it was audio.

        Raises CallError for what is no message of Trunkline's.
        """
        if isinstance(message, bytes):
            self._take_audio(message, now_s)
            return None
        data = parsed(message)
        self.received["seq"] = max(self.received["seq"], data.pop("seq", 0))
        kind = data.pop("type")
        if kind == "audio":
            self._next = (data["turn"], float(data["offset_ms"]))
            self._format = data.get("format", "pcm")
            if "delta" in data:
                self._take_audio(base64.b64decode(data["delta"]), now_s)
            return None
        self._react(kind, data, now_s)
        return kind, data

    def heard(self, turn: int, heard_s: float, last_input_s: float | None) -> None:
        """The first sound of an answer is out of the loudspeaker; the caller last spoke or typed at `last_input_s`."""
        answer = self.answers[turn]
        answer.heard_s = heard_s
        earlier_s = max((a.heard_s or 0.0 for a in self.answers.values() if a.turn < turn), default=0.0)
        if last_input_s is not None and earlier_s < last_input_s < heard_s:
            answer.felt_ms = (heard_s - last_input_s) * 1000

    def _react(self, kind: str, data: dict[str, Any], now_s: float) -> None:
        """What a message does here."""
        turn = data.get("turn", 0)
        match kind:
            case "clear":
                self.speaker.clear(turn, now_s)
                self._answer(turn, now_s).interrupted = True
            case "pause":
                self.speaker.pause(turn, now_s)
            case "resume":
                self.speaker.resume(turn, now_s)
            case "response_done":
                self.speaker.finish(turn, now_s)
                self._answer(turn, now_s).done_s = now_s
            case "latency":
                answer = self._answer(turn, now_s)
                if answer.total_ms is None:  # what comes after a filler is not what was heard first
                    answer.total_ms = data["total_ms"]
                    answer.parts = [(name, ms) for name, ms in data["parts"]]
            case "transcript":
                words = (data["role"], turn, data["text"], bool(data.get("interrupted")))
                self.transcripts.append(Transcript(now_s, *words))
            case "state":
                self.state = data["state"]
            case "error":
                self.last_error = f"{data['message']} ({data['hint']})" if data.get("fatal") else ""

    def _answer(self, turn: int, now_s: float) -> Answer:
        return self.answers.setdefault(turn, Answer(turn, now_s))

    def _take_audio(self, data: bytes, now_s: float) -> None:
        turn, offset_ms = self._next
        pcm = data if self._format == "pcm" else decode(data, self._format, self._rate_hz)
        ms = duration_ms(len(pcm), self._rate_hz)
        self._answer(turn, now_s)
        self.speaker.push(turn, offset_ms, pcm, now_s)
        self.arrivals.append(Arrival(now_s, turn, offset_ms, ms, pcm if self._keep_audio else b""))
        self._next = (turn, offset_ms + ms)
        self.received |= {"turn": turn, "ms": int(offset_ms + ms)}
