"""One response of the model: the events of PROTOCOLS 1.7 and 1.9 in order, with waits between them."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from tests.standins import tones

from .conversation import Conversation, Item
from .formats import FORMATS
from .options import Options
from .script import Call, Fail, Incomplete, Say, Step
from .usage import Tokens, output_tokens, usage

Fields = dict[str, Any]
ARGUMENTS_PIECE = 8
"""Characters of a function's arguments in one delta."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How a response speaks: from the session, unless response.create said otherwise."""

    modality: str
    format: Fields
    voice: str | None
    max_output_tokens: int | str
    metadata: dict[str, str] | None
    read: Tokens

    @classmethod
    def of(cls, config: Fields, params: Fields, read: Tokens) -> Manner:
        output = config["audio"]["output"] | ((params.get("audio") or {}).get("output") or {})
        return cls(
            modality=(params.get("output_modalities") or config["output_modalities"])[0],
            format=output["format"],
            voice=output["voice"] if isinstance(output["voice"], str) else None,
            max_output_tokens=params.get("max_output_tokens") or config["max_output_tokens"],
            metadata=params.get("metadata"),
            read=read,
        )


@dataclass(slots=True)
class _Open:
    """The item that is being made."""

    item: Item
    place: Fields
    """response_id, item_id and output_index."""

    text: str = ""
    """What was sent of its transcript, text or arguments."""


@dataclass(slots=True)
class Response:
    """`run` gives the milliseconds to wait before it is asked again; `cancel` ends it at any of these points."""

    id: str
    manner: Manner
    steps: Sequence[Step]
    options: Options
    emit: Callable[..., None]
    new_id: Callable[[str], str]
    conversation: Conversation | None
    """Where its items go; none: out of band."""

    conversation_id: str | None
    first_audio_ms: float
    sent_audio: Callable[[Response], None] = lambda _: None
    """Told after each audio delta."""

    play: Callable[[str, Item, bytes], None] | None = None
    """Takes the audio in place of response.output_audio.delta: over WebRTC it is no event."""

    status: str = "in_progress"
    audio_ms: int = 0
    stalled: bool = False
    output: list[Item] = field(default_factory=list)
    _open: _Open | None = None

    def run(self) -> Iterator[float]:
        self.emit("response.created", response=self.wire())
        self.emit("rate_limits.updated", rate_limits=_RATE_LIMITS)
        yield self.first_audio_ms
        for step in self.steps:
            match step:
                case Say():
                    yield from self._say(step)
                case Call():
                    yield from self._call(step)
                case Fail(code, message):
                    return self._end("failed", {"type": "failed", "error": _failure(code, message)})
                case Incomplete(reason):
                    return self._end("incomplete", {"type": "incomplete", "reason": reason})
        self._end("completed", None)

    def cancel(self, reason: str) -> None:
        """What is open is closed as it is."""
        self._end("cancelled", {"type": "cancelled", "reason": reason})

    def wire(self, details: Fields | None = None) -> Fields:
        manner = self.manner
        return {
            "id": self.id,
            "object": "realtime.response",
            "status": self.status,
            "status_details": details,
            "output": [item.wire() for item in self.output],
            "conversation_id": self.conversation_id,
            "output_modalities": [manner.modality],
            "max_output_tokens": manner.max_output_tokens,
            "audio": {"output": {"format": manner.format, "voice": manner.voice}},
            "usage": None,
            "metadata": manner.metadata,
        }

    def _say(self, step: Say) -> Iterator[float]:
        opened = self._begin({"type": "message", "role": "assistant", "content": []})
        spoken = self.manner.modality == "audio"
        part = {"type": "audio", "transcript": ""} if spoken else {"type": "text", "text": ""}
        self.emit("response.content_part.added", **opened.place, content_index=0, part=part)
        opened.item.fields["content"] = [_content(spoken, "")]
        yield from self._speak(opened, step) if spoken else self._type(opened, step)
        self._close("completed")

    def _speak(self, opened: _Open, step: Say) -> Iterator[float]:
        kind = self.manner.format["type"]
        aloud = step.text if step.aloud is None else step.aloud
        chunks = _chunks(aloud, kind, self.options.word_ms, self.options.chunk_ms)
        pieces = _pieces(step.text)
        total = sum(len(audio) for audio, _ in chunks)
        said = at = 0
        for audio, encoded in chunks:
            at += len(audio)
            while said < len(pieces) and said * total < at * len(pieces):
                self._write(opened, "response.output_audio_transcript.delta", pieces[said])
                said += 1
            opened.item.audio += audio
            if self.play is not None:
                self.play(self.id, opened.item, audio)
            else:
                self.emit("response.output_audio.delta", **opened.place, content_index=0, delta=encoded)
            lasts_ms = FORMATS[kind].ms(audio)
            self.audio_ms += lasts_ms
            self.sent_audio(self)
            yield lasts_ms / self.options.speed if self.options.speed else 0.0
        for piece in pieces[said:]:
            self._write(opened, "response.output_audio_transcript.delta", piece)

    def _type(self, opened: _Open, step: Say) -> Iterator[float]:
        for piece in _pieces(step.text):
            self._write(opened, "response.output_text.delta", piece)
            yield 0.0

    def _write(self, opened: _Open, kind: str, piece: str) -> None:
        opened.text += piece
        self.emit(kind, **opened.place, content_index=0, delta=piece)
        opened.item.fields["content"] = [_content(kind != "response.output_text.delta", opened.text)]

    def _call(self, step: Call) -> Iterator[float]:
        call_id = self.new_id("call")
        opened = self._begin({"type": "function_call", "name": step.name, "call_id": call_id, "arguments": ""})
        arguments = json.dumps(step.arguments)
        for at in range(0, len(arguments), ARGUMENTS_PIECE):
            piece = arguments[at : at + ARGUMENTS_PIECE]
            opened.text += piece
            opened.item.fields["arguments"] = opened.text
            self.emit("response.function_call_arguments.delta", **opened.place, call_id=call_id, delta=piece)
            yield 0.0
        self._close("completed")

    def _begin(self, fields: Fields) -> _Open:
        head = {"id": self.new_id("item"), "object": "realtime.item", "status": "in_progress"}
        item = Item(head | fields, format=self.manner.format["type"])
        opened = self._open = _Open(
            item, {"response_id": self.id, "item_id": item.id, "output_index": len(self.output)}
        )
        self.output.append(item)
        self.emit("response.output_item.added", **_of_item(opened.place), item=item.wire())
        if self.conversation is not None:
            self.conversation.insert(item)
            previous = self.conversation.before(item)
            self.emit("conversation.item.added", item=item.wire(), previous_item_id=previous)
        return opened

    def _close(self, status: str) -> None:
        """The `done` events of the open item, in the order of PROTOCOLS 1.7."""
        opened, self._open = self._open, None
        if opened is None:
            return
        item, place, text = opened.item, opened.place, opened.text
        if item.fields["type"] == "function_call":
            named = {"call_id": item.fields["call_id"], "name": item.fields["name"], "arguments": text}
            self.emit("response.function_call_arguments.done", **place, **named)
        elif item.spoken:
            self.emit("response.output_audio.done", **place, content_index=0)
            self.emit("response.output_audio_transcript.done", **place, content_index=0, transcript=text)
            part = {"type": "audio", "transcript": text}
            self.emit("response.content_part.done", **place, content_index=0, part=part)
        else:
            self.emit("response.output_text.done", **place, content_index=0, text=text)
            self.emit("response.content_part.done", **place, content_index=0, part={"type": "text", "text": text})
        item.fields["status"] = status
        self.emit("response.output_item.done", **_of_item(place), item=item.wire())
        if self.conversation is not None and item in self.conversation.items:
            previous = self.conversation.before(item)
            self.emit("conversation.item.done", item=item.wire(), previous_item_id=previous)

    def _end(self, status: str, details: Fields | None) -> None:
        self._close("completed" if status == "completed" else "incomplete")
        self.status = status
        done = self.wire(details)
        if status != "failed":
            done["usage"] = usage(self.manner.read, output_tokens(self.output))
        self.emit("response.done", response=done)


_RATE_LIMITS = [
    {"name": "requests", "limit": 1000, "remaining": 999, "reset_seconds": 0.06},
    {"name": "tokens", "limit": 50_000, "remaining": 49_500, "reset_seconds": 0.6},
]


def _failure(code: str, message: str) -> Fields:
    """As public reports show it: a server error has its name as type and no code, a rate limit its kind as type."""
    kind = {"rate_limit_exceeded": "tokens"}.get(code, code)
    return {"type": kind, "code": None if code == "server_error" else code, "message": message}


def _content(spoken: bool, text: str) -> Fields:
    return {"type": "output_audio", "transcript": text} if spoken else {"type": "output_text", "text": text}


def _of_item(place: Fields) -> Fields:
    return {"response_id": place["response_id"], "output_index": place["output_index"]}


def _pieces(text: str) -> list[str]:
    """Words with the space behind them: joined they are the text."""
    return re.findall(r"\S+\s*", text)


@lru_cache(maxsize=256)
def _chunks(text: str, kind: str, word_ms: int, chunk_ms: int) -> tuple[tuple[bytes, str], ...]:
    """The audio of a text in pieces, each also in base64; a benchmark's model says the same thing many times."""
    audio = FORMATS[kind].from_pcm(tones.speak(text, FORMATS[kind].rate_hz, word_ms))
    size = chunk_ms * FORMATS[kind].bytes_per_ms
    pieces = (audio[at : at + size] for at in range(0, len(audio), size))
    return tuple((piece, base64.b64encode(piece).decode()) for piece in pieces)
