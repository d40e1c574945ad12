"""One connection's session: client events in, server events out, without I/O; what tests look at afterwards."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from typing import Any

from tests.standins import tones

from . import config as configuration
from .agenda import Agenda
from .conversation import Conversation
from .faults import (
    GARBAGE,
    Close,
    CloseChannel,
    Drop,
    Expire,
    FailResponse,
    FailTranscription,
    Garbage,
    Mute,
    SessionFault,
    SlowFirstAudio,
    Stall,
)
from .items import item_from
from .listening import Listening
from .options import Options
from .refusal import Refused, invalid, missing
from .response import Response
from .script import Fail
from .speaking import Speaking, Trap
from .wire import Deafen, HangUp, Output, ShutChannel, Wire

Fields = dict[str, Any]
GOING_AWAY = 1001


class Session:
    """Times are milliseconds of one clock that only goes forward; after each call, `take` what is to be sent.

    With `webrtc` its audio comes and goes by `hear` and `play`, in real time, and not by events.
    """

    def __init__(
        self, name: str, model: str, options: Options, now_ms: float, wall_s: float, *, webrtc: bool = False
    ) -> None:
        self.id = f"sess_{name}"
        self.received: list[Fields] = []
        """The client's events, but for input_audio_buffer.append."""

        self.truncations: list[Fields] = []
        """The conversation.item.truncate events that were obeyed."""

        self.closed: tuple[int, str] | None = None
        """The close code and reason, once the connection is gone."""

        self.expires_at = math.ceil(wall_s + options.lifetime_s)
        self.changed: Callable[[], None] = lambda: None
        """Called when something is to be sent that no client event brought about."""

        self._name, self._options, self._webrtc = name, options, webrtc
        self._numbers = itertools.count(1)
        self._agenda = Agenda(now_ms)
        self._wire = Wire(verify=options.verify)
        self.conversation = Conversation()
        conversation_id = f"conv_{name}"
        self._speaking = Speaking(
            self._wire, self._agenda, self.conversation, conversation_id, options, self._new_id, webrtc=webrtc
        )
        self._listening = Listening(self._wire, self._agenda, self.conversation, self._speaking, options, self._new_id)
        self._speaking.began, self._speaking.done = self._listening.response_began, self._listening.response_done
        self.config: Fields = {}
        self._configure(configuration.default(model))

    # What tests look at.

    @property
    def items(self) -> list[Fields]:
        """The conversation, as the client would see it."""
        return [item.wire() for item in self.conversation.items]

    @property
    def responses(self) -> list[Response]:
        """All so far, the newest last: `.status`, `.audio_ms`, `.wire()`."""
        return self._speaking.responses

    @property
    def sent(self) -> list[str]:
        """The types of the events that were sent (the last 10000)."""
        return list(self._wire.sent)

    @property
    def appends(self) -> int:
        """How many input_audio_buffer.append events (over WebRTC: pieces of audio) came."""
        return self._listening.appends

    @property
    def appended_ms(self) -> float:
        """How much audio they held."""
        return self._listening.uplink.appended_ms

    @property
    def audio(self) -> bytes:
        """All that was appended since the input format was set, as s16le at `audio_rate_hz` (with keep_audio)."""
        uplink = self._listening.uplink
        return uplink.format.to_pcm(bytes(uplink.all))

    @property
    def audio_rate_hz(self) -> int:
        return self._listening.uplink.format.rate_hz

    @property
    def heard(self) -> str:
        """The words in `audio`."""
        return tones.hear(self.audio, self.audio_rate_hz, self._options.word_ms)

    # What the connection does.

    @property
    def next_due_ms(self) -> float | None:
        return self._agenda.next_due_ms

    def open(self) -> None:
        self._wire.emit("session.created", session=self._effective())
        self._agenda.after(self._options.lifetime_s * 1000, lambda _: self._expire())

    def set_up(self, update: object) -> None:
        """What the client wants from the start; Refused if any of it is not allowed."""
        self._configure(self._updated(update))

    def hear(self, pcm: bytes, now_ms: float) -> None:
        """Audio from the caller's track: s16le mono at 24 kHz."""
        self.advance(now_ms)
        self._listening.hear(pcm)

    def play(self, size: int, now_ms: float) -> bytes:
        """The next bytes for the caller's track, in real time: s16le mono at 24 kHz."""
        assert self._speaking.playing is not None
        self.advance(now_ms)
        return self._speaking.playing.take(size)

    def receive(self, message: str | bytes, now_ms: float) -> None:
        """A message from the client."""
        self.advance(now_ms)
        event_id: object = None
        try:
            event = _parsed(message)
            event_id = event.get("event_id")
            if event["type"] == "input_audio_buffer.append" and not self._webrtc:
                self._listening.append(event)
                return
            self.received.append(event)
            handler = (_CALL_HANDLERS if self._webrtc else _HANDLERS).get(event["type"])
            if handler is None:
                over = "WebRTC" if self._webrtc else "WebSocket"
                raise invalid("type", f"'{event['type']}' is not supported over {over}.")
            handler(self, event)
        except Refused as refused:
            self._wire.refuse(refused, event_id)

    def advance(self, now_ms: float) -> None:
        """Do what is due by now."""
        self._agenda.now_ms = now_ms
        self._agenda.run()

    @property
    def waiting(self) -> bool:
        """Whether something is to be sent."""
        return self._wire.waiting

    def take(self) -> list[Output]:
        return self._wire.take()

    def inject(self, fault: SessionFault) -> None:
        """Go wrong, at once."""
        match fault:
            case Drop() | Close() | Stall():
                self._spring(fault)
            case CloseChannel():
                self._wire.put(ShutChannel())
            case Expire(ms):
                self._agenda.after(ms, lambda _: self._expire())
            case Mute(pongs):
                self._wire.mute = True
                if not pongs:
                    self._wire.put(Deafen())
            case Garbage(kind):
                self._wire.put(GARBAGE[kind])
            case FailResponse(code, message):
                self._speaking.failures.append(Fail(code, message))
            case FailTranscription():
                self._listening.transcriptions_to_fail += 1
            case SlowFirstAudio(ms):
                self._speaking.first_audio_ms = ms
        self.changed()

    # Client events.

    def _update(self, event: Fields) -> None:
        self._configure(self._updated(event.get("session")))
        self._wire.emit("session.updated", session=self._effective())

    def _commit(self, _: Fields) -> None:
        self._listening.commit()

    def _clear(self, _: Fields) -> None:
        self._listening.clear()

    def _create_item(self, event: Fields) -> None:
        item = item_from(
            event.get("item"), "item", self._new_id("item"), self.config["audio"]["input"]["format"]["type"]
        )
        self.conversation.insert(item, event.get("previous_item_id"))
        for kind in ("conversation.item.added", "conversation.item.done"):
            self._wire.emit(kind, item=item.wire(), previous_item_id=self.conversation.before(item))

    def _retrieve_item(self, event: Fields) -> None:
        item = self.conversation.find(event.get("item_id"), "item_id", "item_retrieve_invalid_item_id")
        self._wire.emit("conversation.item.retrieved", item=item.wire(with_audio=True))

    def _truncate_item(self, event: Fields) -> None:
        names = ("item_id", "content_index", "audio_end_ms")
        for name in names:
            if name not in event:
                raise missing(name)
        cut = {name: event[name] for name in names}
        self.conversation.truncate(*cut.values())
        self.truncations.append(cut)
        self._wire.emit("conversation.item.truncated", **cut)

    def _delete_item(self, event: Fields) -> None:
        self.conversation.delete(event.get("item_id"))
        self._wire.emit("conversation.item.deleted", item_id=event["item_id"])

    def _respond(self, event: Fields) -> None:
        self._speaking.create(event.get("response") or {})

    def _cancel(self, event: Fields) -> None:
        self._speaking.cancel(event.get("response_id"))

    def _clear_output(self, _: Fields) -> None:
        self._speaking.clear()

    # The rest.

    def _updated(self, update: object) -> Fields:
        config = configuration.updated(self.config, update, spoke=self._speaking.spoke)
        for side in ("input", "output") if self._webrtc else ():
            if config["audio"][side]["format"]["type"] != "audio/pcm":
                raise invalid(f"session.audio.{side}.format", "over WebRTC it cannot be chosen.")
        return config

    def _configure(self, config: Fields) -> None:
        self.config = self._speaking.config = config
        self._listening.configure(config["audio"]["input"])

    def _effective(self) -> Fields:
        return {**self.config, "id": self.id, "expires_at": self.expires_at}

    def _new_id(self, kind: str) -> str:
        return f"{kind}_{self._name}_{next(self._numbers)}"

    def _expire(self) -> None:
        message = f"Your session hit the maximum duration of {round(self._options.lifetime_s / 60)} minutes."
        self._wire.error("invalid_request_error", "session_expired", message)
        self._wire.put(HangUp(GOING_AWAY, "session expired"))

    def _spring(self, fault: Drop | Close | Stall) -> None:
        if isinstance(fault, Close):
            hang_up: HangUp | None = HangUp(fault.code, fault.reason)
        else:
            hang_up = HangUp() if isinstance(fault, Drop) else None
        if hang_up and fault.after_audio_ms is None:
            self._wire.put(hang_up)
        else:
            self._speaking.traps.append(Trap(fault.after_audio_ms or 0.0, hang_up))


_HANDLERS: dict[str, Callable[[Session, Fields], None]] = {
    "session.update": Session._update,
    "input_audio_buffer.commit": Session._commit,
    "input_audio_buffer.clear": Session._clear,
    "conversation.item.create": Session._create_item,
    "conversation.item.retrieve": Session._retrieve_item,
    "conversation.item.truncate": Session._truncate_item,
    "conversation.item.delete": Session._delete_item,
    "response.create": Session._respond,
    "response.cancel": Session._cancel,
}

_CALL_HANDLERS = _HANDLERS | {"output_audio_buffer.clear": Session._clear_output}
"""Over WebRTC, where audio does not come as events."""


def _parsed(message: str | bytes) -> Fields:
    if isinstance(message, bytes):
        raise Refused("invalid_value", "Expected a text message that holds a JSON object.")
    try:
        event = json.loads(message)
    except ValueError as error:
        raise Refused("invalid_json", f"Could not parse the message as JSON: {error}") from None
    if not isinstance(event, dict):
        raise Refused("invalid_value", "Expected a JSON object.")
    if not isinstance(event.get("type"), str):
        raise missing("type")
    return event
